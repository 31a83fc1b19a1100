"""The whole decision, told as a table: what is the case, what is done, and why."""

from datetime import timedelta

import pytest

from rollbackd.decision.decide import decide
from rollbackd.decision.follow import Follow, follow
from rollbackd.model.decision import Action, Blame, Case, FleetFacts, History, PauseFacts, RunningVersion, Tripped
from rollbackd.model.policy import BudgetPolicy, FreezeWindow, WhileRolling
from rollbackd.model.reason import Reason
from rollbackd.model.release import Mark, ReleaseKind, ReleaseStatus
from tests.unit.decision.builders import (
    HOUR,
    MINUTE,
    NOW,
    V1,
    V2,
    alert_facts,
    case_of,
    error_trigger,
    evidence_for,
    release,
    service_policy,
    slow_trigger,
)

ROLLING_V2 = release("v2", ago=timedelta(seconds=150), status=ReleaseStatus.ROLLING, live_at=None)
BOTH = service_policy(slow_trigger(), error_trigger())


def both(slow: str, errors: str, **changes: object) -> Case:
    evidence = {"SlowResponse": evidence_for(slow_trigger(), slow), "HighErrorRate": evidence_for(error_trigger(), errors)}
    return case_of(evidence, policy=BOTH, **changes)  # type: ignore[arg-type]


def asked(**answer: object) -> RunningVersion:
    return RunningVersion(**({"reason": None} | answer))  # type: ignore[arg-type]


def frozen(text: str, **changes: object) -> Case:
    """From when this cron expression comes, for an hour, on a clock that is nine hours ahead: it shows 12:00."""
    return case_of(policy=service_policy(freeze=(FreezeWindow(cron=text, duration=HOUR, tz="Asia/Tokyo"),)), **changes)  # type: ignore[arg-type]


def with_others(*services: str, **changes: object) -> Case:
    """Which tripped with this one and have no releases."""
    fleet = FleetFacts(tripped=tuple(Tripped(service=name, at=NOW - MINUTE) for name in services))
    return case_of(fleet=fleet, **changes)  # type: ignore[arg-type]


ROLL_BACK, HOLD, ESCALATE = Action.ROLL_BACK, Action.HOLD, Action.ESCALATE

SCENARIOS = {
    # The trigger
    "errors since the deploy: roll back": (case_of("B9"), ROLL_BACK, Reason.TO_BLAME),
    "four of five measurements are enough": (case_of("B4 D1 B4"), ROLL_BACK, Reason.TO_BLAME),
    "a gap in the middle does not clear the release": (case_of("B4 U1 B4"), ROLL_BACK, Reason.TO_BLAME),
    "breached for half of the time only": (case_of("H4 B5"), HOLD, Reason.NOT_CONFIRMED),
    "it flaps": (case_of("B3 H1 B2 H1 U1 B1"), HOLD, Reason.NOT_CONFIRMED),
    "nothing is measured now": (case_of("B9 U1"), HOLD, Reason.UNKNOWN),
    "between breach and clear": (case_of("B9 D1"), HOLD, Reason.UNKNOWN),
    "healthy again": (case_of("B9 H1"), HOLD, Reason.HEALTHY),
    "looks healthy, but the error counter was just born": (case_of("B9 N1"), HOLD, Reason.UNKNOWN),
    "hardly any traffic": (case_of({"HighErrorRate": evidence_for(error_trigger(), "B9", total=30)}), HOLD, Reason.UNKNOWN),
    "the ratio is high at each step, but the pooled counts say little": (
        case_of({"HighErrorRate": evidence_for(error_trigger(), "B9", bad=5)}),
        HOLD,
        Reason.NOT_CONFIRMED,
    ),
    "the trigger was not measured at all": (case_of({}), HOLD, Reason.UNKNOWN),
    # Several triggers
    "the alert's own is healthy, a more severe one is confirmed": (both("H9", "B9"), ROLL_BACK, Reason.TO_BLAME),
    "the alert's own is confirmed, a more severe one cannot be measured": (both("B9", "U9"), ROLL_BACK, Reason.TO_BLAME),
    "the more severe one carries the blame, and predates the release": (both("B9", "B30"), HOLD, Reason.BREACH_PREDATES_RELEASE),
    "the alert's own is healthy, another is breached for a moment": (both("H9", "B1"), HOLD, Reason.NOT_CONFIRMED),
    "the alert's own is healthy, another is unknown": (both("H9", "U9"), HOLD, Reason.HEALTHY),
    "the alert's own is unknown, another is healthy": (both("U9", "H9"), HOLD, Reason.UNKNOWN),
    # The register
    "the release source does not answer": (case_of(releases_problem="fly timed out"), HOLD, Reason.UNKNOWN),
    "the release source does not answer, so nothing is let go either": (
        case_of(releases=[V1], releases_problem="fly timed out"),
        HOLD,
        Reason.UNKNOWN,
    ),
    "the release source does not answer, and the service is healthy": (
        case_of("H9", releases_problem="fly timed out"),
        HOLD,
        Reason.HEALTHY,
    ),
    "the release source does not answer, and blame is off": (
        case_of(policy=service_policy(blame=False), releases_problem="fly timed out"),
        HOLD,
        Reason.UNKNOWN,
    ),
    # Blame
    "nothing was released for a day": (case_of(releases=[V1]), HOLD, Reason.NO_RECENT_RELEASE),
    "nothing was ever recorded": (case_of(releases=[]), HOLD, Reason.NO_RECENT_RELEASE),
    "the breach was there before the release": (case_of("B20"), HOLD, Reason.BREACH_PREDATES_RELEASE),
    "the breach is older than the look-back": (case_of("B260"), HOLD, Reason.BREACH_PREDATES_RELEASE),
    "the breach seems a step earlier than the release: clocks differ": (case_of("B12"), ROLL_BACK, Reason.TO_BLAME),
    "the release still rolls after two hours": (
        case_of(
            releases=[release("v2", ago=2 * HOUR, status=ReleaseStatus.ROLLING), V1], policy=service_policy(while_rolling=WhileRolling.ACT)
        ),
        ROLL_BACK,
        Reason.TO_BLAME,
    ),
    "nothing was measured around the release": (case_of("U20 B9"), HOLD, Reason.INCONCLUSIVE),
    "nothing was ever measured before the breach": (case_of("U260 B9"), HOLD, Reason.INCONCLUSIVE),
    "the restart left a gap, after the release began": (case_of("U3 B7"), HOLD, Reason.NOT_CONFIRMED),
    "the restart left a gap, after which it is breached for long": (
        case_of("U4 B9", releases=[release("v2", ago=4 * MINUTE), V1]),
        ROLL_BACK,
        Reason.TO_BLAME,
    ),
    "blame is off": (case_of("B260", policy=service_policy(blame=False)), ROLL_BACK, Reason.BLAME_OFF),
    "blame is off, the newest release is old": (
        case_of(releases=[V1, release("v0", ago=48 * HOUR)], policy=service_policy(blame=False)),
        ROLL_BACK,
        Reason.BLAME_OFF,
    ),
    "blame is off and nothing is recorded: there is nothing to go back to": (
        case_of(releases=[], policy=service_policy(blame=False)),
        ESCALATE,
        Reason.NO_SAFE_TARGET,
    ),
    # Guards
    "paused": (case_of(pause=PauseFacts(paused=True, scope="api", why="migration")), HOLD, Reason.PAUSED),
    "a step is running": (case_of(history=History(step_running=True)), HOLD, Reason.STEP_RUNNING),
    "rolled back twelve minutes ago": (case_of(history=History(last_rollback_completed_at=NOW - 12 * MINUTE)), HOLD, Reason.COOLDOWN),
    "rolled back twelve minutes ago, and a person has seen it": (
        case_of(history=History(last_rollback_completed_at=NOW - 12 * MINUTE, last_rollback_acknowledged=True)),
        ROLL_BACK,
        Reason.TO_BLAME,
    ),
    "the last rollback lies in the future, the clock was set back": (
        case_of(history=History(last_rollback_completed_at=NOW + HOUR)),
        HOLD,
        Reason.COOLDOWN,
    ),
    "the cooldown is over to the second": (case_of(history=History(last_rollback_completed_at=NOW - HOUR)), ROLL_BACK, Reason.TO_BLAME),
    "the service's budget is spent": (case_of(history=History(rollbacks_of_service_last_day=2)), HOLD, Reason.BUDGET),
    "the fleet's budget is spent": (case_of(history=History(rollbacks_of_fleet_last_hour=3)), HOLD, Reason.BUDGET),
    "a budget of nothing": (case_of(policy=service_policy(budget=BudgetPolicy(service_per_day=0))), HOLD, Reason.BUDGET),
    "the suspect is a rollback": (
        case_of(releases=[release("v1", ago=timedelta(seconds=150), kind=ReleaseKind.ROLLBACK), release("v0", ago=48 * HOUR)]),
        HOLD,
        Reason.ROLLBACK_OF_ROLLBACK,
    ),
    "in a freeze window": (frozen("0 12 * * sat"), HOLD, Reason.FREEZE),
    "a freeze window that ends now": (frozen("0 11 * * sat"), ROLL_BACK, Reason.TO_BLAME),
    "a freeze window of another day": (frozen("0 12 * * fri"), ROLL_BACK, Reason.TO_BLAME),
    "three others tripped as well, without releases": (with_others("a", "b", "c"), HOLD, Reason.FLEET_BRAKE),
    "two others tripped as well": (with_others("a", "b"), ROLL_BACK, Reason.TO_BLAME),
    "two others tripped as well, and blame is off": (
        with_others("a", "b", releases=[V1, release("v0", ago=48 * HOUR)], policy=service_policy(blame=False)),
        HOLD,
        Reason.FLEET_BRAKE,
    ),
    "the release is still rolling": (case_of(releases=[ROLLING_V2, V1]), HOLD, Reason.RELEASE_IN_PROGRESS),
    "still rolling, and to be aborted": (
        case_of(releases=[ROLLING_V2, V1], policy=service_policy(while_rolling=WhileRolling.ABORT)),
        HOLD,
        Reason.RELEASE_IN_PROGRESS,
    ),
    "an older release was left rolling": (
        case_of(releases=[V2, release("v1.5", ago=9 * HOUR, status=ReleaseStatus.ROLLING), V1]),
        ROLL_BACK,
        Reason.TO_BLAME,
    ),
    "a later release is rolling, which may be the fix": (
        case_of(releases=[release("v3", ago=timedelta(seconds=15), status=ReleaseStatus.ROLLING), V2, V1]),
        HOLD,
        Reason.RELEASE_IN_PROGRESS,
    ),
    "started twenty seconds ago": (case_of(serving_since=NOW - timedelta(seconds=20)), HOLD, Reason.SETTLING),
    "serving for long": (case_of(serving_since=NOW - HOUR), ROLL_BACK, Reason.TO_BLAME),
    "an old alert that no longer fires": (
        case_of(alert=alert_facts(starts_at=NOW - 48 * HOUR, firing_now=False)),
        HOLD,
        Reason.STALE_ALERT,
    ),
    "an old alert, and whether it fires is not known": (
        case_of(alert=alert_facts(starts_at=NOW - 6 * MINUTE, delivered_at=NOW - timedelta(seconds=4))),
        HOLD,
        Reason.UNKNOWN,
    ),
    "an old alert that fires, nothing scraped since it came": (
        case_of(alert=alert_facts(starts_at=NOW - 6 * MINUTE, firing_now=True)),
        HOLD,
        Reason.UNKNOWN,
    ),
    "an old alert that fires, scraped since it came": (
        case_of(alert=alert_facts(starts_at=NOW - 6 * MINUTE, delivered_at=NOW - timedelta(seconds=4), firing_now=True)),
        ROLL_BACK,
        Reason.TO_BLAME,
    ),
    "an alert that starts in the future": (case_of(alert=alert_facts(starts_at=NOW + MINUTE)), HOLD, Reason.UNKNOWN),
    # Target and running version
    "nothing before the suspect": (case_of(releases=[V2]), ESCALATE, Reason.NO_SAFE_TARGET),
    "the release cannot be undone": (
        case_of(releases=[release("v2", ago=timedelta(seconds=150), irreversible=True), V1]),
        ESCALATE,
        Reason.MIGRATION_BARRIER,
    ),
    "the same artifact as before": (
        case_of(releases=[release("v2", ago=timedelta(seconds=150), artifact=V1.artifact), V1]),
        ESCALATE,
        Reason.CONFIG_ONLY_RELEASE,
    ),
    "the suspect runs everywhere": (case_of(running=asked(answers=frozenset({"v2"}))), ROLL_BACK, Reason.TO_BLAME),
    "its artifact runs everywhere": (case_of(running=asked(answers=frozenset({V2.artifact}))), ROLL_BACK, Reason.TO_BLAME),
    "somebody has gone back already": (case_of(running=asked(answers=frozenset({"v1"}))), ESCALATE, Reason.RUNNING_VERSION_CHANGED),
    "one instance runs something else": (case_of(running=asked(answers=frozenset({"v2", "v9"}))), ESCALATE, Reason.RUNNING_VERSION_CHANGED),
    "the answer fits the target as well": (
        case_of(
            releases=[
                release("main", ago=timedelta(seconds=150), artifact="image:2"),
                release("main", ago=24 * HOUR, artifact="image:1"),
            ],
            running=asked(answers=frozenset({"main"})),
        ),
        ESCALATE,
        Reason.RUNNING_VERSION_CHANGED,
    ),
    "the probe did not answer": (
        case_of(running=asked(reason=Reason.RUNNING_VERSION_UNKNOWN, detail="exit 1")),
        ESCALATE,
        Reason.RUNNING_VERSION_UNKNOWN,
    ),
    "the probe answered with nothing": (case_of(running=asked()), ESCALATE, Reason.RUNNING_VERSION_UNKNOWN),
    "released again since, and no probe": (
        case_of("B9", releases=[release("v3", ago=timedelta(seconds=30)), V2, V1]),
        ESCALATE,
        Reason.RUNNING_VERSION_CHANGED,
    ),
    # Which reason comes first
    "paused, and the release is innocent": (case_of("B20", pause=PauseFacts(paused=True)), HOLD, Reason.BREACH_PREDATES_RELEASE),
    "frozen, and the release is innocent": (frozen("0 12 * * *", releases=[V1]), HOLD, Reason.NO_RECENT_RELEASE),
    "three others tripped, and a release is rolling": (with_others("a", "b", "c", releases=[ROLLING_V2, V1]), HOLD, Reason.FLEET_BRAKE),
    "paused, and there is no target": (case_of(releases=[V2], pause=PauseFacts(paused=True)), HOLD, Reason.PAUSED),
    "inconclusive, and in cooldown": (
        case_of("U20 B9", history=History(last_rollback_completed_at=NOW - MINUTE)),
        HOLD,
        Reason.COOLDOWN,
    ),
    "inconclusive, and nothing to propose": (case_of("U20 B9", releases=[V2]), ESCALATE, Reason.NO_SAFE_TARGET),
    "stale, and Prometheus does not answer": (
        case_of("U9", alert=alert_facts(starts_at=NOW - HOUR, firing_now=False)),
        HOLD,
        Reason.STALE_ALERT,
    ),
}


@pytest.mark.parametrize(("case", "action", "reason"), SCENARIOS.values(), ids=SCENARIOS)
def test_scenario(case: Case, action: Action, reason: Reason) -> None:
    decision = decide(case, NOW)
    assert (decision.action, decision.reason) == (action, reason)


BACK_TO_V1 = release("v1", ago=2 * HOUR, kind=ReleaseKind.ROLLBACK)
BAD_V2 = release("v2", ago=3 * HOUR, mark=Mark.BAD)
V3 = release("v3", ago=timedelta(seconds=150))


def test_a_roll_back_names_what_it_rests_on() -> None:
    decision = decide(case_of("B9"), NOW)
    assert (decision.suspect, decision.target, decision.blame) == (V2, V1, Blame.TO_BLAME)
    assert (decision.trigger, decision.value, decision.limit) == ("HighErrorRate", 0.02, 0.01)
    assert decision.onset == NOW - 2 * MINUTE


def test_after_a_rollback_the_next_bad_release_goes_back_to_where_the_rollback_went() -> None:
    decision = decide(case_of(releases=[V3, BACK_TO_V1, BAD_V2, V1]), NOW)
    assert (decision.action, decision.target) == (Action.ROLL_BACK, BACK_TO_V1)


def test_the_release_that_a_late_one_overtook_is_the_suspect_and_the_plan_is_kept_for_a_person() -> None:
    decision = decide(case_of("B9", releases=[release("v3", ago=timedelta(seconds=30)), V2, V1]), NOW)
    assert (decision.suspect, decision.target, decision.blame) == (V2, V1, Blame.TO_BLAME)


def test_an_exonerated_release_is_named_and_let_go() -> None:
    decision = decide(case_of("B20"), NOW)
    assert (decision.suspect, decision.blame) == (V2, Blame.EXONERATED)
    assert follow(decision) is Follow.CLOSE_HELD


def test_an_inconclusive_case_carries_the_plan_that_is_proposed() -> None:
    decision = decide(case_of("U20 B9"), NOW)
    assert (decision.suspect, decision.target, decision.blame) == (V2, V1, Blame.INCONCLUSIVE)
    assert follow(decision) is Follow.PROPOSE_INCONCLUSIVE


def test_without_a_confirmed_trigger_nobody_is_blamed() -> None:
    decision = decide(case_of("H9"), NOW)
    assert (decision.blame, decision.onset) == (None, None)
    assert follow(decision) is Follow.STAND_DOWN_IF_TWICE
