"""What would have changed a held decision: only what the decision itself confirms."""

from dataclasses import replace

import pytest

from rollbackd.decision.decide import decide
from rollbackd.decision.nearest import variations
from rollbackd.model.decision import Action, Case, History, PauseFacts
from rollbackd.model.release import ReleaseStatus
from tests.unit.decision.builders import MINUTE, NOW, V1, case_of, error_trigger, evidence_for, in_context, release


def few() -> Case:
    evidence = evidence_for(error_trigger(), "B9", total=20)
    return case_of({"HighErrorRate": replace(evidence, readings=tuple(replace(one, bad=2.0, total=2.0) for one in evidence.readings))})


QUIET = case_of("B9", releases=(release("v2", ago=40 * MINUTE), V1))
COOLING = case_of(history=History(last_rollback_completed_at=NOW - 12 * MINUTE))
SPENT = case_of(history=History(rollbacks_of_service_last_day=2))
ROLLING = case_of(releases=(release("v2", ago=2 * MINUTE, status=ReleaseStatus.ROLLING, live_at=None), V1))


def said(case: Case) -> str:
    """What `decide` agrees to, of what was measured and what would be measured then."""
    tried = ((words, in_context(varied)) for words, varied in variations(case, decide(case, NOW)))
    return next((words for words, varied in tried if decide(varied, NOW).action is Action.ROLL_BACK), "")


@pytest.mark.parametrize(
    ("case", "words"),
    [
        (QUIET, "max_quiet: 38m"),
        (COOLING, "an acknowledgement of the last rollback"),
        (SPENT, "budget: {service_per_day: 3, fleet_per_hour: 3}"),
        (ROLLING, "while_rolling: act"),
        (case_of("H4 B5"), "for: 60s in HighErrorRate"),
        (few(), "min_requests: 20 in HighErrorRate"),
    ],
)
def test_the_one_setting_that_would_have_made_it_a_rollback(case: Case, words: str) -> None:
    assert said(case) == words


@pytest.mark.parametrize(
    "case",
    [
        case_of("B9"),  # it does roll back
        case_of("H9"),
        case_of("B9", releases=[V1]),
        replace(COOLING, pause=PauseFacts(paused=True)),  # a second objection
        case_of("B9", pause=PauseFacts(paused=True)),
    ],
)
def test_nothing_is_claimed_where_no_single_setting_would(case: Case) -> None:
    assert said(case) == ""
