"""Incidents and the decisions about them. A write names the state that it came from, and is refused when that is no longer so."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection, Select, and_, bindparam, func, insert, or_, select, union_all, update
from sqlalchemy.exc import IntegrityError

from rollbackd.clock import Clock
from rollbackd.errors import NotFoundError, TemporaryError
from rollbackd.failpoints import reach
from rollbackd.model.alert import AlertEvent
from rollbackd.model.audit import AuditEntry
from rollbackd.model.decision import Decision, History
from rollbackd.model.incident import Incident, Outcome, Phase
from rollbackd.store.alerts import handle
from rollbackd.store.audit import write_audit
from rollbackd.store.columns import as_row, from_microseconds, record_of, to_microseconds
from rollbackd.store.database import Database
from rollbackd.store.fleet import spokesman
from rollbackd.store.snapshots import write_snapshot
from rollbackd.store.tables import IS_OPEN, alerts, decisions, incidents
from rollbackd.store.timeline import NewEntry, Timeline, write_entries


class ConflictError(TemporaryError):
    """Someone else moved the incident in between: read it again, then see whether the write still makes sense."""


@dataclass(frozen=True, slots=True)
class Page:
    """`next` is the cursor of the page after this one, None on the last."""

    items: tuple[Incident, ...]
    next: str | None


class Incidents:
    def __init__(self, database: Database, timeline: Timeline, clock: Clock) -> None:
        self._database = database
        self._timeline = timeline
        self._clock = clock

    async def open(
        self,
        incident: Incident,
        alert_id: int | None,
        entries: Sequence[NewEntry],
        *,
        pinned: bytes | None = None,
        audited: AuditEntry | None = None,
    ) -> bool:
        """Write the incident, its first entries, that its alert is handled, the config that is `pinned` to it, and who asked for it.

        False, and nothing is written: the service already has an open one (I1).
        """
        now = self._clock.now()

        def query(connection: Connection) -> int | None:
            if connection.execute(_all().where(IS_OPEN, incidents.c.service == incident.service)).first() is not None:
                return None
            if pinned is not None:
                write_snapshot(connection, incident.snapshot, pinned, now)
            connection.execute(insert(incidents).values(as_row(incidents, incident)))
            if alert_id is not None:
                handle(connection, alert_id, incident.id, now)
            write_audit(connection, audited)
            return write_entries(connection, incident.id, entries, now)

        newest = await self._database.write(query, committed=self._announce)
        if newest is None:
            return False
        await reach("incident.after_open")
        return True

    async def save(
        self,
        before: Incident,
        after: Incident,
        *,
        entries: Sequence[NewEntry] = (),
        decision: Decision | None = None,
        provided: Callable[[History], bool] | None = None,
        speaks_since: datetime | None = None,
        audited: AuditEntry | None = None,
    ) -> Incident:
        """`after` with its new revision; its entries, its decision and who asked for it are written with it or not at all.

        `provided` is asked inside the transaction, about the history that all writes before this one have made (I7). So is, with
        `speaks_since`, whether no other incident has told people of a fleet brake since then.

        Raises:
            ConflictError: the incident is no longer in the phase and the revision of `before`, or what was asked says no.
            NotFoundError: there is no such incident.
        """
        now = self._clock.now()
        saved = replace(after, revision=before.revision + 1)
        unmoved = and_(incidents.c.id == before.id, incidents.c.phase == before.phase, incidents.c.revision == before.revision)

        def query(connection: Connection) -> int:
            if provided is not None and not provided(_history(connection, before.service, now, except_incident=before.id)):
                raise ConflictError(f"incident {before.id} may not move on from {before.phase} any more: read it again")
            if speaks_since is not None and spokesman(connection, speaks_since, except_incident=before.id) is not None:
                raise ConflictError(f"incident {before.id} need not tell people of the fleet brake any more: read it again")
            try:
                written = connection.execute(update(incidents).where(unmoved).values(as_row(incidents, saved))).rowcount
            except IntegrityError as error:
                raise ConflictError(f"incident {before.id} cannot be opened again: {before.service} has another open one") from error
            if written == 0:
                found = _one(connection, before.id)
                raise ConflictError(f"incident {before.id} has moved on from {before.phase} to {found.phase}: read it again")
            if decision is not None:
                connection.execute(insert(decisions).values(incident_id=before.id, record=decision))
            write_audit(connection, audited)
            return write_entries(connection, before.id, entries, now)

        await self._database.write(query, committed=self._announce, last_resort=before.phase in _BEGUN)
        if decision is not None:
            await reach("decision.after_record")
        return saved

    async def get(self, incident_id: str) -> Incident:
        """Raises NotFoundError."""
        return await self._database.read(lambda connection: _one(connection, incident_id))

    async def open_ones(self) -> tuple[Incident, ...]:
        """Oldest first."""
        return _oldest_first(await self._database.all(_all().where(IS_OPEN), record_of))

    async def unfinished(self) -> tuple[Incident, ...]:
        """Those that somebody must go on with after a restart: open, or closed and not yet told (I9). Oldest first."""
        either = union_all(*(select(incidents.c.id).where(condition) for condition in (IS_OPEN, incidents.c.told_at.is_(None))))
        return _oldest_first(await self._database.all(_all().where(incidents.c.id.in_(either)), record_of))

    async def open_of(self, service: str) -> Incident | None:
        return await self._first(_all().where(IS_OPEN, incidents.c.service == service))

    async def met_by(self, event: AlertEvent) -> tuple[Incident | None, Incident | None]:
        """The newest incident that this alert, in whichever state, opened or joined; and the one that its service has open."""
        alert = {"starts_at": event.starts_at, "fingerprint": event.fingerprint}
        service = {"service": event.service}
        return await self._database.read(lambda connection: (connection.scalar(_OF_ALERT, alert), connection.scalar(_OF_SERVICE, service)))

    async def helped_since(self, at: datetime) -> tuple[Incident, ...]:
        """Those whose rollback helped and that were closed since then, newest first."""
        helped = incidents.c.outcome.in_((Outcome.RECOVERED, Outcome.IMPROVED))
        return await self._database.all(_newest_first().where(helped, incidents.c.closed_at >= at), record_of)

    async def latest_of(self, service: str) -> Incident | None:
        return await self._first(_newest_first().where(incidents.c.service == service))

    async def newest_rollback(self) -> datetime | None:
        """When the newest rollback of all began or, if that is later, ended."""
        started, ended = (func.max(at) for at in (incidents.c.rollback_started_at, incidents.c.rollback_ended_at))
        newest = select(select(started).scalar_subquery(), select(ended).scalar_subquery())  # each from the end of its index
        (instants,) = await self._database.all(newest, tuple)
        return max((at for at in instants if at is not None), default=None)

    async def was_rolled_back(self, *, started_since: datetime, ended_since: datetime, until: datetime) -> bool:
        """Whether any rollback began, or ended, after these instants and up to `until`."""
        started, ended = incidents.c.rollback_started_at, incidents.c.rollback_ended_at
        either = or_(and_(started > started_since, started <= until), and_(ended > ended_since, ended <= until))
        return await self._first(_all().where(either)) is not None

    async def page(
        self,
        *,
        service: str | None = None,
        phase: Phase | None = None,
        outcome: Outcome | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page:
        """Newest first. Raises ValueError for a cursor that no page gave."""
        query = _newest_first().limit(limit + 1)
        if service is not None:
            query = query.where(incidents.c.service == service)
        if phase is not None:
            query = query.where(incidents.c.phase == phase)
        if outcome is not None:
            query = query.where(incidents.c.outcome == outcome)
        if cursor is not None:
            opened_at, incident_id = _parse_cursor(cursor)
            same_moment = and_(incidents.c.opened_at == opened_at, incidents.c.id < incident_id)
            query = query.where(incidents.c.opened_at <= opened_at, or_(incidents.c.opened_at < opened_at, same_moment))
        found = await self._database.all(query, record_of)
        return Page(found[:limit], _cursor_after(found[limit - 1]) if len(found) > limit else None)

    async def decision_of(self, incident_id: str) -> Decision | None:
        """The latest."""
        query = select(decisions.c.record).where(decisions.c.incident_id == incident_id).order_by(decisions.c.arrival.desc()).limit(1)
        return next(iter(await self._database.all(query, record_of)), None)

    async def decisions_of(self, incident_id: str) -> tuple[Decision, ...]:
        """Oldest first."""
        query = select(decisions.c.record).where(decisions.c.incident_id == incident_id).order_by(decisions.c.arrival)
        return await self._database.all(query, record_of)

    async def history(self, service: str, now: datetime, *, except_incident: str | None = None) -> History:
        """What rollbackd did before, for the guards; `except_incident` is the one that asks, whose own step is no other's."""
        return await self._database.read(lambda connection: _history(connection, service, now, except_incident=except_incident))

    def _announce(self, newest: int | None) -> None:
        self._timeline.announce(newest or 0)

    async def _first(self, query: Select[Any]) -> Incident | None:
        return next(iter(await self._database.all(query.limit(1), record_of)), None)


_BEGUN: Final = frozenset({Phase.ROLLING_BACK, Phase.WATCHING})


def _all() -> Select[Any]:
    return select(incidents.c.record)


def _newest_first() -> Select[Any]:
    return _all().order_by(incidents.c.opened_at.desc(), incidents.c.id.desc())


def _oldest_first(found: Iterable[Incident]) -> tuple[Incident, ...]:
    """Sorted here: asked to sort, SQLite walks the index of all incidents by time rather than that of the few."""
    return tuple(sorted(found, key=lambda incident: (incident.opened_at, incident.id)))


# Asked for every alert: to put such a statement together costs more than to run it.
_joined: Final = select(alerts.c.incident_id).where(
    alerts.c.starts_at == bindparam("starts_at"), alerts.c.fingerprint == bindparam("fingerprint")
)
_opened: Final = and_(incidents.c.fingerprint == bindparam("fingerprint"), incidents.c.starts_at == bindparam("starts_at"))
_OF_ALERT: Final = _newest_first().where(or_(_opened, incidents.c.id.in_(_joined))).limit(1)
_OF_SERVICE: Final = _all().where(IS_OPEN, incidents.c.service == bindparam("service")).limit(1)


def _history(connection: Connection, service: str, now: datetime, *, except_incident: str | None) -> History:
    """What lies in the future counts as well: a clock that was set back frees no budget (I7)."""
    started = incidents.c.rollback_started_at
    own = incidents.c.service == service
    completed = and_(own, incidents.c.rollback_ended_at.is_not(None))
    last = select(incidents.c.rollback_ended_at, incidents.c.acknowledged_by).where(completed)
    running = and_(own, incidents.c.phase == Phase.ROLLING_BACK, incidents.c.id != (except_incident or ""))
    counts = select(
        select(func.count()).where(own, started > now - timedelta(days=1)).scalar_subquery(),
        select(func.count()).where(started > now - timedelta(hours=1)).scalar_subquery(),
        select(func.count()).where(running).scalar_subquery(),
    )
    ended = connection.execute(last.order_by(incidents.c.rollback_ended_at.desc()).limit(1)).first()
    of_service, of_fleet, steps = connection.execute(counts).one()
    return History(
        last_rollback_completed_at=ended.rollback_ended_at if ended else None,
        last_rollback_acknowledged=bool(ended and ended.acknowledged_by),
        rollbacks_of_service_last_day=of_service,
        rollbacks_of_fleet_last_hour=of_fleet,
        step_running=steps > 0,
    )


def _one(connection: Connection, incident_id: str) -> Incident:
    found: Incident | None = connection.scalar(_all().where(incidents.c.id == incident_id))
    if found is None:
        raise NotFoundError(f"no incident {incident_id}: see 'rollbackd list'")
    return found


def _cursor_after(incident: Incident) -> str:
    return f"{to_microseconds(incident.opened_at)}_{incident.id}"


def _parse_cursor(cursor: str) -> tuple[datetime, str]:
    opened_at, found, incident_id = cursor.partition("_")
    try:
        if not found:
            raise ValueError
        return from_microseconds(int(opened_at)), incident_id
    except (ValueError, OverflowError):
        raise ValueError(f"{cursor!r} is not a cursor: pass on `next` as it came, or leave it out") from None
