"""Whether an indicator can be measured at all: each of its queries was run, and what came back is judged here. Pure.

A value that is bad is as good as any: the question is whether Prometheus gives one fresh number where one is meant.
"""

from collections.abc import Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import Final

from rollbackd.decision.record import span
from rollbackd.model.measurement import IndicatorEvidence, PooledCounts, Reading
from rollbackd.model.policy import Indicator, ServicePolicy
from rollbackd.model.readiness import ReadinessCheck, ReadinessVerdict
from rollbackd.model.reason import Reason
from rollbackd.prometheus import promql

_NOT_TOLD: Final = frozenset({Reason.QUERY_FAILED, Reason.WARNINGS, Reason.CLOCK_SKEW, Reason.COUNTER_BIRTH})
"""What says nothing about the query: it may be right, and it may be wrong."""

_NO_TRAFFIC: Final = "its queries answer; no requests in the window, so there is no number to judge now"

_ADVICE: Final[Mapping[Reason, str]] = MappingProxyType({
    Reason.NO_SERIES: "no series: mend the metric's name or the service's selector, or see whether it is scraped",
    Reason.SEVERAL_SERIES: "several series where one is meant: aggregate with sum(…), narrow the selector, or give the indicator a reduce",
    Reason.NOT_A_NUMBER: "no finite number: mend the expression so that it yields one",
    Reason.COUNTER_BIRTH: "a series of bad events is younger than two scrapes: it can be told in a moment",
    Reason.QUERY_FAILED: "could not be asked",
})  # fmt: skip


def name_of(indicator: Indicator) -> str:
    return f"indicator {indicator.name}"


def unmeasured(indicator: Indicator, why: str) -> ReadinessCheck:
    return ReadinessCheck(name=name_of(indicator), verdict=ReadinessVerdict.UNKNOWN, detail=why, about=("indicators", indicator.name))


def judge(policy: ServicePolicy, indicator: Indicator, evidence: IndicatorEvidence) -> ReadinessCheck:
    """`evidence` is of one step, now."""
    reading, pooled = evidence.last, evidence.pooled
    if reading is None:
        return _problem(indicator, evidence.reason or Reason.QUERY_FAILED, "", f"{evidence.detail or 'not asked'}, in {evidence.query}")
    if _is_idle(reading, pooled):
        return _ready(indicator, _NO_TRAFFIC)
    if reading.reason is not None:
        key = _key(indicator, reading)
        return _problem(indicator, reading.reason, key, _sentence(policy, indicator, reading, key))
    if pooled is not None and pooled.reason is not None:
        key = "total" if indicator.is_ratio else "count"
        said = _ADVICE.get(pooled.reason, pooled.reason.replace("_", " "))
        return _problem(indicator, pooled.reason, key, f"{key}: {said}, in {_rendered(policy, indicator, key, pooled.window)}")
    return _ready(indicator, f"{reading.value:.4g} now")


def _is_idle(reading: Reading, pooled: PooledCounts | None) -> bool:
    """Every query answers, and nothing was asked of the service: a quantile of nothing is NaN, a ratio of nothing is none."""
    if reading.reason is Reason.LOW_TRAFFIC:
        return True
    return reading.reason is Reason.NOT_A_NUMBER and pooled is not None and pooled.reason is None and pooled.total == 0


def _key(indicator: Indicator, reading: Reading) -> str:
    """The query of the config that is to be looked at."""
    if reading.reason in {Reason.STALE_SAMPLES, Reason.THIN_SAMPLES} or reading.sample_at is None:
        return "samples"
    if not indicator.is_ratio:
        return "query"
    return "bad_samples" if reading.reason is Reason.COUNTER_BIRTH else "total"


def _sentence(policy: ServicePolicy, indicator: Indicator, reading: Reading, key: str) -> str:
    query = _rendered(policy, indicator, key, indicator.window)
    match reading.reason:
        case Reason.STALE_SAMPLES if reading.sample_at is not None:
            old, limit = span(reading.at - reading.sample_at), span(policy.max_sample_age)
            said = f"the newest sample is {old} old (limit {limit}): see whether the target is up, and scrape_interval right"
        case Reason.THIN_SAMPLES:
            promised = f"one sample every {span(policy.scrape_interval)}"
            said = f"under half of the samples that scrape_interval promises ({promised}): set it to what Prometheus really scrapes with"
        case reason:
            said = _ADVICE.get(reason, str(reason)) if reason is not None else ""
    if indicator.is_ratio and reading.reason in {Reason.SEVERAL_SERIES, Reason.NOT_A_NUMBER}:
        return f"bad or total: {said}, in {_rendered(policy, indicator, 'bad', indicator.window)} or {query}"
    return f"{key}: {said}, in {query}"


def _rendered(policy: ServicePolicy, indicator: Indicator, key: str, window: timedelta) -> str:
    text: str | None = getattr(indicator, key)
    return promql.render(text or indicator.samples, policy.selector, window)


def _problem(indicator: Indicator, reason: Reason, key: str, detail: str) -> ReadinessCheck:
    verdict = ReadinessVerdict.UNKNOWN if reason in _NOT_TOLD else ReadinessVerdict.NOT_READY
    about = ("indicators", indicator.name, key) if key else ("indicators", indicator.name)
    return ReadinessCheck(name=name_of(indicator), verdict=verdict, detail=detail, about=about)


def _ready(indicator: Indicator, detail: str) -> ReadinessCheck:
    return ReadinessCheck(name=name_of(indicator), verdict=ReadinessVerdict.READY, detail=detail, about=("indicators", indicator.name))
