"""Rows 61 and 62: the store's disk is full, or broken. No alert is answered for, nothing new starts, what runs is written down (I2 I5)."""

import asyncio
import contextlib
import errno
import shutil
import sqlite3
import tempfile
from pathlib import Path

import aiohttp
import pytest

from tests.faults.disk import MIB, files_limited, shim_or_skip, small_disk_or_skip
from tests.faults.process_world import ProcessWorld
from tests.faults.test_crash import bad_release

SIZE = 8 * MIB
LONG_WATCH = {"duration": "30s", "interval": "200ms", "stable_for": "600ms"}
BIG = "x" * 3000
LAST = "a" * 16


async def post(world: ProcessWorld, *, fingerprint: str, summary: str = "", service: str = "shop-api") -> int:
    """The status of the answer to one alert."""
    alert = {**world.alert_object(fingerprint=fingerprint, service=service), "annotations": {"summary": summary}}
    body = {
        "version": "4", "groupKey": "{}", "truncatedAlerts": 0, "status": "firing", "receiver": "rollbackd",
        "groupLabels": {}, "commonLabels": {}, "commonAnnotations": {}, "externalURL": "", "alerts": [alert],
    }  # fmt: skip
    headers = {"Authorization": f"Bearer {world.token}-ingest"}
    async with world.http.post(f"{world.url}/webhook/alertmanager", json=body, headers=headers) as response:
        return response.status


async def refused(world: ProcessWorld) -> set[str]:
    """Alerts come until one is refused with 503; the fingerprints of those that were answered with 200."""
    acknowledged: set[str] = set()
    for number in range(5_000):
        fingerprint = f"{number:016x}"
        status = await post(world, fingerprint=fingerprint, summary=BIG)
        if status != 200:
            assert status == 503
            return acknowledged
        acknowledged.add(fingerprint)
    raise AssertionError("the disk never filled")


async def accepted_again(world: ProcessWorld) -> None:
    async with asyncio.timeout(20):
        while await post(world, fingerprint=LAST) != 200:  # noqa: ASYNC110 - asks a server
            await asyncio.sleep(0.1)


async def problem(world: ProcessWorld) -> str:
    """What doctor says of the store."""
    return str((await world.get("/api/v1/doctor"))["store"]["problem"])


def kept(store: Path) -> set[str]:
    """The fingerprints of the alerts that are in the file, of a copy: SQLite would not find it on the other's disk."""
    with tempfile.TemporaryDirectory() as directory, contextlib.ExitStack() as stack:
        for suffix in ("", "-wal"):
            with contextlib.suppress(FileNotFoundError):
                shutil.copy(f"{store}{suffix}", f"{directory}/copy.db{suffix}")
        connection = stack.enter_context(contextlib.closing(sqlite3.connect(f"{directory}/copy.db")))
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return {fingerprint for (fingerprint,) in connection.execute("SELECT fingerprint FROM alerts")}


def is_alive(world: ProcessWorld) -> bool:
    return world.process is not None and world.process.returncode is None


async def test_row_61_on_a_full_disk_no_alert_is_answered_for_and_it_goes_on_when_there_is_room(tmp_path: Path) -> None:
    async with small_disk_or_skip(tmp_path, size=SIZE, mode="observe") as world:
        assert await problem(world) == ""
        with world.full():
            acknowledged = await refused(world)
            await world.becomes_unready("disk is full")
            assert "free space" in await problem(world)
            assert is_alive(world)
        await accepted_again(world)
        await world.ready()
        assert await problem(world) == ""
        assert kept(world.disk / "rollbackd.db") == {*acknowledged, LAST}


async def test_row_61_a_file_that_may_not_grow_is_an_io_error_and_passes_as_well(tmp_path: Path) -> None:
    async with ProcessWorld(tmp_path, mode="observe") as world:
        assert world.process is not None
        with files_limited(world.process.pid, 100_000):
            acknowledged = await refused(world)
            await world.becomes_unready("disk I/O error")
            assert is_alive(world)
        await accepted_again(world)
        await world.ready()
        assert kept(tmp_path / "state" / "rollbackd.db") == {*acknowledged, LAST}


async def test_row_61_a_run_that_has_begun_is_journaled_to_its_end_on_a_full_disk(tmp_path: Path) -> None:
    """Into the room that is held for it; after that nothing starts by itself until there is such room again."""
    async with small_disk_or_skip(tmp_path, size=SIZE, then=("after",), watch=LONG_WATCH) as world:
        await bad_release(world)
        with world.told("hold"):
            await world.alert()
            await world.deployed("v2", "v1")
            world.fill()
        await world.step_ended("say after")
        await world.logged("reserve_used")
        assert "no room to hold" in await problem(world)
        incident = await world.closed()
        assert incident["outcome"] == "recovered"
        assert [(one["step"], one["status"]) for one in incident["attempts"]] == [("deploy", "succeeded"), ("say after", "succeeded")]
        assert world.versions() == ["v2", "v1"], "once"
        world.empty()
        await accepted_again(world)
        await world.ready()


async def test_row_61_nothing_starts_on_a_full_disk_and_it_does_when_there_is_room(tmp_path: Path) -> None:
    async with small_disk_or_skip(tmp_path, size=SIZE, give_up_after="60s", watch=LONG_WATCH) as world:
        await bad_release(world)
        await world.post("/api/v1/pause", {"service": None, "for": "3s", "reason": "the test"})
        await world.alert()
        await world.held_for_now("paused")
        world.fill()
        await world.becomes_unready("disk is full")
        await world.no_pause()
        seen = world.log.count("incident_stuck")
        async with asyncio.timeout(20):
            while world.log.count("incident_stuck") == seen:  # noqa: ASYNC110 - another process writes it
                await asyncio.sleep(0.05)
        assert world.versions() == ["v2"]
        world.empty()
        assert (await world.closed())["outcome"] == "recovered"
        assert world.versions() == ["v2", "v1"]


async def test_row_61_without_room_for_a_journal_an_automatic_run_is_held_and_says_so(tmp_path: Path) -> None:
    """The disk has room for an alert, but not for all that a run may write."""
    async with small_disk_or_skip(tmp_path, size=SIZE, give_up_after="60s", watch=LONG_WATCH) as world:
        await bad_release(world)
        (world.disk / "reserve").unlink()
        world.fill(but=MIB)
        await world.alert()
        incident = await world.held_for_now("no_room")
        check = next(check for check in incident["checks"] if check["name"] == "no_room")
        assert (check["verdict"], "are held" in check["value"], "MiB" in check["limit"]) == ("failed", True, True)
        assert world.versions() == ["v2"]
        world.empty()
        assert (await world.closed())["outcome"] == "recovered"


@pytest.mark.parametrize("call", ["fsync", "pwrite"])
async def test_row_62_a_disk_that_fails_ends_the_daemon_or_passes_and_nothing_acknowledged_is_lost(tmp_path: Path, call: str) -> None:
    """After a failed fsync nobody knows what the disk has: it ends, without another one. A failed write is known to have failed."""
    shim = shim_or_skip(tmp_path)
    async with ProcessWorld(tmp_path, mode="observe") as world:
        await world.stop()
        world.environment = shim.environment
        await world.start()
        assert await post(world, fingerprint="1" * 16) == 200
        shim.fail(call, errno.EIO)
        with contextlib.suppress(aiohttp.ClientError):
            assert await post(world, fingerprint="2" * 16) == 503
        if call == "fsync":
            assert await world.died() == 1
            assert "was not kept by the disk" in world.log.splitlines()[-1]
            assert shim.called == ["fsync rollbackd.db-wal"]
        else:
            await world.becomes_unready("disk I/O error")
            assert is_alive(world)
        shim.stop()
        if call == "fsync":
            await world.start()
        await accepted_again(world)
        await world.ready()
        assert {"1" * 16, LAST} <= kept(tmp_path / "state" / "rollbackd.db")


async def test_row_62_a_disk_that_became_read_only_ends_the_daemon(tmp_path: Path) -> None:
    """As the kernel mounts it after an error; where it is so at a start, nothing is armed."""
    shim = shim_or_skip(tmp_path)
    async with ProcessWorld(tmp_path, mode="observe") as world:
        await world.stop()
        world.environment = shim.environment
        await world.start()
        shim.fail("pwrite", errno.EROFS)
        with contextlib.suppress(aiohttp.ClientError):
            assert await post(world, fingerprint="2" * 16) == 503
        assert await world.died() == 1
        assert "how its disk is mounted" in world.log.splitlines()[-1]
        shim.stop()
        await world.start()
        await accepted_again(world)


async def test_row_62_a_read_only_disk_at_the_start_is_not_armed(tmp_path: Path) -> None:
    async with small_disk_or_skip(tmp_path, size=SIZE, mode="observe") as world:
        await world.stop()
        world.options = "ro,"
        await world.launch()
        await world.becomes_unready("Read-only file system")
        assert await post(world, fingerprint="1" * 16) == 503
        await world.stop()
        assert world.process is not None
        assert world.process.returncode == 0
