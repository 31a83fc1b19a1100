"""Reading, and the one writer: whatever waits is committed together (group commit), which is how durable is also fast."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, Row, Select, UpdateBase, delete, func, insert, select

from rollbackd.clock import Clock
from rollbackd.errors import RollbackdError, TemporaryError, UncertainError
from rollbackd.failpoints import reach
from rollbackd.model.decision import RoomFacts
from rollbackd.store.sqlite import AlertRow, DamagedStoreError, Query, Sqlite, UnavailableStoreError, UnusableStoreError
from rollbackd.store.tables import ignored_alerts

T = TypeVar("T")

KEPT_IGNORED: Final = 1_000
ENOUGH_FOR_ONE_COMMIT: Final = 256
TURNS_FROM_SOCKET: Final = 3  # of the event loop: a request is read, gets its task, and that runs
PATIENCE_SECONDS: Final = 10.0
MEND_SECONDS: Final = 5.0


@dataclass(slots=True, eq=False)
class _Waiting:
    done: asyncio.Future[Any]

    @property
    def was_told(self) -> bool:
        """How it ended, so that nothing of it is to be tried any more; a caller who has only gone was not."""
        return self.done.done() and not self.done.cancelled()


@dataclass(slots=True, eq=False)
class _Write(_Waiting):
    query: Query[Any]
    committed: Callable[[Any], None] | None
    last_resort: bool


@dataclass(slots=True, eq=False)
class _Append(_Waiting):
    rows: Sequence[AlertRow]
    ignored: Sequence[dict[str, Any]]


class Database:
    """`run()` must be running for anything to be written. Nobody waits for a write longer than twice `PATIENCE_SECONDS`."""

    def __init__(self, sqlite: Sqlite, clock: Clock, observe: Callable[[float], None]) -> None:
        self._sqlite = sqlite
        self._clock = clock
        self._observe = observe  # the seconds of each commit
        self._writes: list[_Write] = []
        self._appends: list[_Append] = []
        self._in_flight: Sequence[_Waiting] = ()
        self._wake = asyncio.Event()
        self._closed = False
        self._refused = ""
        self._damage = ""
        self._damaged = asyncio.Event()
        self._mend = asyncio.Event()

    async def read(self, query: Query[T]) -> T:
        try:
            return await self._sqlite.read(query)
        except DamagedStoreError as error:
            self.found_damaged(str(error))
            raise

    @property
    def problem(self) -> str:
        """Why nothing can be written, as far as is known; empty: the last write was kept."""
        return self._damage or self._refused

    async def room(self) -> RoomFacts:
        """Whether the journal of a run has room, and why it has none."""
        found = await self._sqlite.room()
        return replace(found, problem=self.problem or found.problem)

    def hold(self, reserve: int) -> None:
        self._sqlite.want(reserve)
        self._mend.set()

    def found_damaged(self, why: str) -> None:
        """No alert is taken any more: who sent it keeps it, and what is written here may not be found again (I2)."""
        self._damage = self._damage or why
        self._damaged.set()

    async def damaged(self) -> str:
        """Returns when the file was found to be damaged: why."""
        await self._damaged.wait()
        return self._damage

    async def all(self, statement: Select[Any], make: Callable[[Row[Any]], T]) -> tuple[T, ...]:
        return await self.read(lambda connection: tuple(map(make, connection.execute(statement))))

    async def execute(self, statement: UpdateBase, *, last_resort: bool = False) -> int:
        """One statement as a write of its own; the number of rows that it changed."""
        return await self.write(lambda connection: connection.execute(statement).rowcount, last_resort=last_resort)

    async def write(self, query: Query[T], *, committed: Callable[[T], None] | None = None, last_resort: bool = False) -> T:
        """What `query` returns, once it is durable; `committed` hears it at that moment, also when the caller has gone.

        As a `last_resort` it may use the room that is held for the journal of a run.

        Raises:
            TemporaryError: not written; the disk is full, say.
            UncertainError: it may or may not have been written; the disk hangs, say.
            Exception: whatever `query` raises, and then nothing of it is written.
        """
        write = _Write(self._future(), query, committed, last_resort)
        self._writes.append(write)
        self._wake.set()
        result: T = await write.done
        return result

    async def append(self, rows: Sequence[AlertRow], ignored: Sequence[dict[str, Any]]) -> int:
        """How many of `rows` were new, once they are durable (I2)."""
        if self._damage:
            raise DamagedStoreError(self._damage)
        append = _Append(self._future(), rows, ignored)
        self._appends.append(append)
        self._wake.set()
        new: int = await append.done
        return new

    def _future(self) -> asyncio.Future[Any]:
        if self._closed:
            raise TemporaryError("the store is closed")
        return asyncio.get_running_loop().create_future()

    def close(self) -> None:
        """Take nothing more; `run()` returns when what waits is written."""
        self._closed = True
        self._wake.set()

    async def run(self) -> None:
        """Write what waits until `close()`.

        Raises:
            UnusableStoreError: going on would risk what is already stored.
        """
        try:
            while self._writes or self._appends or not self._closed:
                await self._wake.wait()
                self._wake.clear()
                await self._let_others_join()
                await self._commit_appends()
                await self._commit_writes()
        finally:
            self._closed = True
            self._abandon("the store closed")

    async def keep_well(self) -> None:
        """For ever: where something was refused, or the reserve is not whole, try again whether there is room."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(MEND_SECONDS):
                    await self._mend.wait()
            self._mend.clear()
            if self._refused or not (await self._sqlite.room()).is_held:
                try:
                    await self._sqlite.prove()
                except UnusableStoreError:
                    raise
                except RollbackdError as error:
                    self._refused = self._refused or str(error)
                else:
                    self._refused = ""

    async def _let_others_join(self) -> None:
        """Whoever has already been read from a socket is waited for, and nobody else: a busy store commits half as often."""
        waiting = 0
        while waiting < len(self._appends) < ENOUGH_FOR_ONE_COMMIT:
            waiting = len(self._appends)
            for _ in range(TURNS_FROM_SOCKET):
                await asyncio.sleep(0)

    async def _commit_appends(self) -> None:
        appends, self._appends = self._appends, []
        if not appends:
            return
        rows = [row for append in appends for row in append.rows]
        ignored = [row for append in appends for row in append.ignored]
        try:
            with self._committing(appends):
                await reach("intake.before_commit")
                with self._measured():
                    new = await self._sqlite.append(rows) if rows else None
                    if ignored:
                        await self._sqlite.transact([partial(_keep_newest, ignored=ignored)])
                await reach("intake.after_commit")
        except UnusableStoreError as error:
            _fail(appends, error)
            raise
        except Exception as error:  # noqa: BLE001 - it is the callers': whatever it is, none of them may answer that it is stored
            self._note(error)
            _fail(appends, error)
        else:
            left = None if new is None else set(new)
            for append in appends:
                stored = len(append.rows) if left is None else _take(left, append.rows)
                if not append.done.done():
                    append.done.set_result(stored)

    async def _commit_writes(self) -> None:
        writes, self._writes = self._writes, []
        if writes:
            with self._committing(writes):
                await self._commit(writes)

    async def _commit(self, writes: Sequence[_Write]) -> None:
        """All in one transaction; if that fails, each in its own, so that one that is refused takes no other with it."""
        try:
            with self._measured():
                results = await self._sqlite.transact(
                    [write.query for write in writes], last_resort=any(write.last_resort for write in writes)
                )
        except UnusableStoreError as error:
            _fail(writes, error)
            raise
        except Exception as error:  # noqa: BLE001 - it is the caller's: the query is, and so is what it raises
            self._note(error)
            if len(writes) == 1:
                _fail(writes, error)
            else:
                for write in writes:
                    if not write.was_told:
                        await self._commit([write])
        else:
            for write, result in zip(writes, results, strict=True):
                if write.committed is not None:
                    write.committed(result)
                if not write.done.done():
                    write.done.set_result(result)

    def _note(self, error: Exception) -> None:
        if isinstance(error, UnavailableStoreError):
            self._refused = str(error)

    @contextmanager
    def _committing(self, waiting: Sequence[_Waiting]) -> Iterator[None]:
        """With an alarm: one for all of them, since a timer for each would cost as much as its row, and however often they are tried.

        Those of a commit that is broken off stay in flight: whoever breaks it off tells them.
        """
        self._in_flight = waiting
        self._set_alarm()
        try:
            yield
        finally:
            self._alarm.cancel()
        self._in_flight = ()

    @contextmanager
    def _measured(self) -> Iterator[None]:
        started = self._clock.monotonic()
        yield
        self._observe(self._clock.monotonic() - started)

    def _set_alarm(self) -> None:
        self._alarm = asyncio.get_running_loop().call_later(PATIENCE_SECONDS, self._ring)

    def _ring(self) -> None:
        self._refused = f"the disk has not confirmed a commit for {PATIENCE_SECONDS:g} s"
        self._abandon(self._refused)
        self._set_alarm()  # for whoever comes while it still hangs

    def _abandon(self, why: str) -> None:
        """What is being committed may yet be written; what only waits never will be."""
        _fail(self._in_flight, UncertainError(f"{why}: this may or may not have been written, read it again before you repeat it"))
        _fail((*self._appends, *self._writes), TemporaryError(f"{why}: not written"))
        self._appends.clear()
        self._writes.clear()


def _keep_newest(connection: Connection, ignored: Sequence[dict[str, Any]]) -> None:
    connection.execute(insert(ignored_alerts), ignored[-KEPT_IGNORED:])
    newest = select(func.max(ignored_alerts.c.arrival)).scalar_subquery()
    connection.execute(delete(ignored_alerts).where(ignored_alerts.c.arrival <= newest - KEPT_IGNORED))


def _take(new: set[Any], rows: Sequence[AlertRow]) -> int:
    """How many of `rows` were new; each key counts once, for the first who brought it."""
    taken = {row[:3] for row in rows} & new
    new -= taken
    return len(taken)


def _fail(waiting: Sequence[_Waiting], error: Exception) -> None:
    for one in waiting:
        if not one.done.done():
            one.done.set_exception(error)
