"""Who did what, when and why. Nothing here is ever changed or deleted: the table refuses it."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import insert, select

from rollbackd.store.columns import as_record
from rollbackd.store.database import Database
from rollbackd.store.tables import audit


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """`subject` is what it was done to: an incident, a service, a release."""

    at: datetime
    person: str
    action: str
    subject: str
    reason: str


class Audit:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def append(self, at: datetime, person: str, action: str, subject: str, reason: str) -> None:
        await self._database.execute(insert(audit).values(at=at, person=person, action=action, subject=subject, reason=reason))

    async def newest(self, *, limit: int = 50) -> tuple[AuditEntry, ...]:
        query = (
            select(audit.c.at, audit.c.person, audit.c.action, audit.c.subject, audit.c.reason)
            .order_by(audit.c.arrival.desc())
            .limit(limit)
        )
        return await self._database.all(query, as_record(AuditEntry))
