"""Who did or tried what, when, from where and why. Nothing here is ever changed or deleted: the table refuses it, and retention passes by.

What was done is written in the transaction that does it (`write_audit`): neither is there without the other.
"""

from dataclasses import asdict, dataclass
from datetime import datetime

from sqlalchemy import Connection, insert, select

from rollbackd.model.audit import DONE, AuditEntry
from rollbackd.store.database import Database
from rollbackd.store.tables import audit


@dataclass(frozen=True, slots=True)
class AuditPage:
    """`next` is the cursor of the page after this one, None on the last."""

    items: tuple[AuditEntry, ...]
    next: str | None


class Audit:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def append(
        self, at: datetime, person: str, action: str, subject: str, reason: str, *, remote: str = "", result: str = DONE
    ) -> None:
        """For what changed nothing else, such as what was refused."""
        entry = AuditEntry(at, person, action, subject, reason, remote, result)
        await self._database.write(lambda connection: write_audit(connection, entry))

    async def newest(self, *, limit: int = 50) -> tuple[AuditEntry, ...]:
        return (await self.page(limit=limit)).items

    async def page(self, *, cursor: str | None = None, limit: int = 50) -> AuditPage:
        """Newest first. Raises ValueError for a cursor that no page gave."""
        query = select(audit).order_by(audit.c.arrival.desc()).limit(limit + 1)
        if cursor is not None:
            query = query.where(audit.c.arrival < _parse_cursor(cursor))
        rows = await self._database.all(query, lambda row: dict(row._mapping))  # noqa: SLF001 - SQLAlchemy's public name of it
        numbers = [row.pop("arrival") for row in rows]
        return AuditPage(tuple(AuditEntry(**row) for row in rows[:limit]), str(numbers[limit - 1]) if len(rows) > limit else None)


def write_audit(connection: Connection, entry: AuditEntry | None) -> None:
    """Part of a transaction: the entry stands or falls with what it tells of."""
    if entry is not None:
        connection.execute(insert(audit).values(asdict(entry)))


def _parse_cursor(cursor: str) -> int:
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) < 19):
        raise ValueError(f"{cursor!r} is not a cursor: pass on `next` as it came, or leave it out")
    return int(cursor)
