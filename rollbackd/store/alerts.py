"""Alert events: what came in, what became of each, and which alerts were no one's."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import Row, Update, select, update

from rollbackd.clock import Clock
from rollbackd.model.alert import AlertEvent, AlertStatus, IgnoredAlert
from rollbackd.store.columns import as_record, from_microseconds, to_microseconds
from rollbackd.store.database import Database
from rollbackd.store.sqlite import AlertRow
from rollbackd.store.tables import alerts, ignored_alerts


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
    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def append(self, events: Sequence[AlertEvent], ignored: Sequence[IgnoredAlert] = ()) -> Appended:
        """Durable on return (I2). `events` have their service; of `ignored` only the newest are kept, so that no one can fill the disk."""
        stored = await self._database.append([_to_row(event) for event in events], [_to_ignored_row(alert) for alert in ignored])
        return Appended(stored, len(events) - stored)

    async def unhandled(self, *, limit: int = 1_000) -> tuple[StoredAlert, ...]:
        """The oldest that nobody has taken yet, in the order of arrival."""
        query = select(alerts).where(alerts.c.handled_at.is_(None)).order_by(alerts.c.id).limit(limit)
        return await self._database.all(query, lambda row: StoredAlert(row.id, _to_event(row)))

    async def handled(self, alert_id: int, incident_id: str | None) -> None:
        """The alert belongs to this incident, or to none, and is not handed out again."""
        await self._database.execute(handling(alert_id, incident_id, self._clock.now()))

    async def of_incident(self, incident_id: str) -> tuple[AlertEvent, ...]:
        query = select(alerts).where(alerts.c.incident_id == incident_id).order_by(alerts.c.id)
        return await self._database.all(query, _to_event)

    async def still_firing(self, fingerprint: str, starts_at: datetime) -> bool:
        """As far as Alertmanager has said: a resolved counts in whichever order the two came."""
        query = select(alerts.c.status).where(alerts.c.starts_at == starts_at, alerts.c.fingerprint == fingerprint)
        return await self._database.all(query, lambda row: row.status) == (AlertStatus.FIRING,)

    async def ignored(self, *, limit: int = 50) -> tuple[IgnoredAlert, ...]:
        """Newest first."""
        columns = (ignored_alerts.c.received_at, ignored_alerts.c.why, ignored_alerts.c.labels)
        query = select(*columns).order_by(ignored_alerts.c.arrival.desc()).limit(limit)
        return await self._database.all(query, as_record(IgnoredAlert))


def handling(alert_id: int, incident_id: str | None, at: datetime) -> Update:
    """`Incidents.open` marks the alert in the same transaction."""
    return update(alerts).where(alerts.c.id == alert_id).values(handled_at=at, incident_id=incident_id)


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
    return {"received_at": alert.received_at, "why": alert.why, "labels": alert.labels}
