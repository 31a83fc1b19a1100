"""The shipped config, checked live against the stand-in `fly`."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from rollbackd.cli import main
from tests.fakes.prometheus import FakePrometheus
from tests.flow.test_fly import APP, BAD, Staging

ADMIN = "wemaster-staging-admin"


@pytest.fixture
async def staging(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Staging]:
    """With a release of the api that is not yet bad, and without its sister app."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    async with FakePrometheus() as prometheus:
        staging = Staging(tmp_path, prometheus)
        staging.measure()
        staging.config("127.0.0.1:1")
        prometheus.alert_rules = [("HighErrorRate", 0.4), ("SlowResponse", 0.4), ("ServiceDown", 0.4)]
        yield staging


async def check(staging: Staging) -> tuple[int, list[str]]:
    path = str(staging.directory / "config" / "rollbackd.yaml")
    result = await asyncio.to_thread(CliRunner().invoke, main, ["check", path, "--live"])
    return result.exit_code, [line for line in result.stdout.splitlines() if ": warning: " not in line]


async def test_an_app_that_is_not_there_is_named_and_the_other_is_ready(staging: Staging) -> None:
    code, lines = await check(staging)
    assert code == 2
    assert lines
    assert all(f": {ADMIN}: " in line for line in lines), lines
    assert {line.split(f"{ADMIN}: ")[1].split(":")[0] for line in lines} >= {"target", "running_version"}


async def test_what_runs_behind_the_platforms_back_is_named(staging: Staging) -> None:
    staging.fly.run_images(APP, BAD, BAD)
    code, lines = await check(staging)
    assert code == 2
    assert any(f"{APP}: running_version: runs {BAD}, but recorded as newest is 41" in line for line in lines)
    assert staging.fly.effects() == []
