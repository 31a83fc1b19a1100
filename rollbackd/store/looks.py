"""The looks of the watch, one after another."""

from sqlalchemy import insert, select

from rollbackd.model.look import Look
from rollbackd.store.columns import record_of
from rollbackd.store.database import Database
from rollbackd.store.tables import looks


class Looks:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def append(self, incident_id: str, look: Look) -> None:
        await self._database.execute(insert(looks).values(incident_id=incident_id, record=look))

    async def of_incident(self, incident_id: str) -> tuple[Look, ...]:
        """Oldest first."""
        query = select(looks.c.record).where(looks.c.incident_id == incident_id).order_by(looks.c.arrival)
        return await self._database.all(query, record_of)
