"""While nothing burns the daemon says whether a rollback would work, and what to do where it would not."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

from tests.flow.world import SERVICE, World

DAY = timedelta(days=1)


async def metric(world: World) -> str | None:
    async with world.http.get(f"{world.url}/metrics") as response:
        lines = (await response.text()).splitlines()
    return next((line.split()[-1] for line in lines if line.startswith(f'rollbackd_rollback_ready{{service="{SERVICE}"}}')), None)


async def found(world: World, verdict: str) -> Mapping[str, Any]:
    """What is found of the service, once that is `verdict`."""
    seen: Mapping[str, Any] = {}
    with suppress(TimeoutError):
        async with asyncio.timeout(20):
            while not seen or seen["verdict"] != verdict:
                await asyncio.sleep(0.05)
                seen = (await world.get("/api/v1/status"))["readiness"][0]
    assert (seen["service"], seen["verdict"]) == (SERVICE, verdict), seen
    return seen


async def test_a_service_becomes_ready_once_what_was_missing_is_there(tmp_path: Path) -> None:
    async with World(tmp_path, readiness_every="200ms") as world:
        await world.run_tool("v2")
        not_ready = await found(world, "not_ready")
        assert not_ready["problems"][0] == ("target: no release is recorded: record each deploy from CI with 'rollbackd release record'")
        assert await metric(world) == "0.0"

        await world.recorded("v1", ago=DAY)
        await world.recorded("v2", ago=timedelta(seconds=1))
        assert (await found(world, "ready"))["problems"] == []
        assert await metric(world) == "1.0"

        (tmp_path / "deploy").chmod(0o644)
        problems = (await found(world, "not_ready"))["problems"]
        assert any(
            problem.endswith("may not be executed: chmod +x it (asked for by runbook shop-quick, step 'deploy' and 2 more)")
            for problem in problems
        )
        assert await metric(world) == "0.0"
        (tmp_path / "deploy").chmod(0o755)
        await found(world, "ready")
        assert world.versions() == ["v2"]  # and all the while nothing was deployed
        assert await world.incidents() == []


async def test_doctor_looks_at_once_and_says_how_the_daemon_is(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await world.release("v1", ago=2 * DAY)
        await world.release("v2")
        diagnosis = await world.get("/api/v1/doctor")
        (one,) = diagnosis["services"]
        assert one["verdict"] == "ready", one
        assert {check["name"] for check in one["checks"]} >= {"runbook", "prometheus", "indicator error_rate", "target", "running_version"}
        assert (diagnosis["store"], diagnosis["config"]["changed"]) == ({"problem": ""}, [])
        assert diagnosis["prometheus"] == [{"name": "main", "problem": "", "clock_offset": 0.0}]

        world.write_config()
        assert diagnosis["config"]["file"] in (await world.get("/api/v1/doctor"))["config"]["changed"]


async def test_an_incident_is_not_disturbed_and_ends_as_ever(tmp_path: Path) -> None:
    async with World(tmp_path, readiness_every="50ms") as world:
        await world.release("v1", ago=DAY)
        await world.release("v2")
        await found(world, "ready")
        await world.alert()
        assert (await world.closed())["outcome"] == "recovered"
        assert world.versions() == ["v2", "v1"]
        async with asyncio.timeout(20):
            # What runs is rollbackd's own rollback; what was found before is kept for a moment.
            while await target(world) != "not_applicable":  # noqa: ASYNC110 - the API tells nobody of a change
                await asyncio.sleep(0.05)


async def target(world: World) -> str:
    diagnosis = await world.get("/api/v1/doctor")
    return str(next(check["verdict"] for check in diagnosis["services"][0]["checks"] if check["name"] == "target"))


async def test_a_prometheus_that_is_down_leaves_nothing_ready(tmp_path: Path) -> None:
    async with World(tmp_path, readiness_every="200ms") as world:
        await world.release("v1", ago=DAY)
        await world.release("v2")
        await found(world, "ready")
        world.prometheus.fail(".", 503)
        assert (await found(world, "not_ready"))["problems"][0].startswith("prometheus: Prometheus server main at 127.0.0.1")
