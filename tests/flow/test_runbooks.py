"""Runbooks that a person runs, and the emergency one that runs when a rollback fails."""

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.flow.world import SERVICE, World

DAY = timedelta(days=1)
SHORT_WATCH = {"duration": "1s", "interval": "200ms", "stable_for": "400ms"}


def says(directory: Path, text: str, **more: Any) -> dict[str, Any]:
    return {"name": f"say {text}", "run": [str(directory / "deploy"), "--say", text], "timeout": "10s", **more}


def runbook(name: str, *steps: Mapping[str, Any], kind: str = "full", **more: Any) -> dict[str, Any]:
    return {"name": name, "kind": kind, "budget": "1m", "steps": list(steps), **more}


async def run(world: World, name: str, **body: Any) -> tuple[int, Mapping[str, Any]]:
    headers = {"Authorization": f"Bearer {world.token}"}
    body = {"runbook": name, "reason": "it has to be", **body}
    async with world.http.post(f"{world.url}/api/v1/services/{SERVICE}/run", json=body, headers=headers) as response:
        return response.status, await response.json(content_type=None)


async def decide(world: World, incident: str, what: str, **body: Any) -> tuple[int, Mapping[str, Any]]:
    headers = {"Authorization": f"Bearer {world.token}"}
    async with world.http.post(f"{world.url}/api/v1/incidents/{incident}/{what}", json=body, headers=headers) as response:
        return response.status, await response.json(content_type=None)


async def marks(world: World) -> dict[str, str]:
    return {one["version"]: one["mark"] for one in (await world.get(f"/api/v1/releases?service={SERVICE}"))["items"]}


class TestRun:
    async def test_a_restart_touches_no_release(self, tmp_path: Path) -> None:
        restart = runbook("restart", says(tmp_path, "stop"), says(tmp_path, "start"))
        async with World(tmp_path, bad=(), runbooks=[restart], watch=SHORT_WATCH) as world:
            await world.release("v1", ago=DAY)
            await world.release("v2")
            status, begun = await run(world, "restart")
            incident = await world.closed()

            assert (status, begun["runbook"], begun["reason"]) == (202, "restart", "manual")
            assert (incident["outcome"], incident["suspect"], incident["target"]) == ("recovered", None, None)
            assert world.said == ["stop", "start"]
            assert world.live == "v2"
            assert await marks(world) == {"v1": "none", "v2": "none"}
            assert incident["why"].startswith("Ran restart, and the service recovered")

    async def test_a_full_one_goes_back_to_a_release(self, tmp_path: Path) -> None:
        deploy = {"name": "deploy", "run": [str(tmp_path / "deploy"), "${target.version}"], "timeout": "10s"}
        full = runbook("shop-full", says(tmp_path, "env"), deploy)
        async with World(tmp_path, mode="observe", runbooks=[full]) as world:
            await world.release("v1", ago=DAY)
            await world.release("v2")
            assert (await run(world, "shop-full", to="v1"))[0] == 202
            incident = await world.closed()

            assert (incident["outcome"], incident["suspect"], incident["target"]) == ("recovered", "v2", "v1")
            assert (world.said, world.live) == (["env"], "v1")
            assert (await marks(world))["v2"] == "bad"

    async def test_what_destroys_is_confirmed_by_its_name(self, tmp_path: Path) -> None:
        restore = runbook(
            "restore", says(tmp_path, "restored"), kind="data", destroys=["database ${vars.database}"], confirm="${vars.database}"
        )
        async with World(tmp_path, bad=(), runbooks=[restore], vars={"database": "shop"}, watch=SHORT_WATCH) as world:
            await world.release("v1", ago=DAY)
            plan = await world.get(f"/api/v1/services/{SERVICE}/plan?runbook=restore")
            assert (plan["kind"], plan["destroys"], plan["confirm"]) == ("data", ["database shop"], "shop")
            status, refused = await run(world, "restore", plan=plan["digest"])
            assert (status, refused["reason"]) == (409, "unconfirmed")
            assert "restore destroys database shop: confirm it with --confirm shop" in refused["detail"]
            assert (await run(world, "restore", confirm="shopp"))[0] == 409
            assert world.said == []
            assert (await run(world, "restore", confirm="shop"))[0] == 202
            await world.closed()
            assert world.said == ["restored"]

    async def test_what_cannot_be_run_is_refused_with_what_to_do(self, tmp_path: Path) -> None:
        restart = runbook("restart", says(tmp_path, "stop"))
        async with World(tmp_path, runbooks=[restart]) as world:
            await world.release("v1", ago=DAY)
            status, refused = await run(world, "restat")
            assert (status, refused["detail"]) == (404, "no runbook 'restat' beside the config: there is restart, shop-quick")
            status, refused = await run(world, "restart", to="v1")
            assert (status, refused["detail"]) == (409, "restart goes back to no release: leave out the target")
            status, refused = await run(world, "restart", plan="another")
            assert (status, refused["reason"]) == (409, "outdated_plan")
            assert f"rollbackd plan {SERVICE} --runbook restart" in refused["detail"]
            assert world.said == []

    async def test_only_one_thing_runs_at_a_time(self, tmp_path: Path) -> None:
        hold = {"name": "hold", "run": [str(tmp_path / "deploy"), "v2"], "timeout": "10s"}
        async with World(tmp_path, bad=(), runbooks=[runbook("restart", hold)], watch=SHORT_WATCH) as world:
            await world.release("v2", ago=DAY)
            with world.told("hold"):
                assert (await run(world, "restart"))[0] == 202
                await world.deployed("v2")
                status, refused = await run(world, "restart")
                assert (status, refused["reason"]) == (409, "step_running")
            await world.closed()


class TestManual:
    def book(self, directory: Path) -> Mapping[str, Any]:
        look = {"name": "log-in works", "manual": "log in to ${service.name} with the test account", "timeout": "30s"}
        return runbook("checked", says(directory, "before"), look, says(directory, "after"))

    async def test_it_waits_for_a_tick_also_over_a_restart(self, tmp_path: Path) -> None:
        async with World(tmp_path, bad=(), runbooks=[self.book(tmp_path)], watch=SHORT_WATCH) as world:
            await world.release("v1", ago=DAY)
            begun = (await run(world, "checked"))[1]["id"]
            await self.waiting(world, begun)
            await world.stop()
            await world.start()
            await self.waiting(world, begun)
            assert world.said == ["before"]
            status, refused = await decide(world, begun, "tick", step="log-out works")
            assert status == 409
            assert "2 (log-in works) does" in refused["detail"]
            assert (await decide(world, begun, "tick", step="2"))[0] == 200
            incident = await world.closed()

            assert world.said == ["before", "after"]
            assert [one["detail"] for one in incident["attempts"] if one["step_index"] == 1][-1] == "ticked by oncall"
            assert incident["outcome"] == "recovered"

    async def test_nobody_ticks_what_waits_for_nobody(self, tmp_path: Path) -> None:
        async with World(tmp_path, bad=(), runbooks=[self.book(tmp_path)], watch=SHORT_WATCH) as world:
            await world.release("v1", ago=DAY)
            begun = (await run(world, "checked"))[1]["id"]
            await self.waiting(world, begun)
            assert (await decide(world, begun, "abort", reason="not now"))[0] == 200
            incident = await world.closed()
            assert (incident["outcome"], world.said) == ("aborted", ["before"])
            assert (await decide(world, begun, "tick", step="2"))[0] == 409

    async def waiting(self, world: World, incident: str) -> None:
        async with asyncio.timeout(20):
            while True:
                attempts = (await world.get(f"/api/v1/incidents/{incident}"))["attempts"]
                if any(one["step"] == "log-in works" and one["status"] == "started" for one in attempts):
                    return
                await asyncio.sleep(0.02)


class TestEmergency:
    def stop(self, directory: Path, *more: Mapping[str, Any]) -> Mapping[str, Any]:
        return runbook("emergency-stop", says(directory, "stopped"), *more, kind="emergency")

    @pytest.mark.parametrize("auto", [True, False])
    async def test_after_a_failed_rollback_it_runs_by_itself_only_where_it_may(self, tmp_path: Path, *, auto: bool) -> None:
        on_failure = {"runbook": "emergency-stop", "auto": auto}
        async with World(tmp_path, runbooks=[self.stop(tmp_path)], on_failure=on_failure) as world:
            await world.release("v1", ago=DAY)
            await world.release("v2")
            with world.told("refuse"):
                await world.alert()
                incident = await world.closed()

            assert (incident["outcome"], incident["reason"]) == ("failed", "step_failed")
            assert world.said == (["stopped"] if auto else [])
            said = "emergency-stop was run" if auto else f"next: rollbackd run emergency-stop --service {SERVICE} --reason WHY"
            assert incident["detail"].endswith(said)

    async def test_what_it_could_not_do_is_said(self, tmp_path: Path) -> None:
        (tmp_path / "refuse-page").touch()
        stop = self.stop(tmp_path, says(tmp_path, "page"), says(tmp_path, "never"))
        async with World(tmp_path, runbooks=[stop], on_failure={"runbook": "emergency-stop", "auto": True}) as world:
            await world.release("v1", ago=DAY)
            await world.release("v2")
            with world.told("refuse"):
                await world.alert()
                incident = await world.closed()

            assert world.said == ["stopped"]
            assert "emergency-stop failed at say page: exit 1" in incident["detail"]

    async def test_a_pause_holds_it_and_it_goes_on_over_a_restart(self, tmp_path: Path) -> None:
        async with World(tmp_path, runbooks=[self.stop(tmp_path)], on_failure={"runbook": "emergency-stop", "auto": True}) as world:
            await world.release("v1", ago=DAY)
            await world.release("v2")
            with world.told("lie", "hold"):  # the deploy has no effect, and does not end
                await world.alert()
                await world.deployed("v2", "v1")
                assert (await world.cli("pause", SERVICE, "--for", "1h", "--reason", "wait")).exit_code == 0
            await world.step_ended("deploy")
            await world.stop()
            await world.start()
            assert world.said == []
            assert (await world.cli("resume", SERVICE)).exit_code == 0
            incident = await world.closed()
            assert (incident["outcome"], world.said) == ("failed", ["stopped"])
