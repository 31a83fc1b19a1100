"""When a service is looked over, and what is kept of it: the real store and schedule around an examiner that a test writes."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from rollbackd.clock import SystemClock
from rollbackd.errors import TemporaryError
from rollbackd.flow.rounds import FIRST_WITHIN, Rounds
from rollbackd.model.incident import Event, Outcome, Phase
from rollbackd.model.policy import Mode, ServicePolicy
from rollbackd.model.readiness import Readiness, ReadinessCheck, ReadinessVerdict
from rollbackd.telemetry.metrics import Metrics
from rollbackd.watch.schedule import Schedule
from tests.fakes.policies import service
from tests.unit.flow.conftest import NOW, SetClock, Stage

POLICIES = {name: replace(service(name), mode=Mode.AUTO, readiness_every=timedelta(minutes=5)) for name in ("api", "web")}
AT_ONCE = timedelta()


class Looks:
    """An examiner: `verdict` is what it finds, `raises` what goes wrong with it; it waits while `go_on` is not set."""

    def __init__(self, clock: SetClock) -> None:
        self.clock = clock
        self.verdict = ReadinessVerdict.READY
        self.raises: Exception | None = None
        self.looked_at: list[str] = []
        self.begun = asyncio.Event()
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def examine(self, policy: ServicePolicy) -> Readiness:
        self.looked_at.append(policy.name)
        self.begun.set()
        await self.go_on.wait()
        if self.raises is not None:
            raise self.raises
        check = ReadinessCheck(name="target", verdict=self.verdict, detail="as the test says")
        return Readiness(service=policy.name, at=self.clock.now(), checks=(check,))


@pytest.fixture
def looks(clock: SetClock) -> Looks:
    return Looks(clock)


@pytest.fixture
def rounds(stage: Stage, looks: Looks) -> Rounds:
    return Rounds(services=POLICIES, examiner=looks, store=stage.store, metrics=stage.metrics, clock=stage.clock)  # type: ignore[arg-type]


async def again(rounds: Rounds, *, older_than: timedelta = AT_ONCE) -> dict[str, str]:
    return {one.service: one.verdict for one in await rounds.again(older_than=older_than, within=timedelta(seconds=20))}


def ready(metrics: Metrics, name: str = "api") -> str | None:
    lines = metrics.exposition()[0].decode().splitlines()
    return next((line.split()[-1] for line in lines if line.startswith(f'rollbackd_rollback_ready{{service="{name}"}}')), None)


async def test_before_the_first_look_nothing_is_ready(rounds: Rounds, stage: Stage) -> None:
    assert rounds.of("api").verdict is ReadinessVerdict.UNKNOWN
    assert "not looked at yet" in rounds.of("api").problems[0].detail
    assert ready(stage.metrics) is None


async def test_what_was_found_is_kept_and_is_the_metric(rounds: Rounds, stage: Stage, looks: Looks) -> None:
    assert await again(rounds) == {"api": "ready", "web": "ready"}
    assert (rounds.of("api").at, ready(stage.metrics)) == (NOW, "1.0")
    looks.verdict = ReadinessVerdict.UNKNOWN
    assert await again(rounds) == {"api": "unknown", "web": "unknown"}
    assert ready(stage.metrics) == "0.0"


async def test_what_was_found_a_moment_ago_is_not_asked_again(rounds: Rounds, stage: Stage, looks: Looks) -> None:
    await again(rounds)
    await again(rounds, older_than=timedelta(seconds=10))
    assert sorted(looks.looked_at) == ["api", "web"]
    stage.clock.instant += timedelta(seconds=10)
    await again(rounds, older_than=timedelta(seconds=10))
    assert sorted(looks.looked_at) == ["api", "api", "web", "web"]


async def test_two_who_ask_at_once_are_answered_by_one_look(rounds: Rounds, looks: Looks) -> None:
    second = timedelta(seconds=1)
    looks.go_on.clear()
    async with asyncio.TaskGroup() as group:
        group.create_task(again(rounds, older_than=second))
        await looks.begun.wait()
        group.create_task(again(rounds, older_than=second))
        await asyncio.sleep(0)
        looks.go_on.set()
    assert sorted(looks.looked_at) == ["api", "web"]


async def test_a_service_with_an_incident_is_left_alone(rounds: Rounds, stage: Stage, looks: Looks) -> None:
    await stage.open(phase=Phase.ESCALATED)
    await again(rounds)
    assert looks.looked_at == ["web"]
    assert rounds.of("api").verdict is ReadinessVerdict.UNKNOWN


@pytest.mark.parametrize("phase", [Phase.DECIDING, Phase.ROLLING_BACK])
async def test_while_an_incident_is_urgent_nobody_is_looked_at(rounds: Rounds, stage: Stage, looks: Looks, phase: Phase) -> None:
    await again(rounds)
    incident = await stage.open(phase=phase)
    looks.verdict = ReadinessVerdict.NOT_READY
    assert await again(rounds) == {"api": "ready", "web": "ready"}  # as it was found, with the time of that
    await stage.store.incidents.save(incident, incident.after(Event.CLOSE, outcome=Outcome.ABORTED, closed_at=NOW))
    assert await again(rounds) == {"api": "not_ready", "web": "not_ready"}


@pytest.mark.parametrize("error", [TemporaryError("the store is busy"), ValueError("a bug")])
async def test_a_look_that_goes_wrong_leaves_nothing_ready(rounds: Rounds, stage: Stage, looks: Looks, error: Exception) -> None:
    await again(rounds)
    looks.raises = error
    try:
        await rounds._round(POLICIES["api"])
    except ValueError:
        assert error.args == ("a bug",)  # told to whoever runs it
    assert rounds.of("api").verdict is ReadinessVerdict.UNKNOWN
    assert rounds.of("api").problems[0].detail == f"could not be found out: {error}"
    assert ready(stage.metrics) == "0.0"


async def test_what_does_not_answer_in_time_stays_as_it_was_found(rounds: Rounds, looks: Looks) -> None:
    await again(rounds)
    looks.go_on.clear()
    found = await rounds.again(older_than=AT_ONCE, within=timedelta(milliseconds=20))
    assert [one.verdict for one in found] == ["ready", "ready"]


async def test_the_schedule_looks_soon_and_spread_out(stage: Stage, looks: Looks) -> None:
    """On the real clock: the first looks of two services lie within one interval, and not together."""
    every = timedelta(milliseconds=100)
    services = {name: replace(policy, readiness_every=every) for name, policy in POLICIES.items()}
    rounds = Rounds(services=services, examiner=looks, store=stage.store, metrics=stage.metrics, clock=SystemClock())  # type: ignore[arg-type]
    assert every < FIRST_WITHIN

    async with Schedule(on_error=lambda name, error: looks.looked_at.append(f"{name} {error}")) as schedule:
        with rounds.made(schedule):
            jobs = {job.id: job.next_run_time for job in schedule._scheduler.get_jobs()}
            assert timedelta(0) < jobs["readiness of web"] - jobs["readiness of api"] < every
            async with asyncio.timeout(20):
                while looks.looked_at.count("web") < 2:
                    looks.begun.clear()
                    await looks.begun.wait()
    assert looks.looked_at[:2] == ["api", "web"]
    assert 'rollbackd_service_mode{mode="auto",service="api"} 1.0' in stage.metrics.exposition()[0].decode()


async def test_a_slow_look_does_not_hold_up_the_end(stage: Stage, looks: Looks) -> None:
    looks.go_on.clear()
    services = {"api": replace(POLICIES["api"], readiness_every=timedelta(milliseconds=10))}
    rounds = Rounds(services=services, examiner=looks, store=stage.store, metrics=stage.metrics, clock=SystemClock())  # type: ignore[arg-type]
    errors: list[str] = []
    async with asyncio.timeout(5), Schedule(on_error=lambda name, error: errors.append(name)) as schedule:
        with rounds.made(schedule):
            await looks.begun.wait()
    assert (errors, rounds.of("api").verdict) == ([], ReadinessVerdict.UNKNOWN)


async def test_after_a_reload_what_was_found_of_another_config_says_nothing(stage: Stage, looks: Looks) -> None:
    services = dict(POLICIES)
    rounds = Rounds(services=services, examiner=looks, store=stage.store, metrics=stage.metrics, clock=stage.clock)  # type: ignore[arg-type]
    async with Schedule(on_error=lambda name, error: None) as schedule:
        with rounds.made(schedule):
            assert await again(rounds) == {"api": "ready", "web": "ready"}
            services["api"] = replace(services["api"], cooldown=timedelta(hours=9))
            del services["web"]
            rounds.follow(anew=("api",), gone=("web",))
            assert "not looked at yet" in rounds.of("api").problems[0].detail
            assert (ready(stage.metrics), ready(stage.metrics, "web")) == (None, None)
            assert await again(rounds) == {"api": "ready"}


async def test_what_is_found_while_the_config_is_read_again_is_of_a_service_as_it_is_no_more(stage: Stage, looks: Looks) -> None:
    services = dict(POLICIES)
    rounds = Rounds(services=services, examiner=looks, store=stage.store, metrics=stage.metrics, clock=stage.clock)  # type: ignore[arg-type]
    async with Schedule(on_error=lambda name, error: None) as schedule, asyncio.TaskGroup() as group:
        with rounds.made(schedule):
            looks.go_on.clear()
            looking = group.create_task(again(rounds))
            await looks.begun.wait()
            services["api"] = replace(services["api"], cooldown=timedelta(hours=9))
            rounds.follow(anew=("api",))
            looks.go_on.set()
            await looking
            assert rounds.of("api").verdict is ReadinessVerdict.UNKNOWN
            assert rounds.of("web").verdict is ReadinessVerdict.READY
