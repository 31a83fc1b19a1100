"""An event loop whose time moves only when nothing is left to do: hours of waiting take as long as the work between them."""

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from random import Random
from typing import Any, Final, TypeVar

T = TypeVar("T")

_TRIPS: Final = (0.0, 0.0, 0.001, 0.004)
"""Seconds that work takes in another thread, half of it before and half of it after what it does."""


_LEAST: Final = 1e-6
"""Below what a float of so many seconds can tell apart, time would not move at all."""

_TURNS_A_MINUTE: Final = 300_000


class StuckError(AssertionError):
    """Nothing is ready and nothing will be: whoever waits, waits for ever."""


class BusyError(AssertionError):
    """Somebody asks again and again without waiting."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """Work for other threads is done on the loop's own, at a moment drawn from `chance`, so that every run of a seed is the same.

    `before_work` is called with the thread's name before such work is done and `after_work` when it is, before anybody hears of it: the
    seams for a death before a commit, and between it and its answer. Once it is `dead` nothing that was asked for is done
    any more, but what `lets_go` of files.
    """

    def __init__(self, *, now: float, chance: Random) -> None:
        self._virtual = now
        super().__init__(_Idle(self))
        self._chance = chance
        self._tasks_made = 0
        self._minute, self._turns = 0, 0
        self.dead = False
        self.before_work: Callable[[str], None] = lambda _thread: None
        self.after_work: Callable[[str], None] = lambda _thread: None
        self.lets_go: Callable[[Callable[[], object]], bool] = lambda _work: False
        self.set_task_factory(_Task.made)  # type: ignore[arg-type]  # as asyncio calls it

    def time(self) -> float:
        return self._virtual

    def idle(self, seconds: float | None) -> None:
        if seconds is None:
            raise StuckError("nothing is ready, and nothing is waited for")
        self._virtual += max(seconds, _LEAST)

    def turn(self) -> None:
        minute = int(self._virtual // 60)
        self._turns = self._turns + 1 if minute == self._minute else 0
        self._minute = minute
        if self._turns > _TURNS_A_MINUTE:
            self._turns = 0
            raise BusyError(f"over {_TURNS_A_MINUTE} turns of the loop in one minute")

    def next_task(self) -> int:
        self._tasks_made += 1
        return self._tasks_made

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        future: asyncio.Future[Any] = self.create_future()
        if executor is not None:
            executor.given()
        self._later(self._work, future, executor, _bound(func, args))
        return future

    def _later(self, callback: Callable[..., None], *arguments: Any) -> None:
        seconds = self._chance.choice(_TRIPS) / 2
        if seconds:
            self.call_later(seconds, callback, *arguments)
        else:
            self.call_soon(callback, *arguments)

    def _work(self, future: asyncio.Future[Any], executor: Any, work: Callable[[], Any]) -> None:
        thread = "" if executor is None else executor.name
        if self.dead and not self.lets_go(work):
            return
        result, error = None, None
        try:
            self.before_work(thread)
            result = work()
        except Exception as e:  # noqa: BLE001 - whoever asked for it gets it
            error = e
        if executor is not None:
            executor.done()
        self.after_work(thread)
        self._later(self._deliver, future, result, error)

    def _deliver(self, future: asyncio.Future[Any], result: Any, error: Exception | None) -> None:
        if future.done() or (self.dead and error is not None):
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)


def _bound(func: Callable[..., T], args: tuple[Any, ...]) -> Callable[[], T]:
    def work() -> T:
        return func(*args)

    work.__name__ = getattr(func, "__name__", "work")
    return work


class _Idle(selectors.BaseSelector):
    """Asks the kernel nothing: there is no other thread and no socket that could wake this loop."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self._keys: dict[Any, selectors.SelectorKey] = {}

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        key = selectors.SelectorKey(fileobj, fileobj if isinstance(fileobj, int) else fileobj.fileno(), events, data)
        self._keys[fileobj] = key
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._keys.pop(fileobj)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self._loop.turn()
        if timeout is None or timeout > 0:
            self._loop.idle(timeout)
        return []

    def get_map(self) -> Any:
        return self._keys


class _Task(asyncio.Task[Any]):
    """Tasks are kept in sets, whose order is that of their hashes: here that in which they were made, and not of their addresses."""

    _number = 0

    @classmethod
    def made(cls, loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any], **more: Any) -> "_Task":
        assert isinstance(loop, VirtualLoop)
        task = cls.__new__(cls)
        task._number = loop.next_task()  # before it is made: then it registers itself, by its hash
        task.__init__(coroutine, loop=loop, **more)  # type: ignore[misc]
        return task

    def __hash__(self) -> int:
        return self._number
