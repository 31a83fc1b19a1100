"""Policies and indicators as the shipped config has them, for tests that need one and do not care which."""

from collections.abc import Mapping
from datetime import timedelta

from rollbackd.model.matchers import Matcher, MatchOperator
from rollbackd.model.policy import Indicator, Reduce, ServicePolicy

SCRAPE_INTERVAL = timedelta(seconds=15)


def error_rate(*, window: timedelta = timedelta(minutes=1), bad_samples: bool = True, reduce: Reduce | None = None) -> Indicator:
    return Indicator(
        name="error_rate",
        bad='sum(increase(http_requests_total{$selector,code=~"5.."}[$window]))',
        total="sum(increase(http_requests_total{$selector}[$window]))",
        samples="http_requests_total{$selector}",
        bad_samples='http_requests_total{$selector,code=~"5.."}' if bad_samples else None,
        window=window,
        reduce=reduce,
    )


def response_time_p95(*, window: timedelta = timedelta(minutes=1), reduce: Reduce | None = None, count: bool = True) -> Indicator:
    return Indicator(
        name="response_time_p95",
        query="1000 * histogram_quantile(0.95, sum by (le) (rate(http_request_duration_seconds_bucket{$selector}[$window])))",
        count="sum(increase(http_request_duration_seconds_count{$selector}[$window]))" if count else None,
        samples="http_request_duration_seconds_count{$selector}",
        window=window,
        reduce=reduce,
    )


def service(
    name: str = "api",
    *,
    selector: Mapping[str, str] | None = None,
    scrape_interval: timedelta = SCRAPE_INTERVAL,
    prometheus: str = "main",
) -> ServicePolicy:
    matchers = tuple(Matcher(label, MatchOperator.EQUAL, value) for label, value in (selector or {"service": name}).items())
    return ServicePolicy(
        name=name,
        match=matchers,
        selector=matchers,
        triggers=(),
        objectives=(),
        prometheus=prometheus,
        scrape_interval=scrape_interval,
        max_sample_age=2 * scrape_interval,
        recheck_every=scrape_interval,
    )
