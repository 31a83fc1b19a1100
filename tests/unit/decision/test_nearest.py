"""What would have changed a held decision: only what the decision itself confirms."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from rollbackd.decision.decide import decide
from rollbackd.decision.nearest import variations
from rollbackd.model.decision import Action, Case, FleetFacts, History, PauseFacts, RunningVersion, Tripped
from rollbackd.model.policy import FreezeWindow, Mode
from rollbackd.model.reason import Reason
from rollbackd.model.release import ReleaseStatus
from tests.unit.decision.builders import MINUTE, NOW, V1, case_of, error_trigger, evidence_for, in_context, release, service_policy
from tests.unit.decision.test_context import constant

ASKS = service_policy(mode=Mode.PROPOSE)
FROZEN = service_policy(freeze=(FreezeWindow(cron="* * * * *", duration=MINUTE),))


def few(story: str = "B9", *, pooled: float = 20, in_window: float = 2.0) -> Case:
    evidence = evidence_for(error_trigger(), story, total=pooled)
    told = tuple(replace(one, bad=(one.value or 0.0) * 50 * in_window, total=in_window) for one in evidence.readings)
    return case_of({"HighErrorRate": replace(evidence, readings=told)}, releases=(release("v2", ago=6 * MINUTE), V1))


QUIET = case_of("B9", releases=(release("v2", ago=40 * MINUTE), V1))
FAILED = case_of("B9", releases=(release("v2", ago=40 * MINUTE, status=ReleaseStatus.FAILED, live_at=None), V1))
COOLING = case_of(history=History(last_rollback_completed_at=NOW - 12 * MINUTE))
SPENT = case_of(history=History(rollbacks_of_service_last_day=2))
ROLLING = case_of(releases=(release("v2", ago=2 * MINUTE, status=ReleaseStatus.ROLLING, live_at=None), V1))
AHEAD = case_of(releases=(release("v3", ago=-MINUTE), release("v2", ago=150 * timedelta(seconds=1)), V1))
LONG_ROLLOUT = (release("v2", ago=90 * MINUTE, live_at=NOW - 5 * MINUTE), V1)
SLOW_LEAK = (release("v2", ago=90 * MINUTE), V1)
OUTAGE = FleetFacts(tripped=tuple(Tripped(service=name, at=NOW) for name in "abc"))
NO_BEFORE = case_of("B9", policy=ASKS)
assert NO_BEFORE.context is not None
NO_BEFORE = replace(NO_BEFORE, context=replace(NO_BEFORE.context, before=None))


def said(case: Case, **context: Any) -> str:
    """What `decide` agrees to, of what was measured and what would be measured then."""
    tried = ((words, in_context(varied, **context)) for words, varied in variations(case, decide(case, NOW)))
    return next((words for words, varied in tried if decide(varied, NOW).action is Action.ROLL_BACK), "")


@pytest.mark.parametrize(
    ("case", "words"),
    [
        (QUIET, "max_quiet: 38m"),
        (FAILED, "max_quiet: 38m"),
        (COOLING, "an acknowledgement of the last rollback"),
        (SPENT, "budget: {service_per_day: 3, fleet_per_hour: 3}"),
        (ROLLING, "while_rolling: act"),
        (AHEAD, "while_rolling: act"),
        (case_of("H4 B5"), "for: 60s in HighErrorRate"),
        (few(), "min_requests: 20 in HighErrorRate"),
        (few("B20", pooled=12, in_window=7), "min_requests: 35 in HighErrorRate"),  # since the breach began
        (case_of("B9", releases=LONG_ROLLOUT), "blame_window: 88m"),
        (case_of("B9", policy=FROZEN), "freeze: []"),
        (case_of("B9", pause=PauseFacts(paused=True)), "a resume"),
        (NO_BEFORE, "an approval"),
    ],
)
def test_the_one_thing_that_would_have_made_it_a_rollback(case: Case, words: str) -> None:
    assert said(case) == words


def test_a_window_alone_blames_no_release_that_had_served_in_quiet_but_side_by_side() -> None:
    beside = {"versions_seen": frozenset({"v2", "v1"}), "versions": {"v2": constant(0.3), "v1": constant(0.001)}}
    labelled = service_policy(version_label="version")
    assert said(case_of("B9", releases=SLOW_LEAK)) == ""
    assert said(case_of("B9", releases=SLOW_LEAK, policy=labelled), **beside) == "blame_window: 88m"


def test_an_approval_goes_past_the_fleet_brake() -> None:
    """Which holds only what no release of its own explains: such as one that was recorded after the service had tripped."""
    case = case_of("B9", policy=ASKS, fleet=OUTAGE)
    late = replace(
        case,
        alert=replace(case.alert, starts_at=NOW - 3 * MINUTE),
        fleet=FleetFacts(tripped=tuple(replace(one, at=NOW - 3 * MINUTE) for one in OUTAGE.tripped)),
    )
    assert decide(late, NOW).reason is Reason.FLEET_BRAKE
    assert said(late) == "an approval"
    assert said(replace(late, policy=replace(late.policy, mode=Mode.OBSERVE))) == ""


@pytest.mark.parametrize(
    "case",
    [
        case_of("B9"),  # it does roll back
        case_of("H9"),
        case_of("B9", releases=[V1]),  # a blame window of more than a day
        replace(COOLING, pause=PauseFacts(paused=True)),  # a second objection
        replace(NO_BEFORE, policy=service_policy()),  # in observe nothing can be approved
        replace(NO_BEFORE, running=RunningVersion(answers=frozenset({"v9"}), reason=None)),
        case_of("B9", releases=[release("v2", ago=3 * MINUTE)]),  # nothing to go back to
    ],
)
def test_nothing_is_claimed_where_no_single_thing_would(case: Case) -> None:
    assert said(case) == ""
