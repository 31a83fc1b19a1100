"""Row 57 with the whole daemon: the rollback came through, and then? Each outcome by its own measurement (I7 I15)."""

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from tests.flow.world import World

DAY = timedelta(days=1)


async def rolled_back(world: World) -> None:
    await world.release("v1", ago=DAY)
    await world.release("v2")
    await world.alert()
    await world.reached("watching", "closed")


def measured_after(world: World, monkeypatch: pytest.MonkeyPatch, ratio: Callable[[timedelta], float]) -> None:
    """Of the target, by how long it has been back."""

    def measured(at: datetime) -> float:
        back = [deployed_at for deployed_at, version in world.effects() if version == "v1" and deployed_at <= at]
        return ratio(at - back[-1]) if back else World.ratio(world, at)

    monkeypatch.setattr(world, "ratio", measured)


@pytest.mark.parametrize(
    ("ratio", "outcome"),
    [
        pytest.param(lambda _: 0.3, "no_effect", id="as bad as before"),
        pytest.param(lambda _: 0.9, "worse", id="three times as bad"),
        pytest.param(lambda _: 0.05, "improved", id="better, and not well"),
        pytest.param(lambda _: 0.0, "recovered", id="well"),
    ],
)
async def test_row_57_each_outcome_and_nothing_is_rolled_back_by_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ratio: Callable[[timedelta], float], outcome: str
) -> None:
    async with World(tmp_path) as world:
        measured_after(world, monkeypatch, ratio)
        await rolled_back(world)
        incident = await world.closed()

        assert incident["outcome"] == outcome, incident["detail"]
        assert world.versions() == ["v2", "v1"]
        marks = {
            one["version"]: one["mark"] for one in (await world.get("/api/v1/releases?service=shop-api"))["items"] if one["mark"] != "none"
        }
        assert marks == {"v2": "bad" if outcome in {"recovered", "improved"} else "suspect"}


@pytest.mark.parametrize("status", [503, 200])  # it does not answer; it has no series
async def test_row_57_what_cannot_be_measured_is_not_called_recovered(tmp_path: Path, status: int) -> None:
    async with World(tmp_path) as world:
        await world.release("v1", ago=DAY)
        await world.release("v2")
        with world.told("hold"):
            await world.alert()
            await world.deployed("v2", "v1")
            if status == 200:
                world.prometheus.answer("")
            else:
                world.prometheus.fail("", status)
        incident = await world.closed()

        assert incident["outcome"] == "unverified"
        assert world.versions() == ["v2", "v1"]


async def test_row_57_a_relapse_after_it_recovered_is_a_new_incident_that_the_cooldown_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with World(tmp_path) as world:
        await rolled_back(world)
        first = await world.closed()
        measured_after(world, monkeypatch, lambda _: 0.3)
        await world.alert()
        second = await world.closed(nth=2)

        assert (first["outcome"], second["outcome"], second["reason"]) == ("recovered", "held", "cooldown")
        assert first["id"] != second["id"]
        assert world.versions() == ["v2", "v1"]
