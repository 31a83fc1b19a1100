"""What is asked of Prometheus about a breach that is confirmed: no more than the decision needs, whatever the config says."""

import asyncio
import re
from collections import Counter
from dataclasses import replace
from datetime import timedelta

from rollbackd.clock import SystemClock
from rollbackd.flow.gather import Gatherer
from rollbackd.model.decision import AlertFacts, Case
from rollbackd.model.policy import ServicePolicy
from rollbackd.model.release import Release
from rollbackd.prometheus.client import PrometheusClient
from rollbackd.prometheus.measurer import Measurer
from rollbackd.settings.effective import PrometheusServer
from tests.fakes.policies import error_rate, service
from tests.fakes.prometheus import FakePrometheus
from tests.unit.decision.builders import MINUTE, NOW, error_trigger


def depending(name: str, *others: str) -> ServicePolicy:
    return replace(service(name), triggers=(error_trigger(indicator=error_rate()),), depends_on=others, blame_window=10 * MINUTE)


def released(name: str) -> tuple[Release, ...]:
    ages = {"v2": timedelta(minutes=3), "v1": timedelta(days=1)}
    return tuple(
        Release(service=name, version=version, artifact=version, started_at=NOW - ago, live_at=NOW - ago) for version, ago in ages.items()
    )


async def releases_of(name: str) -> tuple[Release, ...]:
    return released(name)


async def test_in_a_circle_a_service_is_asked_about_its_own_dependencies_only() -> None:
    services = {one.name: one for one in (depending("a", "b"), depending("b", "c"), depending("c", "a"))}
    async with FakePrometheus() as fake:
        fake.answer(r"sum\(increase\(", 1000)
        fake.answer(r'sum\(increase\(.*code=~"5', lambda at: 300 if at >= NOW - 2 * MINUTE else 0)
        client = PrometheusClient(PrometheusServer(name="main", url=fake.url, timeout=timedelta(seconds=5)), SystemClock())
        gatherer = Gatherer(Measurer({"main": client}, check_clock=False), services, releases_of)
        async with asyncio.timeout(20):
            case = Case(
                policy=services["a"],
                alert=AlertFacts(name="HighErrorRate", trigger="HighErrorRate", starts_at=NOW, delivered_at=NOW),
                evidence=await gatherer.evidence(services["a"], NOW),
                releases=released("a"),
            )
            context = (await gatherer.in_context(case, NOW)).context
        await client.close()
    assert context is not None
    assert list(context.dependencies) == ["b"], "a service is asked about those that it depends on, and not about theirs"
    asked = Counter(found[1] for one in fake.asked if (found := re.search('service="(.)"', one.query)))
    assert set(asked) == {"a", "b"}
    assert asked["b"] == 7, "as for one look at its trigger"
