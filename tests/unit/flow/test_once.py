"""Of a fleet brake people hear once, whoever escalates first; and never not at all (I9)."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from rollbackd.flow.move import Move
from rollbackd.model.decision import Action, Decision
from rollbackd.model.incident import Event, Incident, Outcome, Phase, Severity
from rollbackd.model.policy import ServicePolicy
from rollbackd.model.reason import Reason
from tests.unit.flow.conftest import NOW, POLICY, Stage, eventually

SERVICES = tuple(f"s{number}" for number in range(6))
MINUTE = timedelta(minutes=1)
DECISION = Decision(action=Action.HOLD, reason=Reason.FLEET_BRAKE, at=NOW)
TOLD = (Phase.ESCALATED, Severity.WARNING)


async def escalate(incident: Incident, _policy: ServicePolicy) -> Move:
    """Whichever reason came first: at one of them a measurement was missing at the last look."""
    reason = Reason.UNKNOWN if incident.service == "s1" else Reason.FLEET_BRAKE
    return Move.to(Event.ESCALATE, replace(incident, reason=reason, braked=True, escalated_at=NOW), DECISION)


async def wait(incident: Incident, _policy: ServicePolicy) -> Move:
    return Move.stay(incident, then_wait=timedelta(hours=1))


async def held(stage: Stage, **changes: Any) -> None:
    for service in SERVICES:
        await stage.open(service, service=service, **changes)


async def have_all(stage: Stage, phase: Phase) -> bool:
    found = [await stage.store.incidents.get(service) for service in SERVICES]
    return all(one.phase is phase and (phase is not Phase.CLOSED or one.told_at is not None) for one in found)


async def spoke(stage: Stage) -> list[str]:
    return [service for service in SERVICES if (await stage.store.incidents.get(service)).told_with is None]


async def notices(stage: Stage, service: str) -> list[str]:
    return [entry.text for entry in await stage.store.timeline.of_incident(service) if entry.kind == "notice"]


async def test_those_that_escalate_at_the_same_moment_are_told_of_with_one(stage: Stage) -> None:
    stage.stations |= {Phase.DECIDING: escalate, Phase.ESCALATED: wait}
    await held(stage)
    async with stage.conducting() as conductor:
        await conductor.start()
        await eventually(lambda: have_all(stage, Phase.ESCALATED))
        (speaker,) = await spoke(stage)
        assert stage.teller.told == [TOLD]
    for service in SERVICES:
        said = [] if service == speaker else [f"people were told of the fleet brake with {speaker}, and are not told again"]
        assert await notices(stage, service) == said


async def test_a_restart_tells_again_what_was_told_and_nothing_else(stage: Stage) -> None:
    stage.stations |= {Phase.DECIDING: escalate, Phase.ESCALATED: wait}
    await held(stage)
    for _ in range(2):
        async with stage.conducting() as conductor:
            await conductor.start()
            await eventually(lambda: have_all(stage, Phase.ESCALATED))
    assert stage.teller.told == [TOLD, TOLD]


async def test_other_reasons_are_told_of_each(stage: Stage) -> None:
    async def unknown(incident: Incident, _policy: ServicePolicy) -> Move:
        return Move.to(Event.ESCALATE, replace(incident, reason=Reason.UNKNOWN, escalated_at=NOW), DECISION)

    stage.stations |= {Phase.DECIDING: unknown, Phase.ESCALATED: wait}
    await held(stage)
    async with stage.conducting() as conductor:
        await conductor.start()
        await eventually(lambda: have_all(stage, Phase.ESCALATED))
    assert stage.teller.told == [TOLD] * len(SERVICES)


async def test_a_reminder_and_the_end_come_once_as_well(stage: Stage) -> None:
    async def remind_then_end(incident: Incident, policy: ServicePolicy) -> Move:
        if incident.reminded_at is None:
            return Move.stay(replace(incident, reminded_at=NOW))
        if not await have_been_reminded():
            return await wait_a_little(incident, policy)
        return Move.close(incident, Outcome.ESCALATED)

    async def wait_a_little(incident: Incident, _policy: ServicePolicy) -> Move:
        return Move.stay(incident, then_wait=timedelta(milliseconds=5))

    async def have_been_reminded() -> bool:
        return all([(await stage.store.incidents.get(service)).reminded_at for service in SERVICES])

    stage.stations |= {Phase.ESCALATED: remind_then_end}
    await held(stage, phase=Phase.ESCALATED, braked=True, escalated_at=NOW - 10 * MINUTE, told_with="gone")
    async with stage.conducting() as conductor:
        await conductor.start()
        await eventually(lambda: have_all(stage, Phase.CLOSED))
    assert [severity for what, severity in stage.teller.told if what is Phase.ESCALATED] == [Severity.WARNING]
    ends = [severity for what, severity in stage.teller.told if what is Outcome.ESCALATED]
    assert (ends.count(Severity.WARNING), ends.count(Severity.INFO)) == (1, len(SERVICES) - 1)


async def test_when_the_one_that_spoke_is_settled_another_speaks_up(stage: Stage) -> None:
    """Or the others would be reminded of by nobody."""

    async def remind(incident: Incident, policy: ServicePolicy) -> Move:
        return Move.stay(replace(incident, reminded_at=NOW)) if incident.reminded_at is None else await wait(incident, policy)

    async def is_reminded() -> bool:
        return (await stage.store.incidents.get("s1")).reminded_at is not None

    stage.stations |= {Phase.ESCALATED: remind}
    rejected: dict[str, Any] = {"phase": Phase.CLOSED, "outcome": Outcome.REJECTED, "closed_at": NOW, "told_at": NOW}
    braked: dict[str, Any] = {"braked": True, "escalated_at": NOW}
    await stage.open("s0", service="s0", **{**braked, **rejected})
    await stage.open("s1", service="s1", phase=Phase.ESCALATED, told_with="s0", **braked)
    async with stage.conducting() as conductor:
        await conductor.start()
        await eventually(is_reminded)
        await eventually(lambda: spoken(stage))
    assert (await stage.store.incidents.get("s1")).told_with is None


async def spoken(stage: Stage) -> bool:
    return stage.teller.told == [TOLD]


@pytest.mark.parametrize(
    ("move", "told"),
    [
        (lambda incident: Move.close(incident, Outcome.FAILED), (Outcome.FAILED, Severity.CRITICAL)),
        (lambda incident: Move.to(Event.ESCALATE, replace(incident, reason=Reason.STEP_UNCERTAIN, escalated_at=NOW)), TOLD),
    ],
)
async def test_what_becomes_of_one_that_a_person_took_over_is_told_as_of_any_other(
    stage: Stage, move: Callable[[Incident], Move], told: tuple[str, Severity]
) -> None:
    """That another incident spoke of the brake has nothing to do with it; its reminders are its own as well."""

    async def run(incident: Incident, _policy: ServicePolicy) -> Move:
        return move(incident)

    async def remind(incident: Incident, policy: ServicePolicy) -> Move:
        return Move.stay(replace(incident, reminded_at=NOW)) if incident.reminded_at is None else await wait(incident, policy)

    async def is_told() -> bool:
        begun = (Phase.ROLLING_BACK, Severity.INFO)
        return stage.teller.told == [begun, *[told] * (2 if told is TOLD else 1)]

    stage.stations |= {Phase.ROLLING_BACK: run, Phase.ESCALATED: remind}
    await stage.open("s1", service="s1", phase=Phase.ESCALATED, braked=True, escalated_at=NOW, reminded_at=NOW)
    await stage.open("s0", phase=Phase.ROLLING_BACK, braked=True, told_with="s1", rollback_started_at=NOW)
    stage.teller.told.clear()
    async with stage.conducting({"api": POLICY, "s1": POLICY}) as conductor:
        conductor.go_on("s0")
        await eventually(is_told)


async def test_a_bug_that_ends_one_is_told_of(stage: Stage) -> None:
    async def broken(_incident: Incident, _policy: ServicePolicy) -> Move:
        raise ZeroDivisionError

    stage.stations |= {Phase.ESCALATED: broken}
    await stage.open("s0", phase=Phase.ESCALATED, braked=True, escalated_at=NOW, told_with="s9")
    async with stage.conducting() as conductor:
        await conductor.start()
        await stage.told("s0")
    assert stage.teller.told == [(Outcome.ESCALATED, Severity.WARNING)]
