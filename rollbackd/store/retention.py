"""What is old enough is deleted, a little at a time, so that no one who waits for the writer waits long (I14)."""

from datetime import datetime
from functools import partial
from typing import Final

from sqlalchemy import Connection, delete, select

from rollbackd.model.incident import Phase
from rollbackd.store.database import Database
from rollbackd.store.tables import alerts, changes, incidents, snapshots

INCIDENTS_AT_ONCE: Final = 20
ALERTS_AT_ONCE: Final = 1_000
CHANGES_AT_ONCE: Final = 1_000


async def purge(database: Database, before: datetime) -> int:
    """The number of incidents, alerts and changes that were deleted."""
    purged = 0
    while batch := await database.write(partial(_purge_incidents, before=before)):
        purged += batch
    after: int | None = 0
    while after is not None:
        after, batch = await database.write(partial(_purge_alerts, after=after, before=before))
        purged += batch
    while batch := await database.write(partial(_purge_changes, before=before)):
        purged += batch
    await database.execute(delete(snapshots).where(snapshots.c.used_at < before, snapshots.c.digest.not_in(select(incidents.c.snapshot))))
    return purged


def _purge_incidents(connection: Connection, *, before: datetime) -> int:
    """What belongs to an incident goes with it: decisions, attempts, looks, entries, alerts."""
    old = select(incidents.c.id).where(incidents.c.phase == Phase.CLOSED, incidents.c.closed_at < before)
    return connection.execute(delete(incidents).where(incidents.c.id.in_(old.limit(INCIDENTS_AT_ONCE)))).rowcount


def _purge_changes(connection: Connection, *, before: datetime) -> int:
    old = select(changes.c.arrival).where(changes.c.at < before).limit(CHANGES_AT_ONCE)
    return connection.execute(delete(changes).where(changes.c.arrival.in_(old))).rowcount


def _purge_alerts(connection: Connection, *, after: int, before: datetime) -> tuple[int | None, int]:
    """Of the next alerts by arrival, those that are old, handled and of no incident; where to go on, or None at the end.

    They arrive in the order of their time, so the first that is young enough ends it.
    """
    window = connection.execute(
        select(alerts.c.id, alerts.c.received_at).where(alerts.c.id > after).order_by(alerts.c.id).limit(ALERTS_AT_ONCE)
    ).all()
    if not window:
        return None, 0
    first, last = window[0].id, window[-1].id
    old = delete(alerts).where(
        alerts.c.id.between(first, last), alerts.c.received_at < before, alerts.c.handled_at.is_not(None), alerts.c.incident_id.is_(None)
    )
    deleted = connection.execute(old).rowcount
    return (last if window[-1].received_at < before else None), deleted
