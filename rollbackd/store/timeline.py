"""The story of each incident, line by line, and of all of them in one order, which the event stream follows."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, func, insert, select

from rollbackd.model.incident import TimelineEntry
from rollbackd.store.columns import as_record
from rollbackd.store.database import Database
from rollbackd.store.tables import timeline


@dataclass(frozen=True, slots=True)
class NewEntry:
    """A line that has no number yet. `text` is for a person; `data` is the same for a program."""

    kind: str
    text: str
    data: Mapping[str, object] = field(default_factory=dict)


class Timeline:
    def __init__(self, database: Database, newest: int) -> None:
        self._database = database
        self._newest = newest
        self._news = asyncio.Event()

    async def of_incident(self, incident_id: str) -> tuple[TimelineEntry, ...]:
        query = select(timeline).where(timeline.c.incident_id == incident_id).order_by(timeline.c.seq)
        return await self._database.all(query, as_record(TimelineEntry))

    async def after(self, seq: int, limit: int) -> tuple[TimelineEntry, ...]:
        query = select(timeline).where(timeline.c.seq > seq).order_by(timeline.c.seq).limit(limit)
        return await self._database.all(query, as_record(TimelineEntry))

    def latest(self) -> int:
        """The number of the newest entry, 0 when there is none."""
        return self._newest

    async def append(self, incident_id: str, entry: NewEntry, at: datetime, *, last_resort: bool = False) -> None:
        """One entry by itself; those that tell of a change are written with the change."""
        await self._database.write(
            lambda connection: write_entries(connection, incident_id, [entry], at), committed=self.announce, last_resort=last_resort
        )

    async def changed(self, seq: int) -> None:
        """Wait until there is an entry that is newer than `seq`."""
        while self._newest <= seq:
            await self._news.wait()

    def announce(self, newest: int) -> None:
        """Wake who waits: entries up to `newest` are durable."""
        if newest > self._newest:
            self._newest = newest
            news, self._news = self._news, asyncio.Event()
            news.set()


_ENTRY: Final = insert(timeline).returning(timeline.c.seq)


def write_entries(connection: Connection, incident_id: str, entries: Sequence[NewEntry], at: datetime) -> int:
    """Part of a transaction: an entry stands or falls with what it tells of. The number of the last one, 0 without any."""
    newest = 0
    for entry in entries:
        values = {"incident_id": incident_id, "at": at, "kind": entry.kind, "text": entry.text, "data": entry.data}
        newest = connection.execute(_ENTRY, values).scalar_one()
    return newest


def newest_entry(connection: Connection) -> int:
    return connection.execute(select(func.max(timeline.c.seq))).scalar() or 0
