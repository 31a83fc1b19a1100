"""Rows 1-7 and 10: whatever dies when, nothing is lost, nothing runs twice, every incident ends (I1 I2 I5 I9 I10)."""

import asyncio
import contextlib
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import aiohttp
import pytest

from rollbackd.failpoints import FAILPOINTS
from tests.fakes.hook import Hook
from tests.faults.process_world import ProcessWorld

DAY = timedelta(days=1)


async def bad_release(world: ProcessWorld) -> None:
    await world.release("v1", ago=DAY)
    await world.release("v2")


@pytest.mark.parametrize("failpoint", sorted(FAILPOINTS))
async def test_rows_1_to_7_killed_at_every_write_and_boundary(tmp_path: Path, failpoint: str) -> None:
    """Killed there once, started again: Alertmanager resends what was not acknowledged, the incident ends, each version ran once, and
    a channel hears of each thing at least once, under one id.
    """
    watch = {"duration": "30s", "interval": "200ms", "stable_for": "600ms"}
    async with (
        Hook() as hook,
        ProcessWorld(tmp_path, watch=watch, top={"notify": [{"name": "hook", "webhook": {"url": hook.url}}]}) as world,
    ):
        await bad_release(world)
        await world.stop()
        world.failpoint = f"{failpoint}:kill"
        await world.start()
        alert = world.alert_object()
        acknowledged = False
        with contextlib.suppress(aiohttp.ClientError):
            acknowledged = (await world.post_alerts([alert]))["stored"] == 1
        assert await world.died() == -signal.SIGKILL

        world.failpoint = ""
        await world.start()
        if not acknowledged:
            await world.post_alerts([alert])
        incident = await world.closed()

        assert incident["outcome"] == "recovered", incident
        assert len(await world.incidents()) == 1
        assert [version for _, version in world.effects()] == ["v2", "v1"]
        assert [attempt["status"] for attempt in incident["attempts"]].count("succeeded") == 1
        async with asyncio.timeout(20):
            while "closed" not in {one.json["topic"] for one in hook.taken}:
                await hook.reached(len(hook.taken) + 1)
        ids: dict[str, set[str]] = {}
        for one in hook.taken:
            ids.setdefault(one.json["topic"], set()).add(one.headers["Idempotency-Key"])
        assert {topic: len(each) for topic, each in ids.items()} in ({"rolling_back": 1, "closed": 1}, {"closed": 1})


async def test_row_2_a_commit_that_was_not_answered_is_deduplicated(tmp_path: Path) -> None:
    async with ProcessWorld(tmp_path) as world:
        await bad_release(world)
        await world.stop()
        world.failpoint = "intake.after_commit:kill"
        await world.start()
        alert = world.alert_object()
        with pytest.raises(aiohttp.ClientError):
            await world.post_alerts([alert])
        await world.died()
        world.failpoint = ""
        await world.start()

        assert (await world.post_alerts([alert]))["duplicates"] == 1
        assert (await world.closed())["outcome"] == "recovered"


async def test_row_5_a_running_step_dies_with_the_daemon_and_is_observed(tmp_path: Path) -> None:
    async with ProcessWorld(tmp_path) as world:
        await bad_release(world)
        (tmp_path / "linger").touch()
        await world.alert()
        await world.reached("rolling_back")
        async with asyncio.timeout(10):
            while (tmp_path / "live").read_text() != "v1\n":  # noqa: ASYNC110 - the tool's own file says when it has acted
                await asyncio.sleep(0.02)
        await world.kill()
        (tmp_path / "linger").unlink()
        await world.start()
        incident = await world.closed()

        assert incident["outcome"] == "recovered"
        assert [version for _, version in world.effects()] == ["v2", "v1"], "the probe says done: nothing is run again"
        assert not running(f"{world.tool} v1")


async def test_row_10_a_second_daemon_on_the_same_state_is_refused(tmp_path: Path) -> None:
    async with ProcessWorld(tmp_path) as world:
        second = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "rollbackd", "serve", "--config", str(tmp_path / "rollbackd.yaml"),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        async with asyncio.timeout(20):
            _, said = await second.communicate()
        assert world.process is not None
        assert second.returncode not in {0, None}
        assert str(world.process.pid) in said.decode().splitlines()[-1]


def running(command: str) -> list[str]:
    """The processes whose command line contains `command`."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if command in line:
                found.append(line)
    return found
