"""Alert events: what came in, what became of each, and which alerts were no one's."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import orjson
from sqlalchemy import Connection, Row, bindparam, func, select, update

from rollbackd.clock import Clock
from rollbackd.model.alert import AlertEvent, AlertStatus, IgnoredAlert
from rollbackd.store.columns import as_record, from_microseconds, to_microseconds
from rollbackd.store.database import Database
from rollbackd.store.sqlite import AlertRow
from rollbackd.store.tables import alerts, ignored_alerts, timeline
from rollbackd.store.timeline import NewEntry, Timeline, write_entries

READ_AT_ONCE: Final = 100
"""An alert may be some 280 kB; so many are in memory at once, whoever sends how many (I14)."""
TOLD_ONE_BY_ONE: Final = 200
IGNORED_AT_MOST: Final = 4_096  # characters of the labels


@dataclass(frozen=True, slots=True)
class Appended:
    stored: int
    duplicates: int


@dataclass(frozen=True, slots=True)
class StoredAlert:
    """`id` grows in the order of arrival."""

    id: int
    event: AlertEvent


class Alerts:
    def __init__(self, database: Database, timeline: Timeline, clock: Clock) -> None:
        self._database = database
        self._timeline = timeline
        self._clock = clock

    async def append(self, events: Sequence[AlertEvent], ignored: Sequence[IgnoredAlert] = ()) -> Appended:
        """Durable on return (I2). `events` have their service; of `ignored` only the newest are kept, and not all of one that is
        long, so that no one can fill the disk.
        """
        stored = await self._database.append([_to_row(event) for event in events], [_to_ignored_row(alert) for alert in ignored])
        return Appended(stored, len(events) - stored)

    async def unhandled(self, *, limit: int = READ_AT_ONCE) -> tuple[StoredAlert, ...]:
        """The oldest that nobody has taken yet, in the order of arrival."""
        query = select(alerts).where(alerts.c.handled_at.is_(None)).order_by(alerts.c.id).limit(limit)
        return await self._database.all(query, lambda row: StoredAlert(row.id, _to_event(row)))

    async def handled(self, alert_id: int, incident_id: str | None, told: NewEntry | None = None) -> None:
        """The alert belongs to this incident, or to none, and is not handed out again. Of very many only the first are told (I14)."""
        now = self._clock.now()

        def query(connection: Connection) -> int:
            handle(connection, alert_id, incident_id, now)
            if incident_id is None or told is None:
                return 0
            before = connection.execute(_TOLD, {"incident": incident_id, "kind": told.kind}).scalar_one()
            if before >= TOLD_ONE_BY_ONE:
                return 0
            last = NewEntry(told.kind, f"{told.text}; those that join from here on are not listed", told.data)
            return write_entries(connection, incident_id, [last if before == TOLD_ONE_BY_ONE - 1 else told], now)

        await self._database.write(query, committed=self._timeline.announce)

    async def of_incident(self, incident_id: str, *, limit: int = READ_AT_ONCE) -> tuple[AlertEvent, ...]:
        """Those that came first."""
        query = select(alerts).where(alerts.c.incident_id == incident_id).order_by(alerts.c.id).limit(limit)
        return await self._database.all(query, _to_event)

    async def fired_after(self, incident_id: str, instant: datetime) -> int:
        """How many of the incident began to fire after that."""
        fired = (alerts.c.incident_id == incident_id, alerts.c.status == AlertStatus.FIRING, alerts.c.starts_at > instant)
        return await self._database.read(lambda connection: connection.execute(select(func.count()).where(*fired)).scalar_one())

    async def still_firing(self, fingerprint: str, starts_at: datetime) -> bool:
        """As far as Alertmanager has said: a resolved counts in whichever order the two came."""
        query = select(alerts.c.status).where(alerts.c.starts_at == starts_at, alerts.c.fingerprint == fingerprint)
        return await self._database.all(query, lambda row: row.status) == (AlertStatus.FIRING,)

    async def ignored(self, *, limit: int = 50) -> tuple[IgnoredAlert, ...]:
        """Newest first."""
        columns = (ignored_alerts.c.received_at, ignored_alerts.c.why, ignored_alerts.c.labels)
        query = select(*columns).order_by(ignored_alerts.c.arrival.desc()).limit(limit)
        return await self._database.all(query, as_record(IgnoredAlert))


# Run for every alert: to put such a statement together costs more than to run it.
_HANDLE: Final = (
    update(alerts).where(alerts.c.id == bindparam("alert")).values(handled_at=bindparam("at"), incident_id=bindparam("incident"))
)
_TOLD: Final = select(func.count()).where(timeline.c.incident_id == bindparam("incident"), timeline.c.kind == bindparam("kind"))


def handle(connection: Connection, alert_id: int, incident_id: str | None, at: datetime) -> None:
    """`Incidents.open` marks the alert in its own transaction."""
    connection.execute(_HANDLE, {"alert": alert_id, "at": at, "incident": incident_id})


def _to_row(event: AlertEvent) -> AlertRow:
    if event.service is None:
        raise ValueError(f"alert {event.name} has no service: it can only be ignored")
    rest = {
        "ends_at": None if event.ends_at is None else to_microseconds(event.ends_at),
        "labels": event.labels,
        "annotations": event.annotations,
        "generator_url": event.generator_url,
        "service": event.service,
        "trigger": event.trigger,
    }
    return (
        to_microseconds(event.starts_at),
        event.fingerprint,
        event.status.value,
        to_microseconds(event.received_at),
        orjson.dumps(rest).decode(),
    )


def _to_event(row: Row[Any]) -> AlertEvent:
    rest = orjson.loads(row.rest)
    ends_at = rest.pop("ends_at")
    return AlertEvent(
        fingerprint=row.fingerprint,
        starts_at=row.starts_at,
        status=row.status,
        ends_at=None if ends_at is None else from_microseconds(ends_at),
        received_at=row.received_at,
        **rest,
    )


def _to_ignored_row(alert: IgnoredAlert) -> dict[str, Any]:
    return {"received_at": alert.received_at, "why": alert.why, "labels": _shortened(alert.labels)}


def _shortened(labels: Mapping[str, str]) -> Mapping[str, str]:
    """It is kept to be looked at: the first labels say what it is, and one that is too long says less the longer it is."""
    left = IGNORED_AT_MOST
    kept: dict[str, str] = {}
    for name, value in labels.items():
        left -= len(name) + len(value)
        if left < 0:
            break
        kept[name] = value
    return kept
