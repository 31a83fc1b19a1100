"""The changes that were recorded: what else than a release was altered, and when."""

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Select, insert, select

from rollbackd.model.audit import AuditEntry
from rollbackd.model.change import Change
from rollbackd.store.audit import write_audit
from rollbackd.store.columns import as_record
from rollbackd.store.database import Database
from rollbackd.store.tables import changes

MOST: Final = 1_000
"""How many are read at once, whoever records how many (I14). Those that are left out are the oldest."""

_FIELDS: Final = (changes.c.service, changes.c.kind, changes.c.what, changes.c.at, changes.c.by)


@dataclass(frozen=True, slots=True)
class RecordedChange:
    """`created` is False when the same change at the same time was known; `change` is then what the store has."""

    change: Change
    created: bool


class Changes:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def record(self, change: Change, *, audited: AuditEntry | None = None) -> RecordedChange:
        """The same service, kind, words and time are one change, whoever says it again."""
        same: Select[Any] = select(*_FIELDS).where(
            changes.c.service == change.service,
            changes.c.at == change.at,
            changes.c.kind == change.kind,
            changes.c.what == change.what,
        )

        def query(connection: Connection) -> RecordedChange:
            known = connection.execute(same).first()
            if known is not None:
                return RecordedChange(as_record(Change)(known), created=False)
            connection.execute(insert(changes).values(asdict(change)))
            write_audit(connection, audited)
            return RecordedChange(change, created=True)

        return await self._database.write(query)

    async def of_service(
        self, service: str, since: datetime | None = None, *, until: datetime | None = None, limit: int = MOST
    ) -> tuple[Change, ...]:
        """Newest first; both ends belong to it."""
        wanted = select(*_FIELDS).where(changes.c.service == service)
        if since is not None:
            wanted = wanted.where(changes.c.at >= since)
        if until is not None:
            wanted = wanted.where(changes.c.at <= until)
        newest_first = wanted.order_by(changes.c.at.desc(), changes.c.arrival.desc()).limit(limit)
        return await self._database.all(newest_first, as_record(Change))
