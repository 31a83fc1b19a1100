"""Whoever sets the wall clock frees nothing, and once nothing counts from before, the wall clock is followed (I7 I8)."""

import asyncio
from collections.abc import MutableMapping
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from rollbackd.clock import SystemClock
from rollbackd.errors import TemporaryError
from rollbackd.flow import timekeeper
from rollbackd.flow.timekeeper import Timekeeper
from rollbackd.model.incident import Outcome, Phase
from rollbackd.telemetry.metrics import Metrics
from rollbackd.watch.schedule import Schedule
from tests.fakes.machine import Machine, machine
from tests.unit.flow.conftest import POLICY, Stage, eventually

__all__ = ["machine"]
HOUR = timedelta(hours=1)
DAY = 24 * HOUR


class Process:
    """One process after the other, on one machine and one store."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.metrics = Metrics()
        self.schedule = Schedule(on_error=lambda _name, error: pytest.fail(str(error)))
        self.begin()

    def begin(self) -> None:
        self.own = SystemClock()
        self.keeper = Timekeeper(self.own, self.stage.store, self.schedule, self.metrics)

    async def again(self) -> None:
        self.begin()
        await self.keeper.take_over()

    async def look(self, *, cooldown: timedelta = HOUR) -> None:
        async with self.schedule:
            await self.keeper.look(cooldown)

    @property
    def shown(self) -> float:
        (sample,) = (
            line for line in self.metrics.exposition()[0].decode().splitlines() if line.startswith("rollbackd_clock_ahead_seconds ")
        )
        return float(sample.split()[1])

    async def rolled_back(self, *, ended: timedelta) -> None:
        """And closed; it ended so long ago."""
        at = self.own.now() - ended
        await self.stage.open(
            phase=Phase.CLOSED, outcome=Outcome.RECOVERED, opened_at=at, closed_at=at, rollback_started_at=at, rollback_ended_at=at
        )


@pytest.fixture
async def process(stage: Stage, machine: Machine) -> Process:
    running = Process(stage)
    await running.keeper.take_over()
    await running.look()
    return running


def events(logged: list[MutableMapping[str, Any]]) -> list[str]:
    return [entry["event"] for entry in logged if entry["event"].startswith("clock_")]


def in_the_way(file: Path) -> None:
    file.unlink()
    file.mkdir()


@pytest.mark.parametrize("jump", [DAY, -DAY])
async def test_a_clock_that_is_set_is_followed_where_nothing_counts(
    process: Process, machine: Machine, logged: list[MutableMapping[str, Any]], jump: timedelta
) -> None:
    machine.ahead = jump
    await process.look()
    assert process.own.now() == machine.true + jump
    assert process.shown == 0
    assert events(logged) == ["clock_was_set", "clock_followed"]


@pytest.mark.parametrize("jump", [2 * DAY, -2 * DAY])
@pytest.mark.parametrize(("ended", "cooldown"), [(timedelta(minutes=30), HOUR), (20 * HOUR, HOUR), (30 * HOUR, 40 * HOUR)])
async def test_a_rollback_that_counts_keeps_own_time(
    process: Process, machine: Machine, jump: timedelta, ended: timedelta, cooldown: timedelta
) -> None:
    """By the longest cooldown, or by the budget of a day."""
    await process.rolled_back(ended=ended)
    machine.ahead = jump
    await process.look(cooldown=cooldown)
    assert process.own.now() == machine.true
    assert process.keeper.ahead == jump
    assert process.shown == jump.total_seconds()

    machine.passed += DAY + cooldown
    await process.look(cooldown=cooldown)
    assert process.own.now() == machine.true + jump


async def test_a_cooldown_that_a_reload_has_made_longer_counts(process: Process, machine: Machine) -> None:
    await process.rolled_back(ended=30 * HOUR)
    machine.ahead = DAY
    async with process.schedule:
        await process.keeper.look(100 * HOUR)
    assert process.own.now() == machine.true


async def test_an_incident_that_was_open_before_keeps_own_time(process: Process, machine: Machine) -> None:
    incident = await process.stage.open(opened_at=process.own.now())
    machine.ahead = DAY
    await process.look()
    assert process.own.now() == machine.true

    stored = await process.stage.store.incidents.get(incident.id)
    await process.stage.store.incidents.save(stored, replace(stored, phase=Phase.CLOSED, outcome=Outcome.HELD))
    await process.look()
    assert process.own.now() == machine.true + DAY


async def test_a_pause_keeps_own_time_until_it_has_ended(process: Process, machine: Machine) -> None:
    until = process.own.now() + HOUR
    await process.stage.store.pauses.set("global", until, "an exercise", "operator", process.own.now())
    machine.ahead = DAY
    await process.look()
    assert process.own.now() == machine.true
    machine.passed += 2 * HOUR
    await process.look()
    assert process.own.now() == machine.true + DAY


async def test_a_clock_that_is_put_right_is_said_and_not_followed(
    process: Process, machine: Machine, logged: list[MutableMapping[str, Any]]
) -> None:
    await process.rolled_back(ended=timedelta(minutes=5))
    machine.ahead = DAY
    await process.look()
    await process.look()
    machine.ahead = timedelta(0)
    await process.look()
    assert process.own.now() == machine.true
    assert events(logged) == ["clock_was_set", "clock_right_again"]


async def test_a_restart_goes_on_in_the_same_time(process: Process, machine: Machine) -> None:
    await process.rolled_back(ended=timedelta(minutes=5))
    machine.ahead = DAY
    await process.again()
    assert process.own.now() == machine.true, "it was set while nothing ran"
    await process.look()
    machine.passed += HOUR
    await process.again()
    assert process.own.now() == machine.true


async def test_after_another_boot_only_a_rollback_that_lies_ahead_is_known(
    process: Process, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    await process.rolled_back(ended=timedelta(minutes=5))
    rolled_back = process.own.now() - timedelta(minutes=5)
    machine.ahead = -DAY
    monkeypatch.setattr(timekeeper, "boot_id", lambda: "another one")
    await process.again()
    assert process.own.now() == rolled_back
    machine.ahead = DAY
    await process.again()
    assert process.own.now() == machine.true + DAY


@pytest.mark.parametrize("spoilt", ["", "half", "a b c", "boot 2026-13-01"])
async def test_what_was_kept_and_cannot_be_read_is_no_obstacle(process: Process, machine: Machine, spoilt: str) -> None:
    (process.stage.store.directory / "clock").write_text(spoilt)
    await process.again()
    assert process.own.now() == machine.true


async def test_where_it_cannot_be_kept_the_rest_goes_on(process: Process, machine: Machine, logged: list[MutableMapping[str, Any]]) -> None:
    in_the_way(process.stage.store.directory / "clock")
    await process.rolled_back(ended=timedelta(minutes=5))
    machine.ahead = DAY
    process.begin()
    await process.look()
    assert "clock_not_kept" in events(logged)
    assert process.own.now() == machine.true + DAY, "without what was kept it begins by the wall clock"


async def test_jobs_are_due_at_once_when_the_clock_was_set(process: Process, machine: Machine) -> None:
    """Else they would wait for as long as it was set back."""
    await process.rolled_back(ended=timedelta(minutes=5))
    ran: list[str] = []

    async def job() -> None:
        ran.append("job")

    async with process.schedule as schedule:
        schedule.every("job", DAY, job)
        machine.ahead = -DAY
        await process.keeper.look(HOUR)

        async def has_run() -> bool:
            return bool(ran)

        await eventually(has_run)
    assert ran == ["job"]


async def test_a_store_that_does_not_answer_is_asked_again(
    process: Process, machine: Machine, logged: list[MutableMapping[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses = process.stage.store.pauses
    answers = iter([TemporaryError("the store is busy"), await pauses.all(process.own.now())])

    async def all_of_them(_now: datetime) -> Any:
        match next(answers):
            case TemporaryError() as error:
                raise error
            case found:
                return found

    async def sleep(_duration: timedelta) -> None:
        if "clock_followed" in events(logged):
            raise asyncio.CancelledError

    monkeypatch.setattr(pauses, "all", all_of_them)
    monkeypatch.setattr(process.own, "sleep", sleep)
    machine.ahead = DAY
    with pytest.raises(asyncio.CancelledError):
        await process.keeper.run({"api": POLICY})
    assert events(logged) == ["clock_was_set", "clock_not_looked_at", "clock_followed"]
