"""The bad release comes back: people are told once, and nothing is rolled back by that."""

from datetime import timedelta
from pathlib import Path

from tests.flow.world import World

DAY = timedelta(days=1)


async def recovered(world: World) -> str:
    await world.release("v1", ago=DAY)
    await world.release("v2")
    await world.alert()
    incident = await world.closed()
    assert incident["outcome"] == "recovered"
    return str(incident["id"])


async def told(world: World, incident: str) -> list[str]:
    record = await world.get(f"/api/v1/incidents/{incident}")
    return [entry["text"] for entry in record["timeline"] if entry["kind"] == "bad_is_back"]


async def swept(world: World) -> None:
    assert world.daemon is not None
    await world.daemon.aftercare.sweep()


async def test_what_runs_again_is_said_once(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        incident = await recovered(world)
        await swept(world)
        assert await told(world, incident) == []
        await world.run_tool("v2")
        for _ in range(2):
            await swept(world)
        (text,) = await told(world, incident)
        assert text == f"shop-api: v2, rolled back in {incident}, is back (running: v2): stop what releases it"
        assert world.versions() == ["v2", "v1", "v2"], "nothing is rolled back by it"


async def test_without_a_probe_a_release_of_the_same_artifact_says_it(tmp_path: Path) -> None:
    async with World(tmp_path, running_version=None) as world:
        incident = await recovered(world)
        await world.post("/api/v1/releases", {"service": "shop-api", "version": "v3", "artifact": "v2"})
        await swept(world)
        assert "released again as v3" in (await told(world, incident))[0]


async def test_one_that_a_person_has_called_good_may_come_back(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        incident = await recovered(world)
        await world.post("/api/v1/releases/shop-api/v2/mark", {"mark": "good", "reason": "it was the database"})
        await world.run_tool("v2")
        await swept(world)
        assert await told(world, incident) == []


async def test_after_its_time_nobody_looks(tmp_path: Path) -> None:
    async with World(tmp_path, guard_for="0s") as world:
        incident = await recovered(world)
        await world.run_tool("v2")
        await swept(world)
        assert await told(world, incident) == []
