"""A service with commands that really run, with every patience shortened."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest

from rollbackd.action.commands import Commands
from rollbackd.action.environment import Environments
from rollbackd.action.probe import Prober
from rollbackd.action.process import Processes
from rollbackd.clock import SystemClock
from tests.fakes.measures import NoMeasures


async def eventually(condition: Callable[[], bool]) -> None:
    """Wait for what another process does; the test's own timeout is the bound."""
    while not condition():  # noqa: ASYNC110 - nobody here could set an event
        await asyncio.sleep(0.005)


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def children() -> set[str]:
    """Dead ones included, until they are waited for."""
    found = set()
    for status in Path("/proc").glob("[0-9]*/status"):
        with suppress(OSError):  # it is gone
            if f"\nPPid:\t{os.getpid()}\n" in status.read_text():
                found.add(status.parent.name)
    return found


@pytest.fixture
async def processes() -> AsyncIterator[Processes]:
    """Whatever a test does with them: no file stays open, and no child is left, dead or alive."""
    processes = Processes(grace=timedelta(milliseconds=150))
    before = open_files(), children()
    yield processes
    assert (open_files(), children()) == before


@pytest.fixture
def commands(processes: Processes, tmp_path: Path) -> Commands:
    return Commands(processes, Environments(os.environ, lambda path: Path(path).read_text()), cwd=tmp_path)


@pytest.fixture
def prober(commands: Commands) -> Prober:
    return Prober(commands, NoMeasures(), SystemClock())
