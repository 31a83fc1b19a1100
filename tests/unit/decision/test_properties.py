"""What must hold for every case that can be told, not only for those that somebody thought of."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import lru_cache
from random import Random
from typing import TypeVar

from hypothesis import HealthCheck, Phase, assume, find, given, settings
from hypothesis import strategies as st

from rollbackd.decision.decide import FOR_A_PERSON, decide
from rollbackd.decision.follow import follow
from rollbackd.decision.record import stands_in_the_way
from rollbackd.model.decision import (
    Action,
    Blame,
    Case,
    CheckVerdict,
    Decision,
    FleetFacts,
    History,
    PauseFacts,
    RunningVersion,
    Tripped,
)
from rollbackd.model.measurement import IndicatorEvidence, Reading
from rollbackd.model.policy import FreezeWindow, Trigger, WhileRolling
from rollbackd.model.reason import Reason
from rollbackd.model.release import Mark, Release, ReleaseKind, ReleaseStatus
from tests.unit.decision.builders import (
    MINUTE,
    NOW,
    STEP,
    V1,
    alert_facts,
    case_of,
    error_trigger,
    evidence_for,
    release,
    service_policy,
    slow_trigger,
)
from tests.unit.decision.moved import shifted

T = TypeVar("T")

ERRORS, SLOW = error_trigger(hold_for=MINUTE), slow_trigger(hold_for=MINUTE)
POLICY = service_policy(ERRORS, SLOW, blame_window=10 * MINUTE)
LOOK_BACK_STEPS = (POLICY.blame_window + ERRORS.hold_for) // STEP + 1
NO_PROBE, NOTHING_BEFORE, NOTHING_ELSE = RunningVersion(), History(), FleetFacts()
ALWAYS = FreezeWindow(cron="* * * * *", duration=MINUTE)

searching = settings(phases=[Phase.generate], max_examples=5000, database=None)
thorough = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])


@lru_cache(maxsize=4096)
def measured(trigger: Trigger, story: str, total: float) -> IndicatorEvidence:
    return evidence_for(trigger, story, total=total, policy=POLICY)


def mostly(usual: T, *rare: T) -> st.SearchStrategy[T]:
    return st.sampled_from([usual] * 8 + list(rare))


@dataclass(frozen=True)
class Told:
    """A case in few words, so that a counter-example can be read."""

    errors: str
    slow: str
    releases: tuple[Release, ...]
    total: float = 1204
    while_rolling: WhileRolling = WhileRolling.WAIT
    blame: bool = True
    own: str = "HighErrorRate"
    age: timedelta = timedelta(0)
    firing_now: bool | None = None
    running: RunningVersion = NO_PROBE
    paused: bool = False
    history: History = NOTHING_BEFORE
    fleet: FleetFacts = NOTHING_ELSE
    serving_since: datetime | None = None

    @property
    def case(self) -> Case:
        return case_of(
            {
                "HighErrorRate": measured(ERRORS, self.errors, self.total),
                "SlowResponse": measured(SLOW, self.slow, 1204),
            },
            releases=self.releases,
            policy=replace(POLICY, while_rolling=self.while_rolling, blame=self.blame),
            alert=alert_facts(trigger=self.own, starts_at=NOW - self.age, firing_now=self.firing_now),
            running=self.running,
            pause=PauseFacts(paused=self.paused),
            history=self.history,
            fleet=self.fleet,
            serving_since=self.serving_since,
        )


@st.composite
def stories(draw: st.DrawFn, breached: st.SearchStrategy[int]) -> str:
    """Anything for a while, then quiet, then breached with a gap now and then: what an alert is about."""
    runs = draw(st.lists(st.tuples(st.sampled_from("HHHBDUN"), st.integers(1, 12)), max_size=3))
    ending = [
        ("H", draw(st.integers(1, 12))),
        ("B", draw(breached)),
        ("U", draw(mostly(0, 1, 2, 3))),
        ("B", draw(mostly(5, 2, 9))),
        draw(mostly(("B", 1), ("H", 1), ("D", 1), ("U", 1))),
    ]
    return " ".join(f"{letter}{count}" for letter, count in [*runs, *ending] if count)


def some_release(seconds_ago: int) -> st.SearchStrategy[Release]:
    """The same artifact may come under several versions."""
    return st.builds(
        lambda number, build, **changes: release(f"v{number}", ago=timedelta(seconds=seconds_ago), artifact=f"image:{build}", **changes),
        st.integers(2, 9),
        st.integers(2, 9),
        status=mostly(ReleaseStatus.LIVE, ReleaseStatus.ROLLING, ReleaseStatus.FAILED),
        kind=mostly(ReleaseKind.RELEASE, ReleaseKind.ROLLBACK),
        mark=mostly(Mark.NONE, Mark.BAD, Mark.SUSPECT),
        irreversible=mostly(False, True),
        schema=mostly(None, None, "8"),
    )


@st.composite
def calm_cases(draw: st.DrawFn) -> Told:
    """Nothing but the evidence and the register can stand in the way. Often something was released about when it began."""
    breached = draw(st.integers(0, 12))
    began = (breached + 6) * int(STEP.total_seconds())
    times = draw(st.lists(st.integers(0, 1200), max_size=2)) + [began + draw(st.integers(-60, 120))] * draw(mostly(1, 0))
    releases = [draw(some_release(seconds)) for seconds in sorted(set(times))]
    names = [{each.version} for each in releases] + [{each.artifact} for each in releases] + [{"v1"}, {"v2", "v3"}]
    answered = [RunningVersion(answers=frozenset(some), reason=None) for some in names]
    return Told(
        errors=draw(stories(mostly(breached, 0, 40))),
        slow=draw(stories(mostly(breached, 0, 40))),
        releases=(*releases, *([V1] if draw(mostly(True, False)) else [])),
        total=draw(mostly(1204.0, 60.0, 10.0)),
        while_rolling=draw(st.sampled_from(WhileRolling)),
        blame=draw(mostly(True, False)),
        own=draw(st.sampled_from(["HighErrorRate", "SlowResponse"])),
        running=draw(mostly(NO_PROBE, *answered, RunningVersion(reason=Reason.RUNNING_VERSION_UNKNOWN))),
    )


def seconds_ago(least: int, most: int) -> st.SearchStrategy[datetime]:
    return st.integers(least, most).map(lambda ago: NOW - timedelta(seconds=ago))


HISTORIES = st.builds(
    History,
    last_rollback_completed_at=st.none() | seconds_ago(-600, 7200),
    last_rollback_acknowledged=st.booleans(),
    rollbacks_of_service_last_day=st.integers(0, 2),
    rollbacks_of_fleet_last_hour=st.integers(0, 3),
    step_running=mostly(False, True),
)


FLEETS = st.builds(
    FleetFacts,
    tripped=st.lists(
        st.builds(
            Tripped,
            service=st.sampled_from("abcd"),
            at=seconds_ago(-60, 900),
            has_recent_release=mostly(False, True),
            depends_on_released=mostly(None, "db"),
        ),
        max_size=6,
    ).map(tuple),
)


@st.composite
def any_cases(draw: st.DrawFn) -> Told:
    return replace(
        draw(calm_cases()),
        age=timedelta(seconds=draw(mostly(0, 250, 600))),
        firing_now=draw(st.sampled_from([None, True, False])),
        paused=draw(mostly(False, True)),
        history=draw(st.just(NOTHING_BEFORE) | HISTORIES),
        fleet=draw(st.just(NOTHING_ELSE) | FLEETS),
        serving_since=draw(st.none() | seconds_ago(0, 90)),
    )


def acts(case: Case) -> bool:
    return decide(case, NOW).action is Action.ROLL_BACK


def test_the_cases_reach_every_action_and_every_blame() -> None:
    """Or the properties below would hold for want of an example."""

    def reach(question: Callable[[Decision], bool]) -> None:
        find(calm_cases(), lambda told: question(decide(told.case, NOW)), settings=searching)

    reach(lambda decision: decision.action is Action.ROLL_BACK)
    reach(lambda decision: decision.action is Action.ESCALATE)
    reach(lambda decision: decision.blame is Blame.EXONERATED)
    reach(lambda decision: decision.blame is Blame.INCONCLUSIVE)
    reach(lambda decision: decision.reason is Reason.HEALTHY)


@thorough
@given(any_cases())
def test_nothing_in_the_way_means_roll_back_and_only_that(told: Told) -> None:
    case = told.case
    decision = decide(case, NOW)
    obstacles = [check for check in decision.checks if stands_in_the_way(check)]
    assert (decision.action is Action.ROLL_BACK) is (not obstacles)
    if decision.action is Action.ROLL_BACK and case.policy.blame:
        assert decision.blame is Blame.TO_BLAME
    assert (decision.action is Action.ESCALATE) is (decision.reason in FOR_A_PERSON)


@thorough
@given(any_cases())
def test_something_follows_from_every_decision(told: Told) -> None:
    assert follow(decide(told.case, NOW))


@thorough
@given(any_cases())
def test_i4_never_to_a_bad_unrecorded_or_running_release(told: Told) -> None:
    case = told.case
    decision = decide(case, NOW)
    if decision.target is None:
        assert decision.action is not Action.ROLL_BACK
        return
    suspect, target = decision.suspect, decision.target
    assert suspect is not None
    assert target in case.releases
    assert target.started_at < suspect.started_at
    assert target.artifact != suspect.artifact
    assert target.status is ReleaseStatus.LIVE
    assert all(each.mark is Mark.NONE for each in case.releases if each.version == target.version or each.artifact == target.artifact)
    if decision.action is Action.ROLL_BACK:
        assert not case.running.answers & {target.version, target.artifact}
        newest = max(case.releases, key=lambda each: each.started_at)
        assert case.running.answers or newest.artifact != target.artifact


@settings(thorough, max_examples=100)
@given(calm_cases())
def test_no_guard_is_talked_down(told: Told) -> None:
    """Each of these alone forbids acting, whatever else there is to say."""
    case = told.case
    assume(acts(case))
    assert not acts(replace(case, pause=PauseFacts(paused=True)))
    assert not acts(replace(case, serving_since=NOW))
    assert not acts(replace(case, history=replace(case.history, step_running=True)))
    assert not acts(replace(case, history=History(last_rollback_completed_at=NOW)))
    assert not acts(replace(case, policy=replace(case.policy, freeze=(ALWAYS,))))
    assert not acts(replace(case, fleet=FleetFacts(tripped=tuple(Tripped(service=name, at=NOW) for name in "abc"))))
    assert not acts(replace(case, running=RunningVersion(reason=Reason.RUNNING_VERSION_UNKNOWN)))
    assert not acts(replace(case, releases=()))
    assert not acts(replace(case, releases_problem="the source timed out"))


def without(evidence: IndicatorEvidence, lost: set[int], *, left_out: bool) -> IndicatorEvidence:
    """`lost` counts steps back from now: left out of the answer, or answered with nothing."""

    def lose(steps_back: int, reading: Reading) -> Reading | None:
        if steps_back not in lost:
            return reading
        return None if left_out else Reading(reading.at, None, Reason.WARNINGS)

    kept = [lose(steps_back, reading) for steps_back, reading in enumerate(reversed(evidence.readings))]
    return replace(evidence, readings=tuple(reading for reading in reversed(kept) if reading is not None))


@thorough
@given(calm_cases(), st.sets(st.integers(0, LOOK_BACK_STEPS), max_size=30), st.booleans())
def test_i3_losing_measurements_never_turns_holding_into_acting(told: Told, lost: set[int], left_out: bool) -> None:  # noqa: FBT001
    """Of the trigger that carries the decision: its own gaps never make a release guilty."""
    case = told.case
    carrying = decide(case, NOW).trigger
    assert carrying is not None
    poorer = replace(case, evidence={**case.evidence, carrying: without(case.evidence[carrying], lost, left_out=left_out)})
    assume(decide(poorer, NOW).trigger == carrying)
    assert acts(case) or not acts(poorer)


@thorough
@given(calm_cases(), st.sampled_from(["HighErrorRate", "SlowResponse"]))
def test_i3_without_the_counts_or_a_fresh_sample_nothing_acts_on_the_trigger(told: Told, name: str) -> None:
    case = told.case
    evidence = case.evidence[name]
    late = replace(case.alert, starts_at=NOW - 6 * MINUTE, firing_now=True)
    for poorer, alert in (
        (replace(evidence, pooled=None), case.alert),
        (replace(evidence, readings=(), reason=Reason.QUERY_FAILED), case.alert),
        (replace(evidence, newest_sample_at=None), late),
    ):
        decision = decide(replace(case, evidence={**case.evidence, name: poorer}, alert=alert), NOW)
        assert decision.action is not Action.ROLL_BACK or decision.trigger != name


@thorough
@given(any_cases(), st.integers(-(10**9), 10**9))
def test_when_it_happens_does_not_matter(told: Told, seconds: int) -> None:
    case = told.case
    delta = timedelta(seconds=seconds)
    here, there = decide(case, NOW), decide(shifted(case, delta), NOW + delta)
    assert (here.action, here.reason, here.blame, here.trigger, here.value) == (
        there.action,
        there.reason,
        there.blame,
        there.trigger,
        there.value,
    )
    assert [(check.name, check.verdict, check.reason) for check in here.checks] == [
        (check.name, check.verdict, check.reason) for check in there.checks
    ]
    assert (here.onset and here.onset + delta) == there.onset


@thorough
@given(any_cases(), st.randoms(use_true_random=False))
def test_the_order_in_which_facts_are_handed_over_does_not_matter(told: Told, random: Random) -> None:
    case = told.case
    shuffle = random.sample
    shuffled = replace(
        case,
        releases=tuple(shuffle(case.releases, len(case.releases))),
        fleet=FleetFacts(tripped=tuple(shuffle(case.fleet.tripped, len(case.fleet.tripped)))),
        evidence=dict(reversed(list(case.evidence.items()))),
    )
    assert decide(shuffled, NOW) == decide(case, NOW)


@settings(thorough, max_examples=100)
@given(calm_cases(), st.floats(1, 50), st.floats(1, 1000))
def test_more_breach_and_more_traffic_never_weaken_the_case(told: Told, worse: float, busier: float) -> None:
    case = told.case
    decision = decide(case, NOW)
    assume(decision.action is Action.ROLL_BACK and decision.onset is not None)
    assert decision.trigger is not None
    assert decision.onset is not None
    evidence = case.evidence[decision.trigger]
    assert evidence.pooled is not None
    raised = replace(
        evidence,
        readings=tuple(raise_from(decision.onset, reading, worse) for reading in evidence.readings),
        pooled=replace(
            evidence.pooled,
            total=(evidence.pooled.total or 0) * busier,
            bad=None if evidence.pooled.bad is None else evidence.pooled.bad * busier * worse,
        ),
    )
    assert acts(replace(case, evidence={**case.evidence, decision.trigger: raised}))


@thorough
@given(any_cases())
def test_what_is_not_evaluated_never_decides(told: Told) -> None:
    case = told.case
    skipped = frozenset({
        Reason.PAUSED,
        Reason.STEP_RUNNING,
        Reason.COOLDOWN,
        Reason.BUDGET,
        Reason.FLEET_BRAKE,
        Reason.SETTLING,
        Reason.RELEASE_IN_PROGRESS,
    })  # fmt: skip
    decision = decide(replace(case, not_evaluated=skipped), NOW)
    assert decision.reason not in skipped
    assert {check.reason for check in decision.checks if check.verdict is CheckVerdict.NOT_EVALUATED} == skipped


def raise_from(onset: datetime, reading: Reading, factor: float) -> Reading:
    return replace(reading, value=reading.value * factor) if reading.value is not None and reading.at >= onset else reading
