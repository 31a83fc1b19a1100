from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from rollbackd.clock import SystemClock
from rollbackd.errors import PermanentError, TemporaryError
from rollbackd.model.measurement import IndicatorEvidence, Reading
from rollbackd.model.policy import Indicator
from rollbackd.model.reason import Reason
from rollbackd.prometheus.client import PrometheusClient
from rollbackd.prometheus.measurer import Measurer
from rollbackd.settings.effective import PrometheusServer
from tests.fakes.policies import error_rate, response_time_p95, service
from tests.fakes.prometheus import FakePrometheus

NOW = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
BAD = r"^sum\(.*5\.\."
TOTAL = r"^sum\((?!.*5\.\.)"
BIRTHS = "unless"
POLICY = service("api")


@pytest.fixture
async def fake() -> AsyncIterator[FakePrometheus]:
    async with FakePrometheus() as server:
        server.answer(TOTAL, 1000)
        server.answer(BAD, lambda at: 300 if at > NOW - MINUTE else 1)
        yield server


@pytest.fixture
async def measurer(fake: FakePrometheus) -> AsyncIterator[Measurer]:
    client = PrometheusClient(PrometheusServer(name="main", url=fake.url), SystemClock())
    yield Measurer({"main": client})
    await client.close()


async def measured(measurer: Measurer, indicator: Indicator | None = None) -> IndicatorEvidence:
    return await measurer.evidence(POLICY, indicator or error_rate(), now=NOW, lookback=2 * MINUTE, pool_window=2 * MINUTE)


async def test_a_ratio_over_time(fake: FakePrometheus, measurer: Measurer) -> None:
    evidence = await measured(measurer)
    assert [reading.value for reading in evidence.readings] == [0.001] * 5 + [0.3] * 4
    assert [reading.at for reading in evidence.readings] == [NOW - k * timedelta(seconds=15) for k in range(8, -1, -1)]
    assert evidence.pooled is not None
    assert (evidence.pooled.bad, evidence.pooled.total) == (300, 1000)
    assert evidence.newest_sample_at == NOW
    assert {asked.params.get("step") for asked in fake.asked if asked.is_range} == {"15.000"}
    assert len(fake.asked) == 7
    assert all("[120s]" in asked.query for asked in fake.asked if not asked.is_range)


async def test_a_value_over_time(fake: FakePrometheus, measurer: Measurer) -> None:
    fake.answer("histogram_quantile", 480)
    fake.answer("duration_seconds_count.*120s", 99.7)
    evidence = await measured(measurer, response_time_p95())
    assert [reading.value for reading in evidence.readings] == [480.0] * 9
    assert evidence.pooled is not None
    assert (evidence.pooled.bad, evidence.pooled.total) == (None, 100)


async def test_a_fault_says_which_question_failed(fake: FakePrometheus, measurer: Measurer) -> None:
    fake.fail(BIRTHS, 503)
    evidence = await measured(measurer)
    assert (evidence.readings, evidence.last, evidence.pooled) == ((), None, None)
    assert evidence.reason is Reason.QUERY_FAILED
    assert evidence.detail.startswith("births of bad_samples: Prometheus server main at 127.0.0.1:")


async def test_a_range_that_prometheus_would_refuse_is_a_reason_too(measurer: Measurer) -> None:
    evidence = await measurer.evidence(POLICY, error_rate(), now=NOW, lookback=timedelta(days=3), pool_window=MINUTE)
    assert evidence.reason is Reason.QUERY_FAILED
    assert "11000 at most" in evidence.detail


async def test_infos_do_not_matter(fake: FakePrometheus, measurer: Measurer) -> None:
    fake.answer(BAD, 300, infos=["metric might not be a counter"])
    evidence = await measured(measurer)
    assert evidence.last is not None
    assert evidence.last.value == 0.3


async def test_a_bare_query_knows_the_services_macros(fake: FakePrometheus, measurer: Measurer) -> None:
    fake.answer("^rate", 0.25)
    assert await measurer.value(POLICY, "rate(x{$selector}[$window])", now=NOW) == Reading(NOW, 0.25)
    assert fake.asked[-1].query == 'rate(x{service="api"}[60s])'


async def test_a_bare_query_that_fails_is_unknown(fake: FakePrometheus, measurer: Measurer) -> None:
    fake.fail("x", 422)
    assert await measurer.value(POLICY, "x", now=NOW) == Reading(NOW, None, Reason.QUERY_FAILED)
    fake.answer("x", 1, warnings=["partial"])
    assert await measurer.value(POLICY, "x", now=NOW) == Reading(NOW, None, Reason.WARNINGS)


async def test_the_values_of_a_label(fake: FakePrometheus, measurer: Measurer) -> None:
    fake.answer("build_info", ({"version": "v1"}, 1), ({"version": "v2"}, 1), ({"version": "v2", "i": "1"}, 1), ({}, 1))
    assert await measurer.label_values(POLICY, "build_info{$selector}", "version", now=NOW) == {"v1", "v2"}
    assert fake.asked[-1].query == 'build_info{service="api"}'


async def test_some_values_of_a_label_are_none(fake: FakePrometheus, measurer: Measurer) -> None:
    fake.answer("build_info", ({"version": "v1"}, 1), warnings=["store b does not answer"])
    with pytest.raises(TemporaryError, match="Prometheus server main: store b does not answer"):
        await measurer.label_values(POLICY, "build_info", "version", now=NOW)
    fake.fail("build_info", 400)
    with pytest.raises(PermanentError, match="scripted 400"):
        await measurer.label_values(POLICY, "build_info", "version", now=NOW)


@pytest.mark.parametrize(
    ("series", "firing"),
    [
        ([{"service": "api", "severity": "critical"}], True),
        ([{"service": "api"}], True),
        ([{"service": "web"}, {"service": "api"}], True),
        ([{"service": "api", "replica": "prometheus-0"}], True),  # put there by a querier over several servers
        ([{"service": "web"}], False),
        ([{"service": "api", "severity": "warning"}], False),
        ([], False),
    ],
)
async def test_an_alert_fires_when_a_series_agrees_with_its_labels(
    fake: FakePrometheus,
    measurer: Measurer,
    series: list[dict[str, str]],
    firing: bool,  # noqa: FBT001
) -> None:
    common = {"__name__": "ALERTS", "alertname": 'Odd"Name', "alertstate": "firing"}
    fake.answer("ALERTS", *(({**common, **labels}, 1) for labels in series))
    labels = {"alertname": 'Odd"Name', "service": "api", "severity": "critical", "env": "put there by external_labels"}
    assert await measurer.alert_firing(POLICY, 'Odd"Name', labels) is firing
    assert fake.asked[-1].query == 'ALERTS{alertname="Odd\\"Name",alertstate="firing"}'


async def test_whether_an_alert_fires_may_be_unknown(fake: FakePrometheus, measurer: Measurer) -> None:
    fake.fail("ALERTS", 500)
    assert await measurer.alert_firing(POLICY, "HighErrorRate", {}) is None
    fake.answer("ALERTS", warnings=["partial"])
    assert await measurer.alert_firing(POLICY, "HighErrorRate", {}) is None
