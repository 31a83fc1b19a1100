"""Row 69: what hangs is not fed by the watchdog, so that systemd kills it, and the next daemon goes on (I9 I10).

The test is in the place of systemd: it listens where the daemon says that it is alive, and aborts it when it has not for as long as the
unit allows. `systemd/try-unit` shows the same under a real systemd.
"""

import asyncio
import resource
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

import pytest

from tests.faults.process_world import ProcessWorld
from tests.faults.test_crash import bad_release

WATCH = {"duration": "30s", "interval": "200ms", "stable_for": "600ms"}


class Systemd:
    def __init__(self, directory: Path, *, watchdog: timedelta) -> None:
        self._watchdog = watchdog
        self._heard = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._heard.bind(str(directory / "notify"))
        self.environment = {
            "NOTIFY_SOCKET": str(directory / "notify"),
            "WATCHDOG_USEC": str(watchdog // timedelta(microseconds=1)),
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._heard.close()

    async def hears(self) -> None:
        """Once more that it is alive. Raises TimeoutError when it is not for as long as it may."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(self._watchdog.total_seconds()):
            while await loop.sock_recv(self._heard, 4096) != b"WATCHDOG=1":
                pass

    async def watches(self, world: ProcessWorld) -> None:
        """Until it had to be aborted."""
        assert world.process is not None
        resource.prlimit(world.process.pid, resource.RLIMIT_CORE, (0, 0))
        try:
            while True:
                await self.hears()
        except TimeoutError:
            world.process.send_signal(signal.SIGABRT)


@asynccontextmanager
async def hanging(directory: Path, failpoint: str, *, watchdog: timedelta, **settings: Any) -> AsyncIterator[tuple[ProcessWorld, Systemd]]:
    """A daemon that gets an alert and does not come back from this failpoint."""
    async with ProcessWorld(directory, watch=WATCH, **settings) as world:
        with Systemd(directory, watchdog=watchdog) as systemd:
            await bad_release(world)
            await world.stop()
            world.environment = systemd.environment
            world.failpoint = failpoint
            await world.start()
            await systemd.hears()
            await systemd.hears()
            await world.alert()
            yield world, systemd


async def goes_on(world: ProcessWorld) -> None:
    world.failpoint = ""
    await world.start()
    assert (await world.closed())["outcome"] == "recovered"
    assert world.versions() == ["v2", "v1"]


@pytest.mark.parametrize(
    "failpoint",
    [
        "attempt.after_intent",
        *(pytest.param(name, marks=pytest.mark.nightly) for name in ("decision.after_record", "watch.before_outcome")),
    ],
)
async def test_row_69_a_blocked_event_loop_is_not_fed_and_the_next_daemon_goes_on(tmp_path: Path, failpoint: str) -> None:
    async with hanging(tmp_path, f"{failpoint}:block", watchdog=timedelta(seconds=4)) as (world, systemd):
        async with asyncio.timeout(40):
            await systemd.watches(world)
        assert await world.died() == -signal.SIGABRT
        await goes_on(world)


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("failpoint", "what"),
    [("incident.after_open", "what came in"), ("decision.after_record", "deciding"), ("incident.after_close", "the end of")],
)
async def test_row_69_a_conductor_that_waits_for_ever_is_not_fed_and_the_next_daemon_goes_on(
    tmp_path: Path, failpoint: str, what: str
) -> None:
    """The event loop turns and the store answers: only what should have come back and has not can tell."""
    async with hanging(tmp_path, f"{failpoint}:hang", watchdog=timedelta(seconds=8), give_up_after="10s") as (world, systemd):
        async with asyncio.timeout(180):
            await systemd.watches(world)
        assert await world.died() == -signal.SIGABRT
        assert any('"no_progress"' in line and what in line for line in world.log.splitlines()), world.log[-2000:]
        await goes_on(world)
