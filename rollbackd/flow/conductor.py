"""Moves every open incident from phase to phase: one task an incident, one station a phase, the store in between.

Nothing is kept in memory that a restart would miss: `start` finds the open incidents and the alerts that were stored but not yet
taken, and goes on where the last process stopped.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from typing import Final

import structlog

from rollbackd.clock import Clock
from rollbackd.errors import RollbackdError
from rollbackd.failpoints import reach
from rollbackd.flow.bell import Bell
from rollbackd.flow.move import Move
from rollbackd.flow.pinned import Pinned
from rollbackd.flow.story import Story
from rollbackd.model.alert import AlertEvent, AlertStatus
from rollbackd.model.incident import Incident, Outcome, Phase, next_phase
from rollbackd.model.policy import ServicePolicy
from rollbackd.store.alerts import StoredAlert
from rollbackd.store.incidents import ConflictError
from rollbackd.store.store import Store
from rollbackd.store.timeline import NewEntry
from rollbackd.supervisor import Supervisor

Station = Callable[[Incident, ServicePolicy], Awaitable[Move]]

_log: Final = structlog.get_logger("conductor")
_FIRST_PAUSE: Final = timedelta(seconds=1)
_LONGEST_PAUSE: Final = timedelta(seconds=30)
_BUGS_AT_MOST: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Stations:
    deciding: Station
    proposed: Station
    escalated: Station
    rolling_back: Station
    watching: Station

    def of(self, phase: Phase) -> Station:
        by_phase: Mapping[Phase, Station] = {
            Phase.DECIDING: self.deciding,
            Phase.PROPOSED: self.proposed,
            Phase.ESCALATED: self.escalated,
            Phase.ROLLING_BACK: self.rolling_back,
            Phase.WATCHING: self.watching,
        }
        return by_phase[phase]


class Conductor:
    def __init__(
        self,
        *,
        services: Mapping[str, ServicePolicy],
        store: Store,
        stations: Stations,
        pinned: Pinned,
        story: Story,
        bell: Bell,
        supervisor: Supervisor,
        clock: Clock,
    ) -> None:
        self._services = services
        self._store = store
        self._stations = stations
        self._pinned = pinned
        self._story = story
        self._bell = bell
        self._supervisor = supervisor
        self._clock = clock
        self._arrived = asyncio.Event()
        self._running: set[str] = set()

    async def start(self) -> None:
        """Go on with what an earlier process left open, then take alerts as they come."""
        for incident in await self._store.incidents.unfinished():
            self.go_on(incident.id)
        self._arrived.set()
        self._supervisor.spawn("conductor", self._take_alerts())

    def alerts_stored(self) -> None:
        """New alert events are in the store."""
        self._arrived.set()

    def go_on(self, incident_id: str) -> None:
        """Have a task for this open incident, and wake it."""
        if incident_id not in self._running:
            self._running.add(incident_id)
            self._supervisor.spawn(f"incident {incident_id}", self._conduct(incident_id))
        self._bell.ring(incident_id)

    async def _take_alerts(self) -> None:
        pause = _FIRST_PAUSE
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            try:
                for stored in await self._store.alerts.unhandled():
                    await self._take(stored)
                pause = _FIRST_PAUSE
            except RollbackdError as e:
                _log.warning("alerts_not_taken", error=str(e), retry_in=pause.total_seconds())
                await self._clock.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
                self._arrived.set()

    async def _take(self, stored: StoredAlert) -> None:
        """One alert event joins the incident that it belongs to, opens one, or is only recorded.

        The same (fingerprint, startsAt) never opens a second incident, and `resolved` never opens one: in whichever order the
        events of one alert arrive, the final state is the same.
        """
        event = stored.event
        policy = self._services.get(event.service or "")
        earlier = await self._store.incidents.of_alert(event.fingerprint, event.starts_at)
        current = await self._store.incidents.open_of(event.service or "")
        if current is not None:
            await self._join(stored, current, is_new=earlier is None)
        elif earlier is not None or policy is None or event.status is AlertStatus.RESOLVED:
            await self._store.alerts.handled(stored.id, earlier.id if earlier else None)
        else:
            await self._open(stored, policy)

    async def _join(self, stored: StoredAlert, incident: Incident, *, is_new: bool) -> None:
        event = stored.event
        text = f"{event.name} {event.status}" + (" joined" if is_new and event.status is AlertStatus.FIRING else "")
        await self._store.alerts.handled(stored.id, incident.id)
        await self._store.timeline.append(incident.id, NewEntry("alert", text, _told(event)), self._clock.now())
        self.go_on(incident.id)

    async def _open(self, stored: StoredAlert, policy: ServicePolicy) -> None:
        event = stored.event
        now = self._clock.now()
        incident = Incident(
            id=new_id(now),
            service=policy.name,
            trigger=event.trigger,
            phase=Phase.DECIDING,
            mode=policy.mode,
            snapshot=await self._pinned.pin(policy),
            opened_at=now,
            judging_since=now,
            alertname=event.name,
            alert_labels=event.labels,
            fingerprint=event.fingerprint,
            starts_at=event.starts_at,
            delivered_at=event.received_at,
        )
        entries = (NewEntry("alert", f"{event.name} {event.status}", _told(event)),)
        if await self._store.incidents.open(incident, stored.id, entries):
            self._story.opened(incident)
            self.go_on(incident.id)

    async def _conduct(self, incident_id: str) -> None:
        """From station to station until the incident is closed and told."""
        structlog.contextvars.bind_contextvars(incident=incident_id)
        trouble = _Trouble()
        seen: Incident | None = None
        try:
            while True:
                try:
                    incident = await self._store.incidents.get(incident_id)
                    if seen is not None and seen.phase is not incident.phase:
                        await self._story.moved(seen, incident)
                    seen = incident
                    if incident.phase is Phase.CLOSED:
                        await self._tell_the_end(incident)
                        return
                    await self._visit(incident)
                    trouble = _Trouble()
                except RollbackdError as e:
                    trouble = trouble.again()
                    _log.warning("incident_stuck", error=str(e), retry_in=trouble.pause.total_seconds())
                    await self._clock.sleep(trouble.pause)
                except Exception:  # noqa: BLE001 - said, counted, and ended below
                    # A bug in one incident must neither stop the others nor leave this one open for ever (I9).
                    trouble = trouble.again()
                    _log.exception("incident_bug", times=trouble.times)
                    if trouble.times < _BUGS_AT_MOST:
                        await self._clock.sleep(trouble.pause)
                    else:
                        await self._give_up(incident_id)
        finally:
            self._running.discard(incident_id)
            self._bell.forget(incident_id)

    async def _visit(self, incident: Incident) -> None:
        """One station, and the wait that it asks for."""
        policy = await self._pinned.policy_of(incident)
        move = await self._stations.of(incident.phase)(incident, policy)
        await self._carry_out(incident, move)
        if move.event is None and move.then_wait > timedelta(0):
            await self._bell.wait(incident.id, move.then_wait)

    async def _tell_the_end(self, incident: Incident) -> None:
        await reach("incident.after_close")
        if incident.told_at is None:
            await self._story.closed(incident)
            await self._store.incidents.save(incident, replace(incident, told_at=self._clock.now()))

    async def _give_up(self, incident_id: str) -> None:
        incident = await self._store.incidents.get(incident_id)
        outcome = {Phase.ROLLING_BACK: Outcome.FAILED, Phase.WATCHING: Outcome.UNVERIFIED}.get(incident.phase, Outcome.ESCALATED)
        detail = "rollbackd itself failed on this incident: see its log; look at the service and decide by hand"
        await self._carry_out(incident, Move.close(replace(incident, detail=detail), outcome))

    async def _carry_out(self, before: Incident, move: Move) -> None:
        """Save the move onto the incident as it stands now: a person may have written on it meanwhile.

        When it has left the phase that the station saw, the station's word is no longer about this incident, and is dropped.
        """
        while True:
            current = await self._store.incidents.get(before.id)
            if current.phase is not before.phase:
                return
            wanted = self._moved(_onto(current, before, move.incident), move)
            if wanted == current and move.decision is None:
                return
            try:
                await self._store.incidents.save(
                    current, wanted, entries=self._story.entries(current, wanted, move), decision=move.decision
                )
            except ConflictError:
                continue
            if wanted.phase is Phase.ROLLING_BACK and move.event is not None:
                await reach("rollback.after_advance")
            return

    def _moved(self, incident: Incident, move: Move) -> Incident:
        if move.event is None:
            return incident
        now = self._clock.now()
        moved = replace(incident, phase=next_phase(incident.phase, move.event))
        match moved.phase:
            case Phase.CLOSED:
                return replace(moved, closed_at=now)
            case Phase.ROLLING_BACK if moved.rollback_started_at is None:
                return replace(moved, rollback_started_at=now)
            case _:
                return moved


@dataclass(frozen=True, slots=True)
class _Trouble:
    """How often in a row an incident could not go on, and how long to wait before the next try."""

    times: int = 0
    pause: timedelta = timedelta(0)

    def again(self) -> "_Trouble":
        return _Trouble(self.times + 1, min(max(2 * self.pause, _FIRST_PAUSE), _LONGEST_PAUSE))


def _onto(current: Incident, before: Incident, after: Incident) -> Incident:
    """What the station changed, on the incident as it stands now."""
    changed = {each.name: getattr(after, each.name) for each in fields(Incident) if getattr(after, each.name) != getattr(before, each.name)}
    return replace(current, **changed)


def new_id(now: datetime) -> str:
    """Sorts by time, is short enough to type, and safe in a path: `20260131-120000-7f3a`."""
    return f"{now:%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


def _told(event: AlertEvent) -> Mapping[str, object]:
    return {"alertname": event.name, "status": event.status, "fingerprint": event.fingerprint, "trigger": event.trigger}
