import asyncio
import os
import socket
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from rollbackd.errors import TemporaryError
from rollbackd.telemetry.sdnotify import SystemdNotifier, feed_watchdog


@pytest.fixture(params=["path", "abstract"])
def systemd(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
    address = str(tmp_path / "notify") if request.param == "path" else f"@rollbackd-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(address.replace("@", "\0", 1))
        listening.settimeout(5)
        yield address, listening


def test_systemd_hears_ready_status_alive_and_stopping(systemd: tuple[str, socket.socket]) -> None:
    address, listening = systemd
    notifier = SystemdNotifier.from_environment({"NOTIFY_SOCKET": address})

    notifier.ready()
    notifier.status("2 incidents open")
    notifier.alive()
    notifier.stopping()

    assert [listening.recv(4096) for _ in range(4)] == [b"READY=1", b"STATUS=2 incidents open", b"WATCHDOG=1", b"STOPPING=1"]


def test_a_status_cannot_carry_another_assignment(systemd: tuple[str, socket.socket]) -> None:
    address, listening = systemd

    SystemdNotifier(address).status("fine\nMAINPID=1\x00")

    assert listening.recv(4096) == b"STATUS=fine MAINPID=1"


def test_without_systemd_nothing_is_sent() -> None:
    with capture_logs() as logged:
        SystemdNotifier.from_environment({}).ready()

    assert logged == []


def test_a_socket_that_is_gone_is_logged_and_does_no_harm(tmp_path: Path) -> None:
    with capture_logs() as logged:
        SystemdNotifier(str(tmp_path / "gone")).ready()

    assert [(one["event"], one["message"]) for one in logged] == [("systemd_not_notified", "READY=1")]


def test_a_full_queue_never_blocks(tmp_path: Path) -> None:
    address = str(tmp_path / "full")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening, capture_logs() as logged:
        listening.bind(address)
        for _ in range(10_000):
            SystemdNotifier(address).alive()
            if logged:
                break

    assert logged[0]["event"] == "systemd_not_notified"


@pytest.mark.parametrize(
    ("environment", "watchdog"),
    [
        ({"WATCHDOG_USEC": "30000000"}, timedelta(seconds=30)),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, timedelta(seconds=30)),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_the_watchdog_is_fed_only_where_systemd_asks_this_process(environment: dict[str, str], watchdog: timedelta | None) -> None:
    assert SystemdNotifier.from_environment(environment).watchdog == watchdog


class CountingClock:
    def __init__(self) -> None:
        self.slept: list[timedelta] = []

    async def sleep(self, duration: timedelta) -> None:
        if len(self.slept) == 2:
            raise StopFeedingError
        self.slept.append(duration)

    def now(self) -> datetime:
        raise AssertionError("not asked")

    def monotonic(self) -> float:
        raise AssertionError("not asked")


class StopFeedingError(Exception):
    pass


async def progress() -> None:
    """Everything answers."""


async def test_the_watchdog_is_fed_twice_in_its_interval(systemd: tuple[str, socket.socket]) -> None:
    address, listening = systemd
    clock = CountingClock()

    with pytest.raises(StopFeedingError):
        await feed_watchdog(SystemdNotifier(address, watchdog=timedelta(seconds=30)), clock, progress=progress)

    assert [listening.recv(64) for _ in range(3)] == [b"WATCHDOG=1"] * 3
    assert clock.slept == [timedelta(seconds=15)] * 2


@pytest.mark.parametrize("fault", ["hangs", "fails"])
async def test_the_watchdog_is_not_fed_while_there_is_no_progress(systemd: tuple[str, socket.socket], fault: str) -> None:
    address, listening = systemd

    async def stuck() -> None:
        if fault == "fails":
            raise TemporaryError("the store does not answer")
        await asyncio.Event().wait()

    with capture_logs() as logged, pytest.raises(StopFeedingError):
        await feed_watchdog(SystemdNotifier(address, watchdog=timedelta(milliseconds=20)), CountingClock(), progress=stuck)

    listening.setblocking(False)
    with pytest.raises(BlockingIOError):
        listening.recv(64)
    assert [one["event"] for one in logged] == ["no_progress"] * 3


async def test_without_a_watchdog_there_is_nothing_to_feed() -> None:
    await feed_watchdog(SystemdNotifier("@nobody"), CountingClock(), progress=progress)
