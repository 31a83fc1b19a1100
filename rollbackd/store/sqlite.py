"""All that is SQLite's own: the file, its settings, its errors, and the one statement of the hot path.

SQLite up to 3.51.2 can lose an acknowledged commit when two connections write and checkpoint at once. So one connection does all of
that, and every other one is opened read-only.
"""

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager, contextmanager
from datetime import timedelta
from functools import cache, partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, TypeVar, cast
from urllib.parse import quote

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.pool import NullPool

from rollbackd.errors import MisconfiguredError, PermanentError, RollbackdError, TemporaryError
from rollbackd.store import maintenance, schema
from rollbackd.store.lock import locked

APPLICATION_ID: Final = 0x726C6264  # "rlbd", in the header of every store
OLDEST_SQLITE: Final = (3, 35, 0)  # the first with RETURNING, which the timeline asks for
READERS: Final = 4
READER_SECONDS: Final = 10.0  # at most for a read, the wait for a free reader included

ROWS_PER_STATEMENT: Final = 64

T = TypeVar("T")

Query = Callable[[Connection], T]
"""What is done with a connection. A write may be run twice before it is committed, so it changes nothing but the store."""
AlertRow = tuple[int, str, str, int, str]
"""starts_at, fingerprint, status, received_at, rest; instants in microseconds."""
AlertKey = tuple[int, str, str]
"""starts_at, fingerprint, status."""
_SETTINGS: Final = (("journal_mode", "WAL", "wal"), ("synchronous", "FULL", 2), ("foreign_keys", "ON", 1))
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


def translated_error(error: BaseException, path: Path) -> RollbackdError | None:
    """The family that an error of sqlite3 belongs to; None: it is a bug of ours."""
    match error:
        case sqlite3.IntegrityError():
            return PermanentError(f"the store refuses this: {error}")
        case sqlite3.OperationalError() | sqlite3.DatabaseError(sqlite_errorcode=sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB):
            code = getattr(error, "sqlite_errorcode", 0)
            if why := _UNUSABLE.get(code) or _UNUSABLE.get(code & 0xFF):
                return UnusableStoreError(f"{path} {why}")
            return TemporaryError(f"the store cannot be used now: {error}", retry_after=timedelta(seconds=5))
    return None


@contextmanager
def translating(path: Path) -> Iterator[None]:
    """The errors of sqlite3, plain or wrapped by SQLAlchemy, become our families."""
    try:
        yield
    except (sqlite3.Error, DBAPIError) as error:
        translated = translated_error(error.orig if isinstance(error, DBAPIError) and error.orig else error, path)
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

    def __init__(self, path: Path, writer: Executor, writing: Connection, newest_alert: int) -> None:
        self.path = path
        self._writing = writing
        self._writer = writer
        self._newest_alert = newest_alert
        self._reading = _read_only(path)
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="store reader")

    async def read(self, query: Query[T]) -> T:
        """Each read is one statement, or some, without a transaction around: it holds up no checkpoint."""
        with translating(self.path):
            try:
                async with asyncio.timeout(READER_SECONDS):
                    return await _trip(self._readers, self._read, query)
            except TimeoutError as error:
                raise TemporaryError(f"the store is busy: all {READERS} readers are", retry_after=timedelta(seconds=1)) from error

    async def transact(self, queries: Sequence[Query[Any]]) -> list[Any]:
        """What they return, once all of them are durable. When one raises, nothing of any of them is written."""
        with translating(self.path):
            return await _trip(self._writer, self._transact, queries)

    async def append(self, rows: Sequence[AlertRow]) -> AbstractSet[AlertKey] | None:
        """Durable when it returns. None: all of them were new; else the keys of those that were."""
        with translating(self.path):
            return await _trip(self._writer, self._append, rows)

    async def close(self) -> None:
        await _trip(self._writer, self._close)

    def _close(self) -> None:
        """The readers before the writer: the connection that closes last is the one that checkpoints."""
        self._readers.shutdown(cancel_futures=True)
        self._reading.dispose()
        self._writing.close()

    def _read(self, query: Query[T]) -> T:
        with self._reading.connect() as connection:
            return query(connection)

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
async def opened(url: str) -> AsyncIterator[Sqlite]:
    """Lock the directory, open the file with settings that are read back, and bring its schema up to date, after a backup.

    Raises:
        RefusedError: another process has it open.
        MisconfiguredError: it cannot be created, is not a store of rollbackd, or was written by a newer version.
        UnusableStoreError: it is damaged, or not ours to write.
    """
    path = path_of(url)
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        raise MisconfiguredError(f"SQLite {sqlite3.sqlite_version} is too old: rollbackd needs 3.35 or newer")
    with ExitStack() as stack:
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            stack.enter_context(locked(path.parent))
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        except OSError as error:
            raise MisconfiguredError(f"cannot open {path}: {error.strerror}", path="store.url") from error
        writer = ThreadPoolExecutor(1, thread_name_prefix="store writer")
        stack.callback(partial(writer.shutdown, wait=False))
        with translating(path):
            file = Sqlite(path, writer, *await _trip(writer, _open, path))
        try:
            yield file
        finally:
            await file.close()


async def _trip(threads: Executor, function: Callable[..., T], *arguments: Any) -> T:
    return await asyncio.get_running_loop().run_in_executor(threads, function, *arguments)


def _open(path: Path) -> tuple[Connection, int]:
    """The connection that writes, to a file whose schema is this version's, and the number of its newest alert."""
    with ExitStack() as stack:
        writing = stack.enter_context(_writer(path).connect())
        driver = _driver(writing)
        revision = _identify(path, driver)
        _configure(driver)
        if schema.must_upgrade(revision):
            _upgrade(path, writing, backup=revision is not None)
        newest_alert = _ask(driver, "SELECT coalesce(max(id), 0) FROM alerts")
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
