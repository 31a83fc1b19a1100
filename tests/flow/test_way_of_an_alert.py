"""The whole way of an alert through the whole daemon, over real HTTP, with a tool that really deploys."""

from collections.abc import Mapping
from datetime import timedelta
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

from rollbackd.action.runner import Runner
from rollbackd.clock import SystemClock
from tests.flow.world import SERVICE, World

DAY = timedelta(days=1)


def versions(world: World) -> list[str]:
    return [version for _, version in world.effects()]


async def bad_release(world: World) -> None:
    await world.release("v1", ago=DAY)
    await world.release("v2")


async def test_a_bad_release_is_rolled_back_and_recovers(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await bad_release(world)
        await world.alert()
        incident = await world.closed()

        assert incident["outcome"] == "recovered"
        assert incident["decision"] == "roll_back"
        assert incident["reason"] == "to_blame"
        assert versions(world) == ["v2", "v1"]
        assert world.live == "v1"
        assert [attempt["status"] for attempt in incident["attempts"]] == ["succeeded"]
        releases = (await world.get(f"/api/v1/releases?service={SERVICE}"))["items"]
        assert {(one["version"], one["kind"]): one["mark"] for one in releases} == {
            ("v1", "rollback"): "none",
            ("v2", "release"): "bad",
            ("v1", "release"): "none",
        }
        assert "recovered" in await world.report(incident["id"])


async def test_errors_without_a_recent_release_are_held(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await world.release("v0", ago=2 * DAY)
        await world.release("v1", ago=DAY)
        world.outage_since = SystemClock().now()
        await world.alert()
        incident = await world.closed()

        assert (incident["outcome"], incident["reason"], incident["blame"]) == ("held", "no_recent_release", "exonerated")
        assert versions(world) == []


async def test_blame_off_asks_for_no_recent_release(tmp_path: Path) -> None:
    async with World(tmp_path, blame="off") as world:
        await world.release("v1", ago=2 * DAY)
        await world.release("v2", ago=DAY, record=True)
        await world.run_tool("v2")
        await world.alert()
        incident = await world.closed()

        assert (incident["outcome"], incident["reason"]) == ("recovered", "blame_off")
        assert versions(world) == ["v2", "v1"]


async def test_a_rollback_that_fails_says_so(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await bad_release(world)
        (tmp_path / "refuse").touch()
        await world.alert()
        incident = await world.closed()

        assert (incident["outcome"], incident["reason"]) == ("failed", "step_failed")
        assert "the registry does not answer" in incident["attempts"][0]["output"]
        assert versions(world) == ["v2"]


async def test_exit_0_alone_is_no_success(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    patience = Runner.__init__.__kwdefaults__
    assert patience is not None
    monkeypatch.setitem(patience, "observe_for", timedelta(milliseconds=500))
    async with World(tmp_path) as world:
        await bad_release(world)
        (tmp_path / "lie").touch()
        await world.alert()
        incident = await world.reached("closed", "escalated")

        assert incident["outcome"] == "failed"
        assert world.live == "v2"


async def test_without_an_answer_from_prometheus_a_person_is_asked(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await bad_release(world)
        world.prometheus.fail(".", 503)
        await world.alert()
        incident = await world.reached("escalated")

        assert (incident["decision"], incident["reason"]) == ("hold", "unknown")
        assert versions(world) == ["v2"]


async def test_the_alert_of_a_healthy_service_stands_down(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await world.release("v1", ago=DAY)
        await world.alert()
        incident = await world.closed()

        assert (incident["outcome"], incident["reason"]) == ("stood_down", "healthy")


async def test_a_target_that_is_no_better_has_no_effect(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await bad_release(world)
        world.outage_since = SystemClock().now()
        await world.alert()
        incident = await world.closed()

        assert incident["outcome"] == "no_effect"
        assert world.live == "v1"
        releases = (await world.get(f"/api/v1/releases?service={SERVICE}"))["items"]
        assert next(one["mark"] for one in releases if one["version"] == "v2") == "suspect"


class TestModes:
    async def test_observe_writes_the_plan_down_and_runs_nothing(self, tmp_path: Path) -> None:
        async with World(tmp_path, mode="observe") as world:
            await bad_release(world)
            await world.alert()
            incident = await world.closed()

            assert (incident["outcome"], incident["decision"], incident["target"]) == ("observed", "roll_back", "v1")
            assert incident["plan"]
            assert versions(world) == ["v2"]

    async def test_propose_waits_for_the_person_who_saw_the_plan(self, tmp_path: Path) -> None:
        async with World(tmp_path, mode="propose") as world:
            await bad_release(world)
            await world.alert()
            proposed = await world.reached("proposed")
            assert versions(world) == ["v2"]

            path = f"/api/v1/incidents/{proposed['id']}/approve"
            refused = await world.post(path, {"plan": "0" * 64}, expect=409)
            assert refused["reason"] == "outdated_plan"
            await world.post(path, {"plan": proposed["plan"]})
            incident = await world.closed()

            assert incident["outcome"] == "recovered"
            assert versions(world) == ["v2", "v1"]

    async def test_a_proposal_that_nobody_approves_expires(self, tmp_path: Path) -> None:
        async with World(tmp_path, mode="propose", approval={"expires": "600ms"}) as world:
            await bad_release(world)
            await world.alert()

            assert (await world.closed())["outcome"] == "expired"
            assert versions(world) == ["v2"]

    async def test_a_proposal_can_be_rejected(self, tmp_path: Path) -> None:
        async with World(tmp_path, mode="propose") as world:
            await bad_release(world)
            await world.alert()
            proposed = await world.reached("proposed")
            await world.post(f"/api/v1/incidents/{proposed['id']}/reject", {"reason": "we fix forward"})

            assert (await world.closed())["outcome"] == "rejected"
            assert versions(world) == ["v2"]


class TestGuards:
    async def test_a_pause_holds_until_it_is_lifted(self, tmp_path: Path) -> None:
        async with World(tmp_path, give_up_after="20s") as world:
            await bad_release(world)
            await world.post("/api/v1/pause", {"service": None, "for": "1h", "reason": "big sale"})
            await world.alert()
            await world.held_for_now("paused")
            assert versions(world) == ["v2"]

            await world.post("/api/v1/resume", {"service": None})
            assert (await world.closed())["outcome"] == "recovered"

    async def test_what_runs_is_not_what_was_released(self, tmp_path: Path) -> None:
        async with World(tmp_path, bad=("v2", "hotfix")) as world:
            await bad_release(world)
            await world.run_tool("hotfix")
            await world.alert()
            incident = await world.reached("escalated")

            assert incident["reason"] == "running_version_changed"
            assert versions(world) == ["v2", "hotfix"]

    async def test_the_cooldown_holds_and_an_acknowledgement_lifts_it(self, tmp_path: Path) -> None:
        async with World(tmp_path, bad=("v2", "v3")) as world:
            await bad_release(world)
            await world.alert()
            first = await world.closed()
            await world.release("v3")
            await world.alert()
            held = await world.closed(nth=2)
            assert (held["outcome"], held["reason"]) == ("held", "cooldown")

            await world.post(f"/api/v1/incidents/{first['id']}/acknowledge", {"reason": "seen, v2 is fixed in v3"})
            await world.alert()
            incident = await world.closed(nth=3)
            assert incident["outcome"] == "recovered"
            assert versions(world) == ["v2", "v1", "v3", "v1"]

    async def test_there_is_no_target_but_the_suspect(self, tmp_path: Path) -> None:
        async with World(tmp_path) as world:
            await world.release("v1", ago=DAY, record=False)
            await world.release("v2")
            await world.alert()

            assert (await world.reached("escalated"))["reason"] == "no_safe_target"


class TestOneIncident:
    async def test_the_same_alert_again_is_a_duplicate(self, tmp_path: Path) -> None:
        async with World(tmp_path) as world:
            await bad_release(world)
            alert = world.alert_object()
            assert await world.post_alerts([alert, alert]) == {"stored": 1, "duplicates": 1, "ignored": 0}
            await world.closed()
            assert (await world.post_alerts([alert]))["duplicates"] == 1

            assert len(await world.incidents()) == 1
            assert versions(world) == ["v2", "v1"]

    @pytest.mark.parametrize("order", tuple(permutations(range(3))))
    async def test_row_35_in_whichever_order_the_events_arrive(self, tmp_path: Path, order: tuple[int, ...]) -> None:
        async with World(tmp_path) as world:
            await bad_release(world)
            started = SystemClock().now()
            firing, resolved = (world.alert_object(status=status, starts_at=started) for status in ("firing", "resolved"))
            events = [firing, resolved, dict(firing)]
            for place in order:
                await world.post_alerts([events[place]])
            incident = await world.closed()

            assert incident["outcome"] == "recovered"
            assert len(await world.incidents()) == 1
            assert versions(world) == ["v2", "v1"]

    async def test_a_new_alert_in_the_watch_joins_it(self, tmp_path: Path) -> None:
        async with World(tmp_path) as world:
            await bad_release(world)
            await world.alert()
            await world.reached("watching")
            await world.alert(starts_at=SystemClock().now())
            incident = await world.closed()

            assert incident["outcome"] == "recovered"
            assert len(await world.incidents()) == 1


class TestByHand:
    async def test_a_person_rolls_back(self, tmp_path: Path) -> None:
        async with World(tmp_path, mode="observe") as world:
            await bad_release(world)
            begun = await world.post(
                f"/api/v1/services/{SERVICE}/rollback",
                {"to": "v1", "reason": "customers complain", "reason_code": "complaints"},
                expect=202,
            )
            incident = await world.closed()

            assert incident["id"] == begun["id"]
            assert (incident["outcome"], incident["reason"], incident["trigger"]) == ("recovered", "manual", None)
            assert versions(world) == ["v2", "v1"]

    async def test_never_to_a_release_that_is_marked_bad_or_not_recorded(self, tmp_path: Path) -> None:
        async with World(tmp_path) as world:
            await bad_release(world)
            await world.post(f"/api/v1/releases/{SERVICE}/v1/mark", {"mark": "bad", "reason": "it leaks"})
            path = f"/api/v1/services/{SERVICE}/rollback"

            assert (await world.post(path, {"to": "v1", "reason": "x"}, expect=409))["reason"] == "bad_target"
            assert (await world.post(path, {"to": "v9", "reason": "x"}, expect=409))["reason"] == "no_safe_target"
            assert (await world.post(path, {"to": "v2", "reason": "x"}, expect=409))["reason"] == "bad_target"
            assert versions(world) == ["v2"]

    async def test_an_escalation_is_taken_over(self, tmp_path: Path) -> None:
        async with World(tmp_path) as world:
            await bad_release(world)
            world.prometheus.fail(".", 503)
            await world.alert()
            escalated = await world.reached("escalated")
            world.measure()
            await world.post(f"/api/v1/services/{SERVICE}/rollback", {"to": "v1", "reason": "I see the errors myself"}, expect=202)
            incident = await world.closed()

            assert incident["id"] == escalated["id"]
            assert versions(world) == ["v2", "v1"]

    async def test_an_abort_in_the_watch_ends_it(self, tmp_path: Path) -> None:
        async with World(tmp_path, watch={"duration": "1m", "interval": "200ms", "stable_for": "50s"}) as world:
            await bad_release(world)
            await world.alert()
            watching = await world.reached("watching")
            await world.post(f"/api/v1/incidents/{watching['id']}/abort", {"reason": "I take over"})

            assert (await world.closed())["outcome"] == "aborted"


async def test_a_release_that_is_recorded_at_the_end_is_judged_again(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await world.release("v1", ago=DAY)
        await world.release("v2", record=False)
        released_at = world.effects()[-1][0]
        await world.alert()
        held = await world.reached("closed", "escalated")
        assert held["reason"] in {"no_recent_release", "running_version_changed"}
        assert held["outcome"] == "held"

        at = released_at.isoformat()
        await world.post("/api/v1/releases", {"service": SERVICE, "version": "v2", "started_at": at, "live_at": at})
        incident = await world.closed_again(held["id"])

        assert incident["outcome"] == "recovered"
        assert versions(world) == ["v2", "v1"]


async def test_row_38_what_alertmanager_cut_off_is_looked_up_in_prometheus(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await bad_release(world)
        active_at = SystemClock().now().timestamp()
        labels: Mapping[str, Any] = {"__name__": "ALERTS_FOR_STATE", "alertname": "HighErrorRate", "service": SERVICE}
        world.prometheus.answer("^ALERTS_FOR_STATE", (labels, active_at))
        await world.post_alerts([], truncatedAlerts=1)
        incident = await world.closed()

        assert incident["outcome"] == "recovered"


async def test_a_restart_goes_on_with_the_watch(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await bad_release(world)
        await world.alert()
        watching = await world.reached("watching")
        await world.stop()
        await world.start()
        incident = await world.closed()

        assert incident["id"] == watching["id"]
        assert incident["outcome"] == "recovered"
        assert versions(world) == ["v2", "v1"]
