"""A service with commands that really run, with every patience shortened."""

import os
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from rollbackd.action.commands import Commands
from rollbackd.action.environment import Environments
from rollbackd.action.probe import Prober
from rollbackd.action.process import Processes
from rollbackd.clock import SystemClock
from tests.fakes.measures import FixedMeasures
from tests.fakes.processes import children, open_files


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
    return Prober(commands, FixedMeasures(), SystemClock())
