"""What is old enough is deleted, a little at a time, so that no one who waits for the writer waits long (I14).

Age alone bounds nothing where somebody sends without end: of each kind there is also a most that is kept, far above what is ever read.
"""

from datetime import datetime
from functools import partial
from typing import Final

from sqlalchemy import ColumnElement, Connection, and_, delete, func, or_, select

from rollbackd.model.incident import Phase
from rollbackd.model.release import Mark
from rollbackd.store.database import Database
from rollbackd.store.tables import alerts, changes, incidents, outbox, releases, snapshots

INCIDENTS_AT_ONCE: Final = 20
ROWS_AT_ONCE: Final = 1_000

MOST_INCIDENTS: Final = 100_000
MOST_ALERTS: Final = 2_000_000
MOST_RELEASES: Final = 1_000  # of a service; a rollback looks at the newest 200
MOST_CHANGES: Final = 10_000  # of a service


async def purge(database: Database, before: datetime) -> int:
    """The number of incidents, alerts, changes and releases that were deleted."""
    purged = 0
    while batch := await database.write(partial(_purge_incidents, before=before)):
        purged += batch
    after: int | None = 0
    while after is not None:
        after, batch = await database.write(partial(_purge_alerts, after=after, before=before))
        purged += batch
    while batch := await database.write(partial(_purge_changes, before=before)):
        purged += batch
    for service in await database.read(_with_too_many_changes):
        while batch := await database.write(partial(_purge_changes_of, service=service)):
            purged += batch
    for service in await database.read(_with_too_many_releases):
        while batch := await database.write(partial(_purge_releases, service=service)):
            purged += batch
    while await database.write(partial(_purge_messages, before=before)):
        pass
    await database.execute(delete(snapshots).where(snapshots.c.used_at < before, snapshots.c.digest.not_in(select(incidents.c.snapshot))))
    return purged


def _purge_incidents(connection: Connection, *, before: datetime) -> int:
    """What belongs to an incident goes with it: decisions, attempts, looks, entries, alerts."""
    oldest_kept = connection.scalar(
        select(incidents.c.opened_at).order_by(incidents.c.opened_at.desc()).offset(MOST_INCIDENTS - 1).limit(1)
    )
    is_old: ColumnElement[bool] = incidents.c.closed_at < before
    if oldest_kept is not None:
        is_old = or_(is_old, incidents.c.opened_at < oldest_kept)
    old = select(incidents.c.id).where(incidents.c.phase == Phase.CLOSED, is_old)
    return connection.execute(delete(incidents).where(incidents.c.id.in_(old.limit(INCIDENTS_AT_ONCE)))).rowcount


def _purge_changes(connection: Connection, *, before: datetime) -> int:
    old = select(changes.c.arrival).where(changes.c.at < before).limit(ROWS_AT_ONCE)
    return connection.execute(delete(changes).where(changes.c.arrival.in_(old))).rowcount


def _purge_messages(connection: Connection, *, before: datetime) -> int:
    """Nothing waits as long as anything is kept: what is old was delivered or given up."""
    old = select(outbox.c.arrival).where(outbox.c.at < before).order_by(outbox.c.arrival).limit(ROWS_AT_ONCE)
    return connection.execute(delete(outbox).where(outbox.c.arrival.in_(old))).rowcount


def _with_too_many_changes(connection: Connection) -> list[str]:
    query = select(changes.c.service).group_by(changes.c.service).having(func.count() > MOST_CHANGES)
    return list(connection.scalars(query))


def _purge_changes_of(connection: Connection, *, service: str) -> int:
    newest_first = select(changes.c.arrival).where(changes.c.service == service).order_by(changes.c.at.desc(), changes.c.arrival.desc())
    surplus = newest_first.limit(ROWS_AT_ONCE).offset(MOST_CHANGES)
    return connection.execute(delete(changes).where(changes.c.arrival.in_(surplus))).rowcount


def _with_too_many_releases(connection: Connection) -> list[str]:
    query = select(releases.c.service).group_by(releases.c.service).having(func.count() > MOST_RELEASES)
    return list(connection.scalars(query))


def _purge_releases(connection: Connection, *, service: str) -> int:
    """Of a version that is marked the newest record stays, however old: released again, it is not to be trusted more than before (I4)."""
    order = (releases.c.started_at.desc(), releases.c.arrival.desc())
    ranked = (
        select(
            releases.c.arrival,
            func.row_number().over(order_by=order).label("place"),
            func.row_number().over(partition_by=releases.c.version, order_by=order).label("of_version"),
            func.json_extract(releases.c.record, "$.mark").label("mark"),
        )
        .where(releases.c.service == service)
        .subquery()
    )
    is_surplus = and_(ranked.c.place > MOST_RELEASES, or_(ranked.c.mark == Mark.NONE, ranked.c.of_version > 1))
    surplus = select(ranked.c.arrival).where(is_surplus).limit(ROWS_AT_ONCE)
    return connection.execute(delete(releases).where(releases.c.arrival.in_(surplus))).rowcount


def _purge_alerts(connection: Connection, *, after: int, before: datetime) -> tuple[int | None, int]:
    """Of the next alerts by arrival, those that are handled, and old or too many; where to go on, or None at the end.

    What belongs to an incident goes with it, unless there are too many. They arrive in the order of their time, so the first that is
    young enough ends it.
    """
    window = connection.execute(
        select(alerts.c.id, alerts.c.received_at).where(alerts.c.id > after).order_by(alerts.c.id).limit(ROWS_AT_ONCE)
    ).all()
    if not window:
        return None, 0
    first, last = window[0].id, window[-1].id
    kept_from = (connection.scalar(select(func.max(alerts.c.id))) or 0) - MOST_ALERTS
    is_old = or_(and_(alerts.c.received_at < before, alerts.c.incident_id.is_(None)), alerts.c.id <= kept_from)
    deleted = connection.execute(delete(alerts).where(alerts.c.id.between(first, last), alerts.c.handled_at.is_not(None), is_old)).rowcount
    return (last if window[-1].received_at < before or last < kept_from else None), deleted
