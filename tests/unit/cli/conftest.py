"""The command line as a person runs it, against a real server."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from rollbackd.cli import follow, main
from rollbackd.settings.effective import Role
from tests.unit.web.world import World, serving

Run = Callable[..., Awaitable[Result]]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with serving(tmp_path) as running:
        yield running


@pytest.fixture
def rollbackd(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs one command in a thread of its own, while the server answers in this one."""
    monkeypatch.setattr(follow, "EVERY", timedelta(milliseconds=20))

    async def run(*args: str, role: Role | None = Role.OPERATOR, url: str = "", typed: str | None = None) -> Result:
        environment = {
            "HOME": str(tmp_path),
            "ROLLBACKD_URL": url or world.url,
            "ROLLBACKD_TOKEN_FILE": str(tmp_path / f"{role}.token") if role is not None else None,
        }
        return await asyncio.to_thread(CliRunner().invoke, main, args, input=typed, env=environment)

    return run
