"""All that is SQLite's own: the file, its settings, its errors, and the one statement of the hot path.

SQLite up to 3.51.2 can lose an acknowledged commit when two connections write and checkpoint at once. So one connection does all of
that, and every other one is opened read-only.
"""

import asyncio
import os
import sqlite3
import stat
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import Executor
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from datetime import timedelta
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, TypeVar, cast
from urllib.parse import quote

import structlog
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.pool import NullPool

from rollbackd.errors import MisconfiguredError, PermanentError, RollbackdError, TemporaryError
from rollbackd.model.decision import RoomFacts
from rollbackd.store import maintenance, schema
from rollbackd.store.lock import locked
from rollbackd.store.reserve import Reserve
from rollbackd.store.threads import Threads

APPLICATION_ID: Final = 0x726C6264  # "rlbd", in the header of every store
OLDEST_SQLITE: Final = (3, 35, 0)  # the first with RETURNING, which the timeline asks for
READERS: Final = 4
READER_SECONDS: Final = 10.0  # at most for a read, the wait for a free reader included
CLOSING_SECONDS: Final = 5.0  # at most for the readers, and then for the writer

ROWS_PER_STATEMENT: Final = 64

_log: Final = structlog.get_logger("store")

T = TypeVar("T")

Query = Callable[[Connection], T]
"""What is done with a connection. A write may be run twice before it is committed, so it changes nothing but the store."""
AlertRow = tuple[int, str, str, int, str]
"""starts_at, fingerprint, status, received_at, rest; instants in microseconds."""
AlertKey = tuple[int, str, str]
"""starts_at, fingerprint, status."""
_SETTINGS: Final = (
    ("journal_mode", "WAL", "wal"),
    ("synchronous", "FULL", 2),
    ("foreign_keys", "ON", 1),
    ("cache_size", -512, -512),  # KiB a connection, not 2,000: the kernel has the file's pages already, and memory has its height early
)
_UNUSABLE: Final = MappingProxyType({
    sqlite3.SQLITE_NOTADB: "is not an SQLite database: set store.url to another file, or restore a backup",
    sqlite3.SQLITE_CORRUPT: "is damaged: `rollbackd db check` says where; restore a backup",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened: look at its owner, its mode and its directory",
    sqlite3.SQLITE_READONLY: "cannot be written: look at its owner, its mode and how its disk is mounted",
    sqlite3.SQLITE_IOERR_FSYNC: "was not kept by the disk: check the disk, then `rollbackd db check`",
    sqlite3.SQLITE_IOERR_DIR_FSYNC: "was not kept by the disk: check the disk, then `rollbackd db check`",
})  # fmt: skip


class UnusableStoreError(PermanentError):
    """The file cannot be trusted, or not be written any more: whoever serves from it must stop."""


class DamagedStoreError(UnusableStoreError):
    """What is in the file is not what was written there."""


class UnavailableStoreError(TemporaryError):
    """The file could not be used this time: the disk is full, say."""


def translated_error(error: BaseException, path: Path) -> RollbackdError | None:
    """The family that an error of sqlite3 belongs to; None: it is a bug of ours."""
    match error:
        case sqlite3.IntegrityError():
            return PermanentError(f"the store refuses this: {error}")
        case sqlite3.OperationalError() | sqlite3.DatabaseError(sqlite_errorcode=sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB):
            code = _code(error)
            if code & 0xFF == sqlite3.SQLITE_IOERR and _is_read_only(path):
                code = sqlite3.SQLITE_READONLY
            if code & 0xFF == sqlite3.SQLITE_CANTOPEN and _has_no_descriptor():
                return UnavailableStoreError("the store cannot be used now: no file descriptor is left", retry_after=timedelta(seconds=5))
            if why := _UNUSABLE.get(code) or _UNUSABLE.get(code & 0xFF):
                is_damage = code & 0xFF in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
                return (DamagedStoreError if is_damage else UnusableStoreError)(f"{path} {why}")
            return UnavailableStoreError(f"the store cannot be used now: {error}", retry_after=timedelta(seconds=5))
    return None


def _code(error: BaseException) -> int:
    return int(getattr(error, "sqlite_errorcode", 0))


def _has_no_descriptor() -> bool:
    """SQLite says of it only that a file cannot be opened."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
    except OSError as error:
        return error.errno in maintenance.PASSES
    return False


def _is_read_only(path: Path) -> bool:
    """A disk that has failed is mounted so by the kernel. To SQLite that is one I/O error among others."""
    try:
        return bool(os.statvfs(path.parent).f_flag & os.ST_RDONLY)
    except OSError:
        return False


def _origin(error: sqlite3.Error | DBAPIError) -> BaseException:
    return error.orig if isinstance(error, DBAPIError) and error.orig else error


@contextmanager
def translating(path: Path) -> Iterator[None]:
    """The errors of sqlite3, plain or wrapped by SQLAlchemy, become our families."""
    try:
        yield
    except (sqlite3.Error, DBAPIError) as error:
        translated = translated_error(_origin(error), path)
        if translated is None:
            raise
        raise translated from error


def path_of(url: str) -> Path:
    """The file that `sqlite:////absolute/path` or `sqlite:///relative/path` names.

    Raises:
        MisconfiguredError: any other URL.
    """
    try:
        parsed = make_url(url)
    except ArgumentError:
        parsed = None
    if parsed is None or parsed.drivername != "sqlite" or parsed.database in {None, "", ":memory:"} or parsed.query:
        raise MisconfiguredError(f"{url!r} is not a store: write sqlite:////absolute/path/rollbackd.db", path="store.url")
    return Path(str(parsed.database)).absolute()


class Sqlite:
    """An open file. One connection writes, in a thread of its own; those of the readers cannot. Each call is one trip to a thread."""

    def __init__(self, path: Path, writer: Threads, writing: Connection, newest_alert: int, reserve: Reserve) -> None:
        self.path = path
        self._writing = writing
        self._writer = writer
        self._newest_alert = newest_alert
        self._reserve = reserve
        self._reading = _read_only(path)
        self._opened: list[sqlite3.Connection] = []
        event.listen(self._reading, "connect", lambda driver, _: self._opened.append(driver))
        self._readers = Threads(READERS, "store reader")
        self._is_broken = False

    async def read(self, query: Query[T]) -> T:
        """Each read is one statement, or some, without a transaction around: it holds up no checkpoint."""
        with translating(self.path):
            return await self._look(self._read, query)

    def want(self, reserve: int) -> None:
        """So many bytes from here on; `prove` holds them."""
        self._reserve.size = reserve

    async def room(self) -> RoomFacts:
        """Whether the journal of one full run has room."""
        try:
            is_held = await self._look(lambda: self._reserve.is_held)
        except (OSError, RollbackdError) as error:
            return RoomFacts(needed=self._reserve.size, is_held=None, problem=str(error))
        return RoomFacts(needed=self._reserve.size, is_held=is_held)

    async def transact(self, queries: Sequence[Query[Any]], *, last_resort: bool = False) -> list[Any]:
        """What they return, once all of them are durable. When one raises, nothing of any of them is written.

        As a `last_resort` they are written into the reserve where there is no other room.
        """
        with self._writes():
            return await _trip(self._writer, self._transact_somehow, queries, last_resort)

    async def append(self, rows: Sequence[AlertRow]) -> AbstractSet[AlertKey] | None:
        """Durable when it returns. None: all of them were new; else the keys of those that were."""
        with self._writes():
            return await _trip(self._writer, self._append, rows)

    async def prove(self) -> None:
        """Returns when the reserve is held and something was really written. Raises TemporaryError, or UnusableStoreError."""
        try:
            with self._writes():
                await _trip(self._writer, self._prove)
        except OSError as error:
            raise TemporaryError(f"there is no room for the journal of a run beside {self.path}: {error.strerror}") from error

    async def close(self) -> bool:
        """False: its writer hangs, so that nobody knows what it still does to the file; what it holds stays open.

        The connection that closes last is the one that checkpoints: the writer's, but not after the disk has failed, for then it would
        write again what the disk has just said that it did not keep.
        """
        self._readers.shutdown(cancel_futures=True)
        for driver in self._opened:
            driver.interrupt()
        is_closed = True
        for close in (self._close_writer, self._close_readers) if self._is_broken else (self._close_readers, self._close_writer):
            is_closed &= await close()
        return is_closed

    async def _close_readers(self) -> bool:
        if await _in_time(asyncio.wrap_future(self._readers.ended)):
            self._reading.dispose()
        else:
            _log.warning("store_reader_hangs", path=str(self.path), consequence="it is left behind")
        return True

    async def _close_writer(self) -> bool:
        if await _in_time(asyncio.get_running_loop().run_in_executor(self._writer, self._writing.close)):
            return True
        _log.error("store_writer_hangs", path=str(self.path), consequence="the store stays locked until the process ends")
        return False

    async def _look(self, function: Callable[..., T], *arguments: Any) -> T:
        try:
            async with asyncio.timeout(READER_SECONDS):
                return await _trip(self._readers, function, *arguments)
        except TimeoutError as error:
            raise TemporaryError(f"the store is busy: all {READERS} readers are", retry_after=timedelta(seconds=1)) from error

    @contextmanager
    def _writes(self) -> Iterator[None]:
        try:
            with translating(self.path):
                yield
        except UnusableStoreError:
            self._is_broken = True
            raise

    def _read(self, query: Query[T]) -> T:
        with self._reading.connect() as connection:
            return query(connection)

    def _transact_somehow(self, queries: Sequence[Query[Any]], last_resort: bool) -> list[Any]:  # noqa: FBT001 - a trip has no names
        try:
            return self._transact(queries)
        except (sqlite3.Error, DBAPIError) as error:
            is_full = _code(_origin(error)) & 0xFF == sqlite3.SQLITE_FULL
            if not (last_resort and is_full and self._reserve.give_up()):
                raise
        _log.warning("reserve_used", path=str(self.path), hint="the disk is full: free space, or no rollback starts by itself")
        return self._transact(queries)

    def _prove(self) -> None:
        self._reserve.hold()
        self._transact([lambda connection: connection.exec_driver_sql("UPDATE alembic_version SET version_num = version_num")])

    def _transact(self, queries: Sequence[Query[Any]]) -> list[Any]:
        with self._writing.begin():
            return [query(self._writing) for query in queries]

    def _append(self, rows: Sequence[AlertRow]) -> AbstractSet[AlertKey] | None:
        driver = _driver(self._writing)
        before = self._newest_alert
        if len(rows) <= ROWS_PER_STATEMENT:  # a statement alone is a transaction
            inserts = [_insert(driver, rows)]
        else:
            with self._writing.begin():
                inserts = [_insert(driver, rows[at : at + ROWS_PER_STATEMENT]) for at in range(0, len(rows), ROWS_PER_STATEMENT)]
        inserted = sum(insert.rowcount for insert in inserts)
        if inserted == 0:
            return frozenset()
        self._newest_alert = max(insert.lastrowid or 0 for insert in inserts if insert.rowcount)
        if inserted == len(rows):
            return None
        return frozenset(driver.execute("SELECT starts_at, fingerprint, status FROM alerts WHERE id > ?", (before,)))


def _insert(driver: sqlite3.Connection, rows: Sequence[AlertRow]) -> sqlite3.Cursor:
    return driver.execute(_insertion(len(rows)), [value for row in rows for value in row])


@cache
def _insertion(rows: int) -> str:
    """All rows in one statement, and none returned: for each that was, the thread would give the interpreter's lock away and wait for
    it again.
    """
    values = ", ".join(["(?, ?, ?, ?, ?)"] * rows)
    return f"INSERT INTO alerts (starts_at, fingerprint, status, received_at, rest) VALUES {values} ON CONFLICT DO NOTHING"  # noqa: S608 - no value


@asynccontextmanager
async def opened(url: str, *, reserve: int = 0) -> AsyncIterator[Sqlite]:
    """Lock the directory, open the file with settings that are read back, and bring its schema up to date, after a backup.

    So many bytes of `reserve` are held beside it, as far as there is room.

    Raises:
        RefusedError: another process has it open.
        MisconfiguredError: it cannot be created, is not a store of rollbackd, or was written by a newer version.
        UnusableStoreError: it is damaged, or not ours to write.
        UnavailableStoreError: the disk is full, say.
    """
    path = path_of(url)
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        raise MisconfiguredError(f"SQLite {sqlite3.sqlite_version} is too old: rollbackd needs 3.35 or newer")
    with ExitStack() as stack:
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            stack.enter_context(locked(path.parent))
            _create(path)
        except OSError as error:
            raise _not_opened(path, error) from error
        writer = Threads(1, "store writer")
        stack.callback(writer.shutdown)
        room = Reserve(path.parent, reserve)
        with translating(path):
            file = Sqlite(path, writer, *await _trip(writer, _open, path, room), room)
        try:
            yield file
        finally:
            if not await file.close():
                _HUNG.append(stack.pop_all())


def _create(path: Path) -> None:
    """Raises MisconfiguredError when somebody else could write there: it says who is paused, and what may be acted on."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        found = os.fstat(file)
    finally:
        os.close(file)
    if found.st_uid != os.geteuid():
        raise MisconfiguredError(
            f"{path} belongs to uid {found.st_uid} and rollbackd runs as {os.geteuid()}: chown it, or run as its owner", path="store.url"
        )
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise MisconfiguredError(f"{path} can be written by others: chmod go-w {path}", path="store.url")


def _not_opened(path: Path, error: OSError) -> RollbackdError:
    why = f"cannot open {path}: {error.strerror}"
    return TemporaryError(why) if error.errno in maintenance.PASSES else MisconfiguredError(why, path="store.url")


_HUNG: Final[list[ExitStack]] = []
"""What holds the locks of files that a thread may still write to: the kernel lets go of them when the process ends."""


async def _trip(threads: Executor, function: Callable[..., T], *arguments: Any) -> T:
    return await asyncio.get_running_loop().run_in_executor(threads, function, *arguments)


async def _in_time(future: "asyncio.Future[Any]") -> bool:
    """Whether it was done in time; what it raised is no news when a store closes."""
    await asyncio.wait({future}, timeout=CLOSING_SECONDS)
    if future.done() and (error := future.exception()) is not None:
        _log.warning("store_closing", error=str(error))
    return future.done()


def _open(path: Path, reserve: Reserve) -> tuple[Connection, int]:
    """The connection that writes, to a file whose schema is this version's, and the number of its newest alert."""
    with ExitStack() as stack:
        writing = stack.enter_context(_writer(path).connect())
        driver = _driver(writing)
        revision = _identify(path, driver)
        _configure(driver)
        if schema.must_upgrade(revision):
            _upgrade(path, writing, backup=revision is not None)
        newest_alert = _ask(driver, "SELECT coalesce(max(id), 0) FROM alerts")
        with suppress(OSError):  # then no rollback starts by itself, and it is tried again
            reserve.hold()
        stack.pop_all()
        return writing, newest_alert


def _writer(path: Path) -> Engine:
    engine = create_engine(URL.create("sqlite", database=str(path)), poolclass=NullPool, connect_args={"isolation_level": None})

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def _read_only(path: Path) -> Engine:
    url = URL.create("sqlite", database=f"file:{quote(str(path))}", query={"mode": "ro", "uri": "true"})
    return create_engine(url, pool_size=READERS, max_overflow=0, connect_args={"isolation_level": None, "check_same_thread": False})


def _driver(connection: Connection) -> sqlite3.Connection:
    return cast("sqlite3.Connection", connection.connection.driver_connection)


def _identify(path: Path, driver: sqlite3.Connection) -> str | None:
    """The revision of the schema, None in a new file; nothing is written before this has answered."""
    tables = _ask(driver, "SELECT count(*) FROM sqlite_master")
    if tables == 0:
        return None
    if _ask(driver, "PRAGMA application_id") != APPLICATION_ID:
        raise MisconfiguredError(f"{path} is a database of another program: give rollbackd a file of its own", path="store.url")
    return str(_ask(driver, "SELECT version_num FROM alembic_version"))


def _configure(driver: sqlite3.Connection) -> None:
    for name, value, expected in _SETTINGS:
        driver.execute(f"PRAGMA {name} = {value}")
        if (found := _ask(driver, f"PRAGMA {name}")) != expected:
            raise MisconfiguredError(f"SQLite keeps {name} at {found}, not {value}: the store must be on a local disk", path="store.url")


def _ask(driver: sqlite3.Connection, question: str) -> Any:
    ((answer,),) = driver.execute(question)
    return answer


def _upgrade(path: Path, writing: Connection, *, backup: bool) -> None:
    if backup:
        maintenance.copy(path, path.with_name(f"{path.name}.before-{schema.HEAD}"))
    with writing.begin():
        schema.upgrade(writing)
        writing.exec_driver_sql(f"PRAGMA application_id = {APPLICATION_ID}")
