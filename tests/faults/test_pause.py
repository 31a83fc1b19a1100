"""Row 60: a pause stops what has not begun, from the command line and over a restart; one that cannot be read still holds (I8)."""

import sqlite3
from datetime import timedelta
from pathlib import Path

import pytest

from tests.flow.world import SERVICE, World

DAY = timedelta(days=1)
DAMAGED = [
    "UPDATE pauses SET until = 'soon'",
    "UPDATE pauses SET until = 9223372036854775807",
    "UPDATE pauses SET until = x'ff', reason = x'ff', \"by\" = x'ff'",
    "UPDATE pauses SET scope = x'00ff', until = 'soon'",
    "DROP TABLE pauses",
]


def damage(world: World, statement: str) -> None:
    """In the file itself, as the daemon has it open."""
    with sqlite3.connect(world.directory / "state" / "rollbackd.db", timeout=10) as connection:
        connection.execute(statement)
    connection.close()


async def bad_release(world: World) -> None:
    await world.release("v1", ago=DAY)
    await world.release("v2")


async def test_row_60_paused_and_resumed_from_the_command_line(tmp_path: Path) -> None:
    async with World(tmp_path, give_up_after="1m") as world:
        await bad_release(world)
        assert (await world.cli("pause", SERVICE, "--for", "1h", "--reason", "big sale")).exit_code == 0
        await world.alert()
        await world.held_for_now("paused")
        assert world.versions() == ["v2"]
        assert (await world.cli("resume", SERVICE)).exit_code == 0
        assert (await world.closed())["outcome"] == "recovered"


@pytest.mark.parametrize("statement", DAMAGED)
async def test_row_60_a_pause_that_cannot_be_read_holds_what_has_not_begun(tmp_path: Path, statement: str) -> None:
    async with World(tmp_path, give_up_after="1m") as world:
        await bad_release(world)
        await world.post("/api/v1/pause", {"service": SERVICE, "for": "1h", "reason": "big sale"})
        damage(world, statement)
        await world.alert()
        incident = await world.held_for_now("paused")

        assert incident["attempts"] == []
        assert world.versions() == ["v2"]


@pytest.mark.parametrize(("statement", "scope"), [(DAMAGED[0], SERVICE), (DAMAGED[3], None)])
async def test_row_60_a_person_can_clear_a_pause_that_cannot_be_read(tmp_path: Path, statement: str, scope: str | None) -> None:
    """Of one that does not even say whom it is for, it is the global one."""
    async with World(tmp_path, give_up_after="1m") as world:
        await bad_release(world)
        await world.post("/api/v1/pause", {"service": SERVICE, "for": "1h", "reason": "big sale"})
        damage(world, statement)
        await world.alert()
        await world.held_for_now("paused")
        await world.post("/api/v1/resume", {"service": scope})

        assert (await world.closed())["outcome"] == "recovered"


async def test_row_60_a_pause_that_cannot_be_read_holds_before_the_next_step_until_a_person_clears_it(tmp_path: Path) -> None:
    async with World(tmp_path, then=("after",)) as world:
        await bad_release(world)
        with world.told("hold"):
            await world.alert()
            await world.deployed("v2", "v1")
            await world.post("/api/v1/pause", {"service": None, "for": "1h", "reason": "big sale"})
            damage(world, DAMAGED[0])
        await world.step_ended("deploy")
        await world.stop()
        await world.start()
        incident = await world.reached("rolling_back")
        assert ([one["status"] for one in incident["attempts"]], world.said) == (["succeeded"], [])

        await world.post("/api/v1/resume", {"service": None})
        assert (await world.closed())["outcome"] == "recovered"
        assert (world.versions(), world.said) == (["v2", "v1"], ["after"])
