"""Rows 55 and 56 with the whole daemon: what it would go back to, and what runs, are looked at again before anything runs (I1 I4)."""

import signal
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.faults.process_world import ProcessWorld
from tests.flow.world import SERVICE, World

DAY = timedelta(days=1)
ROLLBACK = f"/api/v1/services/{SERVICE}/rollback"


async def bad_release(world: World) -> None:
    await world.release("v1", ago=DAY)
    await world.release("v2")


async def approved(world: World, incident: Mapping[str, Any]) -> Mapping[str, Any]:
    """How the incident stands once what was approved came to its end, or a person is asked again."""
    await world.post(f"/api/v1/incidents/{incident['id']}/approve", {"plan": None})
    return await world.reached("escalated", "closed")


async def nothing_was_run(world: World, incident: Mapping[str, Any], *versions: str) -> None:
    assert incident["attempts"] == []
    assert world.versions() == list(versions)
    releases = (await world.get(f"/api/v1/releases?service={SERVICE}"))["items"]
    assert {one["kind"] for one in releases} == {"release"}
    assert "suspect" not in {one["mark"] for one in releases}


class TestRow55:
    async def test_a_target_that_is_marked_bad_after_it_was_proposed(self, tmp_path: Path) -> None:
        async with World(tmp_path, mode="propose", recheck_every="1m") as world:
            await bad_release(world)
            await world.alert()
            proposed = await world.reached("proposed")
            await world.post(f"/api/v1/releases/{SERVICE}/v1/mark", {"mark": "bad", "reason": "it leaks"})
            incident = await approved(world, proposed)

            assert (incident["phase"], incident["reason"]) == ("escalated", "bad_target")
            await nothing_was_run(world, incident, "v2")

    async def test_an_artifact_that_is_bad_under_another_version(self, tmp_path: Path) -> None:
        """A platform that numbers its deploys: what was bad as v0 is as bad as v1."""
        async with World(tmp_path) as world:
            for version, days in (("v0", 2), ("v1", 1)):
                await world.recorded(version, artifact="image:leaky", ago=days * DAY)
            await world.post(f"/api/v1/releases/{SERVICE}/v0/mark", {"mark": "bad", "reason": "it leaks"})
            await world.release("v2")
            await world.alert()
            incident = await world.reached("escalated")

            assert incident["reason"] == "no_safe_target"
            assert (await world.post(ROLLBACK, {"to": "v1", "reason": "x"}, expect=409))["reason"] == "bad_target"
            await nothing_was_run(world, incident, "v2")

    @pytest.mark.parametrize("to", ["v2", "v9", None])
    async def test_by_hand_to_the_current_to_one_that_is_missing_or_to_none_that_is_safe(self, tmp_path: Path, to: str | None) -> None:
        async with World(tmp_path) as world:
            await world.release("v2")
            refused = await world.post(ROLLBACK, {"to": to, "reason": "x"}, expect=409)

            assert refused["reason"] in {"bad_target", "no_safe_target"}
            assert (await world.incidents(), world.versions()) == ([], ["v2"])

    async def test_going_back_twice_never_returns_to_the_bad_release(self, tmp_path: Path) -> None:
        """The trap of every `undo`: what was previous is, after one rollback, the bad one."""
        async with World(tmp_path) as world:
            await bad_release(world)
            await world.alert()
            await world.closed()
            refused = await world.post(ROLLBACK, {"to": None, "reason": "again"}, expect=409)

            assert refused["reason"] == "no_safe_target"
            assert (world.live, world.versions()) == ("v1", ["v2", "v1"])


class TestRow56:
    async def test_somebody_deploys_between_the_decision_and_the_first_step(self, tmp_path: Path) -> None:
        """In auto the two lie milliseconds apart: the daemon dies between them, and somebody deploys before it is back."""
        async with ProcessWorld(tmp_path) as world:
            await bad_release(world)
            await world.stop()
            world.failpoint = "rollback.after_advance:kill"
            await world.start()
            await world.alert()
            assert await world.died() == -signal.SIGKILL
            await world.run_tool("hotfix")
            world.failpoint = ""
            await world.start()
            incident = await world.reached("escalated")

            assert incident["reason"] == "running_version_changed"
            assert "hotfix" in incident["detail"]
            await nothing_was_run(world, incident, "v2", "hotfix")

    async def test_somebody_rolls_back_by_hand_before_it_is_approved(self, tmp_path: Path) -> None:
        async with World(tmp_path, mode="propose", recheck_every="1m") as world:
            await bad_release(world)
            await world.alert()
            proposed = await world.reached("proposed")
            await world.run_tool("v1")
            incident = await approved(world, proposed)

            assert (incident["phase"], incident["reason"]) == ("escalated", "running_version_changed")
            await nothing_was_run(world, incident, "v2", "v1")

    async def test_without_a_probe_the_register_says_it(self, tmp_path: Path) -> None:
        async with World(tmp_path, mode="propose", recheck_every="1m", running_version=None) as world:
            await bad_release(world)
            await world.alert()
            proposed = await world.reached("proposed")
            await world.release("v3")
            incident = await approved(world, proposed)

            assert (incident["phase"], incident["reason"]) == ("escalated", "running_version_changed")
            await nothing_was_run(world, incident, "v2", "v3")

    async def test_what_was_not_run_is_no_rollback_that_cools_down_or_counts(self, tmp_path: Path) -> None:
        async with World(tmp_path, mode="propose", recheck_every="1m") as world:
            await bad_release(world)
            await world.alert()
            proposed = await world.reached("proposed")
            await world.run_tool("hotfix")
            incident = await approved(world, proposed)

            assert (incident["rollback_started_at"], incident["rollback_ended_at"]) == (None, None)
