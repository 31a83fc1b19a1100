from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import pytest

from rollbackd.clock import SystemClock
from rollbackd.flow.advice import on_buckets, on_rules
from rollbackd.model.condition import Condition
from rollbackd.model.policy import ServicePolicy
from rollbackd.prometheus.answer import AlertRule
from rollbackd.prometheus.client import PrometheusClient
from rollbackd.prometheus.measurer import Measurer
from rollbackd.settings.effective import PrometheusServer
from tests.fakes.policies import error_rate, response_time_p95, service
from tests.fakes.prometheus import FakePrometheus
from tests.unit.flow.test_readiness import trigger

MINUTE = timedelta(minutes=1)
NOW = SystemClock().now()


@pytest.fixture
async def fake() -> AsyncIterator[FakePrometheus]:
    async with FakePrometheus() as server:
        yield server


@pytest.fixture
async def measurer(fake: FakePrometheus) -> AsyncIterator[Measurer]:
    client = PrometheusClient(PrometheusServer(name="main", url=fake.url), SystemClock())
    yield Measurer({"main": client})
    await client.close()


def slow(breach: str) -> ServicePolicy:
    return replace(service("api"), triggers=(trigger(response_time_p95(), breach=Condition.parse(breach)),))


def buckets(fake: FakePrometheus, *bounds: str) -> None:
    fake.answer(r'^group by \(le\) \(http_request_duration_seconds_bucket\{service="api"\}\)$', *(({"le": le}, 1) for le in bounds))
    fake.answer(r"^1000 \* vector\(1\.0\)$", 1000)  # Prometheus does the arithmetic around the quantile


@pytest.mark.parametrize(("breach", "can_hold"), [("> 1000", False), ("> 1500", False), ("> 999", True), (">= 1000", True)])
async def test_a_limit_that_no_bucket_reaches_over(fake: FakePrometheus, measurer: Measurer, breach: str, can_hold: bool) -> None:  # noqa: FBT001
    buckets(fake, "0.1", "1", "+Inf")
    found = await on_buckets(slow(breach), measurer, NOW)
    assert [one.about for one in found] == ([] if can_hold else [("triggers", "response_time_p95", "breach")])
    assert all("response_time_p95 can get no higher than 1000" in one.message for one in found)


async def test_nothing_is_said_of_what_cannot_be_told(fake: FakePrometheus, measurer: Measurer) -> None:
    buckets(fake, "+Inf")
    assert await on_buckets(slow("> 1000"), measurer, NOW) == ()
    buckets(fake, "1")
    assert await on_buckets(slow("> 3x"), measurer, NOW) == ()
    assert await on_buckets(slow("< 1000"), measurer, NOW) == ()
    assert await on_buckets(replace(service("api"), triggers=(trigger(error_rate()),)), measurer, NOW) == ()
    fake.fail("group by", 503)
    assert await on_buckets(slow("> 1000"), measurer, NOW) == ()


def test_a_for_that_differs_from_the_rules() -> None:
    policy = replace(service("api"), triggers=(trigger(error_rate(), hold_for=2 * MINUTE, alerts=("HighErrorRate", "Errors")),))
    same = AlertRule("HighErrorRate", 2 * MINUTE), AlertRule("Errors", 2 * MINUTE)
    assert on_rules(policy, same) == ()
    assert on_rules(policy, (*same, AlertRule("Errors", MINUTE))) == ()  # one of several of that name is enough
    (found,) = on_rules(policy, (same[0], AlertRule("Errors", 5 * MINUTE)))
    assert found.about == ("triggers", "error_rate", "for")
    assert "the alert rule 'Errors' has for: 5m, and this has 2m" in found.message


def test_a_rule_that_prometheus_does_not_have() -> None:
    policy = replace(service("api"), triggers=(trigger(error_rate(), alerts=("HighErrorRate",)),))
    (found,) = on_rules(policy, ())
    assert found.about == ("triggers", "error_rate")
    assert "Prometheus main has no alert rule 'HighErrorRate'" in found.message
