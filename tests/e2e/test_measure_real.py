"""What a real Prometheus says, and what is made of it: staleness, gaps, births of counters, and the extrapolation of `increase`."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TypeVar

import pytest

from rollbackd.clock import SystemClock
from rollbackd.errors import PermanentError
from rollbackd.model.measurement import IndicatorEvidence, Reading
from rollbackd.model.policy import Indicator, Reduce, ServicePolicy
from rollbackd.model.reason import Reason
from rollbackd.prometheus.client import PrometheusClient
from rollbackd.prometheus.measurer import Measurer
from rollbackd.settings.effective import PrometheusServer
from tests.e2e.prometheus import Backfill, RealPrometheus, Target, real_prometheus
from tests.fakes.policies import error_rate, response_time_p95, service

SCRAPE = timedelta(seconds=15)
MINUTE = timedelta(minutes=1)
LIVE_SCRAPE = timedelta(milliseconds=100)

T = TypeVar("T")


@asynccontextmanager
async def asking(url: str) -> AsyncIterator[Measurer]:
    client = PrometheusClient(PrometheusServer(name="main", url=url, timeout=timedelta(seconds=20)), SystemClock())
    try:
        yield Measurer({"main": client})
    finally:
        await client.close()


class History:
    """Counters of requests, scraped every 15 s up to `now`."""

    def __init__(self) -> None:
        self.now = SystemClock().now().replace(microsecond=0)
        self.backfill = Backfill()

    def ago(self, seconds: float) -> datetime:
        return self.now - timedelta(seconds=seconds)

    def requests(
        self,
        name: str,
        code: str,
        rate: Callable[[datetime], float],
        *,
        since: float = 1200,
        until: float = 0,
        labels: tuple[tuple[str, str], ...] = (),
    ) -> None:
        self.backfill.counter(
            "http_requests_total",
            {"service": name, "code": code, **dict(labels)},
            start=self.ago(since),
            end=self.ago(until),
            every=SCRAPE,
            rate=rate,
        )

    @asynccontextmanager
    async def served(self, directory: Path) -> AsyncIterator[Measurer]:
        async with real_prometheus(directory, backfill=self.backfill) as server, asking(server.url) as measurer:
            yield measurer

    async def measured(
        self, measurer: Measurer, policy: ServicePolicy, indicator: Indicator | None = None, *, lookback: timedelta = 5 * MINUTE
    ) -> IndicatorEvidence:
        return await measurer.evidence(policy, indicator or error_rate(), now=self.now, lookback=lookback, pool_window=2 * MINUTE)


@pytest.fixture
def history() -> History:
    return History()


def summary(readings: Iterable[Reading]) -> list[float | Reason | None]:
    return [reading.reason if reading.value is None else round(reading.value, 3) for reading in readings]


async def test_a_breach_is_seen_with_its_counts(history: History, tmp_path: Path) -> None:
    history.requests("api", "200", lambda _: 70)
    history.requests("api", "500", lambda at: 30 if at > history.ago(120) else 0)
    async with history.served(tmp_path) as measurer:
        evidence = await history.measured(measurer, service("api"), lookback=4 * MINUTE)
    assert evidence.reason is None, evidence.detail
    assert summary(evidence.readings[:9]) == [0.0] * 9
    assert summary(evidence.readings[-5:]) == [0.3] * 5
    assert evidence.newest_sample_at == history.now
    assert not any(reading.newborn for reading in evidence.readings)
    assert evidence.pooled is not None
    assert (evidence.pooled.bad, evidence.pooled.total) == (3600, 12000)


async def test_nothing_is_known_of_a_service_that_is_not_there(history: History, tmp_path: Path) -> None:
    history.requests("api", "200", lambda _: 70)
    async with history.served(tmp_path) as measurer:
        evidence = await history.measured(measurer, service("other"))
    assert set(summary(evidence.readings)) == {Reason.NO_SERIES}
    assert evidence.pooled is not None
    assert evidence.pooled.reason is Reason.NO_SERIES


async def test_no_bad_events_and_no_traffic(history: History, tmp_path: Path) -> None:
    history.requests("healthy", "200", lambda _: 70)
    history.requests("idle", "200", lambda _: 0)
    async with history.served(tmp_path) as measurer:
        healthy = await history.measured(measurer, service("healthy"))
        idle = await history.measured(measurer, service("idle"))
    assert set(summary(healthy.readings)) == {0.0}
    assert healthy.pooled is not None
    assert (healthy.pooled.bad, healthy.pooled.total) == (0, 8400)
    assert set(summary(idle.readings)) == {Reason.LOW_TRAFFIC}


async def test_the_first_sample_of_a_counter_gives_no_increase(history: History, tmp_path: Path) -> None:
    """50 errors at once, then none: no increase ever shows them, so no step that they could hide in may look healthy."""
    history.requests("api", "200", lambda _: 70)
    born = history.ago(120)
    samples = [(born + k * SCRAPE, 50.0) for k in range(9)]
    history.backfill.add("http_requests_total", {"service": "api", "code": "500"}, samples)
    async with history.served(tmp_path) as measurer:
        evidence = await history.measured(measurer, service("api"), lookback=3 * MINUTE)
    told = {(reading.at - born) / SCRAPE: (reading.value, reading.reason, reading.newborn) for reading in evidence.readings}
    assert told[-1] == (0.0, None, False)
    assert told[0] == (None, Reason.COUNTER_BIRTH, True)
    assert told[1] == (0.0, None, True)
    assert told[2] == (0.0, None, False)


async def test_a_breach_is_a_breach_though_its_counter_is_young(history: History, tmp_path: Path) -> None:
    history.requests("api", "200", lambda _: 70)
    history.requests("api", "500", lambda _: 30, since=15)
    async with history.served(tmp_path) as measurer:
        evidence = await history.measured(measurer, service("api"))
    assert evidence.last is not None
    assert evidence.last.newborn
    assert evidence.last.value is not None
    assert evidence.last.value > 0.05


async def test_row_30_a_target_that_stopped_four_minutes_ago(history: History, tmp_path: Path) -> None:
    """Without a stale marker, as after an outage of Prometheus itself: an instant query still finds the old sample."""
    history.requests("api", "200", lambda _: 70, until=240)
    async with history.served(tmp_path) as measurer:
        evidence = await history.measured(measurer, service("api"))
        still_there = await measurer.value(service("api"), "http_requests_total{$selector}", now=history.now)
    assert still_there.value is not None
    assert summary(evidence.readings) == [0.0] * 7 + [Reason.STALE_SAMPLES] * 14
    assert evidence.newest_sample_at == history.ago(240)


async def test_a_gap_is_unknown_until_half_of_a_window_is_there_again(history: History, tmp_path: Path) -> None:
    history.requests("api", "200", lambda _: 70, until=240)
    history.requests("api", "200", lambda _: 70, since=60)
    async with history.served(tmp_path) as measurer:
        evidence = await history.measured(measurer, service("api"))
    assert summary(evidence.readings) == [0.0] * 7 + [Reason.STALE_SAMPLES] * 9 + [Reason.THIN_SAMPLES] + [0.0] * 4


async def test_several_series_and_samples_that_are_no_number(history: History, tmp_path: Path) -> None:
    at = [history.ago(15 * k) for k in range(20, -1, -1)]
    history.backfill.add("latency", {"service": "two", "instance": "a"}, [(moment, 100) for moment in at])
    history.backfill.add("latency", {"service": "two", "instance": "b"}, [(moment, 900) for moment in at])
    history.backfill.add("latency", {"service": "nan"}, [(moment, "NaN") for moment in at])
    history.backfill.add("latency", {"service": "inf"}, [(moment, "+Inf") for moment in at])
    bare = Indicator(name="latency", query="latency{$selector}", samples="latency{$selector}", window=MINUTE)
    async with history.served(tmp_path) as measurer:
        told = {
            (name, reduce): (await history.measured(measurer, service(name), replace(bare, reduce=reduce), lookback=MINUTE)).last
            for name, reduce in (("two", None), ("two", Reduce.MAX), ("two", Reduce.MIN), ("nan", None), ("inf", Reduce.MAX))
        }
    assert {case: summary([reading])[0] for case, reading in told.items() if reading} == {
        ("two", None): Reason.SEVERAL_SERIES,
        ("two", Reduce.MAX): 900,
        ("two", Reduce.MIN): 100,
        ("nan", None): Reason.NOT_A_NUMBER,
        ("inf", Reduce.MAX): Reason.NOT_A_NUMBER,
    }


async def test_response_time_without_traffic_is_no_number(history: History, tmp_path: Path) -> None:
    for name, rate in (("busy", 10.0), ("idle", 0.0)):
        for bound, share in (("0.25", 0.5), ("0.5", 1.0), ("+Inf", 1.0)):
            history.backfill.counter(
                "http_request_duration_seconds_bucket",
                {"service": name, "le": bound},
                start=history.ago(600),
                end=history.now,
                every=SCRAPE,
                rate=lambda _, each=rate * share: each,  # type: ignore[misc]
            )
        history.backfill.counter(
            "http_request_duration_seconds_count",
            {"service": name},
            start=history.ago(600),
            end=history.now,
            every=SCRAPE,
            rate=lambda _, each=rate: each,  # type: ignore[misc]
        )
    async with history.served(tmp_path) as measurer:
        busy = await history.measured(measurer, service("busy"), response_time_p95())
        idle = await history.measured(measurer, service("idle"), response_time_p95())
    assert set(summary(busy.readings)) == {475.0}
    assert busy.pooled is not None
    assert busy.pooled.total == 1200
    assert set(summary(idle.readings)) == {Reason.NOT_A_NUMBER}
    assert idle.pooled is not None
    assert idle.pooled.total == 0


async def test_a_label_from_outside_stays_a_literal(history: History, tmp_path: Path) -> None:
    odd = 'a"} or vector(1) #\\'
    history.requests(odd, "200", lambda _: 70)
    async with history.served(tmp_path) as measurer:
        evidence = await history.measured(measurer, service(odd))
        versions = await measurer.label_values(service(odd), "http_requests_total{$selector}", "service", now=history.now)
    assert set(summary(evidence.readings)) == {0.0}
    assert versions == {odd}


async def test_bare_queries(history: History, tmp_path: Path) -> None:
    history.requests("api", "200", lambda _: 70, labels=(("version", "v1"),))
    history.requests("api", "500", lambda _: 0, labels=(("version", "v2"),))
    policy, now = service("api"), history.now
    async with history.served(tmp_path) as measurer:
        assert await measurer.value(policy, "1 + 1", now=now) == Reading(now, 2.0)
        rate = await measurer.value(policy, "sum(rate(http_requests_total{$selector}[$window]))", now=now)
        assert rate.value == pytest.approx(70)
        assert (await measurer.value(policy, "absent_metric", now=now)).reason is Reason.NO_SERIES
        assert (await measurer.value(policy, "http_requests_total{$selector}", now=now)).reason is Reason.SEVERAL_SERIES
        for wrong in ('"text"', "http_requests_total[1m]", "sum(", "http_requests_total / on() http_requests_total"):
            assert (await measurer.value(policy, wrong, now=now)).reason is Reason.QUERY_FAILED
        assert await measurer.label_values(policy, "http_requests_total{$selector}", "version", now=now) == {"v1", "v2"}
        with pytest.raises(PermanentError, match=r"answered 400: .*parse error"):
            await measurer.label_values(policy, "sum(", "version", now=now)


async def test_steps_between_milliseconds_are_found_again(history: History, tmp_path: Path) -> None:
    history.requests("api", "200", lambda _: 70)
    async with history.served(tmp_path) as measurer:
        for microsecond in (1, 499, 500, 999_999):
            now = history.ago(15).replace(microsecond=microsecond)
            evidence = await measurer.evidence(service("api"), error_rate(), now=now, lookback=MINUTE, pool_window=MINUTE)
            assert [reading.at for reading in evidence.readings] == [now - k * SCRAPE for k in range(4, -1, -1)]
            assert summary(evidence.readings) == [0.0] * 5


LIVE_POLICY = replace(service("api", selector={"service": "api"}, scrape_interval=LIVE_SCRAPE), max_sample_age=timedelta(seconds=1))
GOOD = 'http_requests_total{service="api",code="200"}'
FAILED = 'http_requests_total{service="api",code="500"}'


def live_prometheus(directory: Path, target: Target) -> AbstractAsyncContextManager[RealPrometheus]:
    return real_prometheus(directory, targets={"api": [target.address]}, scrape_interval="100ms")


async def live(measurer: Measurer, lookback: timedelta) -> IndicatorEvidence:
    indicator = error_rate(window=timedelta(seconds=1))
    return await measurer.evidence(LIVE_POLICY, indicator, now=SystemClock().now(), lookback=lookback, pool_window=timedelta(seconds=1))


async def until(ask: Callable[[], Awaitable[T]], holds: Callable[[T], bool]) -> T:
    async with asyncio.timeout(30):
        while not holds(answer := await ask()):  # noqa: ASYNC110 - a server tells nobody when it has scraped
            await asyncio.sleep(0.02)
        return answer


async def test_row_30_a_target_that_stops_goes_stale(tmp_path: Path) -> None:
    async with Target() as target:
        target.series = {GOOD: 0}
        async with live_prometheus(tmp_path, target) as server, asking(server.url) as measurer:
            for scrape in range(10):
                target.series[GOOD] = 20 * scrape
                await target.scraped(1)
            healthy = await until(lambda: live(measurer, timedelta()), lambda it: it.last is not None and it.last.value is not None)
            await target.stop()
            stale = await until(
                lambda: live(measurer, timedelta(seconds=5)),
                lambda it: it.last is not None and it.last.reason is Reason.STALE_SAMPLES,
            )
    assert summary(healthy.readings) == [0.0]
    assert stale.newest_sample_at is not None
    assert 0.0 in summary(stale.readings)


async def test_a_live_counter_is_young_for_two_scrapes_and_again_when_it_comes_back(tmp_path: Path) -> None:
    async with Target() as target:
        target.series = {GOOD: 0}
        async with live_prometheus(tmp_path, target) as server, asking(server.url) as measurer:
            for scrape in range(32):
                target.series[GOOD] = 20 * scrape
                if scrape in {12, 26}:
                    target.series[FAILED] = 5
                if scrape == 18:
                    del target.series[FAILED]  # gone from /metrics: Prometheus marks the series stale
                await target.scraped(1)
            evidence = await live(measurer, timedelta(seconds=10))
    young = [index for index, reading in enumerate(evidence.readings) if reading.newborn]
    assert len(young) == 4, evidence
    first, second, third, fourth = young
    assert (second, fourth) == (first + 1, third + 1)
    assert third - first >= 12
    assert evidence.readings[first].reason is Reason.COUNTER_BIRTH
    assert evidence.readings[first - 1].value == 0.0
    assert evidence.readings[-1].value == 0.0


async def test_an_alert_fires_though_external_labels_are_not_on_its_series(tmp_path: Path) -> None:
    rules = tmp_path / "rules.yml"
    rules.write_text(
        '{"groups":[{"name":"g","rules":[{"alert":"HighErrorRate","expr":"vector(1)","labels":{"service":"api","severity":"critical"}}]}]}'
    )
    payload = {"alertname": "HighErrorRate", "service": "api", "severity": "critical", "env": "staging"}
    async with (
        real_prometheus(tmp_path / "server", rule_files=[rules], external_labels={"env": "staging"}) as server,
        asking(server.url) as measurer,
    ):
        assert await until(lambda: measurer.alert_firing(LIVE_POLICY, "HighErrorRate", payload), lambda firing: firing is True)
        assert await measurer.alert_firing(LIVE_POLICY, "HighErrorRate", {**payload, "service": "web"}) is False
        assert await measurer.alert_firing(LIVE_POLICY, "SlowResponse", payload) is False
