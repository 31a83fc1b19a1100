"""The deploy tool, in the place of `Processes`: it keeps what is live, writes every effect down, and behaves as badly as it is told."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rollbackd.action.environment import MARK
from rollbackd.action.process import OnStart
from rollbackd.model.attempt import ProcessIdentity
from rollbackd.model.process import Completed

if TYPE_CHECKING:
    from tests.simulation.life import Life
    from tests.simulation.world import World

NEVER: Final = float("inf")
_PROBE_HANGS: Final = 60.0


class Manner(Enum):
    WORKS = "works"
    REFUSES = "refuses"  # exit 1, and nothing was done
    FAILS_AFTER = "fails after"  # exit 1, though it was done
    LIES = "lies"  # exit 0, and nothing was done
    HANGS_BEFORE = "hangs before"
    HANGS_AFTER = "hangs after"
    LATE = "late"  # exit 0, and the platform does it half a minute later
    MISSING = "missing"


class Sight(Enum):
    """Of the probe."""

    RIGHT = "right"
    FAILS = "fails"
    HANGS = "hangs"
    EMPTY = "empty"


_COURSES: Final[Mapping[Manner, tuple[float, float, int]]] = {
    Manner.WORKS: (2.0, 4.0, 0),
    Manner.REFUSES: (NEVER, 1.0, 1),
    Manner.FAILS_AFTER: (2.0, 4.0, 1),
    Manner.LIES: (NEVER, 2.0, 0),
    Manner.HANGS_BEFORE: (NEVER, NEVER, 0),
    Manner.HANGS_AFTER: (2.0, NEVER, 0),
    Manner.LATE: (30.0, 3.0, 0),
}
"""Seconds until its effect, seconds until it ends, and its exit code."""


@dataclass(slots=True)
class Process:
    mark: str
    service: str
    version: str | None
    """What it deploys; None for one that changes nothing that is measured."""
    pid: int
    effect_at: float
    ends_at: float
    on_platform: bool
    """What has been handed to a platform happens, whoever dies."""
    alive: bool = True


class Tool:
    """Of the world: what a dead daemon started may still be running."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self.manners: dict[str, Manner] = {}
        self.sights: dict[str, Sight] = {}
        self.processes: list[Process] = []
        self.started: list[Process] = []
        self._pids = 1000

    def start(self, mark: str, service: str, version: str | None) -> tuple[Process, int]:
        manner = self.manners.get(service, Manner.WORKS)
        effect, end, code = _COURSES[manner]
        self._pids += 1
        now = self._world.now
        process = Process(mark, service, version, self._pids, now + effect, now + end, on_platform=manner is Manner.LATE)
        self.processes.append(process)
        self.started.append(process)
        return process, code

    def catch_up(self) -> None:
        """What was to happen by now has happened."""
        due = sorted((one for one in self.processes if one.effect_at <= self._world.now), key=lambda one: one.effect_at)
        for process in due:
            if process.version is not None:
                self._world.production.deploy(process.service, process.version, by=process.mark, at=process.effect_at)
            process.effect_at = NEVER
        for process in self.processes:
            process.alive = process.alive and process.ends_at > self._world.now
        self.processes = [one for one in self.processes if one.alive or one.effect_at < NEVER]

    def kill(self, process: Process) -> None:
        self.catch_up()
        process.alive = False
        if not process.on_platform:
            process.effect_at = NEVER

    def running(self, service: str) -> list[Process]:
        self.catch_up()
        return [one for one in self.processes if one.alive and one.service == service]


class PlayedProcesses:
    """Of one life. `run` as `Processes.run`; a death kills its children, unless they are the kind that gets away."""

    def __init__(self, world: "World", life: "Life") -> None:
        self._world = world
        self._life = life

    async def run(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        timeout: timedelta,  # noqa: ASYNC109 - as the real one
        cwd: Path,
        on_start: OnStart | None = None,
        interrupt: asyncio.Event | None = None,
        **_more: Any,
    ) -> Completed:
        _fleet, verb, service, *rest = argv
        if verb == "status":
            return await self._status(service, timeout.total_seconds())
        if self._world.tool.manners.get(service) is Manner.MISSING:
            return _completed(error="fleet: no such command")
        await self._life.still_alive()
        self._world.promises.starting(env[MARK], service, rest[0] if rest else None)
        process, code = self._world.tool.start(env[MARK], service, rest[0] if rest else None)
        try:
            if on_start is not None:
                await on_start(ProcessIdentity(pid=process.pid, started_ticks=process.pid, session_id=process.pid))
            deadline = self._world.now + timeout.total_seconds()
            ended = await _until(min(process.ends_at, deadline) - self._world.now, interrupt)
        except BaseException:
            if not self._life.loop.dead:  # else its death has said what becomes of it
                self._world.tool.kill(process)
            raise
        if not ended:
            self._world.tool.kill(process)
            return _completed(signal="SIGTERM", interrupted=True)
        if process.ends_at > self._world.now + 1e-6:
            self._world.tool.kill(process)
            return _completed(signal="SIGTERM", timed_out=True)
        self._world.tool.catch_up()
        return _completed(exit_code=code)

    async def end_remains(self, _identity: ProcessIdentity | None, *, mark: str) -> tuple[int, ...]:
        self._world.tool.catch_up()
        found = [one for one in self._world.tool.processes if one.mark == mark and one.alive]
        for process in found:
            self._world.tool.kill(process)
        return tuple(one.pid for one in found)

    async def _status(self, service: str, timeout: float) -> Completed:  # noqa: ASYNC109 - as the real one
        await asyncio.sleep(self._world.chance.choice((0.01, 0.3)))
        match self._world.tool.sights.get(service, Sight.RIGHT):
            case Sight.FAILS:
                return _completed(exit_code=1)
            case Sight.HANGS:
                await asyncio.sleep(min(timeout, _PROBE_HANGS))
                return _completed(signal="SIGTERM", timed_out=True)
            case Sight.EMPTY:
                return _completed(exit_code=0)
        self._world.tool.catch_up()
        return _completed(exit_code=0, stdout=f"{self._world.production.live(service)}\n".encode())


async def _until(seconds: float, interrupt: asyncio.Event | None) -> bool:
    """False: interrupted before that."""
    if interrupt is None:
        await asyncio.sleep(seconds)
        return True
    try:
        async with asyncio.timeout(seconds):
            await interrupt.wait()
    except TimeoutError:
        return True
    return False


def _completed(
    *,
    exit_code: int | None = None,
    signal: str | None = None,
    stdout: bytes = b"",
    error: str = "",
    timed_out: bool = False,
    interrupted: bool = False,
) -> Completed:
    return Completed(
        exit_code=exit_code,
        signal=signal,
        stdout=stdout,
        stderr=b"",
        duration=timedelta(0),
        timed_out=timed_out,
        interrupted=interrupted,
        error=error,
    )
