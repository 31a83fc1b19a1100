"""What broke in the fleet, and who has told people of it: questions over the incidents of all services."""

from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection, Row, and_, func, or_, select, union

from rollbackd.model.decision import Trip
from rollbackd.model.incident import Incident, Outcome, Phase
from rollbackd.store.database import Database
from rollbackd.store.tables import incidents, releases

LONGEST_JUMP: Final = timedelta(hours=25)  # of a clock that somebody sets: a day, and a time zone's change


class Fleet:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def trips(self, since: datetime) -> tuple[Trip, ...]:
        """Of each service the first and the last one since then, and the one of its open incident: however many alerts came (I14).

        Incidents that a person began are none. When they were opened is only what is searched by: our clock may have been set since.
        """
        met = and_(incidents.c.opened_at >= since - LONGEST_JUMP, incidents.c.starts_at >= since)
        service, at = incidents.c.service, incidents.c.starts_at
        each = func.coalesce(service, "")  # grouped by an expression SQLite searches by time, and does not walk the index of all services
        still_open = and_(incidents.c.phase != Phase.CLOSED, at.is_not(None))
        trips = union(
            select(service, func.min(at).label("at")).where(met).group_by(each),
            select(service, func.max(at).label("at")).where(met).group_by(each),
            select(service, at.label("at")).where(still_open),
        ).subquery()
        by_then = and_(releases.c.service == trips.c.service, releases.c.started_at <= trips.c.at)
        newest = select(releases.c.record).where(by_then).order_by(releases.c.started_at.desc(), releases.c.arrival.desc()).limit(1)
        query = select(trips.c.service, trips.c.at, newest.scalar_subquery().label("release")).order_by(trips.c.at, trips.c.service)
        return await self._database.all(query, _trip)

    async def spokesman(self, since: datetime, *, except_incident: str) -> str | None:
        """The incident through which people were told of a fleet brake since then."""
        return await self._database.read(lambda connection: spokesman(connection, since, except_incident=except_incident))


def spokesman(connection: Connection, since: datetime, *, except_incident: str) -> str | None:
    """What lies in the future counts as well: after the clock was set back nobody is told twice."""
    told = or_(incidents.c.phase == Phase.ESCALATED, and_(incidents.c.outcome == Outcome.ESCALATED, incidents.c.closed_at > since))
    query = select(incidents.c.record).where(told, incidents.c.id != except_incident).order_by(incidents.c.opened_at, incidents.c.id)
    return next((found.id for found in connection.scalars(query) if _speaks(found, since)), None)


def _speaks(incident: Incident, since: datetime) -> bool:
    told_at = max(filter(None, (incident.escalated_at, incident.reminded_at, incident.closed_at)), default=None)
    return incident.braked and incident.told_with is None and told_at is not None and told_at > since


def _trip(row: Row[Any]) -> Trip:
    return Trip(service=row.service, at=row.at, release=row.release)
