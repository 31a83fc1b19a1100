"""Backup and check of a store's file. Both only read it, so both are safe beside a running daemon."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import quote

import aiosqlite

from rollbackd.errors import NotFoundError


@asynccontextmanager
async def _reading(path: Path) -> AsyncIterator[aiosqlite.Connection]:
    if not path.exists():  # noqa: ASYNC240 - a local file
        raise NotFoundError(f"no store at {path}: look at store.url in the config")
    async with aiosqlite.connect(f"file:{quote(str(path))}?mode=ro", uri=True, isolation_level=None) as connection:
        try:
            yield connection
        except asyncio.CancelledError:
            await connection.interrupt()  # or the thread goes on for as long as the file is big
            raise


async def backup(path: Path, target: Path) -> None:
    """A whole and consistent copy at `target`, by SQLite's backup API; what stood there before is replaced only by a finished one."""
    unfinished = target.with_name(f"{target.name}.unfinished")
    unfinished.unlink(missing_ok=True)
    file = os.open(unfinished, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        async with _reading(path) as source, aiosqlite.connect(unfinished) as copy:
            await source.backup(copy)
        os.fsync(file)
        unfinished.replace(target)
    finally:
        os.close(file)
        unfinished.unlink(missing_ok=True)


async def check(path: Path) -> tuple[str, ...]:
    """What is wrong with the file, worst first and at most a hundred lines; empty when nothing is."""
    async with _reading(path) as connection:
        damage = [str(row[0]) for row in await connection.execute_fetchall("PRAGMA integrity_check") if row[0] != "ok"]
        orphans = await connection.execute_fetchall("PRAGMA foreign_key_check")
        return (*damage, *(f"row {row[1]} of {row[0]} refers to a missing row of {row[2]}" for row in orphans))[:100]
