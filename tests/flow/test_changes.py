"""Changes: recorded over HTTP, kept, and what an incident makes of them."""

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from rollbackd.clock import SystemClock, parse_rfc3339, rfc3339
from tests.flow.world import SERVICE, World

DAY = timedelta(days=1)
PATH = "/api/v1/changes"
POOL = {"service": SERVICE, "kind": "config", "what": "pool of 20 connections, was 50"}


def closings(incident: Mapping[str, Any]) -> list[str]:
    return [entry["data"]["outcome"] for entry in incident["timeline"] if entry["data"].get("to") == "closed"]


async def outage(world: World) -> Mapping[str, Any]:
    """Errors that no release has brought: held."""
    await world.release("v0", ago=2 * DAY)
    await world.release("v1", ago=DAY)
    world.outage_since = SystemClock().now()
    await world.alert()
    held = await world.closed()
    assert (held["outcome"], held["reason"]) == ("held", "no_recent_release")
    return held


async def closed_times(world: World, incident_id: str, times: int) -> Mapping[str, Any]:
    """The incident, once it has been closed so often and the report is written."""
    assert world.daemon is not None
    async with asyncio.timeout(20):
        while True:
            incident = await world.get(f"/api/v1/incidents/{incident_id}")
            if len(closings(incident)) >= times and (await world.daemon.store.incidents.get(incident_id)).told_at is not None:
                return incident
            await asyncio.sleep(0.02)


async def test_a_change_is_kept_once_listed_and_audited(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        change = {**POOL, "at": "2026-01-31T12:00:00Z"}
        recorded = await world.post(PATH, change, expect=201)
        assert recorded == {**POOL, "at": "2026-01-31T12:00:00.000Z", "by": "oncall"}
        assert await world.post(PATH, change, expect=200) == recorded
        assert await world.post(PATH, POOL, expect=201) != recorded, "without a time it is now"

        listed = (await world.get(f"{PATH}?service={SERVICE}"))["items"]
        assert len(listed) == 2
        assert listed[1] == recorded
        assert world.daemon is not None
        (entry, *_) = await world.daemon.store.audit.newest()
        assert (entry.person, entry.action, entry.subject, entry.reason) == ("oncall", "change", f"{SERVICE} config", POOL["what"])


async def test_a_change_that_is_still_to_come_is_400_and_not_kept(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        refused = await world.post(PATH, {**POOL, "at": rfc3339(SystemClock().now() + DAY / 12)}, expect=400)
        assert "is still to come, 2 h ahead of this machine" in refused["detail"]
        assert (await world.get(f"{PATH}?service={SERVICE}"))["items"] == []


async def test_a_change_of_an_unknown_service_is_404_and_not_kept(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        problem = await world.post(PATH, {**POOL, "service": "shop-ap"}, expect=404)
        assert problem["status"] == 404
        assert "'rollbackd status' lists them" in problem["detail"]
        assert world.daemon is not None
        assert await world.daemon.store.changes.of_service("shop-ap") == ()
        assert await world.daemon.store.audit.newest() == ()


async def test_a_held_incident_is_judged_again_with_the_change(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        held = await outage(world)
        await world.post(PATH, {**POOL, "at": rfc3339(SystemClock().now() - timedelta(seconds=10))}, expect=201)
        again = await closed_times(world, held["id"], 2)

        assert again["id"] == held["id"], "the same incident, and no second one"
        assert len(await world.incidents()) == 1
        assert (again["outcome"], closings(again)) == ("held", ["held", "held"])
        assert again["decided_at"] > held["decided_at"], "it was judged anew"
        changed = [entry for entry in again["timeline"] if entry["kind"] == "change"]
        assert [entry["text"] for entry in changed] == ["a change was recorded: config: pool of 20 connections, was 50"]


async def test_a_change_after_the_alert_has_ended_re_opens_nothing(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        held = await outage(world)
        await world.alert(status="resolved", starts_at=parse_rfc3339(held["starts_at"]))
        await world.quiet()
        await world.post(PATH, POOL, expect=201)

        after = await world.get(f"/api/v1/incidents/{held['id']}")
        assert (after["phase"], closings(after)) == ("closed", ["held"])


async def test_the_report_lists_what_was_changed_before_the_incident_and_nothing_else(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        now = SystemClock().now()
        for what, ago in (("too long ago", DAY), ("the pool", timedelta(seconds=50)), ("the flag", timedelta(seconds=40))):
            await world.post(PATH, {**POOL, "what": what, "at": rfc3339(now - ago)}, expect=201)
        held = await outage(world)
        await world.post(PATH, {**POOL, "what": "afterwards"}, expect=201)
        await closed_times(world, held["id"], 2)

        facts = await world.get(f"/api/v1/incidents/{held['id']}/report?format=json")
        assert [one["what"] for one in facts["changes"]] == ["the flag", "the pool"]
        report = await world.report(held["id"])
        table = report.split("## Changes before the incident")[1].split("##")[0]
        assert table.index("the flag") < table.index("the pool")
        assert "too long ago" not in report
        assert "afterwards" not in table
