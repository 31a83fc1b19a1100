"""What a query said at one moment, and how the numbers of its series become one, or the reason why they do not (I3). Pure."""

import math
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final

from rollbackd.model.policy import Reduce
from rollbackd.model.reason import Reason
from rollbackd.prometheus.answer import Answer

_NUMBER: Final = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")  # float() also takes "1_0", " 1" and other digits

_Labels = frozenset[tuple[str, str]]
Point = Sequence[tuple[_Labels, str]]
"""The number of each series, as text."""


@lru_cache(maxsize=32_768)
def number(text: str) -> float | None:
    """A finite number in exactly the API's form; None for NaN, the infinities and anything else.

    Kept for a while: the next look at an incident, or at a past alert, reads almost all of the same samples.
    """
    parsed = float(text) if _NUMBER.fullmatch(text) else math.nan
    return parsed if math.isfinite(parsed) else None


def at_once(answer: Answer) -> Point:
    """The one moment of an instant query."""
    return [(frozenset(series.labels.items()), text) for series in answer.series for _, text in series.samples]


def at_steps(answer: Answer, steps: Sequence[datetime], step: timedelta) -> Sequence[Point]:
    """The moments of a range query. Prometheus counts in milliseconds: a step is found again as the nearest one."""
    points: list[tuple[tuple[_Labels, str], ...]] = [()] * len(steps)
    first, apart, count = steps[0].timestamp(), step.total_seconds(), len(steps)
    for series in answer.series:
        labels = frozenset(series.labels.items())
        for moment, text in series.samples:
            index = round((moment - first) / apart)
            if 0 <= index < count:
                points[index] += ((labels, text),)
    return points


def apart(point: Point) -> list[str]:
    """The names of the labels that tell its series apart."""
    each = [dict(labels) for labels, _ in point]
    names = {name for labels in each for name in labels}
    return sorted(name for name in names if len({labels.get(name) for labels in each}) > 1)


def value(point: Point, reduce: Reduce | None) -> float | Reason:
    """The number of the one series, or of several by `reduce`."""
    if not point:
        return Reason.NO_SERIES
    if len(point) == 1:
        parsed = number(point[0][1])
        return Reason.NOT_A_NUMBER if parsed is None else parsed
    if reduce is None:
        return Reason.SEVERAL_SERIES
    numbers = _numbers(point)
    if numbers is None:
        return Reason.NOT_A_NUMBER
    combine = max if reduce is Reduce.MAX else min if reduce is Reduce.MIN else sum
    return finite(combine(numbers.values()))


def counts(bad: Point, total: Point, reduce: Reduce | None) -> tuple[float, float] | Reason:
    """Bad and all events; of several series their sums, or the two counts of the series with the highest or the lowest ratio.

    A series without bad events has 0 of them; bad events without a total are no ratio.
    """
    if not total:
        return Reason.NO_SERIES
    if len(total) == 1 and (not bad or (len(bad) == 1 and bad[0][0] == total[0][0])):
        return _counts_of_one(bad[0][1] if bad else "0", total[0][1])
    return _counts_of_several(bad, total, reduce)


def _counts_of_one(bad: str, total: str) -> tuple[float, float] | Reason:
    """Of one series there is nothing to reduce."""
    one, all_of_them = number(bad), number(total)
    if one is None or all_of_them is None or one < 0 or all_of_them < 0:
        return Reason.NOT_A_NUMBER
    return one, all_of_them


def _counts_of_several(bad: Point, total: Point, reduce: Reduce | None) -> tuple[float, float] | Reason:
    if reduce is None and (len(bad) > 1 or len(total) > 1):
        return Reason.SEVERAL_SERIES
    bads, totals = _numbers(bad), _numbers(total)
    if bads is None or totals is None or min(*bads.values(), *totals.values(), 0.0) < 0:
        return Reason.NOT_A_NUMBER
    if reduce is None or reduce is Reduce.SUM:
        sums = sum(bads.values()), sum(totals.values())
        return sums if all(map(math.isfinite, sums)) else Reason.NOT_A_NUMBER
    if not bads.keys() <= totals.keys():
        return Reason.NO_SERIES
    pairs = [(bads.get(labels, 0.0), count) for labels, count in totals.items() if count]
    return (max if reduce is Reduce.MAX else min)(pairs, key=lambda pair: pair[0] / pair[1], default=(0.0, 0.0))


def instant(point: Point) -> datetime | None:
    """The moment that the number of the one series is, in seconds since 1970."""
    seconds = value(point, None)
    if isinstance(seconds, Reason):
        return None
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def finite(result: float) -> float | Reason:
    """Finite numbers may add up or divide to one that is not."""
    return result if math.isfinite(result) else Reason.NOT_A_NUMBER


def _numbers(point: Point) -> dict[_Labels, float] | None:
    """None when any of them is no number, or two series have the same labels."""
    numbers = {labels: parsed for labels, text in point if (parsed := number(text)) is not None}
    return numbers if len(numbers) == len(point) else None
