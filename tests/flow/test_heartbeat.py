"""Whoever waits for a sign of life gets one while the daemon is well, and none when it is not."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Self

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from rollbackd.clock import SystemClock
from rollbackd.errors import TemporaryError
from rollbackd.flow.heartbeat import Heartbeat
from rollbackd.model.incident import Severity
from rollbackd.notify.sentry import Sentry
from rollbackd.settings.effective import HeartbeatSettings, SentrySettings
from tests.flow.world import World
from tests.unit.flow.conftest import SETTINGS


class Monitor:
    def __init__(self) -> None:
        self.status = 200
        self.seen = 0
        self.news = asyncio.Event()

    async def __aenter__(self) -> Self:
        application = web.Application()
        application.router.add_get("/ping/{token}", self._take)
        self._runner = web.AppRunner(application, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/ping/token-of-this-monitor"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def reached(self, count: int) -> None:
        async with asyncio.timeout(20):
            while self.seen < count:
                self.news.clear()
                await self.news.wait()

    async def _take(self, _request: web.Request) -> web.Response:
        self.seen += 1
        self.news.set()
        return web.Response(status=self.status)


def heartbeat_file(directory: Path, url: str) -> Path:
    path = directory / "heartbeat.url"
    path.write_text(url)
    path.chmod(0o600)
    return path


async def test_the_daemon_is_heard_again_and_again(tmp_path: Path) -> None:
    async with Monitor() as monitor:
        heartbeat_file(tmp_path, monitor.url)
        async with World(tmp_path, top={"heartbeat": {"url_file": "heartbeat.url", "every": "50ms"}}):
            await monitor.reached(3)


class CheckIns(Sentry):
    def __init__(self) -> None:
        self.said: list[tuple[str, bool]] = []

    def check_in(self, monitor: str, every: timedelta, *, is_well: bool) -> None:
        assert every == timedelta(milliseconds=20)
        self.said.append((monitor, is_well))

    def tell(self, *_: object) -> None:
        raise AssertionError(Severity)


@pytest.mark.parametrize("is_well", [True, False])
async def test_one_that_is_not_well_says_so_to_sentry_and_nothing_to_the_monitor(tmp_path: Path, *, is_well: bool) -> None:
    async def ask() -> None:
        if not is_well:
            raise TemporaryError("the writer hangs")

    async with Monitor() as monitor:
        sentry = CheckIns()
        settings = replace(
            SETTINGS,
            heartbeat=HeartbeatSettings(url_file=heartbeat_file(tmp_path, monitor.url), every=timedelta(milliseconds=20)),
            sentry=SentrySettings(dsn_file=tmp_path / "dsn", monitor="rollbackd"),
        )
        beats = Heartbeat(settings=lambda: settings, is_well=ask, sentry=sentry, clock=SystemClock())
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await beats.run()
    assert set(sentry.said) == {("rollbackd", is_well)}
    assert (monitor.seen > 0) is is_well


async def test_a_monitor_that_is_down_is_named_without_its_address(tmp_path: Path) -> None:
    async with Monitor() as monitor:
        monitor.status = 500

        async def ask() -> None: ...

        settings = replace(
            SETTINGS, heartbeat=HeartbeatSettings(url_file=heartbeat_file(tmp_path, monitor.url), every=timedelta(milliseconds=20))
        )
        with capture_logs() as logs, pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await Heartbeat(settings=lambda: settings, is_well=ask, sentry=None, clock=SystemClock()).run()
    errors = [line["error"] for line in logs if line["event"] == "heartbeat_not_sent"]
    assert errors
    assert "500" in errors[0]
    assert "token-of-this-monitor" not in str(logs)
