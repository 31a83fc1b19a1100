"""What becomes of a decision: by the mode, by what it was before, and by the time that has passed."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from rollbackd.flow.bell import Bell
from rollbackd.flow.judge import TIMES_ASKED, Judge
from rollbackd.flow.move import Move
from rollbackd.model.decision import Case, Decision, History, PauseFacts
from rollbackd.model.incident import Event, Incident, Outcome, Phase
from rollbackd.model.policy import Inconclusive, Mode, ServicePolicy
from rollbackd.model.reason import Reason
from rollbackd.model.release import Release
from rollbackd.model.runbook import Run, Runbook, RunbookKind, Step
from rollbackd.telemetry.metrics import Metrics
from tests.unit.decision.builders import MINUTE, NOW, V1, V2, case_of, in_context, release, service_policy

RUNBOOK = Runbook(
    name="quick",
    kind=RunbookKind.QUICK,
    budget=MINUTE,
    steps=(Step(name="deploy", action=Run(argv=("deploy", "${target.artifact}")), timeout=MINUTE),),
)
SECOND = timedelta(seconds=1)
UNKNOWABLE = release("--force", ago=timedelta(hours=3))  # recorded by an older version, say: no command line is ever made of it


class SetClock:
    instant = NOW

    def now(self) -> datetime:
        return self.instant

    def monotonic(self) -> float:
        return self.instant.timestamp()

    async def sleep(self, duration: timedelta) -> None:
        self.instant += duration


class Given:
    """A collector that has only this to say, about whatever moment it is asked."""

    def __init__(self, case: Callable[[], Case]) -> None:
        self._case = case

    async def case(self, _incident: Incident, policy: ServicePolicy, _now: datetime) -> Case:
        return replace(self._case(), policy=policy)

    async def in_context(self, case: Case, _now: datetime) -> Case:
        return in_context(case)

    async def released_beside(self, _policy: ServicePolicy, _decision: Decision) -> tuple[Release, ...]:
        return (release("db-7", ago=2 * MINUTE, service="db"),)


def policy(**changes: Any) -> ServicePolicy:
    return service_policy(**({"mode": Mode.AUTO, "runbook": RUNBOOK, "recheck_every": SECOND / 100} | changes))


def incident(**changes: Any) -> Incident:
    plain = Incident(
        id="i1",
        service="api",
        trigger="HighErrorRate",
        phase=Phase.DECIDING,
        mode=Mode.AUTO,
        snapshot="0",
        opened_at=NOW,
        judging_since=NOW,
    )
    return replace(plain, **changes)


def judge(case: Case, clock: SetClock | None = None) -> Judge:
    return Judge(collector=Given(lambda: case), bell=Bell(), clock=clock or SetClock(), metrics=Metrics())  # type: ignore[arg-type]


def story(move: Move) -> tuple[Event | None, Outcome | None, Reason | None]:
    return move.event, move.incident.outcome, move.incident.reason


PAUSED = case_of(pause=PauseFacts(paused=True))


@pytest.mark.parametrize(
    ("case", "mode", "expected"),
    [
        (case_of(), Mode.AUTO, (Event.ACT, None, Reason.TO_BLAME)),
        (case_of(), Mode.PROPOSE, (Event.PROPOSE, None, Reason.TO_BLAME)),
        (case_of(), Mode.OBSERVE, (Event.CLOSE, Outcome.OBSERVED, Reason.TO_BLAME)),
        (case_of(releases=[V1]), Mode.AUTO, (Event.CLOSE, Outcome.HELD, Reason.NO_RECENT_RELEASE)),
        (case_of(releases=[V2]), Mode.AUTO, (Event.ESCALATE, None, Reason.NO_SAFE_TARGET)),
        (case_of(releases=[V2]), Mode.OBSERVE, (Event.CLOSE, Outcome.ESCALATED, Reason.NO_SAFE_TARGET)),
        (PAUSED, Mode.AUTO, (None, None, Reason.PAUSED)),
        (case_of("U9"), Mode.AUTO, (None, None, Reason.UNKNOWN)),
        (case_of("H9"), Mode.AUTO, (None, None, Reason.HEALTHY)),
    ],
)
async def test_what_a_mode_makes_of_a_decision(
    case: Case, mode: Mode, expected: tuple[Event | None, Outcome | None, Reason | None]
) -> None:
    assert story(await judge(case).deciding(incident(mode=mode), policy(mode=mode))) == expected


async def test_without_a_plan_a_person_is_asked_and_told_why() -> None:
    case = case_of(releases=[V2, UNKNOWABLE])
    move = await judge(case).deciding(incident(), policy())
    assert (move.event, move.incident.plan) == (Event.ESCALATE, None)
    assert "--force" in move.incident.detail


@pytest.mark.parametrize(
    ("case", "said"),
    [
        (case_of(releases=[V2]), "target: 0 recorded before v2"),
        (
            case_of("B9", releases=[release("v2", ago=40 * MINUTE), V1]),
            "soon_after: the breach began 38 min after v2 was live; also released: db db-7",
        ),
        (case_of(), ""),
    ],
)
async def test_whoever_is_asked_hears_what_stands_in_the_way(case: Case, said: str) -> None:
    move = await judge(case).deciding(incident(mode=Mode.PROPOSE), policy(mode=Mode.PROPOSE))
    assert move.incident.detail.startswith(said)
    assert bool(move.incident.detail) is bool(said)


class TestNearest:
    """Said with the last word on a case that was held, and with what people are asked; not at each look."""

    COOLING = case_of(history=History(last_rollback_completed_at=NOW - MINUTE))

    async def test_it_is_said_of_a_case_that_is_closed(self) -> None:
        move = await judge(self.COOLING).deciding(incident(), policy())
        assert move.decision is not None
        assert move.decision.nearest == "an acknowledgement of the last rollback"

    async def test_a_look_that_is_not_the_last_does_not_ask(self) -> None:
        move = await judge(case_of("H4 B5")).deciding(incident(), policy())
        assert move.decision is not None
        assert (move.event, move.decision.nearest) == (None, "")


class TestInconclusive:
    CASE = case_of("H1 U3 B9", releases=[release("v3", ago=9 * timedelta(seconds=15)), V2, V1])

    async def test_it_is_proposed_at_once_with_its_plan(self) -> None:
        move = await judge(self.CASE).deciding(incident(), policy())
        assert story(move) == (Event.PROPOSE, None, Reason.INCONCLUSIVE)
        assert move.incident.plan

    async def test_it_waits_where_the_config_says_so(self) -> None:
        move = await judge(self.CASE).deciding(incident(), policy(inconclusive=Inconclusive.ESCALATE))
        assert story(move) == (None, None, Reason.INCONCLUSIVE)

    async def test_nobody_is_asked_in_observe(self) -> None:
        move = await judge(self.CASE).deciding(incident(mode=Mode.OBSERVE), policy(mode=Mode.OBSERVE))
        assert story(move) == (None, None, Reason.INCONCLUSIVE)


class TestGivingUp:
    async def test_it_counts_from_when_the_incident_was_opened_or_re_opened(self) -> None:
        clock = SetClock()
        clock.instant = NOW + 20 * MINUTE
        waiting = await judge(PAUSED, clock).deciding(incident(judging_since=NOW + 15 * MINUTE), policy())
        assert waiting.event is None
        assert (await judge(PAUSED, clock).deciding(incident(), policy())).event is Event.ESCALATE

    async def test_the_last_wait_is_no_longer_than_what_is_left(self) -> None:
        clock = SetClock()
        clock.instant = NOW + 10 * MINUTE - SECOND
        move = await judge(PAUSED, clock).deciding(incident(), policy(recheck_every=MINUTE))
        assert move.then_wait == SECOND

    async def test_a_look_that_took_until_the_end_is_followed_by_another(self) -> None:
        """What it found may be over by the time it is judged: the daemon, or the host, may have stood still."""
        clock = SetClock()

        def found_after_long() -> Case:
            clock.instant = NOW + 20 * MINUTE
            return PAUSED

        slow = Judge(collector=Given(found_after_long), bell=Bell(), clock=clock, metrics=Metrics())  # type: ignore[arg-type]
        first = await slow.deciding(incident(), policy())
        assert first.event is None
        assert first.then_wait < timedelta()
        assert (await slow.deciding(incident(), policy())).event is Event.ESCALATE


class TestStandingDown:
    @pytest.mark.parametrize(
        ("looks", "ago", "expected"),
        [
            (0, None, 1),
            (0, MINUTE, 1),
            (1, MINUTE, 2),
            (1, timedelta(0), 1),  # the bell rang: the same samples again are no second look
        ],
    )
    async def test_two_looks_count_only_where_they_lie_apart(self, looks: int, ago: timedelta | None, expected: int) -> None:
        before = incident(healthy_looks=looks, healthy_at=None if ago is None else NOW - ago)
        move = await judge(case_of("H9")).deciding(before, policy(recheck_every=MINUTE))
        assert move.incident.healthy_looks == expected
        assert (move.incident.outcome is Outcome.STOOD_DOWN) is (expected == 2)

    async def test_a_look_that_is_not_healthy_begins_anew(self) -> None:
        move = await judge(case_of("U9")).deciding(incident(healthy_looks=1, healthy_at=NOW - MINUTE), policy())
        assert move.incident.healthy_looks == 0


class TestProposed:
    WAITING = incident(phase=Phase.PROPOSED, proposed_at=NOW, plan="as it was shown", decided_at=NOW - MINUTE)

    async def test_it_expires(self) -> None:
        clock = SetClock()
        clock.instant = NOW + 15 * MINUTE
        assert story(await judge(case_of(), clock).proposed(self.WAITING, policy())) == (Event.CLOSE, Outcome.EXPIRED, Reason.EXPIRED)

    @pytest.mark.parametrize(
        ("case", "mode", "expected"),
        [
            (case_of(), Mode.AUTO, (Event.ACT, None)),
            (case_of(), Mode.PROPOSE, (None, None)),
            (case_of(releases=[V1]), Mode.AUTO, (Event.CLOSE, Outcome.HELD)),
            (PAUSED, Mode.AUTO, (None, None)),
            (case_of("U9"), Mode.PROPOSE, (None, None)),
        ],
    )
    async def test_meanwhile_it_is_judged_again(self, case: Case, mode: Mode, expected: tuple[Event | None, Outcome | None]) -> None:
        move = await judge(case).proposed(self.WAITING, policy(mode=mode))
        assert (move.event, move.incident.outcome) == expected

    async def test_what_cannot_be_told_now_leaves_the_plan_that_was_shown(self) -> None:
        move = await judge(case_of("U9", releases=[V2])).proposed(self.WAITING, policy(mode=Mode.PROPOSE))
        assert (move.event, move.incident.plan) == (None, "as it was shown")


class TestEscalated:
    HOUR = timedelta(hours=1)
    WAITING = incident(phase=Phase.ESCALATED, escalated_at=NOW, reason=Reason.UNKNOWN)

    async def asked(self, before: Incident, *, after: timedelta, releases: tuple[Release, ...] = (V2, V1), told: str = "U9") -> Move:
        clock = SetClock()
        clock.instant = NOW + after
        return await judge(case_of(told, releases=releases), clock).escalated(before, policy(escalation_timeout=self.HOUR))

    async def test_a_person_is_reminded_a_few_times_and_then_it_ends(self) -> None:
        before, told = self.WAITING, []
        for minutes in range(60):
            after = (await self.asked(before, after=minutes * MINUTE)).incident
            if after.reminded_at != before.reminded_at:
                told.append(minutes)
            before = after
        assert told == [15, 30, 45]
        assert len(told) == TIMES_ASKED - 1
        assert story(await self.asked(before, after=self.HOUR)) == (Event.CLOSE, Outcome.ESCALATED, Reason.UNKNOWN)

    async def test_a_reminder_of_an_earlier_escalation_does_not_count(self) -> None:
        before = replace(self.WAITING, reminded_at=NOW - MINUTE)
        assert (await self.asked(before, after=10 * MINUTE)).incident == before

    async def test_nothing_acts_by_itself_any_more(self) -> None:
        assert (await judge(case_of()).deciding(incident(), policy())).event is Event.ACT
        assert (await self.asked(self.WAITING, after=timedelta(0), told="B9")).event is None

    async def test_it_stands_down_when_the_service_is_healthy_twice(self) -> None:
        before = replace(self.WAITING, healthy_looks=1, healthy_at=NOW - MINUTE)
        move = await self.asked(before, after=timedelta(0), told="H9")
        assert story(move) == (Event.CLOSE, Outcome.STOOD_DOWN, Reason.HEALTHY)

    async def test_a_bell_right_after_a_look_makes_no_second_one(self) -> None:
        """Such as a note by a person: the same samples are no second witness."""
        once = await self.asked(replace(self.WAITING, decided_at=NOW - MINUTE), after=timedelta(0), told="H9")
        again = await self.asked(once.incident, after=timedelta(milliseconds=1), told="H9")
        assert [(move.event, move.incident.healthy_looks) for move in (once, again)] == [(None, 1), (None, 1)]
        later = await self.asked(again.incident, after=SECOND, told="H9")
        assert story(later) == (Event.CLOSE, Outcome.STOOD_DOWN, Reason.HEALTHY)

    async def test_where_something_was_run_health_says_nothing(self) -> None:
        before = replace(self.WAITING, rollback_started_at=NOW, healthy_looks=1)
        assert (await self.asked(before, after=timedelta(0), told="H9")).event is None
