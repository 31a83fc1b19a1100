"""The register over HTTP and the command line: what it refuses, and what a person reads when it disagrees with what runs."""

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from rollbackd.clock import SystemClock, rfc3339
from tests.flow.world import SERVICE, World

DAY, HOUR, MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)
RELEASES, CHANGES = "/api/v1/releases", "/api/v1/changes"
TO_COME: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "a release that begins": (RELEASES, {"version": "v3", "started_at": "+", "status": "rolling"}),
    "one that was everywhere": (RELEASES, {"version": "v3", "deployed_at": "+"}),
    "the end of one that is rolling": (RELEASES, {"version": "v2", "live_at": "+"}),
    "a change": (CHANGES, {"kind": "flag", "what": "dark mode", "at": "+"}),
}


async def listed(world: World, path: str) -> list[Any]:
    return list((await world.get(f"{path}?service={SERVICE}"))["items"])


def at(body: Mapping[str, str], ahead: timedelta) -> dict[str, str]:
    said = rfc3339(SystemClock().now() + ahead)
    return {"service": SERVICE, **{name: said if value == "+" else value for name, value in body.items()}}


@pytest.mark.parametrize(("path", "body"), TO_COME.values(), ids=TO_COME)
async def test_what_is_still_to_come_is_400_and_not_kept(tmp_path: Path, path: str, body: Mapping[str, str]) -> None:
    async with World(tmp_path) as world:
        await world.post(RELEASES, {"service": SERVICE, "version": "v2", "status": "rolling"}, expect=201)
        before = await listed(world, RELEASES), await listed(world, CHANGES)
        problem = await world.post(path, at(body, HOUR), expect=400)
        assert "is still to come, " in problem["detail"]
        assert problem["detail"].endswith("ahead of this machine's clock (5 min are allowed): record it when it happens")
        assert (await listed(world, RELEASES), await listed(world, CHANGES)) == before


async def test_a_clock_that_is_a_little_ahead_is_let_through_and_what_it_said_is_shown(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        ahead = at({"version": "v3", "deployed_at": "+"}, 4 * MINUTE)
        await world.post(RELEASES, ahead, expect=201)
        await world.post(CHANGES, at({"kind": "flag", "what": "dark mode", "at": "+"}, 4 * MINUTE), expect=201)
        shown = await world.cli("release", "list", SERVICE)
        assert shown.stdout.split("\t")[:5] == ["v3", "live", "", "release", f"{ahead['deployed_at'].split('.')[0]}Z"]


@pytest.mark.parametrize(
    "args",
    [
        ("release", "start", SERVICE, "v3"),
        ("release", "record", SERVICE, "v3"),
        ("change", "record", SERVICE, "--kind", "flag", "--what", "x"),
    ],
)
async def test_at_a_time_to_come_the_command_line_says_what_to_do(tmp_path: Path, args: tuple[str, ...]) -> None:
    async with World(tmp_path) as world:
        result = await world.cli(*args, "--at", rfc3339(SystemClock().now() + HOUR))
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr.startswith("rollbackd: ")
        assert result.stderr.endswith("record it when it happens\n")
        assert len(result.stderr.splitlines()) == 1


async def test_of_two_releases_in_one_second_the_later_recorded_is_rolled_back_to_the_other(tmp_path: Path) -> None:
    async with World(tmp_path, bad=("v3",)) as world:
        await world.release("v1", ago=DAY)
        same = {"service": SERVICE, "deployed_at": rfc3339(SystemClock().now())}
        await world.post(RELEASES, {**same, "version": "v2"}, expect=201)
        await world.post(RELEASES, {**same, "version": "v3"}, expect=201)
        assert [one["version"] for one in await listed(world, RELEASES)] == ["v3", "v2", "v1"]
        await world.run_tool("v3")
        await world.alert()
        incident = await world.closed()
        assert (incident["outcome"], incident["suspect"], incident["target"]) == ("recovered", "v3", "v2")


async def test_explain_tells_what_runs_and_what_was_recorded(tmp_path: Path) -> None:
    async with World(tmp_path, bad=("v2", "hotfix")) as world:
        await world.release("v1", ago=DAY)
        await world.release("v2")
        await world.run_tool("hotfix")
        await world.alert()
        incident = await world.reached("escalated")
        result = await world.cli("explain", incident["id"])
        why, *lines = result.stdout.splitlines()
        assert "running_version: runs hotfix" in why
        (decided,) = [line.split("\t") for line in lines if line.startswith("*")]
        assert decided[1:6] == ["running_version", "failed", "running_version_changed", "runs hotfix", "every instance runs v2 (v2)"]
        assert world.versions() == ["v2", "hotfix"]


async def test_explain_tells_how_many_series_there_are_and_what_to_do(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await world.release("v1", ago=DAY)
        await world.release("v2")
        world.prometheus.answer(
            r"sum\(increase\(http_requests_total\{[^}]*service=\"[^\"]+\"\}", ({"zone": "a"}, 900), ({"zone": "b"}, 100)
        )
        await world.alert()
        incident = await world.reached("escalated")
        assert (incident["decision"], incident["reason"]) == ("hold", "unknown")
        lines = (await world.cli("explain", incident["id"])).stdout.splitlines()
        (decided,) = [line.split("\t") for line in lines if line.startswith("*")]
        assert decided[1:4] == ["trigger HighErrorRate", "unknown", "several_series"]
        said = "total: 2 series that differ in zone where one is meant: aggregate in the query, such as sum(…), or set reduce; "
        assert decided[4].startswith(said)
        assert world.versions() == ["v2"]
