"""Row 40: fifty services breach at once. Few are acted on, every other incident ends with a reason, and people are told once (I7 I9)."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from structlog.testing import capture_logs

from rollbackd.clock import SystemClock
from tests.flow.world import World

DAY = timedelta(days=1)
FIFTY = [f"s{number:02}" for number in range(50)]
SERVICE: Mapping[str, Any] = {"mode": "auto", "runbook": "shop-quick", "recheck_every": "1s", "give_up_after": "40s"}
UNBLAMED: Mapping[str, Any] = {**SERVICE, "blame": "off", "recheck_every": "2s", "give_up_after": "6s"}


class Storm(World):
    """All of them fail, whatever the tool deploys."""

    async def breaks_out(self) -> None:
        self.outage_since = SystemClock().now() - timedelta(seconds=1)  # longer ago than `for`: the alerts are true
        alerts = [self.alert_object(service=name, fingerprint=f"of {name}") for name in self.others]
        await self.post_alerts(alerts)

    async def over(self, *phases: str) -> list[Mapping[str, Any]]:
        """All incidents, once each is in one of these phases."""
        async with asyncio.timeout(60):
            while True:
                found = list((await self.get("/api/v1/incidents?limit=100"))["items"])
                if len(found) == len(self.others) and all(one["phase"] in phases for one in found):
                    return found
                await asyncio.sleep(0.05)


async def test_row_40_where_each_has_its_own_bad_release_the_budget_of_the_fleet_is_what_is_spent(tmp_path: Path) -> None:
    async with Storm(tmp_path, others=dict.fromkeys(FIFTY, SERVICE)) as world:
        for name in FIFTY:
            await world.recorded("v1", ago=DAY, service=name)
            await world.recorded("v2", ago=timedelta(0), service=name)
        await world.breaks_out()
        incidents = await world.over("closed", "watching", "escalated")

        acted = [one for one in incidents if one["attempts"]]
        assert len(acted) == 3 == len(world.versions()), "fleet_per_hour"
        assert Counter((one["outcome"], one["reason"]) for one in incidents if not one["attempts"]) == {("held", "budget"): 47}


async def test_row_40_an_outage_trips_the_brake_and_people_hear_of_it_once(tmp_path: Path) -> None:
    """Without release data and with `blame: off` nothing but the brake says that this is no deploy.

    Those that break first may be acted on, for nothing says yet that others will; from the third one on nobody is.
    """
    with capture_logs() as logged:
        async with Storm(tmp_path, others=dict.fromkeys(FIFTY, UNBLAMED)) as world:
            for name in FIFTY:
                await world.recorded("v1", ago=3 * DAY, service=name)
                await world.recorded("v2", ago=2 * DAY, service=name)
            await world.breaks_out()
            incidents = await world.over("closed", "watching", "escalated")

            acted = [one for one in incidents if one["attempts"]]
            held = [await world.get(f"/api/v1/incidents/{one['id']}") for one in incidents if not one["attempts"]]
            assert len(acted) == len(world.versions()) <= 2
            assert {one["phase"] for one in held} == {"escalated"}
            assert {check["verdict"] for one in held for check in one["checks"] if check["name"] == "fleet_brake"} == {"failed"}
            asked = [entry["event"] for entry in logged if "a person is needed" in entry["event"]]
            assert len(asked) == 1
            assert "tripped at once" in asked[0]
