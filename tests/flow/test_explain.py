"""What the person on call reads of a case that was held: which check decided, and what one thing would have changed it."""

import json
from datetime import timedelta
from pathlib import Path

from rollbackd.clock import SystemClock
from tests.flow.world import World

DAY = timedelta(days=1)


async def explained(world: World, incident_id: str) -> tuple[str, str, str]:
    """Why, the line of the nearest thing (empty: none), and the name of the check that decided."""
    lines = (await world.cli("explain", incident_id)).stdout.splitlines()
    nearest = next((line for line in lines if line.startswith("Would have rolled back with ")), "")
    (decided,) = [line.split("\t")[1] for line in lines if line.startswith("*\t")]
    return lines[0], nearest, decided


async def test_a_cooldown_names_the_acknowledgement_that_would_have_lifted_it(tmp_path: Path) -> None:
    async with World(tmp_path, bad=("v2", "v3")) as world:
        await world.release("v1", ago=DAY)
        await world.release("v2")
        await world.alert()
        await world.closed()
        await world.release("v3")
        await world.alert()
        held = await world.closed(nth=2)

        why, nearest, decided = await explained(world, held["id"])
        assert why.startswith("Held")
        assert (nearest, decided) == ("Would have rolled back with an acknowledgement of the last rollback.", "cooldown")
        assert json.loads((await world.cli("explain", held["id"], "--json")).stdout)["nearest"] == "an acknowledgement of the last rollback"
        assert "Would have rolled back with `an acknowledgement of the last rollback`." in (await world.cli("report", held["id"])).stdout


async def test_a_freeze_names_itself_and_nothing_is_run_to_find_that_out(tmp_path: Path) -> None:
    async with World(tmp_path, freeze=[{"cron": "* * * * *", "duration": "1h"}]) as world:
        await world.release("v1", ago=DAY)
        await world.release("v2")
        await world.alert()
        held = await world.closed()

        assert (await explained(world, held["id"]))[1:] == ("Would have rolled back with freeze: [].", "freeze")
        assert world.versions() == ["v2"]


async def test_where_no_single_thing_would_have_nothing_is_claimed(tmp_path: Path) -> None:
    """A release of yesterday, and an outage: not even a longer blame window makes that its fault."""
    async with World(tmp_path) as world:
        await world.release("v0", ago=2 * DAY)
        await world.release("v1", ago=DAY / 2)
        world.outage_since = SystemClock().now()
        await world.alert()
        held = await world.closed()

        assert (await explained(world, held["id"]))[1:] == ("", "no_recent_release")


async def test_what_is_proposed_says_what_would_have_spared_the_question(tmp_path: Path) -> None:
    """Live for longer than `max_quiet` when it broke: a person is asked, and may tell the config for the next time."""
    async with World(tmp_path, max_quiet="1s") as world:
        await world.release("v1", ago=DAY)
        await world.release("v2", ago=timedelta(seconds=15))
        await world.run_tool("v2")
        await world.alert()
        asked = await world.reached("proposed")

        assert asked["reason"] == "inconclusive"
        assert (await explained(world, asked["id"]))[1:] == ("Would have rolled back with max_quiet: 1m.", "soon_after")
