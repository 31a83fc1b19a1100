import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import pytest

from rollbackd.clock import SystemClock
from rollbackd.errors import TemporaryError
from rollbackd.model.incident import Incident, Outcome, Phase
from rollbackd.model.look import Look
from rollbackd.model.policy import Mode, WatchPolicy
from rollbackd.watch.look import Looker
from rollbackd.watch.outcome import Ended
from rollbackd.watch.schedule import Job, Schedule
from rollbackd.watch.watcher import Watcher
from tests.unit.watch.scenes import BEGIN, DECIDED_ON, DURATION, INTERVAL, STABLE_FOR, looks, policy
from tests.unit.watch.test_look import ScriptedMeasures

TICK = timedelta(milliseconds=1)
"""The interval of these watches in real time; on the clock of the scene a look takes fifteen seconds."""

SERVICE = policy(
    triggers=policy().triggers[:1],
    objectives=policy().objectives[:1],
    watch=WatchPolicy(duration=DURATION, interval=TICK, stable_for=STABLE_FOR),
)
ROLLED_BACK = BEGIN - timedelta(seconds=75)  # a window and a scrape before the first look
INCIDENT = Incident(
    id="20260131-115500-7f3a",
    service="api",
    trigger="HighErrorRate",
    phase=Phase.WATCHING,
    mode=Mode.AUTO,
    snapshot="s",
    opened_at=ROLLED_BACK - timedelta(minutes=1),
    decision_value=DECIDED_ON,
    rollback_started_at=ROLLED_BACK - timedelta(seconds=30),
    rollback_ended_at=ROLLED_BACK,
)


class FakeClock:
    def __init__(self, at: datetime) -> None:
        self._at = at
        self._monotonic = 1000.0

    def now(self) -> datetime:
        return self._at

    def monotonic(self) -> float:
        return self._monotonic

    async def sleep(self, duration: timedelta) -> None:
        raise AssertionError("nobody sleeps here")

    def go_on(self, duration: timedelta) -> None:
        self._at += duration
        self._monotonic += duration.total_seconds()

    def jump(self, duration: timedelta) -> None:
        """Somebody sets the wall clock."""
        self._at += duration


class SilentSchedule(Schedule):
    """Never rings, as when the wall clock was set back: the watch goes on by itself."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, timedelta, datetime | None]] = []
        self.cancelled: list[str] = []

    def every(self, name: str, interval: timedelta, job: Job, *, first_at: datetime | None = None) -> None:
        self.asked.append((name, interval, first_at))

    def cancel(self, name: str) -> None:
        self.cancelled.append(name)


@dataclass
class Scene:
    error_rate: Callable[[datetime], float]
    clock: FakeClock = field(default_factory=lambda: FakeClock(BEGIN))
    schedule: SilentSchedule = field(default_factory=SilentSchedule)
    stored: list[Look] = field(default_factory=list)
    asked_for_alerts: int = 0
    incident: Incident = INCIDENT

    async def watch(self, earlier: list[Look] | None = None) -> Ended:
        measures = ScriptedMeasures(lambda name, at: self.error_rate(at))
        return await Watcher(self.schedule, Looker(measures), self.clock).watch(
            self.incident, SERVICE, looks=earlier or [], on_look=self.store, alerts_since=self.alerts_since, release_started_at=None
        )

    async def store(self, look: Look) -> None:
        self.stored.append(look)
        self.clock.go_on(INTERVAL)

    async def alerts_since(self) -> int:
        self.asked_for_alerts += 1
        return 0


def always(error_rate: float) -> Callable[[datetime], float]:
    return lambda _at: error_rate


async def test_a_rollback_that_helped_recovers_once_it_is_stable() -> None:
    scene = Scene(always(0.001))

    ended = await scene.watch()

    assert ended.outcome is Outcome.RECOVERED
    assert [look.at for look in scene.stored] == [BEGIN + number * INTERVAL for number in range(5)]


async def test_a_rollback_without_effect_is_watched_to_the_end() -> None:
    scene = Scene(always(DECIDED_ON))

    ended = await scene.watch()

    assert ended.outcome is Outcome.NO_EFFECT
    assert len(scene.stored) == DURATION / INTERVAL


async def test_the_job_begins_a_window_and_a_scrape_after_the_rollback_and_ends_with_the_watch() -> None:
    scene = Scene(always(0.001), clock=FakeClock(BEGIN - TICK))

    await scene.watch()

    assert scene.schedule.asked == [("watch 20260131-115500-7f3a", TICK, BEGIN)]
    assert scene.schedule.cancelled == ["watch 20260131-115500-7f3a"]


async def test_after_a_restart_it_goes_on_where_it_was() -> None:
    earlier = looks(SERVICE, errors="...")
    scene = Scene(always(0.001), clock=FakeClock(earlier[-1].at + INTERVAL))

    ended = await scene.watch(earlier)

    assert ended.outcome is Outcome.RECOVERED
    assert len(scene.stored) == 2


async def test_after_a_restart_it_has_only_the_time_that_remains() -> None:
    earlier = looks(SERVICE, errors="xxxxxx", HighErrorRate="!!!!!!")
    scene = Scene(always(DECIDED_ON), clock=FakeClock(earlier[-1].at + INTERVAL))

    ended = await scene.watch(earlier)

    assert ended.outcome is Outcome.NO_EFFECT
    assert len(scene.stored) == 2


async def test_a_restart_after_the_end_takes_one_look_and_does_not_call_it_a_recovery() -> None:
    earlier = looks(SERVICE, errors="..", HighErrorRate="..")
    scene = Scene(always(0.001), clock=FakeClock(BEGIN + timedelta(hours=1)))

    ended = await scene.watch(earlier)

    assert ended.outcome is Outcome.UNVERIFIED
    assert len(scene.stored) == 1


@pytest.mark.parametrize("jump", [timedelta(days=1), timedelta(days=-1)], ids=["forward", "back"])
async def test_a_wall_clock_that_jumps_neither_ends_it_nor_prolongs_it(jump: timedelta) -> None:
    scene = Scene(always(DECIDED_ON))
    store = scene.store

    async def store_and_jump(look: Look) -> None:
        await store(look)
        if len(scene.stored) == 2:
            scene.clock.jump(jump)

    scene.store = store_and_jump  # type: ignore[method-assign]

    ended = await scene.watch()

    assert ended.outcome is Outcome.UNVERIFIED
    assert len(scene.stored) == DURATION / INTERVAL


async def test_new_alerts_are_asked_for_at_each_look() -> None:
    scene = Scene(always(0.001))

    await scene.watch()

    assert scene.asked_for_alerts == len(scene.stored) == 5


async def test_an_objective_that_was_met_right_before_and_is_missed_since_is_worse() -> None:
    scene = Scene(lambda at: 0.001 if at < ROLLED_BACK else 0.006, incident=replace(INCIDENT, trigger=None, decision_value=None))

    ended = await scene.watch()

    assert ended.outcome is Outcome.WORSE
    assert len(scene.stored) == 5


async def test_what_the_store_raises_ends_the_watch_and_its_job() -> None:
    scene = Scene(always(0.001))

    async def busy(look: Look) -> None:
        raise TemporaryError("the store is busy")

    scene.store = busy  # type: ignore[method-assign]

    with pytest.raises(TemporaryError):
        await scene.watch()
    assert scene.schedule.cancelled == ["watch 20260131-115500-7f3a"]


async def test_a_watch_that_is_cancelled_leaves_no_job() -> None:
    scene = Scene(always(0.001))
    looking = asyncio.Event()

    async def never_stored(look: Look) -> None:
        looking.set()
        await asyncio.Event().wait()

    scene.store = never_stored  # type: ignore[method-assign]

    async with asyncio.TaskGroup() as group:
        task = group.create_task(scene.watch())
        await looking.wait()
        task.cancel()

    assert scene.schedule.cancelled == ["watch 20260131-115500-7f3a"]


async def test_what_was_never_rolled_back_cannot_be_watched() -> None:
    scene = Scene(always(0.0), incident=replace(INCIDENT, rollback_ended_at=None))

    with pytest.raises(ValueError, match="was not rolled back"):
        await scene.watch()


async def test_on_the_real_schedule_and_clock() -> None:
    clock = SystemClock()
    ended_at = clock.now() - timedelta(seconds=75)
    incident = replace(INCIDENT, rollback_started_at=ended_at - timedelta(seconds=5), rollback_ended_at=ended_at)
    service = replace(SERVICE, watch=WatchPolicy(duration=timedelta(minutes=1), interval=20 * TICK, stable_for=50 * TICK))
    stored: list[Look] = []
    errors: list[BaseException] = []

    async def store(look: Look) -> None:
        stored.append(look)

    async def no_alerts() -> int:
        return 0

    async with Schedule(on_error=lambda _name, error: errors.append(error)) as schedule:
        watcher = Watcher(schedule, Looker(ScriptedMeasures(lambda name, at: 0.001)), clock)
        ended = await watcher.watch(incident, service, looks=[], on_look=store, alerts_since=no_alerts, release_started_at=None)

    assert ended.outcome is Outcome.RECOVERED
    assert len(stored) >= 3
    assert errors == []
