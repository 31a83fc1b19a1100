"""Backup and check of a store's file. Both only read it, so both are safe beside a running daemon."""

import asyncio
import errno
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import Final, TypeVar
from urllib.parse import quote

from rollbackd.errors import MisconfiguredError, NotFoundError, TemporaryError
from rollbackd.store.threads import Threads

T = TypeVar("T")

PASSES: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ENFILE, errno.EMFILE})
"""No mistake in a config: it may work when it is tried again."""

_LAST_SECONDS: Final = 5.0


async def backup(path: Path, target: Path) -> None:
    """A whole and consistent copy at `target`, by SQLite's backup API; what stood there before is replaced only by a finished one.

    Raises:
        sqlite3.DatabaseError: the store is damaged; `sqlite.translating` says it to a person.
        TemporaryError: the disk is full, say.
        MisconfiguredError: it cannot be written there at all; or `target` belongs to the store, which would be gone under a running daemon.
    """
    if _belongs_to(path, target):
        raise MisconfiguredError(f"{target} is a file of the store itself: give the copy another name")
    await _in_thread(path, partial(_copy, target=target))


def copy(path: Path, target: Path) -> None:
    """As `backup`, for a thread that may wait."""
    with closing(_reading(path)) as source:
        _copy(source, target)


async def check(path: Path) -> tuple[str, ...]:
    """What is wrong with the file, worst first and at most a hundred lines; empty when nothing is."""
    return await _in_thread(path, _damage)


async def check_quickly(path: Path) -> tuple[str, ...]:
    """As `check`, but the indexes are not compared with their tables, which takes by far the most of the time."""
    return await _in_thread(path, lambda connection: _told(connection, "quick_check"))


async def _in_thread(path: Path, work: Callable[[sqlite3.Connection], T]) -> T:
    connection, thread = _reading(path), Threads(1, "store maintenance")

    def whole() -> T:
        with closing(connection):
            return work(connection)

    working = asyncio.get_running_loop().run_in_executor(thread, whole)
    thread.shutdown()
    try:
        await asyncio.wait({working})
    except asyncio.CancelledError:
        with suppress(sqlite3.ProgrammingError):  # it has just closed its connection
            connection.interrupt()  # or the thread goes on for as long as the file is big
        await asyncio.wait({working}, timeout=_LAST_SECONDS)
        raise
    return working.result()


def _belongs_to(path: Path, target: Path) -> bool:
    store = path.resolve()
    own = {store.with_name("lock"), *(store.with_name(store.name + suffix) for suffix in ("", "-wal", "-shm", "-journal"))}
    return target.resolve() in own


def _reading(path: Path) -> sqlite3.Connection:
    if not path.exists():
        raise NotFoundError(f"no store at {path}: look at store.url in the config")
    return sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, isolation_level=None, check_same_thread=False)


def _copy(source: sqlite3.Connection, target: Path) -> None:
    try:
        _copy_whole(source, target)
    except OSError as error:
        why = f"a copy of the store cannot be written to {target}: {error.strerror}"
        raise (TemporaryError(why) if error.errno in PASSES else MisconfiguredError(why)) from error


def _copy_whole(source: sqlite3.Connection, target: Path) -> None:
    unfinished = target.with_name(f"{target.name}.unfinished")
    unfinished.unlink(missing_ok=True)
    file = os.open(unfinished, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with closing(sqlite3.connect(unfinished)) as copied:
            source.backup(copied)
            if damage := _told(copied, "quick_check"):  # the pages are copied as they are
                error = sqlite3.DatabaseError(damage[0])
                error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
                raise error
        os.fsync(file)
        unfinished.replace(target)
    finally:
        os.close(file)
        unfinished.unlink(missing_ok=True)


def _damage(connection: sqlite3.Connection) -> tuple[str, ...]:
    if damage := _told(connection, "integrity_check"):
        return damage
    orphans = connection.execute("PRAGMA foreign_key_check").fetchmany(100)
    return tuple(f"row {row[1]} of {row[0]} refers to a missing row of {row[2]}" for row in orphans)


def _told(connection: sqlite3.Connection, pragma: str) -> tuple[str, ...]:
    """A file that is too damaged to be read through says so as well, and not by an error."""
    try:
        return tuple(str(row[0]) for row in connection.execute(f"PRAGMA {pragma}") if row[0] != "ok")
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF != sqlite3.SQLITE_CORRUPT:
            raise
        return (str(error),)
