"""The demo's world for real: the sample service, traffic, Prometheus and Alertmanager, and an alert that comes out at the other end."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import test_utils, web

from rollbackd.demo.host import run_host
from rollbackd.demo.servers import Target, run_alertmanager, run_prometheus
from rollbackd.demo.traffic import run_traffic
from tests.e2e.programs import program


class Inbox:
    """A webhook that keeps what Alertmanager posts."""

    def __init__(self) -> None:
        self.url = ""
        self.alerts: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def post(self, request: web.Request) -> web.Response:
        assert request.headers["Authorization"] == "Bearer demo-token"
        for alert in (await request.json())["alerts"]:
            self.alerts.put_nowait(alert)
        return web.json_response({})

    async def next(self, alertname: str, status: str) -> dict[str, Any]:
        async with asyncio.timeout(60):
            while True:
                alert = await self.alerts.get()
                if (alert["labels"]["alertname"], alert["status"]) == (alertname, status):
                    return alert


@pytest.fixture
async def inbox() -> AsyncIterator[Inbox]:
    inbox = Inbox()
    app = web.Application()
    app.router.add_post("/webhook/alertmanager", inbox.post)
    async with test_utils.TestServer(app) as server:
        inbox.url = str(server.make_url("/webhook/alertmanager"))
        yield inbox


async def test_a_bad_release_becomes_an_alert_and_a_rollback_resolves_it(tmp_path: Path, inbox: Inbox) -> None:
    token = tmp_path / "ingest.token"
    token.write_text("demo-token\n")
    alertmanager_program, prometheus_program = program("alertmanager"), program("prometheus")
    async with (
        run_host(tmp_path, version="v1") as host,
        run_traffic(host.url),
        run_alertmanager(alertmanager_program, tmp_path / "alertmanager", webhook_url=inbox.url, token_file=token) as alertmanager,
        run_prometheus(
            prometheus_program,
            tmp_path / "prometheus",
            targets=[Target(job="sample", address=host.url.removeprefix("http://"), labels={"service": "shop-api", "env": "demo"})],
            alertmanager_url=alertmanager.url,
        ),
    ):
        await host.deploy("v2")
        firing = await inbox.next("HighErrorRate", "firing")
        assert firing["labels"] == {"alertname": "HighErrorRate", "service": "shop-api", "env": "demo", "severity": "critical"}
        await host.deploy("v1")
        await inbox.next("HighErrorRate", "resolved")
