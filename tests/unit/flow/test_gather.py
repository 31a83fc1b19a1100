"""What is asked of Prometheus about a confirmed breach, and what becomes of it when something cannot be asked."""

import re
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from rollbackd.clock import SystemClock
from rollbackd.decision.decide import decide
from rollbackd.flow.gather import PLACES_AT_MOST, Gatherer
from rollbackd.model.condition import Condition
from rollbackd.model.decision import Action, AlertFacts, Case, CheckVerdict, Decision
from rollbackd.model.policy import ServicePolicy, Trigger
from rollbackd.model.reason import Reason
from rollbackd.model.release import Release, ReleaseKind
from rollbackd.prometheus.client import PrometheusClient
from rollbackd.prometheus.measurer import Measurer
from rollbackd.settings.effective import PrometheusServer
from tests.fakes.policies import error_rate, response_time_p95, service
from tests.fakes.prometheus import FakePrometheus, hang

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
CLOCK = SystemClock()

ERRORS = Trigger(
    name="HighErrorRate",
    indicator=error_rate(),
    breach=Condition.parse("> 0.01"),
    clear=Condition.parse("<= 0.005"),
    hold_for=2 * MINUTE,
    alerts=("HighErrorRate",),
    min_requests=50,
)
SLOW = Trigger(
    name="SlowResponse",
    indicator=response_time_p95(),
    breach=Condition.parse("> 1000"),
    clear=Condition.parse("< 500"),
    hold_for=5 * MINUTE,
    alerts=("SlowResponse",),
    min_requests=50,
)


def policy(name: str = "api", **changes: Any) -> ServicePolicy:
    return replace(service(name), triggers=(ERRORS,), **changes)


class World:
    """v2 came five minutes ago, and a third of the requests fail since."""

    def __init__(self, prometheus: FakePrometheus, client: PrometheusClient) -> None:
        self.prometheus = prometheus
        self.client = client
        self.now = CLOCK.now()
        self.began = self.now - 4 * MINUTE
        self.fired = self.now - MINUTE
        prometheus.answer(r"increase\(http_requests_total", 600)
        prometheus.answer("5..", lambda at: 200 if at >= self.began else 0)
        prometheus.answer("births|unless", 0)

    def release(self, version: str, *, ago: timedelta) -> Release:
        return Release(service="api", version=version, artifact=version, started_at=self.now - ago, live_at=self.now - ago)

    async def case(
        self, asked: ServicePolicy, *, services: Mapping[str, ServicePolicy] | None = None, releases: tuple[Release, ...] = ()
    ) -> Case:
        async def none_of(_service: str) -> tuple[Release, ...]:
            return ()

        gatherer = Gatherer(Measurer({"main": self.client}), services or {}, none_of)
        plain = Case(
            policy=asked,
            alert=AlertFacts(name="HighErrorRate", trigger="HighErrorRate", starts_at=self.fired, delivered_at=self.fired),
            evidence=await gatherer.evidence(asked, self.now, known_for=self.now - self.fired),
            releases=releases or (self.release("v2", ago=5 * MINUTE), self.release("v1", ago=24 * HOUR)),
        )
        return await gatherer.in_context(plain, self.now)

    async def decision(self, asked: ServicePolicy, **of_case: Any) -> Decision:
        return decide(await self.case(asked, **of_case), self.now)


@pytest.fixture
async def patient(world: World) -> AsyncIterator["World"]:
    """With a client that no busy machine makes give up."""
    client = PrometheusClient(PrometheusServer(name="main", url=world.prometheus.url, timeout=timedelta(seconds=60)), CLOCK)
    yield World(world.prometheus, client)
    await client.close()


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with FakePrometheus() as prometheus:
        client = PrometheusClient(PrometheusServer(name="main", url=prometheus.url, timeout=timedelta(seconds=2)), CLOCK)
        yield World(prometheus, client)
        await client.close()


def check(decision: Decision, name: str) -> tuple[CheckVerdict, str]:
    return next((one.verdict, one.value or "") for one in decision.checks if one.name == name)


async def test_the_breach_is_blamed_on_the_release(world: World) -> None:
    assert (await world.decision(policy())).action is Action.ROLL_BACK


async def test_a_dependency_that_left_the_config_is_not_known_to_be_healthy(world: World) -> None:
    """The incident keeps the config that it began with; the daemon was started again with another one."""
    decision = await world.decision(policy(depends_on=("db", "gone")), services={"db": policy("db")})
    assert decision.reason is Reason.INCONCLUSIVE
    assert check(decision, "no_dependency") == (CheckVerdict.UNKNOWN, "not measured: gone")


async def test_places_that_cannot_be_read_are_no_health_elsewhere(world: World) -> None:
    world.prometheus.fail(r"^group by \(zone\)", 503)
    decision = await world.decision(policy(spread=("zone",)))
    assert (decision.reason, check(decision, "answers")) == (
        Reason.INCONCLUSIVE,
        (CheckVerdict.UNKNOWN, "no answer: the values of zone"),
    )


async def test_one_place_that_cannot_be_measured_is_not_either(world: World) -> None:
    world.prometheus.answer(r"^group by \(zone\)", ({"zone": "a"}, 1), ({"zone": "b"}, 1))
    world.prometheus.fail('zone="b"', 503)
    decision = await world.decision(policy(spread=("zone",)))
    assert check(decision, "answers")[1].startswith("no answer: zone=b (")


async def test_too_many_places_are_not_asked(world: World) -> None:
    world.prometheus.answer(r"^group by \(zone\)", *(({"zone": str(n)}, 1) for n in range(PLACES_AT_MOST + 1)))
    decision = await world.decision(policy(spread=("zone",)))
    assert decision.action is Action.ROLL_BACK
    assert check(decision, "localised")[0] is CheckVerdict.NOT_APPLICABLE
    assert not any("zone=" in one.query for one in world.prometheus.asked)


async def test_a_target_that_served_shortly_is_judged_by_that_time_alone(world: World) -> None:
    """Ten minutes of v2 were bad; the hour before v3, most of which was v1's, was not."""
    world.prometheus.answer("5..", lambda at: 0 if at < world.now - 25 * MINUTE or world.now - 16 * MINUTE < at < world.began else 200)
    came = {"v3": 5 * MINUTE, "v2": 25 * MINUTE, "v1": 24 * HOUR}
    case = await world.case(policy(), releases=tuple(world.release(version, ago=ago) for version, ago in came.items()))
    assert case.context is not None
    served = {release.version: evidence.readings for release, evidence in case.context.targets.items()}
    assert {version: round((readings[-1].at - readings[0].at) / MINUTE) for version, readings in served.items()} == {"v2": 20, "v1": 60}


async def test_a_deploy_that_a_rollback_overtook_is_judged_by_its_own_time(world: World) -> None:
    """v2 was deployed into the rollback to v1, and was bad for as long as it served; v1 was not."""
    overtaken, took_over = world.now - 30 * MINUTE, world.now - 15 * MINUTE
    world.prometheus.answer("5..", lambda at: 200 if overtaken <= at < took_over or at >= world.began else 0)
    back = replace(world.release("v1", ago=40 * MINUTE), live_at=took_over, kind=ReleaseKind.ROLLBACK)
    case = await world.case(policy(), releases=(world.release("v3", ago=5 * MINUTE), world.release("v2", ago=30 * MINUTE), back))
    assert case.context is not None
    times = {one.version: (told.readings[0].at, told.readings[-1].at) for one, told in case.context.targets.items()}
    assert list(times) == ["v1", "v2"]
    assert abs(times["v2"][0] - overtaken) <= MINUTE
    assert abs(times["v2"][1] - took_over) <= MINUTE
    assert times["v1"][0] >= took_over - MINUTE
    assert decide(case, world.now).target == back


async def test_the_hour_before_is_not_asked_twice(world: World) -> None:
    await world.case(policy())
    ended = world.now - 5 * MINUTE
    asked = [one for one in world.prometheus.asked if one.is_range and abs(one.moments[-1] - ended) < timedelta(seconds=1)]
    assert len(asked) == 5  # bad, total, newest, coverage, births


async def test_dependencies_that_do_not_answer_cost_no_other_answer(world: World) -> None:
    """Eight questions are under way at once: those about fifty places do not wait behind a server that hangs on something else."""
    below = {f"d{n}": policy(f"d{n}") for n in range(3)}
    world.prometheus.answer(r"^group by \(zone\)", *(({"zone": str(n)}, 1) for n in range(PLACES_AT_MOST)))
    world.prometheus.handle('service="d', hang)
    decision = await world.decision(policy(spread=("zone",), depends_on=tuple(below)), services=below)
    assert check(decision, "localised")[1] == "zone: 50 breached, 0 healthy of 50"
    assert check(decision, "answers")[1].startswith("no answer: HighErrorRate of d0 (")


async def test_an_alert_that_has_fired_for_hours_is_looked_at_from_its_begin_on(world: World) -> None:
    world.began, world.fired = world.now - 3 * HOUR, world.now - 3 * HOUR + 2 * MINUTE
    releases = (world.release("v2", ago=3 * HOUR + MINUTE), world.release("v1", ago=24 * HOUR))
    asked = policy(depends_on=("db",))
    decision = await world.decision(asked, services={"db": policy("db")}, releases=releases)
    assert (decision.onset is not None, decision.suspect) == (True, releases[0])
    assert check(decision, "dependency_first")[1].startswith("db is breached since")


async def test_one_look_asks_so_much_and_no_more(patient: World) -> None:
    """Three triggers, ten dependencies with three each, fifty places."""
    world = patient
    three = (ERRORS, replace(SLOW, hold_for=2 * MINUTE), replace(ERRORS, name="Other", alerts=("Other",)))
    below = {f"d{n}": replace(policy(f"d{n}"), triggers=three) for n in range(10)}
    world.prometheus.answer(r"^group by \(version\)", ({"version": "v1"}, 1), ({"version": "v2"}, 1))
    world.prometheus.answer(r"^group by \(zone\)", *(({"zone": str(n)}, 1) for n in range(PLACES_AT_MOST)))
    asked = replace(policy(version_label="version", spread=("zone",), depends_on=tuple(below)), triggers=three)
    case = await world.case(asked, services=below)
    assert case.context is not None
    assert (len(case.context.dependencies), len(case.context.places["zone"])) == (10, PLACES_AT_MOST)
    of_triggers = 7 + 5 + 7
    assert len(world.prometheus.asked) == of_triggers + 5 + (1 + 2 * 2) + (1 + 2 * PLACES_AT_MOST) + 2 * 2 + 10 * of_triggers


async def test_a_server_that_left_the_config_leaves_everything_unknown(world: World) -> None:
    decision = await world.decision(policy(prometheus="gone"))
    assert (decision.reason, check(decision, "trigger HighErrorRate")[1].split("; ")[0]) == (
        Reason.UNKNOWN,
        "bad: Prometheus server gone is not in the config any more",
    )


async def test_in_a_circle_a_service_is_asked_about_its_own_dependencies_only(world: World) -> None:
    """Or a look would never end."""
    services = {name: policy(name, depends_on=(other,)) for name, other in (("api", "b"), ("b", "c"), ("c", "api"))}
    case = await world.case(services["api"], services=services)
    assert case.context is not None
    assert list(case.context.dependencies) == ["b"]
    asked = Counter(found[1] for one in world.prometheus.asked if (found := re.search('service="([a-z]+)"', one.query)))
    assert (set(asked), asked["b"]) == ({"api", "b"}, 7), "of b as much as for one look at its trigger"
