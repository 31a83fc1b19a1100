"""What people do while the daemon is at work: twice, too late, in between, and after something went wrong."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from rollbackd.action.runner import Runner
from tests.flow.world import SERVICE, World

DAY = timedelta(days=1)
LONG_WATCH = {"duration": "1m", "interval": "200ms", "stable_for": "50s"}
BY_HAND = {"to": "v1", "reason": "customers complain"}
ROLLBACK = f"/api/v1/services/{SERVICE}/rollback"


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A probe that cannot tell is asked for half a second, not for half a minute."""
    patience = Runner.__init__.__kwdefaults__
    assert patience is not None
    monkeypatch.setitem(patience, "observe_for", timedelta(milliseconds=500))


async def bad_release(world: World) -> None:
    await world.release("v1", ago=DAY)
    await world.release("v2")


async def ask(world: World, path: str, body: Mapping[str, Any]) -> int:
    async with world.http.post(f"{world.url}{path}", json=body, headers={"Authorization": f"Bearer {world.token}"}) as response:
        return response.status


async def decide(world: World, incident: Mapping[str, Any], what: str, **body: Any) -> int:
    return await ask(world, f"/api/v1/incidents/{incident['id']}/{what}", body)


@asynccontextmanager
async def held_in_the_step(world: World, *told: str) -> AsyncIterator[Mapping[str, Any]]:
    """The incident, while its deploy has had its effect and does not end, until the block does or lets go."""
    await bad_release(world)
    with world.told("hold", *told):
        await world.alert()
        await world.deployed("v2", "v1")
        yield await world.reached("rolling_back")


def let_go(world: World) -> None:
    (world.directory / "hold").unlink()


async def left_in_the_dark(world: World, *, aborted: bool = False) -> Mapping[str, Any]:
    """An escalated incident: its step was run and had no effect, and whether it had could not be told at the time."""
    async with held_in_the_step(world, "lie") as incident:
        with world.told("mute"):
            if aborted:
                assert await decide(world, incident, "abort", reason="wait a moment") == 200
            let_go(world)
            escalated = await world.reached("escalated")
    assert (escalated["reason"], world.live) == ("step_uncertain", "v2")
    return escalated


class TestApproving:
    async def test_five_people_at_once_are_one_rollback(self, tmp_path: Path) -> None:
        async with World(tmp_path, mode="propose") as world:
            await bad_release(world)
            await world.alert()
            proposed = await world.reached("proposed")
            answers = await asyncio.gather(*(decide(world, proposed, "approve", plan=proposed["plan"]) for _ in range(5)))

            assert sorted(answers) == [200, 409, 409, 409, 409]
            assert (await world.closed())["outcome"] == "recovered"
            assert world.versions() == ["v2", "v1"]

    async def test_one_approves_while_another_rejects(self, tmp_path: Path) -> None:
        async with World(tmp_path, mode="propose") as world:
            await bad_release(world)
            await world.alert()
            proposed = await world.reached("proposed")
            answers = await asyncio.gather(
                decide(world, proposed, "reject", reason="we fix forward"), decide(world, proposed, "approve", plan=None)
            )
            incident = await world.closed()

            assert sorted(answers) == [200, 409]
            assert (incident["outcome"], world.versions()) in [("rejected", ["v2"]), ("recovered", ["v2", "v1"])]

    async def test_after_an_uncertain_step_the_whole_plan_runs_again_as_attempts_of_its_own(self, tmp_path: Path, impatient: None) -> None:
        async with World(tmp_path, deploying={"idempotent": False}) as world:
            escalated = await left_in_the_dark(world)
            assert escalated["rollback_ended_at"] is not None
            with world.told("hold"):
                assert await decide(world, escalated, "approve", plan=escalated["plan"]) == 200
                assert (await world.reached("rolling_back"))["rollback_ended_at"] is None
            incident = await world.closed()

            assert (incident["outcome"], incident["requested_by"]) == ("recovered", "oncall")
            assert [(one["step_index"], one["status"]) for one in incident["attempts"]] == [(0, "uncertain"), (1, "succeeded")]
            assert world.versions() == ["v2", "v1", "v1"]

    async def test_an_abort_from_before_does_not_stop_what_is_approved_after_it(self, tmp_path: Path, impatient: None) -> None:
        async with World(tmp_path, deploying={"idempotent": False}) as world:
            escalated = await left_in_the_dark(world, aborted=True)
            assert escalated["abort_reason"] == "wait a moment"
            assert await decide(world, escalated, "approve", plan=None) == 200
            incident = await world.closed()

            assert (incident["outcome"], incident["abort_reason"]) == ("recovered", None)

    async def test_after_an_uncertain_step_the_cooldown_holds_the_next_alert(self, tmp_path: Path, impatient: None) -> None:
        """Something was run, and nobody knows what came of it: nothing more happens by itself."""
        async with World(tmp_path, bad=("v1", "v2"), deploying={"idempotent": False}) as world:
            escalated = await left_in_the_dark(world)
            assert await decide(world, escalated, "reject", reason="I look myself") == 200
            await world.alert()
            held = await world.closed(nth=2)

            assert (held["outcome"], held["reason"]) == ("held", "cooldown")
            assert world.versions() == ["v2", "v1"]


class TestAborting:
    async def test_in_a_step_it_stops_before_the_next_one(self, tmp_path: Path) -> None:
        async with World(tmp_path, then=("after",)) as world:
            async with held_in_the_step(world) as incident:
                assert await decide(world, incident, "abort", reason="I take over") == 200
                let_go(world)
                closed = await world.closed()

            assert (closed["outcome"], closed["abort_reason"], closed["detail"]) == ("aborted", "I take over", "I take over")
            assert [(one["step"], one["status"]) for one in closed["attempts"]] == [("deploy", "succeeded")]
            assert world.said == []

    async def test_a_step_that_may_be_interrupted_is(self, tmp_path: Path) -> None:
        async with World(tmp_path, deploying={"interruptible": True}, then=("after",)) as world:
            async with held_in_the_step(world) as incident:
                assert await decide(world, incident, "abort", reason="I take over") == 200
                closed = await world.closed()

            assert closed["outcome"] == "aborted"
            assert [(one["step"], one["status"]) for one in closed["attempts"]] == [("deploy", "interrupted")]
            assert world.said == []

    async def test_in_the_last_step_it_is_no_success(self, tmp_path: Path) -> None:
        async with World(tmp_path) as world:
            async with held_in_the_step(world) as incident:
                assert await decide(world, incident, "abort", reason="I take over") == 200
                let_go(world)
                closed = await world.closed()

            assert (closed["outcome"], closed["looks"]) == ("aborted", [])
            releases = (await world.get(f"/api/v1/releases?service={SERVICE}"))["items"]
            assert [(one["version"], one["kind"], one["status"], one["mark"]) for one in releases][:2] == [
                ("v1", "rollback", "live", "none"),
                ("v2", "release", "live", "suspect"),
            ]

    async def test_what_was_aborted_counts_for_the_cooldown(self, tmp_path: Path) -> None:
        async with World(tmp_path, bad=("v1", "v2"), then=("after",)) as world:
            async with held_in_the_step(world) as incident:
                await decide(world, incident, "abort", reason="I take over")
                let_go(world)
                await world.closed()
            await world.release("v3")
            world.bad.add("v3")
            await world.alert()
            held = await world.closed(nth=2)

            assert (held["outcome"], held["reason"]) == ("held", "cooldown")

    async def test_before_the_first_step_nothing_was_run_and_nothing_cools_down(self, tmp_path: Path) -> None:
        async with World(tmp_path, mode="propose") as world:
            await bad_release(world)
            await world.alert()
            proposed = await world.reached("proposed")
            await world.post("/api/v1/pause", {"service": SERVICE, "for": "1h", "reason": "big sale"})
            assert await decide(world, proposed, "approve", plan=None) == 409
            await world.post("/api/v1/resume", {"service": SERVICE})
            assert await decide(world, proposed, "abort", reason="I take over") == 200
            await world.closed()
            await world.alert()

            assert (await world.reached("proposed", nth=2))["reason"] == "to_blame"


class TestPausing:
    async def test_in_a_run_it_holds_before_the_next_step_also_over_a_restart(self, tmp_path: Path) -> None:
        async with World(tmp_path, then=("after",)) as world:
            async with held_in_the_step(world):
                await world.post("/api/v1/pause", {"service": None, "for": "1h", "reason": "big sale"})
                let_go(world)
                await world.step_ended("deploy")
            await world.stop()
            await world.start()
            incident = await world.reached("rolling_back")
            assert ([one["status"] for one in incident["attempts"]], world.said) == (["succeeded"], [])

            await world.post("/api/v1/resume", {"service": None})
            assert (await world.closed())["outcome"] == "recovered"
            assert (world.versions(), world.said) == (["v2", "v1"], ["after"])

    async def test_a_run_that_is_held_can_be_aborted(self, tmp_path: Path) -> None:
        async with World(tmp_path, then=("after",)) as world:
            async with held_in_the_step(world) as incident:
                await world.post("/api/v1/pause", {"service": None, "for": "1h", "reason": "big sale"})
                let_go(world)
                await world.step_ended("deploy")
            assert await decide(world, incident, "abort", reason="I take over") == 200

            assert (await world.closed())["outcome"] == "aborted"
            assert world.said == []


class TestRollingBackByHand:
    async def test_a_watch_is_taken_over_by_a_rollback_to_another_release(self, tmp_path: Path) -> None:
        async with World(tmp_path, bad=("v1", "v2"), watch=LONG_WATCH) as world:
            await world.release("v0", ago=2 * DAY)
            await bad_release(world)
            await world.alert()
            watching = await world.reached("watching")
            taken = await world.post(ROLLBACK, {"to": "v0", "reason": "v1 fails as well"}, expect=202)
            await world.deployed("v2", "v1", "v0")
            incident = await world.reached("watching")

            assert taken["id"] == incident["id"] == watching["id"]
            assert (incident["suspect"], incident["target"], incident["reason"]) == ("v1", "v0", "manual")
            assert [one["step_index"] for one in incident["attempts"]] == [0, 1]

    async def test_not_while_a_step_is_running(self, tmp_path: Path) -> None:
        async with World(tmp_path) as world:
            async with held_in_the_step(world):
                refused = await world.post(ROLLBACK, BY_HAND, expect=409)
                let_go(world)
            assert refused["reason"] == "step_running"
            assert (await world.closed())["outcome"] == "recovered"

    async def test_while_the_daemon_decides_only_one_of_them_acts(self, tmp_path: Path) -> None:
        async with World(tmp_path) as world:
            await bad_release(world)
            _, answer = await asyncio.gather(world.alert(), ask(world, ROLLBACK, BY_HAND))
            incident = await world.closed()

            assert answer in {202, 409}
            assert incident["outcome"] == "recovered"
            assert world.versions() == ["v2", "v1"]

    async def test_a_plan_that_is_not_the_one_that_was_shown_is_refused(self, tmp_path: Path) -> None:
        async with World(tmp_path) as world:
            await bad_release(world)
            path = f"/api/v1/services/{SERVICE}/plan?to=v1"
            shown = await world.get(path)
            await world.release("v3")
            refused = await world.post(ROLLBACK, {**BY_HAND, "plan": shown["digest"]}, expect=409)
            assert (refused["reason"], world.versions()[-1]) == ("outdated_plan", "v3")
            await world.post(ROLLBACK, {**BY_HAND, "plan": (await world.get(path))["digest"]}, expect=202)

            assert (await world.closed())["outcome"] == "recovered"

    async def test_under_a_pause_it_must_be_meant(self, tmp_path: Path) -> None:
        async with World(tmp_path) as world:
            await bad_release(world)
            await world.post("/api/v1/pause", {"service": SERVICE, "for": "1h", "reason": "big sale"})
            assert (await world.post(ROLLBACK, BY_HAND, expect=409))["reason"] == "paused"
            await world.post(ROLLBACK, {**BY_HAND, "while_paused": True}, expect=202)

            assert (await world.closed())["outcome"] == "recovered"

    async def test_what_an_escalation_said_is_not_said_of_the_rollback_that_takes_it_over(self, tmp_path: Path, impatient: None) -> None:
        async with World(tmp_path, deploying={"idempotent": False}, watch=LONG_WATCH) as world:
            escalated = await left_in_the_dark(world)
            assert escalated["detail"]
            await world.post(ROLLBACK, BY_HAND, expect=202)
            watching = await world.reached("watching")

            assert "customers complain" in watching["why"]
            assert watching["detail"] == ""


async def test_taking_note_before_the_end_does_not_lift_the_cooldown_after_it(tmp_path: Path) -> None:
    async with World(tmp_path, mode="propose", bad=("v2", "v3")) as world:
        await bad_release(world)
        await world.alert()
        proposed = await world.reached("proposed")
        assert await decide(world, proposed, "acknowledge", reason="I look at it") == 200
        assert await decide(world, proposed, "approve", plan=None) == 200
        await world.closed()
        await world.release("v3")
        await world.alert()

        assert (await world.closed(nth=2))["reason"] == "cooldown"


class TestRestart:
    async def test_a_proposal_outlives_it_with_its_plan(self, tmp_path: Path) -> None:
        async with World(tmp_path, mode="propose") as world:
            await bad_release(world)
            await world.alert()
            proposed = await world.reached("proposed")
            await world.stop()
            await world.start()
            assert await decide(world, proposed, "approve", plan=proposed["plan"]) == 200

            assert (await world.closed())["outcome"] == "recovered"

    async def test_an_escalation_outlives_it(self, tmp_path: Path, impatient: None) -> None:
        async with World(tmp_path, deploying={"idempotent": False}) as world:
            escalated = await left_in_the_dark(world)
            await world.stop()
            await world.start()
            assert (await world.reached("escalated"))["escalated_at"] == escalated["escalated_at"]
            assert await decide(world, escalated, "approve", plan=escalated["plan"]) == 200

            assert (await world.closed())["outcome"] == "recovered"
