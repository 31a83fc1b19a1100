"""Moves every open incident from phase to phase: one task an incident, one station a phase, the store in between.

Nothing is kept in memory that a restart would miss: `start` finds the open incidents and the alerts that were stored but not yet
taken, and goes on where the last process stopped.
"""

import asyncio
import secrets
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final

import structlog

from rollbackd.clock import Clock
from rollbackd.decision.guards import is_in_budget
from rollbackd.failpoints import reach
from rollbackd.flow.bell import Bell
from rollbackd.flow.move import Move
from rollbackd.flow.once import Said, told_once
from rollbackd.flow.pinned import Pinned
from rollbackd.flow.progress import SOON, Progress, longest_visit
from rollbackd.flow.story import Story
from rollbackd.flow.trouble import Trouble
from rollbackd.model.alert import AlertEvent, AlertStatus
from rollbackd.model.decision import History
from rollbackd.model.incident import Event, Incident, Outcome, Phase
from rollbackd.model.policy import ServicePolicy
from rollbackd.store.alerts import StoredAlert
from rollbackd.store.incidents import ConflictError
from rollbackd.store.store import Store
from rollbackd.store.timeline import NewEntry
from rollbackd.supervisor import Supervisor, together

_log: Final = structlog.get_logger("conductor")

Station = Callable[[Incident, ServicePolicy], Awaitable[Move]]

_COUNTED_FROM: Final = ("judging_since", "proposed_at", "escalated_at", "reminded_at", "rollback_ended_at")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stations:
    deciding: Station
    proposed: Station
    escalated: Station
    rolling_back: Station
    watching: Station
    leave: Callable[[Incident, str], Awaitable[None]]  # clears up behind a rollback that does not go on

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
        self.progress = Progress(clock)
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
        """Have a task for this open incident, or wake the one that it has. A new one looks at once, and is not to look twice at once."""
        if incident_id in self._running:
            self._bell.ring(incident_id)
            return
        self._running.add(incident_id)
        self._supervisor.spawn(f"incident {incident_id}", self._conduct(incident_id))
        self._story.going_on(len(self._running))

    async def _take_alerts(self) -> None:
        trouble = Trouble()
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            try:
                while stored := await self._unhandled():
                    with self.progress.within(2 * SOON, "what came in"):
                        await self._take_each(stored)
                trouble = Trouble()
            except Exception as e:  # noqa: BLE001 - said, and tried again: what is stored is not lost (I2)
                trouble = trouble.after(e)
                trouble.say("alerts_not_taken", e)
                await self._clock.sleep(trouble.pause)
                self._arrived.set()

    async def _unhandled(self) -> tuple[StoredAlert, ...]:
        with self.progress.within(SOON, "what alerts there are"):
            return await self._store.alerts.unhandled()

    async def _take_each(self, stored: Iterable[StoredAlert]) -> None:
        """In the order of arrival, but where that says nothing at once, for then they share commits. One that cannot be taken keeps no
        other from it.
        """
        errors: list[Exception] = []
        of_services: defaultdict[str | None, list[StoredAlert]] = defaultdict(list)
        for each in stored:
            of_services[each.event.service].append(each)

        async def take(each: StoredAlert) -> bool:
            try:
                return await self._take(each)
            except Exception as e:  # noqa: BLE001 - raised below
                errors.append(e)
                return False

        async def take_in_order(alerts: Sequence[StoredAlert]) -> None:
            for number, each in enumerate(alerts, start=1):
                if await take(each):
                    async with together() as joining:
                        for other in alerts[number:]:
                            joining.create_task(take(other))
                    return

        async with together() as services:
            for alerts in of_services.values():
                services.create_task(take_in_order(alerts))
        if errors:
            raise errors[0]

    async def _take(self, stored: StoredAlert) -> bool:
        """One alert event joins the incident that it belongs to, opens one, or is only recorded. True: its service has one open.

        The same (fingerprint, startsAt) never opens a second incident, and `resolved` never opens one: in whichever order the
        events of one alert arrive, the final state is the same.
        """
        event = stored.event
        policy = self._services.get(event.service or "")
        earlier, current = await self._store.incidents.met_by(event)
        if current is not None and (earlier is None or earlier.id == current.id):
            await self._join(stored, current, is_new=earlier is None)
            return True
        if earlier is not None or policy is None or event.status is AlertStatus.RESOLVED:
            await self._store.alerts.handled(stored.id, earlier.id if earlier else None)
            return False
        return await self._open(stored, policy)

    async def _join(self, stored: StoredAlert, incident: Incident, *, is_new: bool) -> None:
        """It is seen at the next look. A look that is due now would let whoever sends alerts say how often Prometheus is asked (I14)."""
        event = stored.event
        text = f"{event.name} {event.status}" + (" joined" if is_new and event.status is AlertStatus.FIRING else "")
        await self._store.alerts.handled(stored.id, incident.id, NewEntry("alert", text, _told(event)))

    async def _open(self, stored: StoredAlert, policy: ServicePolicy) -> bool:
        event = stored.event
        now = self._clock.now()
        digest, content = self._pinned.snapshot_of(policy)
        incident = Incident(
            id=new_id(now),
            service=policy.name,
            trigger=event.trigger,
            phase=Phase.DECIDING,
            mode=policy.mode,
            snapshot=digest,
            opened_at=now,
            judging_since=now,
            alertname=event.name,
            alert_labels=event.labels,
            fingerprint=event.fingerprint,
            starts_at=event.starts_at,
            delivered_at=event.received_at,
        )
        entries = (NewEntry("alert", f"{event.name} {event.status}", _told(event)),)
        opened = await self._store.incidents.open(incident, stored.id, entries, pinned=content)
        if opened:
            self.go_on(incident.id)
        return opened

    async def _conduct(self, incident_id: str) -> None:
        """From station to station until the incident is closed and told."""
        structlog.contextvars.bind_contextvars(incident=incident_id)
        trouble = Trouble()
        seen: Incident | None = None
        left: Incident | None = None  # as the last visit has written it: need not be read again
        try:
            while True:
                try:
                    incident, left = left or await self._store.incidents.get(incident_id), None
                    before, seen = seen, incident
                    if before is None or (before.phase, before.reminded_at) != (incident.phase, incident.reminded_at):
                        await self._story.stands(before, incident)
                    if incident.phase is Phase.CLOSED and incident.told_at is not None:
                        if self._bell.has_rung(incident_id):
                            continue  # it may have been re-opened since it was read
                        return
                    if incident.phase is Phase.CLOSED:
                        with self.progress.within(2 * SOON, f"the end of {incident_id}"):
                            await self._tell_the_end(incident, with_report=not trouble.is_hopeless)
                    elif trouble.is_hopeless:
                        await self._give_up(incident)
                    else:
                        left = await self._visit(incident)
                    trouble = Trouble()
                except ConflictError:
                    continue  # somebody wrote on it meanwhile: whatever was to be said is not about this incident any more
                except Exception as e:  # noqa: BLE001 - said, counted, and ended above
                    # What fails in one incident must neither stop the others nor leave this one open for ever (I9).
                    trouble = trouble.after(e)
                    trouble.say("incident_stuck", e)
                    await self._clock.sleep(trouble.pause)
        finally:
            self._running.discard(incident_id)
            self._bell.forget(incident_id)
            self._story.going_on(len(self._running))

    async def _visit(self, incident: Incident) -> Incident | None:
        """One station, and the wait that it asks for. None: whoever goes on has to read how the incident stands."""
        policy = await self._pinned.policy_of(incident)
        with self.progress.within(longest_visit(incident.phase, policy), f"{incident.id}, {incident.phase}"):
            return await self._visited(incident, policy)

    async def _visited(self, incident: Incident, policy: ServicePolicy) -> Incident | None:
        move = await self._stations.of(incident.phase)(_by_this_clock(incident, self._clock.now()), policy)
        said = await told_once(self._store, incident, move, policy, self._clock.now())
        # Others decide at the same time, and have seen the same history: what is left of the budget is asked with the write itself (I7).
        provided = partial(is_in_budget, budget=policy.budget) if move.event is Event.ACT else None
        moved = await self._carry_out(incident, said, provided)
        if move.event is not None:
            return moved
        if move.then_wait > timedelta(0):
            await self._bell.wait(incident.id, move.then_wait)
        return None

    async def _tell_the_end(self, incident: Incident, *, with_report: bool) -> None:
        await reach("incident.after_close")
        await self._story.closed(incident, with_report=with_report)
        await self._store.incidents.save(incident, replace(incident, told_at=self._clock.now()))
        self._story.count(incident, await self._store.attempts.of_incident(incident.id))

    async def _give_up(self, incident: Incident) -> None:
        """What was run has come to its end as well: the cooldown counts from here."""
        outcome = {Phase.ROLLING_BACK: Outcome.FAILED, Phase.WATCHING: Outcome.UNVERIFIED}.get(incident.phase, Outcome.ESCALATED)
        if incident.phase is Phase.ROLLING_BACK:
            try:
                await self._stations.leave(incident, "rollbackd itself failed")
            except Exception as e:  # noqa: BLE001 - what has failed before may fail here as well, and the incident ends all the same (I9)
                _log.error("not_cleared_up", error=str(e), exc_info=e)
        ended_at = incident.rollback_ended_at or (self._clock.now() if incident.phase is Phase.ROLLING_BACK else None)
        detail = "rollbackd itself failed on this incident: see its log; look at the service and decide by hand"
        closed = replace(incident, detail=detail, rollback_ended_at=ended_at, braked=False, told_with=None)
        await self._carry_out(incident, Said(Move.close(closed, outcome)))

    async def _carry_out(self, before: Incident, said: Said, provided: Callable[[History], bool] | None = None) -> Incident:
        """Save the move, unless somebody has written on the incident since the station read it.

        Then the station's word is dropped, and it is asked again: each can be, for it finds in the store how far it came.

        Raises:
            ConflictError: it was dropped.
        """
        move = said.move
        wanted = self._moved(move)
        if wanted == before and move.decision is None:
            return before
        read = replace(before, revision=move.incident.revision)
        entries = self._story.entries(before, wanted, move)
        saved = await self._store.incidents.save(
            read, wanted, entries=entries, decision=move.decision, provided=provided, speaks_since=said.speaks_since
        )
        if wanted.phase is Phase.ROLLING_BACK and move.event is not None:
            await reach("rollback.after_advance")
        return saved

    def _moved(self, move: Move) -> Incident:
        if move.event is None:
            return move.incident
        now = self._clock.now()
        moved = move.incident.after(move.event)
        match moved.phase:
            case Phase.CLOSED:
                return replace(moved, closed_at=now)
            case Phase.ROLLING_BACK if moved.rollback_started_at is None:
                return replace(moved, rollback_started_at=now)
            case _:
                return moved


def _by_this_clock(incident: Incident, now: datetime) -> Incident:
    """After the clock was set back nothing lies ahead of it: a wait that counts from there would be longer by as much (I9)."""
    ahead: dict[str, Any] = {name: now for name in _COUNTED_FROM if (getattr(incident, name) or now) > now}
    return replace(incident, **ahead)


def new_id(now: datetime) -> str:
    """Sorts by time, is short enough to type, and safe in a path: `20260131-120000-7f3a`."""
    return f"{now:%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


def _told(event: AlertEvent) -> Mapping[str, object]:
    return {"alertname": event.name, "status": event.status, "fingerprint": event.fingerprint, "trigger": event.trigger}
