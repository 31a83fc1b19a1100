"""The journal of the steps: intent before, start, outcome after (I5). It only moves forward.

A run that has begun is written down to its end, into the reserve where the disk is full otherwise.
"""

from typing import Final

from sqlalchemy import insert, select, update

from rollbackd.errors import PermanentError
from rollbackd.failpoints import reach
from rollbackd.model.attempt import Attempt, AttemptStatus
from rollbackd.store.columns import as_row, record_of
from rollbackd.store.database import Database
from rollbackd.store.tables import attempts

_UNFINISHED: Final = (AttemptStatus.INTENDED, AttemptStatus.STARTED)


class Attempts:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def intend(self, attempt: Attempt) -> None:
        """Durable on return: only then may anything start."""
        await reach("attempt.before_intent")
        await self._database.execute(insert(attempts).values(as_row(attempts, attempt)), last_resort=True)
        await reach("attempt.after_intent")

    async def started(self, attempt: Attempt) -> None:
        """Which process it is, so that what is left of it can be found after a crash."""
        await self._advance(attempt, AttemptStatus.INTENDED)
        await reach("attempt.after_start")

    async def ended(self, attempt: Attempt) -> None:
        """Once: what is found out about it later is another attempt's."""
        await self._advance(attempt, *_UNFINISHED)
        await reach("attempt.after_outcome")

    async def of_incident(self, incident_id: str) -> tuple[Attempt, ...]:
        """In the order in which they were made."""
        query = select(attempts.c.record).where(attempts.c.incident_id == incident_id).order_by(attempts.c.arrival)
        return await self._database.all(query, record_of)

    async def _advance(self, attempt: Attempt, *states: AttemptStatus) -> None:
        change = update(attempts).where(attempts.c.id == attempt.id, attempts.c.status.in_(states))
        if not await self._database.execute(change.values(as_row(attempts, attempt)), last_resort=True):
            raise PermanentError(f"attempt {attempt.id} cannot become {attempt.status}: it has already ended, or was never intended")
