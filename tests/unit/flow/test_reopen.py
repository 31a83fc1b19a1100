"""A release or a change that is recorded while somebody judges, or just after: in whichever order, it is judged with it."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from rollbackd.flow.conductor import Conductor
from rollbackd.flow.move import Move
from rollbackd.flow.reopen import Reopen
from rollbackd.model.alert import AlertStatus
from rollbackd.model.change import Change, ChangeKind
from rollbackd.model.incident import Incident, Outcome, Phase
from rollbackd.model.policy import ServicePolicy
from rollbackd.releases.sources import Refreshed
from tests.unit.flow.conftest import NOW, POLICY, Stage, alert, eventually
from tests.unit.releases.test_command import SOURCE

HOUR = timedelta(hours=1)
FROM_A_COMMAND = replace(POLICY, releases=SOURCE)
CHANGE = Change(service="api", kind=ChangeKind.CONFIG, what="pool of 20 connections, was 50", at=NOW - HOUR / 60, by="ci")

Recording = Callable[[Reopen], Awaitable[None]]


async def a_release(reopen: Reopen) -> None:
    await reopen.release_recorded("api")


async def a_change(reopen: Reopen) -> None:
    await reopen.change_recorded(CHANGE)


either = pytest.mark.parametrize("recorded", [a_release, a_change])


class GivenSources:
    def __init__(self, learned: int) -> None:
        self._learned = learned
        self.asked = 0

    async def refresh(self, _policy: ServicePolicy) -> Refreshed:
        self.asked += 1
        return Refreshed(learned=self._learned)


def reopen(stage: Stage, conductor: Conductor, sources: GivenSources | None = None) -> Reopen:
    given: Any = sources or GivenSources(0)
    return Reopen(services={"api": FROM_A_COMMAND}, store=stage.store, sources=given, conductor=conductor, clock=stage.clock)


async def held(stage: Stage, identifier: str = "i1", *, status: AlertStatus = AlertStatus.FIRING, **changes: Any) -> Incident:
    """Its alert fires, unless it was resolved."""
    fingerprint = f"of {identifier}"
    for each in {AlertStatus.FIRING, status}:
        await stage.store.alerts.append([alert(fingerprint=fingerprint, status=each)])
    for stored in await stage.store.alerts.unhandled():
        await stage.store.alerts.handled(stored.id, None)
    closed = {"phase": Phase.CLOSED, "outcome": Outcome.HELD, "closed_at": NOW, "told_at": NOW}
    return await stage.open(identifier, **{**closed, "fingerprint": fingerprint, "starts_at": NOW, **changes})


async def wait(incident: Incident, _policy: ServicePolicy) -> Move:
    return Move.stay(incident, then_wait=HOUR)


async def phase(stage: Stage, identifier: str = "i1") -> Phase:
    return (await stage.store.incidents.get(identifier)).phase


@either
async def test_an_incident_that_was_held_is_judged_again(stage: Stage, recorded: Recording) -> None:
    stage.stations[Phase.DECIDING] = wait
    await held(stage, healthy_looks=1)
    async with stage.conducting() as conductor:
        await recorded(reopen(stage, conductor))
        incident = await stage.store.incidents.get("i1")
    assert (incident.phase, incident.outcome, incident.closed_at, incident.told_at) == (Phase.DECIDING, None, None, None)
    assert (incident.judging_since, incident.healthy_looks) == (NOW, 0)


async def test_what_was_changed_stands_in_the_timeline(stage: Stage) -> None:
    stage.stations[Phase.DECIDING] = wait
    await held(stage)
    async with stage.conducting() as conductor:
        await reopen(stage, conductor).change_recorded(CHANGE)
        entry = (await stage.store.timeline.of_incident("i1"))[-1]
    assert (entry.kind, entry.text) == ("change", "a change was recorded: config: pool of 20 connections, was 50")
    assert entry.data == {"kind": "config", "what": "pool of 20 connections, was 50", "at": "2026-01-31T11:59:00.000Z", "by": "ci"}


@either
@pytest.mark.parametrize(
    "changes",
    [
        {"status": AlertStatus.RESOLVED},
        {"opened_at": NOW - 25 * HOUR},
        {"outcome": Outcome.STOOD_DOWN},
        {"fingerprint": None},
        {"service": "web"},
    ],
)
async def test_what_is_not_about_the_present_stays_closed(stage: Stage, changes: dict[str, Any], recorded: Recording) -> None:
    await held(stage, **changes)
    async with stage.conducting() as conductor:
        await recorded(reopen(stage, conductor))
    assert await phase(stage) is Phase.CLOSED


async def test_re_opened_again_and_again_it_is_still_no_older_than_a_day(stage: Stage) -> None:
    """Counted from the begin: closing it again is no new begin."""
    await held(stage, opened_at=NOW - 25 * HOUR, closed_at=NOW)
    async with stage.conducting() as conductor:
        await reopen(stage, conductor).release_recorded("api")
    assert await phase(stage) is Phase.CLOSED


async def test_one_that_still_fires_is_found_behind_a_later_one_that_does_not(stage: Stage) -> None:
    stage.stations[Phase.DECIDING] = wait
    await held(stage)
    await held(stage, "i2", status=AlertStatus.RESOLVED, opened_at=NOW + HOUR)
    async with stage.conducting() as conductor:
        await reopen(stage, conductor).release_recorded("api")
    assert (await phase(stage), await phase(stage, "i2")) == (Phase.DECIDING, Phase.CLOSED)


@either
async def test_while_it_is_judged_without_it_the_verdict_does_not_count(stage: Stage, recorded: Recording) -> None:
    """Else it is missed: judging had begun before it, and closing comes after it."""
    judged = 0

    async def judge(incident: Incident, _policy: ServicePolicy) -> Move:
        nonlocal judged
        judged += 1
        if judged == 1:
            await recorded(reopen(stage, conductor))
            return Move.close(incident, Outcome.HELD)
        return Move.close(incident, Outcome.OBSERVED)

    stage.stations[Phase.DECIDING] = judge
    await stage.open()
    async with stage.conducting() as conductor:
        await conductor.start()
        assert (await stage.told()).outcome is Outcome.OBSERVED
    assert judged == 2


async def test_while_the_end_is_being_told_it_is_re_opened_all_the_same(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Telling writes onto the incident too: whichever of the two comes second looks again."""
    stage.stations[Phase.DECIDING] = wait
    incident = await held(stage, told_at=None)
    save = stage.store.incidents.save
    raced = False

    async def told_first(before: Incident, after: Incident, **more: Any) -> Incident:
        nonlocal raced
        if not raced:
            raced = True
            await save(incident, replace(incident, told_at=NOW))
        return await save(before, after, **more)

    monkeypatch.setattr(stage.store.incidents, "save", told_first)
    async with stage.conducting() as conductor:
        await reopen(stage, conductor).release_recorded("api")
    assert await phase(stage) is Phase.DECIDING


async def test_while_its_task_is_about_to_end_it_goes_on_all_the_same(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else it would be open with nobody to judge it, until the next start."""
    judged, raced = 0, False
    get = stage.store.incidents.get

    async def judge(incident: Incident, policy: ServicePolicy) -> Move:
        nonlocal judged
        judged += 1
        return Move.close(incident, Outcome.HELD) if judged == 1 else await wait(incident, policy)

    async def re_opened_right_after(identifier: str) -> Incident:
        nonlocal raced
        incident = await get(identifier)
        if incident.told_at is not None and not raced:
            raced = True
            await reopen(stage, conductor).release_recorded("api")
        return incident

    async def is_judged_again() -> bool:
        return judged > 1

    monkeypatch.setattr(stage.store.incidents, "get", re_opened_right_after)
    stage.stations[Phase.DECIDING] = judge
    await stage.store.alerts.append([alert()])
    async with stage.conducting() as conductor:
        await conductor.start()
        await eventually(is_judged_again)


class TestSweep:
    async def test_a_source_is_asked_for_a_service_that_was_held_and_fires(self, stage: Stage) -> None:
        stage.stations[Phase.DECIDING] = wait
        await held(stage)
        async with stage.conducting() as conductor:
            await reopen(stage, conductor, GivenSources(learned=1)).sweep()
        assert await phase(stage) is Phase.DECIDING

    async def test_what_lists_nothing_new_re_opens_nothing(self, stage: Stage) -> None:
        await held(stage)
        async with stage.conducting() as conductor:
            await reopen(stage, conductor, GivenSources(learned=0)).sweep()
        assert await phase(stage) is Phase.CLOSED

    async def test_nobody_is_asked_about_a_quiet_service(self, stage: Stage) -> None:
        await held(stage, status=AlertStatus.RESOLVED)
        sources = GivenSources(learned=1)
        async with stage.conducting() as conductor:
            await reopen(stage, conductor, sources).sweep()
        assert sources.asked == 0


@either
async def test_an_open_incident_is_woken(stage: Stage, recorded: Recording) -> None:
    judged = 0

    async def judge(incident: Incident, policy: ServicePolicy) -> Move:
        nonlocal judged
        judged += 1
        return await wait(incident, policy)

    async def was_judged(times: int) -> bool:
        return judged >= times

    stage.stations[Phase.DECIDING] = judge
    await stage.open()
    async with stage.conducting() as conductor:
        await conductor.start()
        await eventually(lambda: was_judged(1))
        await recorded(reopen(stage, conductor))
        await eventually(lambda: was_judged(2))
