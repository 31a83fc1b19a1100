"""Reading, and the one writer: whatever waits is committed together (group commit), which is how durable is also fast."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from sqlalchemy import Connection, Row, Select, UpdateBase, delete, func, insert, select

from rollbackd.clock import Clock
from rollbackd.errors import RollbackdError, TemporaryError, UncertainError
from rollbackd.store.sqlite import AlertRow, Sqlite, UnusableStoreError
from rollbackd.store.tables import ignored_alerts

T = TypeVar("T")

Query = Callable[[Connection], T]
"""What is done with a connection. A write may be run twice before it is committed, so it changes nothing but the store."""

KEPT_IGNORED: Final = 1_000
ENOUGH_FOR_ONE_COMMIT: Final = 256


@dataclass(slots=True, eq=False)
class _Write(Generic[T]):
    query: Query[T]
    done: "asyncio.Future[T]"
    committed: Callable[[T], None] | None


@dataclass(slots=True, eq=False)
class _Append:
    rows: Sequence[AlertRow]
    ignored: Sequence[dict[str, Any]]
    done: "asyncio.Future[int]"


class Database:
    """`run()` must be running for anything to be written."""

    def __init__(self, sqlite: Sqlite, clock: Clock, observe: Callable[[float], None]) -> None:
        self._sqlite = sqlite
        self._clock = clock
        self._observe = observe  # the seconds of each commit
        self._writes: list[_Write[Any]] = []
        self._appends: list[_Append] = []
        self._wake = asyncio.Event()
        self._closed = False

    async def read(self, query: Query[T]) -> T:
        with self._sqlite.translating():
            async with self._sqlite.readers.connect() as connection:
                return await connection.run_sync(query)

    async def all(self, statement: Select[Any], make: Callable[[Row[Any]], T]) -> tuple[T, ...]:
        return await self.read(lambda connection: tuple(map(make, connection.execute(statement))))

    async def execute(self, statement: UpdateBase) -> int:
        """One statement as a write of its own; the number of rows that it changed."""
        return await self.write(lambda connection: connection.execute(statement).rowcount)

    async def write(self, query: Query[T], *, committed: Callable[[T], None] | None = None) -> T:
        """What `query` returns, once it is durable; `committed` hears it at that moment, also when the caller has gone.

        Raises:
            TemporaryError: not written; the disk is full, say.
            UncertainError: the store closed before it knew.
            Exception: whatever `query` raises, and then nothing of it is written.
        """
        write = _Write(query, self._future(), committed)
        self._writes.append(write)
        self._wake.set()
        result: T = await write.done
        return result

    async def append(self, rows: Sequence[AlertRow], ignored: Sequence[dict[str, Any]]) -> int:
        """How many of `rows` were new, once they are durable (I2)."""
        append = _Append(rows, ignored, self._future())
        self._appends.append(append)
        self._wake.set()
        return await append.done

    def _future(self) -> "asyncio.Future[Any]":
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
            for done in (*(write.done for write in self._writes), *(append.done for append in self._appends)):
                _fail(done, UncertainError("the store closed before it confirmed a write: read it again before you repeat it"))

    async def _let_others_join(self) -> None:
        """Go on as soon as a turn of the event loop brings no one new: nobody waits, and a busy store commits half as often."""
        waiting = 0
        while waiting < len(self._appends) < ENOUGH_FOR_ONE_COMMIT:
            waiting = len(self._appends)
            await asyncio.sleep(0)

    async def _commit_appends(self) -> None:
        appends = tuple(self._appends)
        if not appends:
            return
        rows = [row for append in appends for row in append.rows]
        ignored = [row for append in appends for row in append.ignored]
        try:
            with self._measured(), self._sqlite.translating():
                new = set(await self._sqlite.append(rows)) if rows else set()
                if ignored:
                    await self._sqlite.writing.run_sync(_in_transaction, [lambda connection: _keep_newest(connection, ignored)])
        except RollbackdError as error:
            for append in appends:
                _fail(append.done, error)
            if isinstance(error, UnusableStoreError):
                raise
        else:
            all_are_new = len(new) == len(rows)
            for append in appends:
                stored = len(append.rows) if all_are_new else _take(new, append.rows)
                if not append.done.done():
                    append.done.set_result(stored)
        del self._appends[: len(appends)]

    async def _commit_writes(self) -> None:
        writes = tuple(self._writes)
        if writes:
            await self._commit(writes)
            del self._writes[: len(writes)]

    async def _commit(self, writes: Sequence[_Write[Any]]) -> None:
        """All in one transaction; if that fails, each in its own, so that one that is refused takes no other with it."""
        try:
            with self._measured(), self._sqlite.translating():
                results = await self._sqlite.writing.run_sync(_in_transaction, [write.query for write in writes])
        except UnusableStoreError as error:
            for write in writes:
                _fail(write.done, error)
            raise
        except Exception as error:  # noqa: BLE001 - it is the caller's: the query is, and so is what it raises
            if len(writes) == 1:
                _fail(writes[0].done, error)
            else:
                for write in writes:
                    await self._commit([write])
        else:
            for write, result in zip(writes, results, strict=True):
                if write.committed is not None:
                    write.committed(result)
                if not write.done.done():
                    write.done.set_result(result)

    @contextmanager
    def _measured(self) -> Iterator[None]:
        started = self._clock.monotonic()
        yield
        self._observe(self._clock.monotonic() - started)


def _in_transaction(connection: Connection, queries: Sequence[Query[Any]]) -> list[Any]:
    with connection.begin():
        return [query(connection) for query in queries]


def _keep_newest(connection: Connection, ignored: Sequence[dict[str, Any]]) -> None:
    connection.execute(insert(ignored_alerts), ignored[-KEPT_IGNORED:])
    newest = select(func.max(ignored_alerts.c.arrival)).scalar_subquery()
    connection.execute(delete(ignored_alerts).where(ignored_alerts.c.arrival <= newest - KEPT_IGNORED))


def _take(new: set[Any], rows: Sequence[AlertRow]) -> int:
    """How many of `rows` were new; each key counts once, for the first who brought it."""
    taken = {row[:3] for row in rows} & new
    new -= taken
    return len(taken)


def _fail(done: "asyncio.Future[Any]", error: BaseException) -> None:
    if not done.done():
        done.set_exception(error)
