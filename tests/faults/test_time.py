"""Rows 20 and 21: whoever sets the wall clock, or lets the machine sleep, frees nothing and holds nothing up (I3 I7 I8 I9).

The wall clock of a real daemon is set while it runs, by libfaketime, which leaves its other clocks alone. Prometheus keeps the right time.
"""

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from rollbackd.demo.packages import unpacked
from rollbackd.errors import PermanentError
from tests.faults.process_world import ProcessWorld
from tests.faults.test_crash import DAY, bad_release
from tests.needs import not_here

HOUR = timedelta(hours=1)
_SLEEP = """import select, time  # libfaketime refuses the absolute sleep by the monotonic clock that time.sleep asks for
time.sleep = lambda seconds: select.select([], [], [], seconds)
"""


class ClockWorld(ProcessWorld):
    """`set_clock(DAY)` sets the wall clock of the daemon a day ahead, whether it runs or not."""

    def __init__(self, directory: Path, library: Path, **settings: Any) -> None:
        super().__init__(directory, **settings)
        self._offset = directory / "wall-clock"
        self._offset.write_text("+0")
        (directory / "site").mkdir()
        (directory / "site" / "sitecustomize.py").write_text(_SLEEP)
        self.environment = {
            "PYTHONPATH": os.pathsep.join([str(directory / "site"), *filter(None, [os.environ.get("PYTHONPATH")])]),
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(self._offset),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_FORCE_MONOTONIC_FIX": "0",  # else a thread that waits for another may wait for ever
        }

    def set_clock(self, ahead: timedelta) -> None:
        new = self._offset.with_suffix(".new")
        new.write_text(f"{ahead.total_seconds():+.0f}")
        new.replace(self._offset)

    async def is_ahead(self, ahead: timedelta) -> None:
        """Once status and metric say so."""
        async with asyncio.timeout(20):
            while abs((await self.get("/api/v1/status"))["clock_ahead_seconds"] - ahead.total_seconds()) > 2:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            while abs(await self._metric() - ahead.total_seconds()) > 2:  # noqa: ASYNC110
                await asyncio.sleep(0.05)

    async def _metric(self) -> float:
        async with self.http.get(f"{self.url}/metrics") as response:
            lines = (await response.text()).splitlines()
        return float(next(line for line in lines if line.startswith("rollbackd_clock_ahead_seconds ")).split()[1])


@pytest.fixture(scope="session")
def library() -> Path:
    try:
        return next(unpacked("libfaketime", say=print).glob("usr/lib/*/faketime/libfaketimeMT.so.1"))
    except PermanentError as e:
        pytest.skip(f"libfaketime cannot be had here: {e}")


@asynccontextmanager
async def rolled_back(directory: Path, library: Path, **settings: Any) -> AsyncIterator[ClockWorld]:
    """One rollback has been made, by the right time."""
    async with ClockWorld(directory, library, bad=("v2", "v3"), **settings) as world:
        await bad_release(world)
        await world.alert()
        assert (await world.closed())["outcome"] == "recovered"
        yield world


@pytest.mark.parametrize(
    "while_it_runs", [pytest.param(True, id="while it runs"), pytest.param(False, id="while it is down", marks=pytest.mark.nightly)]
)
@pytest.mark.parametrize(
    ("settings", "reason"),
    [({}, "cooldown"), ({"cooldown": "0s", "budget": {"service_per_day": 1}}, "budget")],
    ids=["cooldown", "budget"],
)
@pytest.mark.parametrize("jump", [DAY, -DAY], ids=["a day ahead", "a day back"])
async def test_row_20_a_clock_that_is_set_frees_nothing(
    tmp_path: Path, library: Path, jump: timedelta, settings: Mapping[str, Any], reason: str, *, while_it_runs: bool
) -> None:
    async with rolled_back(tmp_path, library, **settings) as world:
        if not while_it_runs:
            await world.stop()
        world.set_clock(jump)
        if not while_it_runs:
            await world.start()
        await world.logged("clock_was_set")
        await world.is_ahead(jump)

        await world.release("v3")
        await world.alert()
        assert (await world.closed(nth=2))["reason"] == reason
        assert world.versions() == ["v2", "v1", "v3"]

        world.set_clock(timedelta())
        await world.logged("clock_right_again")
        await world.is_ahead(timedelta())


async def test_row_20_a_clock_that_is_set_back_makes_no_wait_longer(tmp_path: Path, library: Path) -> None:
    async with rolled_back(tmp_path, library, cooldown="0s", readiness_every="200ms") as world:
        world.set_clock(-DAY)
        await world.is_ahead(-DAY)
        asked = len(world.prometheus.asked)
        async with asyncio.timeout(20):
            while len(world.prometheus.asked) < asked + 20:  # noqa: ASYNC110 - the readiness of the service is still looked at
                await asyncio.sleep(0.05)

        await world.release("v3")
        await world.alert()
        assert (await world.closed(nth=2))["outcome"] == "recovered"
        assert world.versions() == ["v2", "v1", "v3", "v1"]


async def test_row_20_neither_a_pause_nor_a_proposal_ends_early(tmp_path: Path, library: Path) -> None:
    async with ClockWorld(tmp_path, library, mode="propose") as world:
        await bad_release(world)
        await world.alert()
        proposal = await world.reached("proposed")
        await world.post("/api/v1/pause", {"service": None, "for": "1h", "reason": "an exercise"})
        world.set_clock(DAY)
        await world.is_ahead(DAY)

        assert (await world.reached("proposed"))["id"] == proposal["id"]
        assert [one["scope"] for one in (await world.get("/api/v1/status"))["pauses"]] == ["global"]
        await world.post("/api/v1/resume", {"service": None})
        await world.post(f"/api/v1/incidents/{proposal['id']}/approve", {"plan": None})
        assert (await world.closed())["outcome"] == "recovered"


@pytest.mark.parametrize("jump", [DAY, -DAY], ids=["a day ahead", "a day back"])
async def test_row_20_the_clock_is_followed_when_nothing_counts_and_then_prometheus_disagrees(
    tmp_path: Path, library: Path, jump: timedelta
) -> None:
    async with ClockWorld(tmp_path, library) as world:
        await bad_release(world)
        world.set_clock(jump)
        await world.logged("clock_followed")
        await world.is_ahead(timedelta())
        await world.stop()
        await world.start()
        await world.is_ahead(timedelta())

        await world.alert()
        incident = await world.reached("escalated", "closed")
        record = await world.get(f"/api/v1/incidents/{incident['id']}")
        assert "clock is off" in str(record), record
        assert world.versions() == ["v2"]


def new_boottime() -> tuple[str, ...]:
    """The words before a command for which the machine has slept for an hour; or a skip that says why not."""
    words = ("unshare", "--time", "--boottime", "3600", "--")
    try:
        tried = subprocess.run([*words, "true"], capture_output=True, text=True, check=False, timeout=10)
    except OSError as e:
        not_here(f"no time namespace: {e}")
    if tried.returncode:
        not_here(f"no time namespace: {tried.stderr.strip()}")
    return words


async def test_row_21_after_a_suspend_nothing_acts_on_what_was_measured_before(tmp_path: Path, library: Path) -> None:
    """BOOTTIME has gone on for an hour, and with it the wall clock: that is no clock that was set, but an old decision."""
    async with ClockWorld(tmp_path, library, give_up_after="10s") as world:
        await bad_release(world)
        await world.stop()
        world.failpoint = "rollback.after_advance:kill"
        await world.start()
        await world.alert()
        await world.died()

        world.failpoint = ""
        world.under = new_boottime()
        world.set_clock(HOUR)
        world.prometheus.clock_offset = HOUR
        await world.start()
        asleep = await world.closed()
        assert (asleep["outcome"], asleep["reason"]) == ("held", "no_recent_release"), asleep
        assert "before the first step could start" in world.log
        assert "clock_was_set" not in world.log
        assert world.versions() == ["v2"]
