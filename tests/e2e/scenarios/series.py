"""The series of a scenario as Prometheus would have scraped them: counters of whole requests, born with their first one."""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Final
from zlib import crc32

from tests.e2e.prometheus import Backfill
from tests.e2e.scenarios.form import Shape, Source

SCRAPE: Final = 15.0
DAY: Final = 86_400.0
BUCKETS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

Labels = Mapping[str, str]
_Key = tuple[str, tuple[tuple[str, str], ...]]


def add(backfill: Backfill, source: Source, labels: Labels, at: datetime) -> None:
    """`at` is the alert. What is of another day comes first, and is a counter of its own process."""
    labels = {"instance": "a:1", **labels, **source.labels}
    days = ((source.last_week, 7 * DAY), (source.yesterday, DAY), (source, 0.0))
    for shape, ago in days:
        if shape is None:
            continue
        for (name, pairs), samples in _series(shape, labels).items():
            backfill.add(name, dict(pairs), ((at + timedelta(seconds=moment - ago), value) for moment, value in samples))


def _series(shape: Shape, labels: Labels) -> dict[_Key, list[tuple[float, float | str]]]:
    series: dict[_Key, list[tuple[float, float | str]]] = {}
    process = _Process(shape, labels)
    before = shape.begins
    for moment in _scrapes(shape, labels):
        process.serve(before, moment)
        before = moment
        for key, value in process.scraped(moment):
            series.setdefault(key, []).append((moment, value))
    return series


def _scrapes(shape: Shape, labels: Labels) -> Iterator[float]:
    """Each target has its own time within the interval, as Prometheus spreads them; never the second at which something happens."""
    phase = 0.5 + crc32(repr(sorted(labels.items())).encode()) % 14_000 / 1000
    first = math.ceil((shape.begins - phase) / SCRAPE)
    last = math.floor((shape.ends - phase) / SCRAPE)
    for k in range(first, last + 1):
        moment = k * SCRAPE + phase
        if not any(begin <= moment < end for begin, end in shape.gaps):
            yield moment


@dataclass(slots=True)
class _Process:
    """What has been counted since the last restart. `fast` are the requests under the bucket that the p95 lies in, by where they end."""

    shape: Shape
    labels: Labels
    counts: dict[str, float] = field(default_factory=dict)
    buckets: list[float] = field(default_factory=lambda: [0.0] * (len(BUCKETS) + 1))

    def serve(self, begin: float, end: float) -> None:
        cuts = self._cuts()
        moments = [begin, *cuts[bisect_right(cuts, begin) : bisect_left(cuts, end)], end]
        for start, stop in pairwise(moments):
            if start in self.shape.restarts:
                self.counts, self.buckets = {}, [0.0] * (len(BUCKETS) + 1)
            self._count((start + stop) / 2, stop - start)

    def _cuts(self) -> Sequence[float]:
        shape = self.shape
        timelines = [one for one in (shape.rate, shape.errors, shape.p95) if one is not None]
        return sorted({*shape.restarts, *(start for one in timelines for start in one.starts)})

    def _count(self, moment: float, duration: float) -> None:
        if self.shape.rate is None:
            return
        requests, share = self.shape.rate.at(moment) * duration, self.shape.errors.at(moment)
        for code, part in (("200", requests * (1 - share)), ("500", requests * share)):
            self.counts[code] = self.counts.get(code, 0.0) + part
        if self.shape.p95 is not None:
            slow, share = _spread(self.shape.p95.at(moment))
            self.buckets[0] += requests * share
            self.buckets[slow] += requests * (1 - share)

    def scraped(self, moment: float) -> Iterator[tuple[_Key, float | str]]:
        shape = self.shape
        for code, count in self.counts.items():
            if count >= 1:
                yield self._key("http_requests_total", code=code), _whole(count)
        if shape.p95 is not None:
            seen = 0.0
            for bound, count in zip((*BUCKETS, math.inf), self.buckets, strict=True):
                seen += count
                yield self._key("http_request_duration_seconds_bucket", le="+Inf" if bound == math.inf else f"{bound:g}"), _whole(seen)
            yield self._key("http_request_duration_seconds_count"), _whole(seen)
        if shape.up is not None:
            yield self._key("up"), shape.up.at(moment)
        for name, gauge in shape.gauges.items():
            value = gauge.at(moment)
            yield self._key(name), value if math.isfinite(value) else "NaN" if math.isnan(value) else f"{value:+f}".title()

    def _key(self, name: str, **more: str) -> _Key:
        return name, tuple(sorted({**self.labels, **more}.items()))


def _spread(p95: float) -> tuple[int, float]:
    """The bucket that holds it, and the share of faster requests that makes `histogram_quantile` find it there, or as near as it can."""
    slow = min(max(bisect_left(BUCKETS, p95), 1), len(BUCKETS) - 1)
    low, high = BUCKETS[slow - 1], BUCKETS[slow]
    within = min(max((p95 - low) / (high - low), 0.0), 0.95)
    return slow, (0.95 - within) / (1 - within)


def _whole(count: float) -> float:
    return float(math.floor(count + 1e-6))
