"""Rows 36, 37 and 46, from the alert to what is done about it: an alert asks, only a measurement answers (I1 I3 I9)."""

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from rollbackd.clock import SystemClock
from tests.flow.world import SERVICE, World

DAY = timedelta(days=1)


async def bad_release(world: World) -> None:
    await world.release("v1", ago=DAY)
    await world.release("v2")


async def alert_then(world: World) -> Mapping[str, Any]:
    """The resolved that belongs to an alert that fires from now on."""
    firing = world.alert_object()
    await world.post_alerts([firing])
    return {**world.alert_object(status="resolved"), "startsAt": firing["startsAt"]}


def events(incident: Mapping[str, Any]) -> list[str]:
    return [entry["text"] for entry in incident["timeline"] if entry["kind"] == "alert"]


class TestRow36:
    """`resolved` is never proof of health: it may only say that a rule could not be evaluated."""

    async def test_before_the_first_step_it_stops_nothing_that_is_measured_as_breached(self, tmp_path: Path) -> None:
        async with World(tmp_path, mode="propose") as world:
            await bad_release(world)
            resolved = await alert_then(world)
            proposed = await world.reached("proposed")
            await world.post_alerts([dict(resolved)])
            await world.post(f"/api/v1/incidents/{proposed['id']}/approve", {"plan": proposed["plan"]})
            incident = await world.closed()

            assert (incident["outcome"], world.versions()) == ("recovered", ["v2", "v1"])
            assert events(incident) == ["HighErrorRate firing", "HighErrorRate resolved"]

    async def test_before_the_first_step_it_stands_down_once_that_is_measured(self, tmp_path: Path) -> None:
        async with World(tmp_path, mode="propose") as world:
            await bad_release(world)
            resolved = await alert_then(world)
            await world.reached("proposed")
            world.bad.clear()
            await world.post_alerts([dict(resolved)])
            incident = await world.closed()

            assert (incident["outcome"], incident["reason"]) == ("stood_down", "healthy")
            assert world.versions() == ["v2"]

    async def test_during_a_step_it_interrupts_nothing_and_the_watch_goes_by_what_it_measures(self, tmp_path: Path) -> None:
        async with World(tmp_path, bad=("v1", "v2"), then=("after",)) as world:
            await bad_release(world)
            with world.told("hold"):
                resolved = await alert_then(world)
                await world.deployed("v2", "v1")
                await world.post_alerts([dict(resolved)])
            incident = await world.closed()

            assert world.said == ["after"]
            assert incident["outcome"] == "no_effect", "the alert says resolved, the target fails as well"

    async def test_after_the_outcome_it_is_only_recorded(self, tmp_path: Path) -> None:
        async with World(tmp_path) as world:
            await bad_release(world)
            resolved = await alert_then(world)
            closed = await world.closed()
            await world.post_alerts([dict(resolved)])
            await world.quiet()
            after = await world.get(f"/api/v1/incidents/{closed['id']}")

            assert (after["phase"], after["outcome"], after["closed_at"]) == ("closed", "recovered", closed["closed_at"])
            assert len(await world.incidents()) == 1
            assert world.daemon is not None
            assert len(await world.daemon.store.alerts.of_incident(closed["id"])) == 2


class TestRow37:
    """After a reload Alertmanager may send a part of a group: what is absent is not resolved."""

    async def test_an_incident_whose_alert_is_missing_from_the_next_batch_goes_on(self, tmp_path: Path) -> None:
        async with World(tmp_path, mode="propose") as world:
            await bad_release(world)
            mine, other = world.alert_object(fingerprint="1" * 16), world.alert_object(fingerprint="2" * 16)
            await world.post_alerts([mine, other])
            proposed = await world.reached("proposed")
            await world.post_alerts([other, world.alert_object(fingerprint="3" * 16)])
            await world.post(f"/api/v1/incidents/{proposed['id']}/approve", {"plan": proposed["plan"]})
            incident = await world.closed()

            assert incident["outcome"] == "recovered"
            assert len(await world.incidents()) == 1
            assert "HighErrorRate resolved" not in events(incident)

    async def test_a_held_one_whose_alert_is_missing_still_fires_for_a_release_that_comes_late(self, tmp_path: Path) -> None:
        async with World(tmp_path) as world:
            await world.release("v1", ago=DAY)
            await world.release("v2", record=False)
            released_at = world.effects()[-1][0].isoformat()
            mine, other = world.alert_object(fingerprint="1" * 16), world.alert_object(fingerprint="2" * 16)
            await world.post_alerts([mine, other])
            held = await world.closed()
            await world.post_alerts([other])
            await world.post("/api/v1/releases", {"service": SERVICE, "version": "v2", "started_at": released_at, "live_at": released_at})

            assert (await world.closed_again(held["id"]))["outcome"] == "recovered"


class TestRow46:
    """A webhook of two days ago, valid in every way, comes again."""

    @pytest.mark.parametrize("bad", [("v2",), ()])
    async def test_whatever_is_measured_it_asks_for_nothing_that_does_not_fire_now(self, tmp_path: Path, bad: tuple[str, ...]) -> None:
        async with World(tmp_path, bad=bad) as world:
            await bad_release(world)
            await world.alert(starts_at=SystemClock().now() - 2 * DAY)
            incident = await world.closed()

            assert (incident["outcome"], incident["reason"]) == ("held", "stale_alert")
            assert world.versions() == ["v2"]

    async def test_whether_it_fires_now_cannot_be_told(self, tmp_path: Path) -> None:
        async with World(tmp_path) as world:
            await bad_release(world)
            world.prometheus.fail("^ALERTS", 503)
            await world.alert(starts_at=SystemClock().now() - 2 * DAY)
            incident = await world.reached("escalated")

            assert incident["reason"] == "unknown"
            assert world.versions() == ["v2"]

    async def test_one_that_fires_since_then_and_is_breached_now_is_no_replay(self, tmp_path: Path) -> None:
        async with World(tmp_path) as world:
            await bad_release(world)
            world.prometheus.answer("^ALERTS", ({"alertname": "HighErrorRate", "service": SERVICE}, 1))
            await world.alert(starts_at=SystemClock().now() - 2 * DAY)

            assert (await world.closed())["outcome"] == "recovered"

    async def test_after_its_own_incident_it_opens_no_second_one(self, tmp_path: Path) -> None:
        async with World(tmp_path) as world:
            await bad_release(world)
            alert = world.alert_object()
            await world.post_alerts([alert])
            await world.closed()
            await world.stop()
            await world.start()
            assert (await world.post_alerts([alert]))["duplicates"] == 1
            await world.quiet()

            assert len(await world.incidents()) == 1
            assert world.versions() == ["v2", "v1"]
