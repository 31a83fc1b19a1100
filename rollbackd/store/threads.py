"""Threads for what waits for a disk. A disk that hangs takes its thread with it, but neither the closing of the store nor the exit."""

from collections.abc import Callable
from concurrent.futures import Executor, Future
from functools import partial
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_Call = tuple[Future[Any], Callable[[], Any]]


class Threads(Executor):
    """As many as `count`, for as long as nobody shuts them down. `ended` is done when the last of them has gone.

    Those of the standard library are waited for at the exit of the process, however long one hangs.
    """

    def __init__(self, count: int, name: str) -> None:
        self.ended: Future[None] = Future()
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        self._left = count
        self._leaving = Lock()
        for number in range(count):
            Thread(target=self._work, name=f"{name} {number}", daemon=True).start()

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        future: Future[T] = Future()
        self._calls.put((future, partial(fn, *args, **kwargs)))
        return future

    def shutdown(self, wait: bool = False, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - the signature of Executor
        """Nothing may be submitted after this; what was before is done, unless it is cancelled."""
        while cancel_futures:
            try:
                call = self._calls.get_nowait()
            except Empty:
                break
            if call is not None:
                call[0].cancel()
        for _ in range(self._left):
            self._calls.put(None)
        if wait:
            self.ended.result()

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            future, function = call
            if future.set_running_or_notify_cancel():
                try:
                    result = function()
                except BaseException as error:  # noqa: BLE001 - it is the caller's
                    future.set_exception(error)
                else:
                    future.set_result(result)
                    del result
            del call, future, function  # or they would be kept alive until the next call
        with self._leaving:
            self._left -= 1
            is_last = self._left == 0
        if is_last:
            self.ended.set_result(None)
