"""Every task of the daemon has a name and an owner here, so that none is lost and a failure is never silent.

A task that fails takes the daemon down, in order: systemd starts it again and it resumes from the store. What may fail by itself
(one incident, one source) handles its own errors below.
"""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Self

from rollbackd.errors import RollbackdError


class Supervisor:
    """An asyncio.TaskGroup whose tasks are named; leaving it normally ends those that run for ever."""

    def __init__(self) -> None:
        self._group = asyncio.TaskGroup()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        return self

    async def __aexit__(self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None) -> None:
        self.cancel_all()
        await self._group.__aexit__(exc_type, exc, traceback)

    def spawn(self, name: str, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._group.create_task(coroutine, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def cancel_all(self) -> None:
        for task in self._tasks:
            task.cancel()


@asynccontextmanager
async def together() -> AsyncIterator[asyncio.TaskGroup]:
    """Tasks that stand and fall together, like a TaskGroup; but what one of them raises is raised as itself and not in a group.

    Callers go by the family of an error. Where several fail at once, a bug is worth more than an error that was foreseen.
    """
    errors: tuple[BaseException, ...] = ()
    try:
        async with asyncio.TaskGroup() as group:
            yield group
    except BaseExceptionGroup as failed:
        errors = failed.exceptions
    if errors:  # not from within `except`: the error keeps the cause that it has
        raise next((error for error in errors if not isinstance(error, RollbackdError)), errors[0])
