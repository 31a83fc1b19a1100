"""Row 9: TERM in a step. It ends by itself or is interrupted, as the runbook says; the daemon stops in bounded time, and goes on (I9).

So it does whatever else is going on: nobody who hangs, on either side, holds it up, and no process of it is left.
"""

import asyncio
import signal
from pathlib import Path

import aiohttp
import pytest

from tests.fakes.prometheus import hang
from tests.faults.process_world import ProcessWorld
from tests.faults.test_crash import DAY, bad_release, running

LONG_WATCH = {"duration": "30s", "interval": "200ms", "stable_for": "600ms"}


async def in_the_step(world: ProcessWorld) -> None:
    await world.alert()
    await world.deployed("v2", "v1")


async def test_row_9_a_step_that_must_not_be_cut_ends_and_the_next_one_waits_for_the_next_start(tmp_path: Path) -> None:
    async with ProcessWorld(tmp_path, then=("after",), watch=LONG_WATCH) as world:
        await bad_release(world)
        assert world.process is not None
        with world.told("hold"):
            await in_the_step(world)
            world.process.send_signal(signal.SIGTERM)
            await world.logged("stopping")
            assert running(f"{world.tool} v1"), "it is not cut off"
        assert await world.died() == 0
        assert world.said == []

        await world.start()
        incident = await world.closed()
        assert incident["outcome"] == "recovered"
        assert [(one["step"], one["status"]) for one in incident["attempts"]] == [("deploy", "succeeded"), ("say after", "succeeded")]
        assert (world.versions(), world.said) == (["v2", "v1"], ["after"])


async def test_row_9_a_step_that_may_be_interrupted_is_and_is_observed_at_the_next_start(tmp_path: Path) -> None:
    async with ProcessWorld(tmp_path, deploying={"interruptible": True}, watch=LONG_WATCH) as world:
        await bad_release(world)
        with world.told("hold"):
            await in_the_step(world)
            await world.stop()
            assert not running(f"{world.tool} v1")

        await world.start()
        incident = await world.closed()
        assert incident["outcome"] == "recovered"
        assert world.versions() == ["v2", "v1"], "the probe says done: nothing is run again"


async def test_row_9_one_that_never_ends_is_cut_off_by_its_own_timeout(tmp_path: Path) -> None:
    async with ProcessWorld(tmp_path, deploying={"timeout": "1s"}, watch=LONG_WATCH) as world:
        await bad_release(world)
        with world.told("hold"):
            await in_the_step(world)
            await world.stop()
            assert not running(f"{world.tool} v1")

        await world.start()
        assert (await world.closed())["outcome"] == "recovered"


async def test_row_9_a_second_signal_does_not_wait(tmp_path: Path) -> None:
    async with ProcessWorld(tmp_path, watch=LONG_WATCH) as world:
        await bad_release(world)
        assert world.process is not None
        with world.told("hold"):
            await in_the_step(world)
            world.process.send_signal(signal.SIGTERM)
            await world.logged("stopping")
            world.process.send_signal(signal.SIGTERM)
            assert await world.died() == -signal.SIGTERM


async def test_in_the_watch_it_stops_at_once(tmp_path: Path) -> None:
    async with ProcessWorld(tmp_path, watch={"duration": "10m", "interval": "1m", "stable_for": "5m"}) as world:
        await world.release("v1", ago=DAY)
        await world.release("v2")
        await world.alert()
        await world.reached("watching")
        assert world.process is not None
        world.process.send_signal(signal.SIGTERM)
        assert await world.died() == 0


async def test_row_9_a_step_that_does_not_hear_term_is_killed(tmp_path: Path) -> None:
    async with ProcessWorld(tmp_path, deploying={"interruptible": True}, watch=LONG_WATCH) as world:
        await bad_release(world)
        with world.told("deaf", "hold"):
            await in_the_step(world)
            await world.stop()
            assert not running(f"{world.tool} v1")

        await world.start()
        assert (await world.closed())["outcome"] == "recovered"
        assert world.versions() == ["v2", "v1"]


async def test_row_9_a_step_that_is_over_its_time_and_does_not_hear_term_is_killed(tmp_path: Path) -> None:
    async with ProcessWorld(tmp_path, deploying={"timeout": "1s"}, watch=LONG_WATCH) as world:
        await bad_release(world)
        with world.told("deaf", "hold"):
            await in_the_step(world)
            await world.stop()
            assert not running(f"{world.tool} v1")


@pytest.mark.parametrize("what", ["Prometheus", "a probe"])
async def test_row_9_nobody_who_hangs_holds_it_up(tmp_path: Path, what: str) -> None:
    async with ProcessWorld(tmp_path, watch=LONG_WATCH) as world:
        await bad_release(world)
        if what == "Prometheus":
            world.prometheus.handle(".", hang)
        else:
            (tmp_path / "stall").touch()
        asked = len(world.prometheus.asked)
        await world.alert()
        async with asyncio.timeout(20):
            while len(world.prometheus.asked) == asked if what == "Prometheus" else not running(f"{world.tool} --status"):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        assert world.process is not None
        world.process.send_signal(signal.SIGTERM)
        assert await world.died() == 0
        assert not running(str(world.tool))
        assert world.versions() == ["v2"]


async def test_row_9_neither_a_stream_nor_a_slow_client_holds_it_up(tmp_path: Path) -> None:
    async with ProcessWorld(tmp_path) as world, aiohttp.ClientSession() as client:
        assert world.process is not None
        reader, writer = await asyncio.open_connection("127.0.0.1", int(world.url.rsplit(":", 1)[1]))
        writer.write(
            b"POST /webhook/alertmanager HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            + f"Authorization: Bearer {world.token}-ingest\r\nContent-Length: 1000\r\n\r\n{{".encode()
        )
        async with client.get(f"{world.url}/api/v1/events", headers={"Authorization": f"Bearer {world.token}"}) as stream:
            assert await stream.content.readline() == b"retry: 2000\n"
            world.process.send_signal(signal.SIGTERM)
            assert await world.died() == 0
            assert (await stream.content.read()).strip() == b"", "the stream is ended, and not broken off"
        assert await reader.read(1) in {b"", b"H"}
        writer.close()
