"""The store as the other rooms see it: one attribute per aggregate."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Final

from rollbackd.clock import Clock
from rollbackd.model.decision import History
from rollbackd.store import maintenance, retention, sqlite
from rollbackd.store.alerts import Alerts
from rollbackd.store.attempts import Attempts
from rollbackd.store.audit import Audit
from rollbackd.store.changes import Changes
from rollbackd.store.database import Database
from rollbackd.store.fleet import Fleet
from rollbackd.store.incidents import Incidents
from rollbackd.store.looks import Looks
from rollbackd.store.pauses import Pauses
from rollbackd.store.releases import Releases
from rollbackd.store.snapshots import Snapshots
from rollbackd.store.timeline import Timeline, newest_entry

LAST_WRITES_SECONDS: Final = 10.0


def _nobody_measures(seconds: float) -> None:
    pass


class Store:
    """Everything that it says is written is durable; everything that it returns was durable when it was read."""

    def __init__(self, database: Database, clock: Clock, path: Path, *, newest_entry: int) -> None:
        self._database = database
        self._path = path
        self.timeline = Timeline(database, newest_entry)
        self.alerts = Alerts(database, self.timeline, clock)
        self.incidents = Incidents(database, self.timeline, clock)
        self.fleet = Fleet(database)
        self.attempts = Attempts(database)
        self.looks = Looks(database)
        self.releases = Releases(database)
        self.changes = Changes(database)
        self.pauses = Pauses(database)
        self.audit = Audit(database)
        self.snapshots = Snapshots(database, clock)

    @classmethod
    @asynccontextmanager
    async def opened(cls, url: str, *, clock: Clock, observe_commit: Callable[[float], None] = _nobody_measures) -> AsyncIterator["Store"]:
        """The store for as long as the block lasts; what was accepted is written before it closes.

        Args:
            url: `sqlite:////absolute/path` or `sqlite:///relative/path`.
            clock: says when an alert was handled and when an entry was made.
            observe_commit: told the seconds that each commit took.

        Raises:
            RefusedError: another rollbackd has it open.
            MisconfiguredError: it is not a store that this version can use.
            UnusableStoreError: it is damaged; also later, out of the block, when it becomes so.
        """
        async with sqlite.opened(url) as file:
            database = Database(file, clock, observe_commit)
            store = cls(database, clock, file.path, newest_entry=await database.read(newest_entry))
            try:
                async with asyncio.TaskGroup() as tasks:
                    writer = tasks.create_task(database.run(), name="store writer")
                    try:
                        yield store
                    finally:
                        database.close()
                        await asyncio.wait({writer}, timeout=LAST_WRITES_SECONDS)
            except BaseExceptionGroup as group:
                if len(group.exceptions) == 1:  # the block's own error, or the writer's, and not a group with one in it
                    raise group.exceptions[0] from None
                raise

    @property
    def directory(self) -> Path:
        """The state directory: the store's own, locked while it is open."""
        return self._path.parent

    async def history(self, service: str, now: datetime, *, except_incident: str | None = None) -> History:
        """What rollbackd did before, for the guards; `except_incident` is the one that asks, whose own step is no other's."""
        return await self.incidents.history(service, now, except_incident=except_incident)

    async def ping(self) -> None:
        """Returns when the writer has written something: that it lives is proven by doing, for the watchdog."""
        await self._database.write(lambda connection: connection.exec_driver_sql("SELECT 1").scalar())

    async def purge(self, before: datetime) -> int:
        """Delete what ended before `before`: closed incidents with all that belongs to them, handled alerts, changes. The audit stays."""
        return await retention.purge(self._database, before)

    async def backup(self, target: Path) -> None:
        """A whole and consistent copy, while everything goes on."""
        await maintenance.backup(self._path, target)

    async def check(self) -> tuple[str, ...]:
        """What is wrong with the file; empty when nothing is. Reads all of it."""
        return await maintenance.check(self._path)
