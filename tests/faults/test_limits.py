"""Row 70: the daemon has no descriptor left, and the machine no process. Nothing is half begun, and it goes on by itself (I2 I5 I14)."""

import asyncio
import errno
import os
import resource
import subprocess
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from rollbackd.action.rollout import RunStatus
from rollbackd.model.attempt import AttemptStatus
from tests.fakes.rollout import Rollout
from tests.faults.process_world import ProcessWorld
from tests.faults.test_crash import bad_release


@contextmanager
def no_descriptor_left(world: ProcessWorld) -> Iterator[None]:
    """What is open stays open."""
    assert world.process is not None
    pid = world.process.pid
    soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (len(list(Path(f"/proc/{pid}/fd").iterdir())), hard))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))


async def answered(asked: Awaitable[Any]) -> bool:
    """Whether at all: a newcomer may have to wait for a descriptor, and a connection that was idle may have been closed for one."""
    with suppress(aiohttp.ClientError, TimeoutError, AssertionError):
        async with asyncio.timeout(2):
            await asked
            return True
    return False


@asynccontextmanager
async def newcomers(world: ProcessWorld) -> AsyncIterator[None]:
    """Whatever the world asks for meanwhile, it asks on a connection of its own, which takes a descriptor."""
    kept = world.http
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as newcomer:
        world.http = newcomer
        try:
            yield
        finally:
            world.http = kept


async def test_row_70_without_descriptors_nothing_is_half_begun_and_it_goes_on_when_there_are_some(tmp_path: Path) -> None:
    async with ProcessWorld(tmp_path, give_up_after="2m", recheck_every="200ms") as world:
        await bad_release(world)
        async with asyncio.timeout(20):
            while not world.prometheus.asked:  # noqa: ASYNC110 - what it loads when it first asks is loaded
                await asyncio.sleep(0.02)
        async with newcomers(world):
            with no_descriptor_left(world):
                acknowledged = await answered(world.alert())
                asked = len(world.prometheus.asked)
                for _ in range(20):
                    await answered(world.get("/api/v1/status"))
                    await asyncio.sleep(0.1)
        if not acknowledged:
            await world.alert()

        found = await world.reached("closed", "escalated")
        if found["phase"] == "escalated":  # the look right before the first step had none: then a person is asked, and nothing was run
            assert (found["reason"], found["attempts"]) == ("running_version_unknown", [])
            await world.post(f"/api/v1/incidents/{found['id']}/approve", {"plan": None})
        closed = await world.closed()
        attempts = [one["status"] for one in (await world.get(f"/api/v1/incidents/{closed['id']}"))["attempts"]]
        assert not {"intended", "started"} & set(attempts)
        assert len(world.attempts()) == len(set(world.attempts())), "an attempt has had two effects"
        assert (closed["outcome"], world.versions()) == ("recovered", ["v2", "v1"]), (closed, attempts, asked)
        assert "no file descriptor is left" in world.log or "too_busy" in world.log, "there was no want of any"


@pytest.mark.parametrize("error", [errno.EAGAIN, errno.ENOMEM, errno.EMFILE], ids=["no process", "no memory", "no descriptor"])
async def test_row_70_a_step_for_which_no_process_can_be_had_has_not_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    """fork fails as the kernel has it fail; root has no limit that would do it."""
    rollout = Rollout(tmp_path)

    def refused(*_: object, **__: object) -> int:
        raise OSError(error, os.strerror(error))

    with monkeypatch.context() as limited:
        limited.setattr(subprocess, "_fork_exec", refused)
        failed = await rollout.run(rollout.deploy(idempotent=True))
    assert failed.status is RunStatus.FAILED
    assert rollout.tool.effects() == []
    assert rollout.journal.statuses() == [AttemptStatus.FAILED]
    assert os.strerror(error) in rollout.journal.last().detail
