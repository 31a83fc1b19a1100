"""The pager is quiet while rollbackd works, and for no moment longer: on the real Alertmanager, with the shipped rules."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import aiohttp
import pytest
from ruamel.yaml import YAML

from rollbackd.clock import SystemClock, rfc3339
from rollbackd.demo.servers import free_port
from tests.e2e.programs import program
from tests.fakes.hook import Hook
from tests.faults.process_world import ProcessWorld
from tests.flow.test_way_of_an_alert import bad_release
from tests.flow.world import SERVICE

ROOT = Path(__file__).parents[2]


@asynccontextmanager
async def alertmanager(directory: Path, pager_url: str) -> AsyncIterator[str]:
    """With the shipped `inhibit_rules`, and one receiver, who is paged at once."""
    shipped = YAML(typ="safe").load(ROOT / "config" / "alertmanager.yml")
    config = {
        "route": {"receiver": "people", "group_by": ["alertname", "service"], "group_wait": "1s", "group_interval": "1s"},
        "receivers": [{"name": "people", "webhook_configs": [{"url": pager_url, "send_resolved": False}]}],
        "inhibit_rules": shipped["inhibit_rules"],
    }
    YAML(typ="safe").dump(config, directory / "alertmanager.yml")
    port = free_port()
    argv = [
        str(program("alertmanager")),
        f"--config.file={directory / 'alertmanager.yml'}",
        f"--storage.path={directory / 'alertmanager'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--cluster.listen-address=",
    ]
    with (directory / "alertmanager.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(*argv, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}"
    try:
        async with asyncio.timeout(20), aiohttp.ClientSession() as http:
            while True:
                try:
                    async with http.get(f"{url}/-/ready") as response:
                        if response.status == 200:
                            break
                except aiohttp.ClientError:
                    pass
                await asyncio.sleep(0.05)
        yield url
    finally:
        process.terminate()
        await process.wait()


async def inhibited(http: aiohttp.ClientSession, url: str) -> None:
    """Once Alertmanager itself says that the alert of the service is held back."""
    async with asyncio.timeout(20):
        while True:
            async with http.get(f"{url}/api/v2/alerts") as response:
                for one in await response.json():
                    labels = one["labels"]
                    if (labels["alertname"], labels["service"]) == ("HighErrorRate", SERVICE) and one["status"]["inhibitedBy"]:
                        return
            await asyncio.sleep(0.1)


def names(pager: Hook) -> set[str]:
    return {alert["labels"]["alertname"] for got in pager.taken for alert in got.json["alerts"]}


def paged(pager: Hook) -> set[str]:
    """The services whose HighErrorRate somebody was paged for."""
    told = [alert["labels"] for got in pager.taken for alert in got.json["alerts"]]
    return {labels["service"] for labels in told if labels["alertname"] == "HighErrorRate"}


@pytest.mark.timeout(240)
async def test_killed_in_the_midst_of_its_work_the_page_goes_out(tmp_path: Path) -> None:
    program("alertmanager")
    async with Hook() as pager, alertmanager(tmp_path, pager.url) as url:
        watch = {"duration": "1h", "interval": "200ms", "stable_for": "59m"}
        async with ProcessWorld(tmp_path, top={"alertmanager": {"url": url}}, watch=watch) as world:
            await bad_release(world)
            await world.alert()
            await world.reached("watching")
            await pager.until(lambda: "RollbackInProgress" in names(pager))

            now = SystemClock().now()
            fires = {"labels": {"alertname": "HighErrorRate", "service": SERVICE}, "startsAt": rfc3339(now)}
            other = {"labels": {"alertname": "HighErrorRate", "service": "another"}, "startsAt": rfc3339(now)}
            lasts = {"endsAt": rfc3339(now + timedelta(hours=1))}
            async with world.http.post(f"{url}/api/v2/alerts", json=[fires | lasts, other | lasts]) as response:
                assert response.status == 200
            await pager.until(lambda: paged(pager) == {"another"})
            await inhibited(world.http, url)
            assert paged(pager) == {"another"}

            assert world.process is not None
            world.process.kill()
            await pager.until(lambda: paged(pager) != {"another"}, patience=90)
            assert paged(pager) == {"another", SERVICE}


async def test_where_a_person_is_needed_the_team_s_own_route_is_used(tmp_path: Path) -> None:
    program("alertmanager")
    async with Hook() as pager, alertmanager(tmp_path, pager.url) as url:
        world = ProcessWorld(tmp_path, mode="propose", top={"alertmanager": {"url": url}})
        async with world:
            await bad_release(world)
            await world.alert()
            proposal = await world.reached("proposed")
            (page,) = await pager.reached(1)
            (alert,) = page.json["alerts"]
            assert alert["labels"] == {"alertname": "RollbackNeedsPerson", "service": SERVICE, "severity": "critical"}
            assert proposal["id"] in alert["annotations"]["summary"]
