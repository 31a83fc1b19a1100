"""A freeze and the fleet brake with the whole daemon: they hold also over a restart (I7), and a person is not held by them."""

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from rollbackd.clock import SystemClock
from tests.flow.world import SERVICE, World

DAY = timedelta(days=1)
ALWAYS = [{"cron": "* * * * *", "duration": "1h", "tz": "Europe/Berlin"}]
ROLLBACK = f"/api/v1/services/{SERVICE}/rollback"


async def bad_release(world: World) -> None:
    await world.release("v1", ago=DAY)
    await world.release("v2")


async def all_alert(world: World) -> None:
    """Every service at the same moment."""
    at = SystemClock().now()
    services = (*world.others, SERVICE)
    await world.post_alerts([world.alert_object(starts_at=at, service=name, fingerprint=f"of {name}") for name in services])


async def of(world: World, service: str = SERVICE) -> Mapping[str, Any]:
    """The incident of this service."""
    found = next(one for one in await world.incidents() if one["service"] == service)
    return await world.get(f"/api/v1/incidents/{found['id']}")


async def in_phase(world: World, phase: str, reason: str | None = None) -> Mapping[str, Any]:
    """The incident of the one service, once it is there, and for this reason."""
    async with asyncio.timeout(20):
        while True:
            if any(one["service"] == SERVICE for one in await world.incidents()):
                incident = await of(world)
                if incident["phase"] == phase and reason in {None, incident["reason"]}:
                    return incident
            await asyncio.sleep(0.02)


def check(incident: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    return next(dict(one) for one in incident["checks"] if one["name"] == name)


class TestWhatWasDoneBefore:
    @pytest.mark.parametrize(
        ("settings", "reason"),
        [({}, "cooldown"), ({"cooldown": "0s", "budget": {"service_per_day": 1}}, "budget"), ({"cooldown": "0s"}, "to_blame")],
    )
    async def test_i7_a_restart_forgets_nothing_of_it(self, tmp_path: Path, settings: Mapping[str, Any], reason: str) -> None:
        async with World(tmp_path, bad=("v2", "v3"), **settings) as world:
            await bad_release(world)
            await world.alert()
            assert (await world.closed())["outcome"] == "recovered"
            await world.stop()
            await world.start()
            await world.release("v3")
            await world.alert()
            second = await world.closed(nth=2)

            assert second["reason"] == reason
            assert world.versions() == ["v2", "v1", "v3", *(["v1"] if reason == "to_blame" else [])]


class TestFreeze:
    async def test_it_holds_before_and_after_a_restart_and_a_person_goes_past_it(self, tmp_path: Path) -> None:
        async with World(tmp_path, freeze=ALWAYS) as world:
            await bad_release(world)
            await world.alert()
            first = await world.closed()
            await world.stop()
            await world.start()
            await world.alert()
            second = await world.closed(nth=2)

            assert [(one["outcome"], one["reason"]) for one in (first, second)] == [("held", "freeze")] * 2
            assert check(second, "freeze")["value"].startswith("frozen by '* * * * *' (Europe/Berlin) since ")
            assert world.versions() == ["v2"]

            await world.post(ROLLBACK, {"to": "v1", "reason": "the shop is down"}, expect=202)
            by_hand = await world.closed(nth=3)
            assert by_hand["outcome"] == "recovered"
            assert world.versions() == ["v2", "v1"]

    async def test_outside_its_windows_it_is_in_nobodys_way(self, tmp_path: Path) -> None:
        """A day that is neither today nor tomorrow nor yesterday anywhere."""
        weekday = (SystemClock().now() + 3 * DAY).strftime("%a").lower()
        async with World(tmp_path, freeze=[{"cron": f"0 0 * * {weekday}", "duration": "1h"}]) as world:
            await bad_release(world)
            await world.alert()
            incident = await world.closed()

            assert incident["outcome"] == "recovered"
            assert check(incident, "freeze")["value"] == "outside every freeze window"


class TestFleetBrake:
    OTHERS: Mapping[str, Mapping[str, Any]] = {name: {} for name in ("pay", "search", "mail")}

    async def test_an_outage_is_held_over_a_restart_until_a_person_decides(self, tmp_path: Path) -> None:
        async with World(tmp_path, others=self.OTHERS, give_up_after="4s") as world:
            await bad_release(world)
            await all_alert(world)
            held = await in_phase(world, "deciding", "fleet_brake")
            await world.stop()
            await world.start()
            incident = await in_phase(world, "escalated")

            assert (incident["id"], incident["reason"]) == (held["id"], "fleet_brake")
            value = check(incident, "fleet_brake")["value"]
            assert value == f"3 tripped at once: mail, pay, search; not counted: {SERVICE} (a recent release of its own)"
            assert {(await of(world, name))["reason"] for name in self.OTHERS} == {"no_recent_release"}
            assert world.versions() == ["v2"]

            await world.post(f"/api/v1/incidents/{incident['id']}/approve", {"plan": incident["plan"]})
            assert (await in_phase(world, "closed"))["outcome"] == "recovered"
            assert world.versions() == ["v2", "v1"]

    async def test_a_pipeline_that_breaks_twelve_services_at_once_is_not_held(self, tmp_path: Path) -> None:
        async with World(tmp_path, others={f"s{number}": {} for number in range(11)}) as world:
            await bad_release(world)
            for name in world.others:
                await world.recorded("v1", ago=DAY, service=name)
                await world.recorded("v2", ago=timedelta(seconds=1), service=name)
            await all_alert(world)
            incident = await in_phase(world, "closed")

            assert incident["outcome"] == "recovered"
            assert world.versions() == ["v2", "v1"]

    async def test_a_back_end_whose_release_trips_its_callers_is_not_held(self, tmp_path: Path) -> None:
        async with World(tmp_path, others={f"caller{number}": {"depends_on": [SERVICE]} for number in range(5)}) as world:
            await bad_release(world)
            await all_alert(world)
            incident = await in_phase(world, "closed")

            assert incident["outcome"] == "recovered"
            assert world.versions() == ["v2", "v1"]

    @pytest.mark.parametrize("services", [3, 4])
    async def test_the_number_of_services_is_a_setting(self, tmp_path: Path, services: int) -> None:
        async with World(tmp_path, others=self.OTHERS, fleet_brake={"services": services}) as world:
            await bad_release(world)
            await all_alert(world)
            incident = await in_phase(world, "escalated" if services == 3 else "closed")

            assert incident["reason"] == ("fleet_brake" if services == 3 else "to_blame")
