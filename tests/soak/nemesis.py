"""What happens to the daemon: killed, stopped, stalled, a full disk, a Prometheus that lies. Sometimes one amid another."""

import asyncio
import random
import resource
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path
from typing import Final

from rollbackd.clock import SystemClock
from tests.fakes.prometheus import FakePrometheus, drip, hang
from tests.soak.town import Town

Fault = Callable[[], AbstractAsyncContextManager[None]]

_STOP_SECONDS: Final = 30.0
_VECTOR: Final = '{"status":"success","data":{"resultType":"vector","result":[%s]}}'
_LIES: Final[Sequence[Callable[[FakePrometheus], None]]] = (
    lambda fake: fake.fail(".", 503),
    lambda fake: fake.send(".", "<html>"),
    lambda fake: fake.send(".", _VECTOR % ""),
    lambda fake: fake.send(".", _VECTOR % '{"metric":{},"value":[0,"NaN"]}'),
    lambda fake: fake.answer(".", 700, warnings=["half of it is missing"]),
    lambda fake: fake.answer(".", ({"instance": "a"}, 700), ({"instance": "b"}, 700)),
    lambda fake: fake.handle(".", hang),
    lambda fake: fake.handle(".", drip(0.1)),
)


class Nemesis:
    """`disk` is a small file system of the daemon's own that may be filled up; without one only the size of its files is limited."""

    def __init__(self, town: Town, seed: str, violations: list[str], *, disk: Path | None) -> None:
        self.struck: Counter[str] = Counter()
        self._town = town
        self._chance = random.Random(f"{seed} nemesis")
        self._violations = violations
        self._disk = disk
        self._clock = SystemClock()
        self._may_fail_to_start = False

    async def kill(self, times: int, *, within: float, after_each: Callable[[int], None]) -> None:
        """So many times, or for so many seconds, at random moments: while it starts, right after, or in the midst of what it does."""
        chance, until = self._chance, self._clock.monotonic() + within
        for number in range(times):
            if self._clock.monotonic() > until:
                break
            await self._town.launch()
            if chance.random() < 0.2:
                await asyncio.sleep(chance.uniform(0, 1.2))
            else:
                await self._town.ready()
                await asyncio.sleep(chance.uniform(0.05, 0.5) if chance.random() < 0.7 else chance.uniform(0.5, 4))
            self._look()
            await self._town.kill()
            self.struck["kill"] += 1
            after_each(number + 1)
        await self._town.start()

    async def strike(self, seconds: float, *, restart_every: float) -> None:
        """One fault after another. `restart_every` is how long the daemon lives, on average, before it is killed or stopped.

        From the middle on it lives to the end, whatever strikes it: only a long life shows whether its memory grows.
        """
        chance, until = self._chance, self._clock.monotonic() + seconds
        middle = until - seconds / 2
        faults: dict[str, Fault] = {"stall": self._stall, "file size": self._small_files, "Prometheus": self._lies}
        if self._disk is not None:
            faults["disk full"] = self._full_disk
        restart_at = self._clock.monotonic() + chance.uniform(0.5, 1.5) * restart_every
        while self._clock.monotonic() < until:
            await asyncio.sleep(chance.uniform(0.5, 5))
            name = chance.choice(sorted(faults))
            self.struck[name] += 1
            async with faults[name]():
                await asyncio.sleep(chance.uniform(0.1, 3))
                if restart_at < self._clock.monotonic() < middle:
                    restart_at = self._clock.monotonic() + chance.uniform(0.5, 1.5) * restart_every
                    await self._restart()
                await asyncio.sleep(chance.uniform(0.1, 3))
            await self._revive()
        await self._revive()

    async def _restart(self) -> None:
        if self._chance.random() < 0.5:
            self.struck["kill"] += 1
            await self._town.kill()
        else:
            self.struck["stop"] += 1
            await self.stop()
        await self._town.launch()

    async def stop(self) -> None:
        """TERM, and what it says to that."""
        process = self._town.process
        assert process is not None
        self._signal(signal.SIGCONT)
        with suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                if await process.wait() not in {0, -signal.SIGTERM}:
                    self._violations.append(f"stopped with {process.returncode}: {self._town.last_words()}")
        except TimeoutError:
            self._violations.append(f"not stopped within {_STOP_SECONDS:g} s")
            await self._town.kill()

    async def _revive(self) -> None:
        """As systemd would. A daemon that finds no room to start in may say so and end; any other end is none of its own to choose."""
        self._look()
        process = self._town.process
        if process is None or process.returncode is not None:
            await self._town.launch()
        self._may_fail_to_start = False
        await self._town.ready()

    def _look(self) -> None:
        process = self._town.process
        if process is not None and process.returncode is not None and not self._may_fail_to_start:
            self._violations.append(f"ended by itself with {process.returncode}: {self._town.last_words()}")

    @asynccontextmanager
    async def _stall(self) -> AsyncIterator[None]:
        self._signal(signal.SIGSTOP)
        yield
        self._signal(signal.SIGCONT)

    @asynccontextmanager
    async def _small_files(self) -> AsyncIterator[None]:
        """No file may grow: how SQLite meets a quota, and a failing disk."""
        self._limit_files(self._chance.choice((0, 100_000, 1_000_000)))
        yield
        self._limit_files(resource.RLIM_INFINITY)

    @asynccontextmanager
    async def _full_disk(self) -> AsyncIterator[None]:
        assert self._disk is not None
        self._may_fail_to_start = True
        filler = self._disk / "filler"
        with filler.open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(bytes(65536))
        yield
        filler.unlink()

    @asynccontextmanager
    async def _lies(self) -> AsyncIterator[None]:
        with self._town.prometheus.for_a_while():
            self._chance.choice(_LIES)(self._town.prometheus)
            yield

    def _limit_files(self, size: int) -> None:
        assert self._town.process is not None
        with suppress(ProcessLookupError):
            resource.prlimit(self._town.process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    def _signal(self, number: signal.Signals) -> None:
        assert self._town.process is not None
        with suppress(ProcessLookupError):
            self._town.process.send_signal(number)
