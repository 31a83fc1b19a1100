"""What `check --live` takes from a real Prometheus: its rules, the bounds of a histogram, and indicators at one single moment."""

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

from rollbackd.clock import SystemClock
from rollbackd.flow import advice, measurable
from rollbackd.model.condition import Condition
from rollbackd.model.policy import Indicator, Trigger
from rollbackd.model.readiness import ReadinessVerdict
from rollbackd.prometheus.answer import AlertRule
from rollbackd.prometheus.client import PrometheusClient
from rollbackd.prometheus.measurer import Measurer
from rollbackd.prometheus.servers import ask_server
from rollbackd.settings.effective import PrometheusServer
from tests.e2e.prometheus import Backfill, real_prometheus
from tests.fakes.policies import error_rate, response_time_p95, service

RULES = Path(__file__).resolve().parents[2] / "alert_rules" / "rollback-alerts.yml"
POLICY = service("api")


def history(now: datetime) -> Backfill:
    """Ten requests a second, of which half take up to a second and none longer; no errors."""
    backfill = Backfill()

    def grows(name: str, labels: dict[str, str], rate: float) -> None:
        backfill.counter(
            name, {"service": "api", **labels}, start=now - timedelta(minutes=10), end=now, every=timedelta(seconds=15), rate=lambda _: rate
        )

    grows("http_requests_total", {"code": "200"}, 10)
    grows("http_request_duration_seconds_count", {}, 10)
    for bound, rate in (("0.1", 5), ("1", 10), ("+Inf", 10)):
        grows("http_request_duration_seconds_bucket", {"le": bound}, rate)
    return backfill


def slow(indicator: Indicator, breach: str) -> Trigger:
    return Trigger(
        name="SlowResponse",
        indicator=indicator,
        breach=Condition.parse(breach),
        clear=Condition.parse("< 500"),
        hold_for=timedelta(minutes=2),
        alerts=("SlowResponse",),
    )


async def test_a_real_server_says_what_is_asked_of_it_live(tmp_path: Path) -> None:
    now = SystemClock().now().replace(microsecond=0)
    async with real_prometheus(tmp_path / "prometheus", backfill=history(now), rule_files=[RULES]) as server:
        client = PrometheusClient(PrometheusServer(name="main", url=server.url, timeout=timedelta(seconds=20)), SystemClock())
        measurer = Measurer({"main": client})
        try:
            assert (await ask_server("main", client)).problem == ""

            rules = await client.alert_rules()
            assert set(rules) == {AlertRule("HighErrorRate", timedelta(minutes=2)), AlertRule("SlowResponse", timedelta(minutes=5))}
            p95 = response_time_p95()
            (differs,) = advice.on_rules(replace(POLICY, triggers=(slow(p95, "> 1000"),)), rules)
            assert "has for: 5m, and this has 2m" in differs.message

            (too_low,) = await advice.on_buckets(replace(POLICY, triggers=(slow(p95, "> 1000"),)), measurer, now)
            assert "can get no higher than 1000," in too_low.message
            assert await advice.on_buckets(replace(POLICY, triggers=(slow(p95, "> 999"),)), measurer, now) == ()

            async def judged(indicator: Indicator) -> tuple[ReadinessVerdict, str]:
                evidence = await measurer.evidence(POLICY, indicator, now=now, lookback=timedelta(), pool_window=timedelta(minutes=5))
                check = measurable.judge(POLICY, indicator, evidence)
                return check.verdict, check.detail

            assert await judged(error_rate()) == (ReadinessVerdict.READY, "0 now")
            assert await judged(p95) == (ReadinessVerdict.READY, "910 now")
            several = replace(error_rate(), total="increase(http_request_duration_seconds_bucket{$selector}[$window])")
            assert (await judged(several))[0] is ReadinessVerdict.NOT_READY
            wrong = replace(error_rate(), total="sum(increase(http_requests_total{$selector}[$window])")
            verdict, detail = await judged(wrong)
            assert (verdict, "parse error" in detail) == (ReadinessVerdict.UNKNOWN, True)
        finally:
            await client.close()
