"""Generated cases with everything that a confirmed breach may be compared with, in few words, so that a counter-example can be read.

What is drawn has a point: most of it is what it would be after a bad release, and now and then one thing speaks for another cause, too
few requests stand behind it, or it was not measured.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Final, TypeVar

from hypothesis import strategies as st

from rollbackd.decision.wanted import Wanted, wanted
from rollbackd.model.change import Change, ChangeKind
from rollbackd.model.decision import Case, Context, Dependency
from rollbackd.model.measurement import IndicatorEvidence, Reading
from rollbackd.model.policy import Trigger
from rollbackd.model.reason import Reason
from rollbackd.model.release import ReleaseStatus
from tests.unit.decision.builders import (
    MINUTE,
    NOW,
    STEP,
    V1,
    alert_facts,
    case_of,
    error_trigger,
    evidence_for,
    letters,
    release,
    service_policy,
    slow_trigger,
    value_of,
)

T = TypeVar("T")

DAY: Final = timedelta(days=1)
ERRORS, SLOW = error_trigger(hold_for=MINUTE), slow_trigger(hold_for=MINUTE)
POLICY: Final = service_policy(ERRORS, SLOW, blame_window=15 * MINUTE, baseline=10 * MINUTE)
BELOW: Final = {name: service_policy(ERRORS, SLOW, name=name, blame_window=15 * MINUTE, baseline=10 * MINUTE) for name in ("db", "cache")}


def mostly(usual: T, *rare: T) -> st.SearchStrategy[T]:
    return st.sampled_from([usual] * 8 + list(rare))


@dataclass(frozen=True)
class Steady:
    """The same at every step: a letter as in a story, and so many requests in each window. `F` is a question that failed."""

    letter: str
    total: float = 600

    def evidence(self, trigger: Trigger, *, now: datetime = NOW, back: timedelta = 4 * MINUTE) -> IndicatorEvidence:
        return told_by(trigger, f"{self.letter}{back // STEP + 1}", now=now, total=self.total)


@lru_cache(maxsize=4096)
def told_by(trigger: Trigger, story: str, *, now: datetime, total: float = 600) -> IndicatorEvidence:
    """As `evidence_for`, but for what is only compared with, and only as far back as it is told."""
    plain = IndicatorEvidence(indicator=trigger.indicator.name, query="compared", step=STEP, readings=())
    if "F" in story:
        return replace(plain, reason=Reason.QUERY_FAILED, detail="refused")
    told = letters(story)
    return replace(
        plain, readings=tuple(_reading(trigger, letter, now - (len(told) - 1 - i) * STEP, total) for i, letter in enumerate(told))
    )


@lru_cache(maxsize=4096)
def looked_back(trigger: Trigger, story: str, total: float) -> IndicatorEvidence:
    """As the daemon measures a trigger of one of these services: ours, or one below it."""
    return evidence_for(trigger, story, total=total, policy=POLICY)


def _reading(trigger: Trigger, letter: str, at: datetime, total: float) -> Reading:
    if letter == "U":
        return Reading(at, None, Reason.NO_SERIES)
    if not total:
        return Reading(at, None, Reason.LOW_TRAFFIC, bad=0.0, total=0.0)
    number = value_of(letter, trigger)
    bad = number * total if number is not None and trigger.indicator.is_ratio else None
    return Reading(at, number, bad=bad, total=total)


@dataclass(frozen=True)
class Under:
    """A service that ours depends on: the stories of its two triggers, and how many seconds ago it was released (None: not lately)."""

    errors: str
    slow: str
    total: float = 1204
    released: int | None = None

    def dependency(self, name: str) -> Dependency:
        releases = [release("d1", ago=DAY, service=name)]
        if self.released is not None:
            releases.insert(0, release("d2", ago=timedelta(seconds=self.released), service=name))
        evidence = {"HighErrorRate": looked_back(ERRORS, self.errors, self.total), "SlowResponse": looked_back(SLOW, self.slow, 1204)}
        return Dependency(policy=BELOW[name], evidence=evidence, releases=tuple(releases))


@dataclass(frozen=True)
class Compared:
    """`seen` are which of the versions serve. What is None or empty is not configured."""

    errors: str
    slow: str
    released: int  # seconds ago
    status: ReleaseStatus = ReleaseStatus.LIVE
    total: float = 1204
    before: str = "H41"
    labelled: bool = False
    seen: frozenset[str] | None = frozenset()
    versions: Mapping[str, Steady] | None = None
    zones: Mapping[str, Steady] | None = None
    earlier: Mapping[int, Steady] | None = None
    below: Mapping[str, Under] | None = None
    targets: tuple[Steady, ...] = ()
    changes: tuple[int, ...] = ()

    @property
    def case(self) -> Case:
        policy = replace(
            POLICY,
            version_label="version" if self.labelled else None,
            spread=("zone",) if self.zones else (),
            depends_on=tuple(self.below or ()),
        )
        live_at = None if self.status is ReleaseStatus.ROLLING else NOW - timedelta(seconds=self.released)
        v2 = release("v2", ago=timedelta(seconds=self.released), status=self.status, live_at=live_at)
        case = case_of(
            {"HighErrorRate": looked_back(ERRORS, self.errors, self.total), "SlowResponse": looked_back(SLOW, self.slow, 1204)},
            policy=policy,
            releases=(v2, V1, release("v0", ago=2 * DAY)),
            alert=alert_facts(),
            changes=tuple(
                Change(service="api", kind=ChangeKind.FLAG, what=f"{ago} s ago", at=NOW - timedelta(seconds=ago)) for ago in self.changes
            ),
            context=Context(),
        )
        asked = wanted(replace(case, context=None), NOW)
        return replace(case, context=None if asked is None else self._context(asked))

    def _context(self, asked: Wanted) -> Context:
        trigger, versions, served = asked.trigger, self.versions or {}, zip(asked.targets, self.targets, strict=False)
        return Context(
            before=told_by(trigger, self.before, now=asked.suspect.started_at),
            versions_seen=self.seen if self.labelled else None,
            versions={version: versions[version].evidence(trigger) for version in asked.versions if version in versions},
            places={label: {zone: one.evidence(trigger) for zone, one in (self.zones or {}).items()} for label in asked.spread},
            earlier={days * DAY: one.evidence(trigger, now=NOW - days * DAY, back=MINUTE) for days, one in (self.earlier or {}).items()},
            dependencies={name: under.dependency(name) for name, under in (self.below or {}).items()},
            targets={one.release: told.evidence(trigger, now=one.until, back=5 * MINUTE) for one, told in served},
        )


STEADY: Final = st.builds(Steady, mostly("H", "H", "B", "D", "U", "F"), mostly(600.0, 6.0, 60_000.0, 0.0))
BAD: Final = st.builds(Steady, mostly("B", "H", "U", "F"), mostly(600.0, 6.0, 60_000.0))
QUIET_OR: Final = mostly(None, 100, 250, 400)


@st.composite
def unders(draw: st.DrawFn) -> Under:
    stories = st.sampled_from(
        ["H9", "H9", "H9", "H9", "B4", "B8", "B30", "B70", "U9", "H3 U9", "B15 U4 B9", "B10 U2 B9", "U100", "D9", "H9 B1"]
    )
    return Under(draw(stories), draw(stories), draw(mostly(1204.0, 10.0)), draw(QUIET_OR))


@st.composite
def compared(draw: st.DrawFn) -> Compared:
    breached = draw(st.integers(5, 12))
    began = (breached - 1) * int(STEP.total_seconds())
    zones = draw(st.none() | st.fixed_dictionaries({"a": BAD, "b": BAD | STEADY, "c": BAD | STEADY}))
    below = draw(st.none() | st.dictionaries(st.sampled_from(list(BELOW)), unders(), min_size=1))
    seen = draw(mostly(frozenset({"v2", "v1"}), frozenset({"v2"}), frozenset({"v1"}), frozenset({"abc"}), None))
    return Compared(
        errors=f"H{draw(st.integers(3, 9))} {draw(mostly('', 'B2 U2', 'U3', 'D1'))} B{breached}",
        slow=draw(mostly("H9", f"B{breached}", "U9", f"H9 B{breached + 3}")),
        released=max(began + draw(mostly(45, 0, -30, 200, 640, 840, 1200)), 0),
        status=draw(mostly(ReleaseStatus.LIVE, ReleaseStatus.FAILED)),
        total=draw(mostly(1204.0, 12.0, 120_400.0)),
        before=draw(mostly("H41", "B41", "U41", "U30 H11", "H20 B21", "H38 B3", "U38 H3", "F")),
        labelled=draw(st.booleans()),
        seen=seen,
        versions={"v2": draw(BAD), "v1": draw(STEADY | BAD)},
        zones=zones,
        earlier=draw(st.none() | st.dictionaries(st.sampled_from([1, 7]), STEADY | BAD)),
        below=below,
        targets=draw(mostly((), (Steady("B"), Steady("B")))) or tuple(draw(st.lists(STEADY, max_size=2))),
        changes=tuple(began + seconds for seconds in draw(st.lists(st.sampled_from([-60, -15, 0, 20, 300]), max_size=2))),
    )


def reading_lost(evidence: IndicatorEvidence) -> IndicatorEvidence:
    """As if none of it had been measured, though the question was answered."""
    return replace(evidence, readings=tuple(Reading(one.at, None, Reason.NO_SERIES) for one in evidence.readings))


def question_failed(evidence: IndicatorEvidence) -> IndicatorEvidence:
    return replace(evidence, readings=(), pooled=None, reason=Reason.QUERY_FAILED, detail="refused")
