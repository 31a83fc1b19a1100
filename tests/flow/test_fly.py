"""The shipped config, with its own runbook, against the stand-in `fly`: a bad release is rolled back to the image before it.

Only what a test cannot have is replaced: servers, store, tokens and the scheme of the health check; windows and intervals are shorter.
"""

import asyncio
import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
from aiohttp import web
from ruamel.yaml import YAML

from rollbackd import app
from rollbackd.clock import SystemClock, rfc3339
from rollbackd.settings.load import load
from tests.fakes.flyctl import Fly
from tests.fakes.prometheus import FakePrometheus
from tests.flow.world import written

SHIPPED = Path(__file__).parents[2] / "config"
APP = "wemaster-staging-api"
IMAGE = f"registry.fly.io/{APP}:deployment-"
GOOD, BAD = f"{IMAGE}41", f"{IMAGE}42"
TOKENS = {name: f"{name}-{'0' * 32}" for name in ("ingest.token", "oncall.token", "ci.token", "fly-api.token", "fly-admin.token")}
DAY = timedelta(days=1)
_PATIENCE = 30.0


class Staging:
    """The app `wemaster-staging-api` on a platform that knows 42 releases of it, the last one bad."""

    def __init__(self, directory: Path, prometheus: FakePrometheus) -> None:
        self.directory = directory
        self.fly = Fly(directory)
        self.fly.require_token(APP, TOKENS["fly-api.token"])
        self.prometheus = prometheus
        self.broken_at: datetime | None = None
        self.healed_at: datetime | None = None
        self.url = ""
        for number in range(1, 42):
            self.fly.add_release(APP, f"{IMAGE}{number}", at=SystemClock().now() - (42 - number) * DAY)

    def break_it(self) -> None:
        self.broken_at = SystemClock().now()
        self.fly.add_release(APP, BAD, at=self.broken_at)

    def measure(self) -> None:
        """What is asked by the shipped indicators, and then by the shipped runbook."""
        answer = self.prometheus.answer
        answer(r'^sum\(increase\(http_requests_total\{.*code=~"5', lambda at: 1000 * self._ratio(at))
        answer(r"^sum\(increase\(http_requests_total\{[^=]*=\"wemaster-staging-api\",env=\"staging\"\}", 1000)
        answer(r"^sum\(increase\(http_request_duration_seconds_count", 1000)
        answer(r"^1000 \* histogram_quantile", 120)
        answer(r"^(avg\(avg_over_time|max|min)\(up\{", 1)
        answer(r"^\(sum\(rate\(http_requests_total", self._ratio)
        answer(r"^sum\(rate\(http_requests_total\{service", 1200)
        answer(r"^100 \* max\(rate\(process_cpu_seconds_total", 35)

    def _ratio(self, at: datetime) -> float:
        if self.healed_at is None and self.broken_at is not None and BAD not in self.fly.running(APP):
            self.healed_at = SystemClock().now()
        is_bad = self.broken_at is not None and self.broken_at <= at and (self.healed_at is None or at < self.healed_at)
        return 0.3 if is_bad else 0.0

    def config(self, site: str) -> Path:
        """A copy of the shipped directory, changed as little as can be."""
        shutil.copytree(SHIPPED, self.directory / "config")
        for name, token in TOKENS.items():
            (self.directory / "config" / name).write_text(token)
            (self.directory / "config" / name).chmod(0o600)
        path = self.directory / "config" / "rollbackd.yaml"
        config = YAML(typ="safe").load(path)
        config["server"]["listen"] = "127.0.0.1:0"
        config["prometheus"] |= {"url": self.prometheus.url, "scrape_interval": "200ms"}
        config["store"]["url"] = f"sqlite:///{self.directory}/state/rollbackd.db"
        for indicator in config["indicators"].values():
            indicator["window"] = "800ms"
        for trigger in config["triggers"].values():
            trigger["for"] = "400ms"
        config["defaults"] = {
            "settling": "1ms",
            "blame_window": "1m",
            "baseline": "20s",
            "watch": {"duration": "20s", "interval": "200ms", "stable_for": "600ms"},
        }
        config["services"][APP]["vars"]["site"] = site
        path.write_bytes(orjson.dumps(config))
        runbook = self.directory / "config" / "runbooks" / "wemaster-quick.yaml"
        runbook.write_text(runbook.read_text().replace("https://", "http://"))
        return path


async def healthy(_request: web.Request) -> web.Response:
    return web.Response(text="ok")


@asynccontextmanager
async def a_site() -> AsyncIterator[str]:
    """Host and port of a service that is healthy."""
    application = web.Application()
    application.router.add_get("/healthz", healthy)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@pytest.fixture
async def staging(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Staging]:
    async with AsyncExitStack() as stack:
        prometheus = await stack.enter_async_context(FakePrometheus())
        staging = Staging(tmp_path, prometheus)
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
        staging.measure()
        loaded = load(staging.config(await stack.enter_async_context(a_site())))
        daemon = await stack.enter_async_context(app.running(loaded.settings))
        staging.url = daemon.url
        yield staging


async def ask(staging: Staging, method: str, path: str, token: str, body: object = None) -> Any:
    headers = {"Authorization": f"Bearer {TOKENS[token]}"}
    async with aiohttp.ClientSession() as session, session.request(method, staging.url + path, json=body, headers=headers) as response:
        assert response.ok, await response.text()
        return await response.json()


async def fire(staging: Staging) -> None:
    alert = {
        "status": "firing",
        "labels": {"alertname": "HighErrorRate", "service": APP, "env": "staging", "severity": "critical"},
        "annotations": {},
        "startsAt": rfc3339(SystemClock().now()),
        "endsAt": "0001-01-01T00:00:00Z",
        "generatorURL": "",
        "fingerprint": "f" * 16,
    }
    answer = await ask(staging, "POST", "/webhook/alertmanager", "ingest.token", {"version": "4", "alerts": [alert]})
    assert answer == {"stored": 1, "duplicates": 0, "ignored": 0}


async def reached(staging: Staging, *, nth: int = 1, **wanted: str) -> Mapping[str, Any]:
    """The newest incident, once there are `nth` and it is as wanted."""
    incident: Mapping[str, Any] = {}
    async with asyncio.timeout(_PATIENCE):
        while not incident or any(incident[name] != value for name, value in wanted.items()):
            await asyncio.sleep(0.05)
            listed = (await ask(staging, "GET", "/api/v1/incidents", "oncall.token"))["items"]
            if len(listed) == nth:
                incident = await ask(staging, "GET", f"/api/v1/incidents/{listed[0]['id']}", "oncall.token")
    return incident


async def test_a_bad_release_on_fly_is_rolled_back_by_the_shipped_config(staging: Staging) -> None:
    staging.break_it()
    await fire(staging)
    incident = await reached(staging, phase="closed")

    assert (incident["outcome"], incident["reason"], incident["suspect"], incident["target"]) == ("recovered", "to_blame", "42", "41")
    assert [(one["step"], one["status"]) for one in incident["attempts"]] == [
        ("deploy the target image", "succeeded"),
        ("healthy again", "succeeded"),
        ("technical checks", "succeeded"),
    ]
    effects = staging.directory / "fly-state" / "effects"
    assert effects.read_bytes() == b"deploy\0--app\0" + APP.encode() + b"\0--image\0" + GOOD.encode() + b"\0--yes\0\0"
    assert staging.fly.running(APP) == {GOOD}

    told = orjson.dumps(incident) + (await written(staging.directory / "state" / "reports" / f"{incident['id']}.md")).encode()
    assert not any(token.encode() in told for token in TOKENS.values())


async def test_the_release_that_fly_makes_of_a_rollback_is_known_as_one(staging: Staging) -> None:
    """Or the next decision would find a new release right before the next breach, and go back past the target."""
    staging.break_it()
    await fire(staging)
    first = await reached(staging, phase="closed")
    await ask(staging, "POST", f"/api/v1/incidents/{first['id']}/acknowledge", "oncall.token", {"reason": "seen"})
    staging.broken_at, staging.healed_at = SystemClock().now(), SystemClock().now() + DAY  # and now something else breaks
    await fire(staging)
    second = await reached(staging, nth=2, phase="closed")

    releases = (await ask(staging, "GET", f"/api/v1/releases?service={APP}", "oncall.token"))["items"]
    newest = {(one["version"], one["source"]): (one["kind"], one["artifact"], one["mark"]) for one in releases[:4]}
    assert newest["43", "command"] == ("rollback", GOOD, "none")
    assert newest["41", "rollbackd"] == ("rollback", GOOD, "none")
    assert newest["42", "command"] == ("release", BAD, "bad")
    assert (second["outcome"], second["reason"]) == ("held", "rollback_of_rollback")
    assert len(staging.fly.effects()) == 1


async def test_while_fly_does_not_answer_nothing_is_decided(staging: Staging) -> None:
    staging.break_it()
    staging.fly.fail("releases", "failed to get app: 502 Bad Gateway")
    await fire(staging)
    incident = await reached(staging, phase="deciding", reason="unknown")

    assert (incident["decision"], incident["deciding"]) == ("hold", "releases")
    assert staging.fly.effects() == []
