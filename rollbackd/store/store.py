"""The store as the other rooms see it: one attribute per aggregate."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Final

import structlog

from rollbackd.clock import Clock
from rollbackd.errors import RollbackdError
from rollbackd.model.decision import History, RoomFacts
from rollbackd.store import maintenance, retention, sqlite
from rollbackd.store.alerts import Alerts
from rollbackd.store.attempts import Attempts
from rollbackd.store.audit import Audit
from rollbackd.store.changes import Changes
from rollbackd.store.database import Database
from rollbackd.store.fleet import Fleet
from rollbackd.store.incidents import Incidents
from rollbackd.store.looks import Looks
from rollbackd.store.outbox import Outbox
from rollbackd.store.pauses import Pauses
from rollbackd.store.releases import Releases
from rollbackd.store.snapshots import Snapshots
from rollbackd.store.timeline import Timeline, newest_entry

LAST_WRITES_SECONDS: Final = 10.0

_log: Final = structlog.get_logger("store")


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
        self.outbox = Outbox(database)
        self.audit = Audit(database)
        self.snapshots = Snapshots(database, clock)

    @classmethod
    @asynccontextmanager
    async def opened(
        cls, url: str, *, clock: Clock, observe_commit: Callable[[float], None] = _nobody_measures, reserve: int = 0
    ) -> AsyncIterator["Store"]:
        """The store for as long as the block lasts; what was accepted is written before it closes.

        Args:
            url: `sqlite:////absolute/path` or `sqlite:///relative/path`.
            clock: says when an alert was handled and when an entry was made.
            observe_commit: told the seconds that each commit took.
            reserve: how many bytes are held on the disk for the journal of one run.

        Raises:
            RefusedError: another rollbackd has it open.
            MisconfiguredError: it is not a store that this version can use.
            UnusableStoreError: it is damaged; also later, out of the block, when it becomes so.
            UnavailableStoreError: the disk is full, say.
        """
        async with sqlite.opened(url, reserve=reserve) as file:
            database = Database(file, clock, observe_commit)
            store = cls(database, clock, file.path, newest_entry=await database.read(newest_entry))
            try:
                async with asyncio.TaskGroup() as tasks:
                    writer = tasks.create_task(database.run(), name="store writer")
                    keeper = tasks.create_task(database.keep_well(), name="store keeper")
                    try:
                        yield store
                    finally:
                        keeper.cancel()
                        database.close()
                        await asyncio.wait({writer}, timeout=LAST_WRITES_SECONDS)
                        writer.cancel()  # its disk hangs
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

    @property
    def problem(self) -> str:
        """Why nothing can be written, as far as is known; empty when there is nothing of that kind."""
        return self._database.problem

    def hold(self, reserve: int) -> None:
        """From here on so many bytes, if it can be had: `room` says whether it could."""
        self._database.hold(reserve)

    async def room(self) -> RoomFacts:
        """Whether a run that is begun now can be journaled to its end."""
        return await self._database.room()

    async def examine(self) -> None:
        """Read through the whole file, beside everything else: `damaged` tells what is found. Not to be able to is no damage."""
        try:
            found = await self.check_quickly()
        except sqlite.DamagedStoreError as error:
            self._database.found_damaged(str(error))
        except RollbackdError as error:
            _log.warning("store_not_examined", error=str(error))
        else:
            if found:
                self._database.found_damaged(damage_in(self._path, found))

    async def check_quickly(self) -> tuple[str, ...]:
        """As `check`, without the comparison of each index with its table."""
        with sqlite.translating(self._path):
            return await maintenance.check_quickly(self._path)

    async def damaged(self) -> str:
        """Returns when the file was found to be damaged: why, and what to do."""
        return await self._database.damaged()

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


def damage_in(path: Path, found: tuple[str, ...]) -> str:
    """One line that says what to do."""
    return f"{path} is damaged ({found[0]}): `rollbackd db check` says where; restore a backup"
