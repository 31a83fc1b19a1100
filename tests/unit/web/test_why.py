from dataclasses import replace
from typing import Any

import pytest

from rollbackd.model.decision import Action
from rollbackd.model.incident import Outcome, Phase
from rollbackd.model.reason import Reason
from rollbackd.web import why
from tests.unit.web.samples import BLAMED, HELD, after, incident, recovered


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_has_words(reason: Reason) -> None:
    assert why.BECAUSE[reason]


@pytest.mark.parametrize("outcome", list(Outcome))
def test_every_outcome_makes_a_sentence(outcome: Outcome) -> None:
    sentence = why.sentence(recovered(outcome=outcome), BLAMED)
    assert sentence.endswith(".")
    assert "{" not in sentence


@pytest.mark.parametrize("phase", [phase for phase in Phase if phase is not Phase.CLOSED])
def test_every_open_phase_makes_a_sentence(phase: Phase) -> None:
    sentence = why.sentence(recovered(phase=phase, outcome=None, closed_at=None), BLAMED)
    assert sentence.endswith(".")
    assert "{" not in sentence


def test_a_held_incident_tells_why_with_the_number_beside_its_limit() -> None:
    held = incident(phase=Phase.CLOSED, outcome=Outcome.HELD, decision=Action.HOLD, reason=Reason.COOLDOWN)
    assert why.sentence(held, HELD) == (
        "Held: the service was rolled back a short time ago (the last rollback ended 12 min ago, limit 1 h, until 12:48:00 UTC)."
    )


def test_a_recovered_incident_names_both_versions() -> None:
    assert why.sentence(recovered(), BLAMED) == "Rolled back from v2 to v1, and the service recovered: the release is to blame."


def test_the_numbers_of_an_older_decision_are_not_given_for_a_newer_reason() -> None:
    rejected = incident(phase=Phase.CLOSED, outcome=Outcome.REJECTED, decision=Action.HOLD, reason=Reason.REJECTED)
    assert why.sentence(rejected, HELD) == "Rejected: a person rejected it."


def test_what_is_known_beyond_the_reason_code_stands_in_its_place() -> None:
    failed = recovered(outcome=Outcome.FAILED, reason=Reason.STEP_FAILED, detail="step 'deploy the target image' failed: exit 3")
    assert why.sentence(failed, BLAMED) == "The rollback failed: step 'deploy the target image' failed: exit 3."


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"outcome": Outcome.ABORTED, "reason": Reason.ABORTED, "abort_reason": "wrong service", "detail": "stopped before 'deploy'"},
            "Aborted: a person aborted it (wrong service).",
        ),
        (
            {"phase": Phase.ROLLING_BACK, "outcome": None, "abort_reason": "wrong service"},
            "Rolling back from v2 to v1: stopping before the next step, as a person aborted it (wrong service).",
        ),
        (
            {
                "phase": Phase.WATCHING,
                "outcome": None,
                "reason": Reason.MANUAL,
                "requested_by": "oncall",
                "request_reason": "log-in broken",
            },
            "Rolled back from v2 to v1, watching the objectives: oncall asked for it (log-in broken).",
        ),
        (
            {"phase": Phase.ROLLING_BACK, "outcome": None, "reason": Reason.APPROVED, "requested_by": "oncall"},
            "Rolling back from v2 to v1: oncall approved.",
        ),
        (
            {
                "reason": Reason.MANUAL,
                "requested_by": "oncall",
                "request_reason": "log-in broken",
                "detail": "every objective was met for 3 min",
            },
            "Rolled back from v2 to v1, and the service recovered: every objective was met for 3 min.",
        ),
    ],
)
def test_what_a_person_wanted_is_said_with_the_reason(changes: dict[str, Any], sentence: str) -> None:
    assert why.sentence(recovered(**changes), BLAMED) == sentence


def test_an_incident_that_was_not_judged_yet_gives_no_reason() -> None:
    assert why.sentence(incident(), None) == "Judging."


def test_the_first_check_in_the_way_decides() -> None:
    decided = why.deciding(HELD)
    assert decided is not None
    assert decided.name == "cooldown"


def test_no_check_decides_when_every_one_let_it_pass() -> None:
    assert why.deciding(BLAMED) is None


def test_an_unknown_measurement_decides_also_under_the_decisions_broader_reason() -> None:
    unknown = replace(HELD, reason=Reason.UNKNOWN, at=after(1))
    decided = why.deciding(unknown)
    assert decided is not None
    assert decided.name == "cooldown"
