from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.unit.web.world import World, serving


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """With one person a role."""
    async with serving(tmp_path) as running:
        yield running


@pytest.fixture
async def open_world(tmp_path: Path) -> AsyncIterator[World]:
    """Without people."""
    async with serving(tmp_path, people=False) as running:
        yield running
