"""Time, the disk, Prometheus, the tool, the port, the channel and death, in the place of the real ones; everything else is what it is."""

import errno
import os
import sqlite3
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future
from contextlib import ExitStack, asynccontextmanager, contextmanager
from datetime import datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import apscheduler.executors.base
import apscheduler.schedulers.base
import apscheduler.triggers.interval

from rollbackd import app, clock, failpoints
from rollbackd.flow import conductor, courier, in_use
from rollbackd.model.message import Message
from rollbackd.store import maintenance, sqlite
from rollbackd.store.reserve import Reserve
from tests.simulation.measured import Server
from tests.simulation.tool import PlayedProcesses

if TYPE_CHECKING:
    from tests.simulation.world import World


class Threads(Executor):
    """None: the loop does what is for them, asks for their name, and says what it has been given and what it has done."""

    def __init__(self, _count: int, name: str) -> None:
        self.name = name
        self.ended: Future[None] = Future()
        self._left = 0
        self._is_shut = False

    def given(self) -> None:
        self._left += 1

    def done(self) -> None:
        self._left -= 1
        self._go()

    def shutdown(self, wait: bool = False, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - the signature of Executor
        self._is_shut = True
        self._go()

    def _go(self) -> None:
        if self._is_shut and not self._left and not self.ended.done():
            self.ended.set_result(None)


@contextmanager
def seams(world: "World") -> Iterator[None]:
    def client(_server: object, own: Any, _metrics: object) -> Server:
        return Server(world, own)

    @asynccontextmanager
    async def listening(*_more: object, **_named: object) -> Any:
        yield "http://nowhere"

    def processes(**_more: object) -> PlayedProcesses:
        assert world.life is not None
        return PlayedProcesses(world, world.life)

    async def lag(*_more: object) -> None:
        """This loop has none, and asking each second takes longer than everything else."""

    class Wall(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
            return world.wall.astimezone(tz)

    async def tell(_channel: object, message: Message, *_more: object) -> None:
        world.told.append(message)

    since_boot = SimpleNamespace(CLOCK_BOOTTIME=0, clock_gettime=lambda _clock: world.now)
    system = SimpleNamespace(kill=world.kill, getpid=os.getpid)
    type_of_environ = type("Environ", (), {"get": lambda _self, name, default="": world.environment().get(name, default)})
    system.environ = type_of_environ()
    with _disk(world), ExitStack() as stack:
        for target, name, value in (
            (in_use, "PrometheusClient", client),
            (app, "listening", listening),
            (app, "Processes", processes),
            (app, "measure_lag", lag),
            (sqlite, "Threads", Threads),
            (maintenance, "Threads", Threads),
            (failpoints, "os", system),
            (conductor, "secrets", SimpleNamespace(token_hex=lambda count: world.chance.randbytes(count).hex())),
            (courier, "channels", SimpleNamespace(send=tell)),
            (clock, "time", since_boot),
            (clock, "datetime", Wall),
            (apscheduler.schedulers.base, "datetime", Wall),
            (apscheduler.triggers.interval, "datetime", Wall),
            (apscheduler.executors.base, "datetime", Wall),
        ):
            stack.enter_context(patch.object(target, name, value))
        yield


@contextmanager
def _disk(world: "World") -> Iterator[None]:
    """When it is full there is the room of the reserve, once that has been given up, and no other."""
    hold, transact, append = Reserve.hold, sqlite.Sqlite._transact, sqlite.Sqlite._append

    def no_room(reserve: Reserve) -> None:
        if world.disk_full and reserve.is_held:
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise error

    def held(reserve: Reserve) -> None:
        if world.disk_full and not reserve.is_held:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        hold(reserve)

    def transacted(file: sqlite.Sqlite, queries: Sequence[sqlite.Query[Any]]) -> list[Any]:
        no_room(file._reserve)
        return transact(file, queries)

    def appended(file: sqlite.Sqlite, rows: Sequence[sqlite.AlertRow]) -> Any:
        no_room(file._reserve)
        return append(file, rows)

    with (
        patch.object(Reserve, "hold", held),
        patch.object(sqlite.Sqlite, "_transact", transacted),
        patch.object(sqlite.Sqlite, "_append", appended),
    ):
        yield
