"""Every task of the daemon has a name and an owner here, so that none is lost and a failure is never silent.

A task that fails takes the daemon down, in order: systemd starts it again and it resumes from the store. What may fail by itself
(one incident, one source) handles its own errors below.
"""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Self, TypeVar

from rollbackd.errors import RollbackdError

T = TypeVar("T")


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


class _Together:
    """The tasks that one block starts."""

    def __init__(self) -> None:
        self.tasks: list[asyncio.Task[Any]] = []

    def create_task(self, coroutine: Coroutine[Any, Any, T], *, name: str | None = None) -> asyncio.Task[T]:
        task = asyncio.get_running_loop().create_task(coroutine, name=name)
        self.tasks.append(task)
        return task


@asynccontextmanager
async def together() -> AsyncIterator[_Together]:
    """Tasks that stand and fall together: leaving the block waits for all, and what one of them raises ends the others.

    Callers go by the family of an error, so it is raised as itself, and not in a group. Where several fail at once, a bug is worth more
    than an error that was foreseen.

    An asyncio.TaskGroup cancels the task that waits for it, and up to Python 3.12 does not always take that back. With 3.11.2, Debian
    12's, every later asyncio.timeout of that task then ends in a cancellation instead of a TimeoutError: whoever goes on after an
    error, as an incident does, would be gone at its next wait, without a word.
    """
    group = _Together()
    try:
        yield group
        if group.tasks:
            await asyncio.wait(group.tasks, return_when=asyncio.FIRST_EXCEPTION)
    finally:
        for task in group.tasks:
            task.cancel()
        ended = await asyncio.gather(*group.tasks, return_exceptions=True)
    errors = [one for one in ended if isinstance(one, Exception)]
    if errors:
        raise next((error for error in errors if not isinstance(error, RollbackdError)), errors[0])
