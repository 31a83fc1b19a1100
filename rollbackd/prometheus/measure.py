"""What is asked of one indicator, and how the answers become evidence: a number only where nothing about it is in doubt (I3). Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from rollbackd.model.measurement import IndicatorEvidence, PooledCounts, Reading
from rollbackd.model.policy import Indicator, Reduce, ServicePolicy
from rollbackd.model.reason import Reason
from rollbackd.prometheus import promql
from rollbackd.prometheus.answer import Answer
from rollbackd.prometheus.point import Point, apart, at_once, at_steps, counts, finite, instant, value

MAX_CLOCK_OFFSET: Final = timedelta(seconds=5)
LEAST_COVERAGE: Final = 0.5
"""Of the raw samples that the scrape interval promises in a window."""


class Part(StrEnum):
    """What is asked of one indicator."""

    BAD = "bad"
    TOTAL = "total"
    QUERY = "query"
    COUNT = "count"
    NEWEST = "newest of samples"
    COVERAGE = "coverage of samples"
    BIRTHS = "births of bad_samples"


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a whole answer counts for nothing."""

    reason: Reason
    detail: str


_NAMED_LABELS: Final = 3  # of many that tell several series apart

_NOTHING: Final[Mapping[Part, Answer | Fault]] = MappingProxyType({})


def steps(now: datetime, step: timedelta, lookback: timedelta) -> tuple[datetime, ...]:
    """The moments now - k * step, k >= 0, back to now - lookback, oldest first; at least `now` itself."""
    return tuple(now - k * step for k in range(lookback // step, -1, -1))


def range_queries(policy: ServicePolicy, indicator: Indicator, *, of_the_past: bool = False) -> dict[Part, str]:
    """Asked at every step: the indicator's value and, unless it is only to be compared with, whether raw samples carry it."""
    queries = _rendered(policy, indicator, (Part.BAD, Part.TOTAL, Part.QUERY, Part.COUNT), indicator.window)
    if of_the_past:
        return queries
    samples = promql.render(indicator.samples, policy.selector, indicator.window)
    queries[Part.NEWEST] = promql.newest(samples)
    queries[Part.COVERAGE] = promql.coverage(samples, indicator.window)
    if indicator.bad_samples is not None:
        bad_samples = promql.render(indicator.bad_samples, policy.selector, indicator.window)
        queries[Part.BIRTHS] = promql.births(bad_samples, policy.scrape_interval)
    return queries


def pool_queries(policy: ServicePolicy, indicator: Indicator, window: timedelta) -> dict[Part, str]:
    """The counts over one window; none for a value indicator that does not say how much traffic stands behind it."""
    return _rendered(policy, indicator, (Part.BAD, Part.TOTAL, Part.COUNT), window)


def fault(answer: Answer, *, check_clock: bool) -> Fault | None:
    """Why an answer as a whole is not believed, whatever number stands in it."""
    if answer.warnings:
        return Fault(Reason.WARNINGS, "; ".join(answer.warnings))
    if not check_clock:
        return None
    if answer.clock_offset is None:
        return Fault(Reason.CLOCK_SKEW, "the server does not say what time it is (no Date header)")
    if abs(answer.clock_offset) > MAX_CLOCK_OFFSET:
        return Fault(Reason.CLOCK_SKEW, f"the server's clock is off by {answer.clock_offset.total_seconds():+.0f} s: set the clocks right")
    return None


def evidence(
    policy: ServicePolicy,
    indicator: Indicator,
    *,
    at: Sequence[datetime],
    ranges: Mapping[Part, Answer | Fault],
    pool: Mapping[Part, Answer | Fault] = _NOTHING,
    pool_window: timedelta | None = None,
) -> IndicatorEvidence:
    """`at` are the steps that `ranges` were asked for; without a `pool_window` nothing was pooled.

    One fault among the ranges and nothing is measured: half of it proves nothing.
    """
    queries = range_queries(policy, indicator, of_the_past=Part.NEWEST not in ranges)
    query = f"({queries[Part.BAD]}) / ({queries[Part.TOTAL]})" if indicator.is_ratio else queries[Part.QUERY]
    unmeasured = IndicatorEvidence(indicator=indicator.name, query=query, step=policy.scrape_interval, readings=())
    if failed := _first_fault(ranges):
        return replace(unmeasured, reason=failed.reason, detail=failed.detail)
    points = {part: at_steps(answer, at, policy.scrape_interval) for part, answer in ranges.items() if isinstance(answer, Answer)}
    readings = _readings(policy, indicator, at, points)
    births = points[Part.BIRTHS][-1] if Part.BIRTHS in points else ()
    pooled = _pooled(policy, indicator, pool, pool_window, births=births) if pool_window else None
    detail = _said_of_several(readings[-1], {part: points[part][-1] for part in points})
    return replace(unmeasured, readings=readings, pooled=pooled, newest_sample_at=readings[-1].sample_at, detail=detail)


def reading(answer: Answer | Fault, at: datetime) -> Reading:
    """What a bare query said. How fresh its samples are, it cannot say."""
    measured = answer.reason if isinstance(answer, Fault) else value(at_once(answer), None)
    return Reading(at, None, measured) if isinstance(measured, Reason) else Reading(at, measured)


def _said_of_several(last: Reading, here: Mapping[Part, Point]) -> str:
    """Of the question that has the most answers, how many, what tells them apart, and what to do; empty where one was meant and came."""
    if last.reason is not Reason.SEVERAL_SERIES:
        return ""
    part, point = max(((part, here.get(part, ())) for part in (Part.BAD, Part.TOTAL, Part.QUERY)), key=lambda one: len(one[1]))
    labels = apart(point)
    differ = f" that differ in {', '.join(labels[:_NAMED_LABELS])}" if labels else ""
    more = f" and {len(labels) - _NAMED_LABELS} more" if len(labels) > _NAMED_LABELS else ""
    return f"{part}: {len(point)} series{differ}{more} where one is meant: aggregate in the query, such as sum(…), or set reduce"


def _rendered(policy: ServicePolicy, indicator: Indicator, parts: Sequence[Part], window: timedelta) -> dict[Part, str]:
    texts = {Part.BAD: indicator.bad, Part.TOTAL: indicator.total, Part.QUERY: indicator.query, Part.COUNT: indicator.count}
    return {part: promql.render(text, policy.selector, window) for part in parts if (text := texts[part]) is not None}


def _first_fault(answers: Mapping[Part, Answer | Fault]) -> Fault | None:
    faults = (Fault(answer.reason, f"{part}: {answer.detail}") for part, answer in answers.items() if isinstance(answer, Fault))
    return next(faults, None)


def _readings(
    policy: ServicePolicy, indicator: Indicator, at: Sequence[datetime], points: Mapping[Part, Sequence[Point]]
) -> tuple[Reading, ...]:
    readings = []
    newest: datetime | None = None
    parts, least_samples = tuple(points), LEAST_COVERAGE * (indicator.window / policy.scrape_interval)
    for moment, told in zip(at, zip(*points.values(), strict=True), strict=True):
        here = dict(zip(parts, told, strict=True))
        doubt: Reason | None = None
        if Part.NEWEST in here:
            present = instant(here[Part.NEWEST])
            newest = present or newest  # stays when the series has gone: then it is stale, not absent
            doubt = _doubt(policy, here, moment, newest, is_present=present is not None, least_samples=least_samples)
        readings.append(Reading(moment, None, doubt, newest) if doubt else _reading(indicator, here, moment, newest))
    return tuple(readings)


def _doubt(
    policy: ServicePolicy, here: Mapping[Part, Point], moment: datetime, newest: datetime | None, *, is_present: bool, least_samples: float
) -> Reason | None:
    """Why the raw samples cannot carry a number at this step; None: they can."""
    if newest is None:
        return Reason.NO_SERIES
    if not is_present or moment - newest > policy.max_sample_age:
        return Reason.STALE_SAMPLES
    return Reason.THIN_SAMPLES if _is_thin(here[Part.COVERAGE], least_samples) else None


def _reading(indicator: Indicator, here: Mapping[Part, Point], moment: datetime, newest: datetime | None) -> Reading:
    births = here.get(Part.BIRTHS, ())
    newborn = _newborn(births)
    if not indicator.is_ratio:
        number, traffic = value(here[Part.QUERY], indicator.reduce), _traffic(indicator, here.get(Part.COUNT, ()))
        total = None if isinstance(traffic, Reason) else traffic
        return Reading(moment, None, number, newest) if isinstance(number, Reason) else Reading(moment, number, None, newest, total=total)
    measured = _counted(indicator, here, births)
    if isinstance(measured, Reason):
        asked = value(here[Part.TOTAL], indicator.reduce)
        return Reading(moment, None, measured, newest, total=None if isinstance(asked, Reason) else asked, newborn=newborn)
    bad, total = measured
    ratio = finite(bad / total) if total else Reason.LOW_TRAFFIC  # 0 of 0: that there was no traffic says more than NaN
    if isinstance(ratio, Reason):
        return Reading(moment, None, ratio, newest, bad, total, newborn=newborn)
    return Reading(moment, ratio, None, newest, bad, total, newborn=newborn)


def _traffic(indicator: Indicator, point: Point) -> float | Reason:
    """One of several values stands on as little traffic as the least of them."""
    return value(point, Reduce.SUM if indicator.reduce is Reduce.SUM else indicator.reduce and Reduce.MIN)


def _is_thin(coverage: Point, least_samples: float) -> bool:
    samples = value(coverage, None)
    return isinstance(samples, Reason) or samples < least_samples


def _newborn(births: Point) -> bool:
    """Whether a series of bad events is too young; one that cannot be told old is."""
    return bool(births) and value(births, None) != 0


def _counted(indicator: Indicator, here: Mapping[Part, Point], births: Point) -> tuple[float, float] | Reason:
    """A missing numerator is 0, unless there is a series of bad events: then they were counted, but too few samples of it were seen."""
    if here[Part.TOTAL] and births and not here[Part.BAD]:
        return Reason.COUNTER_BIRTH if _newborn(births) else Reason.THIN_SAMPLES
    return counts(here[Part.BAD], here[Part.TOTAL], indicator.reduce)


def _pooled(
    policy: ServicePolicy, indicator: Indicator, pool: Mapping[Part, Answer | Fault], window: timedelta, *, births: Point
) -> PooledCounts | None:
    queries = pool_queries(policy, indicator, window)
    if not queries:
        return None
    unknown = PooledCounts(window=window, query=" of ".join(queries.values()))
    if failed := _first_fault(pool):
        return replace(unknown, reason=failed.reason)
    here = {part: at_once(answer) for part, answer in pool.items() if isinstance(answer, Answer)}
    if not indicator.is_ratio:
        traffic = _traffic(indicator, here[Part.COUNT])
        return replace(unknown, reason=traffic) if isinstance(traffic, Reason) else replace(unknown, total=round(traffic))
    pooled = _counted(indicator, here, births)
    if isinstance(pooled, Reason):
        return replace(unknown, reason=pooled)
    bad, total = map(round, pooled)  # `increase` extrapolates: whole events again, before anything is tested on them
    return replace(unknown, bad=min(bad, total), total=total)
