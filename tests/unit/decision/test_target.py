from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from rollbackd.decision.decide import decide
from rollbackd.decision.target import choose_target
from rollbackd.model.reason import Reason
from rollbackd.model.release import Mark, Release, ReleaseKind, ReleaseStatus
from tests.unit.decision.builders import HOUR, NOW, V1, case_of, release


def line_of(*versions: str | tuple[str, dict[str, Any]]) -> tuple[Release, ...]:
    """Newest first, an hour apart; the first one is the suspect."""
    plain = [(version, {}) if isinstance(version, str) else version for version in versions]
    return tuple(release(version, ago=hours * HOUR, **changes) for hours, (version, changes) in enumerate(plain))


def chosen(releases: Sequence[Release]) -> tuple[str | None, Reason]:
    choice = choose_target(releases[0], tuple(releases), NOW)
    return choice.target.version if choice.target else None, choice.check.reason


def marked(mark: Mark) -> dict[str, Any]:
    return {"mark": mark}


FAILED = {"status": ReleaseStatus.FAILED}
ROLLING = {"status": ReleaseStatus.ROLLING}
LATE = {"live_at": NOW - HOUR / 2}

TARGETS = {
    "the one before": (line_of("v3", "v2", "v1"), ("v2", Reason.PASSED)),
    "not one that failed": (line_of("v3", ("v2", FAILED), "v1"), ("v1", Reason.PASSED)),
    "not one that never ended": (line_of("v3", ("v2", ROLLING), "v1"), ("v1", Reason.PASSED)),
    "not a bad one": (line_of("v3", ("v2", marked(Mark.BAD)), "v1"), ("v1", Reason.PASSED)),
    "not a suspect one": (line_of("v3", ("v2", marked(Mark.SUSPECT)), "v1"), ("v1", Reason.PASSED)),
    "not the artifact of a bad one under another version": (
        line_of("v4", ("v3", {"artifact": "a"}), ("v2", {"artifact": "a", **marked(Mark.BAD)}), "v1"),
        ("v1", Reason.PASSED),
    ),
    "not the artifact of a suspect one that came back later": (
        line_of("v4", ("v3", {"artifact": "a", **marked(Mark.SUSPECT)}), "v2", ("v1", {"artifact": "a"})),
        ("v2", Reason.PASSED),
    ),
    "a version that is bad in one record is bad in all": (
        line_of("v4", "v2", ("v3", {}), ("v2", marked(Mark.BAD)), "v1"),
        ("v3", Reason.PASSED),
    ),
    "a failed release can be the suspect": (line_of(("v2", FAILED), "v1"), ("v1", Reason.PASSED)),
    "a bad version that is back can be the suspect": (line_of(("v2", marked(Mark.BAD)), "v1"), ("v1", Reason.PASSED)),
    "the record of a rollback is where it went": (
        line_of("v3", ("v1", {"kind": ReleaseKind.ROLLBACK}), ("v2", marked(Mark.BAD)), "v1"),
        ("v1", Reason.PASSED),
    ),
    "the first release of all": (line_of("v1"), (None, Reason.NO_SAFE_TARGET)),
    "only bad ones before": (line_of("v3", ("v2", marked(Mark.BAD)), ("v1", FAILED)), (None, Reason.NO_SAFE_TARGET)),
    # Only the config changed
    "the same artifact as before": (
        line_of(("v3", {"artifact": "a"}), ("v2", {"artifact": "a"}), "v1"),
        (None, Reason.CONFIG_ONLY_RELEASE),
    ),
    "the same artifact as what served before, a failed one in between": (
        line_of(("v3", {"artifact": "a"}), ("v2", FAILED), ("v1", {"artifact": "a"})),
        (None, Reason.CONFIG_ONLY_RELEASE),
    ),
    "the same artifact again after another one": (
        line_of(("v3", {"artifact": "a"}), "v2", ("v1", {"artifact": "a"})),
        ("v2", Reason.PASSED),
    ),
    "the same artifact, before a bad one that came between": (
        line_of(("v3", {"artifact": "a"}), ("v2", marked(Mark.BAD)), ("v1", {"artifact": "a"})),
        (None, Reason.NO_SAFE_TARGET),
    ),
    "config only wins over a barrier": (
        line_of(("v3", {"artifact": "a", "irreversible": True}), ("v2", {"artifact": "a"})),
        (None, Reason.CONFIG_ONLY_RELEASE),
    ),
    # A rollback and a deploy that overtook each other
    "what took over last, though it began first": (line_of("v3", "v2", ("v1", LATE)), ("v1", Reason.PASSED)),
    "an irreversible one that it overtook": (line_of("v3", ("v2", {"irreversible": True}), ("v1", LATE)), (None, Reason.MIGRATION_BARRIER)),
    "an irreversible one that overtook it": (
        line_of("v3", "v2", ("v1", {**LATE, **marked(Mark.BAD), "irreversible": True})),
        (None, Reason.MIGRATION_BARRIER),
    ),
    "the same artifact as what took over last": (
        line_of(("v3", {"artifact": "a"}), "v2", ("v1", {**LATE, "artifact": "a"})),
        (None, Reason.CONFIG_ONLY_RELEASE),
    ),
    # Migrations
    "the suspect is irreversible": (line_of(("v2", {"irreversible": True}), "v1"), (None, Reason.MIGRATION_BARRIER)),
    "an irreversible one in between, though it failed": (
        line_of("v3", ("v2", {**FAILED, "irreversible": True}), "v1"),
        (None, Reason.MIGRATION_BARRIER),
    ),
    "an irreversible target is reached, not passed": (line_of("v2", ("v1", {"irreversible": True})), ("v1", Reason.PASSED)),
    "another schema": (line_of(("v2", {"schema": "8"}), ("v1", {"schema": "7"})), (None, Reason.MIGRATION_BARRIER)),
    "another schema, which the old code can use": (
        line_of(("v2", {"schema": "8", "schema_compatible": True}), ("v1", {"schema": "7"})),
        ("v1", Reason.PASSED),
    ),
    "the same schema": (line_of(("v2", {"schema": "7"}), ("v1", {"schema": "7"})), ("v1", Reason.PASSED)),
    "a schema that was not recorded may be any": (line_of(("v2", {"schema": "8"}), "v1"), (None, Reason.MIGRATION_BARRIER)),
    "a schema changed on the way, past a bad release": (
        line_of(("v3", {"schema": "8"}), ("v2", {"schema": "8", **marked(Mark.BAD)}), ("v1", {"schema": "7"})),
        (None, Reason.MIGRATION_BARRIER),
    ),
}


@pytest.mark.parametrize(("releases", "expected"), TARGETS.values(), ids=TARGETS)
def test_the_target(releases: tuple[Release, ...], expected: tuple[str | None, Reason]) -> None:
    assert chosen(releases) == expected


def test_what_came_after_the_suspect_is_no_target() -> None:
    v3, v2, v1 = line_of("v3", "v2", "v1")
    assert choose_target(v2, (v3, v2, v1), NOW).target == v1


def test_of_two_that_started_at_once_the_one_that_was_recorded_later_came_later() -> None:
    tenth, ninth = (release(version, ago=timedelta(seconds=150)) for version in ("10", "9"))
    decision = decide(case_of(releases=[tenth, ninth, V1]), NOW)
    assert (decision.suspect, decision.target) == (tenth, ninth)


def test_a_later_mark_counts_for_the_earlier_record() -> None:
    again, v3, v2, v1 = line_of(("v2", marked(Mark.BAD)), "v3", "v2", "v1")
    assert choose_target(v3, (again, v3, v2, v1), NOW).target == v1


def test_a_barrier_names_what_is_in_the_way() -> None:
    releases = line_of("v3", ("v2", {"irreversible": True}), "v1")
    assert chosen(releases)[1] is Reason.PASSED  # back to v2 itself, the migration stays
    bad = line_of("v3", ("v2", {"irreversible": True, **marked(Mark.BAD)}), "v1")
    assert choose_target(bad[0], bad, NOW).check.value == "v1 lies behind v2, which is irreversible"
