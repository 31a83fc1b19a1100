"""One run of the daemon, from its start to a stop or a death, on a loop of its own."""

import asyncio
import contextlib
from collections.abc import Coroutine
from dataclasses import replace
from datetime import datetime
from random import Random
from typing import TYPE_CHECKING, Any, TypeVar

from rollbackd import app
from rollbackd.clock import SystemClock
from tests.simulation.loop import VirtualLoop

if TYPE_CHECKING:
    from tests.simulation.world import World

T = TypeVar("T")


class DiedError(Exception):
    """The daemon is no more; whoever asked it something gets no answer."""


class KilledError(BaseException):
    """Stops the task that the death comes from. Nothing of the daemon runs after it, so nobody has to handle it."""


class LifeClock(SystemClock):
    """The real one, over a machine whose wall clock anyone may set. The world is told what rollbackd's own time is."""

    def __init__(self, world: "World", loop: VirtualLoop) -> None:
        self._world = world
        self._loop = loop
        super().__init__()

    @property
    def booted_at(self) -> datetime:
        return self._booted_at

    @booted_at.setter
    def booted_at(self, instant: datetime) -> None:
        self._booted_at = instant
        self._world.own_time_is(booted_at=instant)

    def monotonic(self) -> float:
        return self._loop.time()


class Life:
    def __init__(self, world: "World", *, now: float) -> None:
        self._world = world
        self.loop = VirtualLoop(now=now, chance=Random(world.chance.random()))
        self.loop.set_exception_handler(lambda _loop, _context: None)  # what an end leaves behind; an end itself is in `failure`
        self.loop.lets_go = lambda work: getattr(work, "__name__", "") == "close"
        self.clock = LifeClock(world, self.loop)
        self.failure: BaseException | None = None
        self.daemon: app.Daemon | None = None
        self._stop = asyncio.Event()
        self._up = asyncio.Event()
        self._main: asyncio.Task[None] | None = None
        self._stopping = False

    def start(self) -> None:
        """Raises DiedError when it does not come up."""
        asyncio.set_event_loop(None)
        self._main = self.loop.create_task(self._serve(), name="daemon")
        self._main.add_done_callback(self._ended)
        self.do(self._up.wait())

    def do(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Let the daemon live until this is done. Raises DiedError when it dies before that."""
        task = self.loop.create_task(coroutine, name="outside")
        task.add_done_callback(lambda _task: self.loop.stop())
        self.loop.run_forever()
        if self.loop.dead:
            raise DiedError
        return task.result()

    def die(self) -> None:
        """At once: from here on nothing that it asks for is done."""
        self.loop.dead = True
        self.loop.stop()

    async def still_alive(self) -> None:
        """What the dead would start does not start."""
        if self.loop.dead:
            await asyncio.Event().wait()

    def stop(self) -> None:
        """SIGTERM. Raises DiedError when it dies over it."""
        assert self._main is not None
        self._stopping = True
        self._stop.set()
        main = self._main

        async def ended() -> None:
            with contextlib.suppress(BaseException):
                await asyncio.shield(main)

        self.do(ended())

    def bury(self) -> None:
        """End its tasks, none of which has any effect any more, and let go of its files as the kernel would."""
        self.loop.dead = True
        for _ in range(1000):
            tasks = asyncio.all_tasks(self.loop)
            if not tasks:
                break
            for task in tasks:
                task.cancel()
            self.loop.call_later(60, self.loop.stop)
            self.loop.run_forever()
        else:
            raise AssertionError(f"tasks that cannot be cancelled: {asyncio.all_tasks(self.loop)}")
        self.loop.close()

    async def _serve(self) -> None:
        settings = replace(self._world.settings, store_url=self._world.store_url)
        async with app.running(settings, clock=self.clock) as daemon:
            self.daemon = daemon
            self._up.set()
            await self._stop.wait()

    def _ended(self, main: asyncio.Task[None]) -> None:
        if main.cancelled() or self.loop.dead:
            return
        error = main.exception()
        if error is not None or not self._stopping:
            self.failure = error or AssertionError("the daemon ended by itself")
            self.die()
