"""How high an indicator over a histogram can get: a quantile is never more than the largest bucket with a bound. Pure."""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from rollbackd.prometheus.point import number

_QUANTILE: Final = re.compile(r"\bhistogram_quantile\s*\(")
_BUCKETS: Final = re.compile(r"\b[a-zA-Z_:][a-zA-Z0-9_:]*_bucket\b\s*(?:\{(?:[^{}\"]|\"(?:[^\"\\]|\\.)*\")*\})?")
_SKIPPED: Final = re.compile(r'"(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)*\'|`[^`]*`')


@dataclass(frozen=True, slots=True)
class Quantile:
    """The `histogram_quantile(…)` in a query, and the bare selector of the buckets that it is made of."""

    before: str
    buckets: str
    after: str

    def at_most(self, bound: float) -> str:
        """The query with the quantile as high as it can get: what surrounds it, such as `1000 *`, is Prometheus' own to compute."""
        return f"{self.before}vector({bound!r}){self.after}"


def find_quantile(query: str) -> Quantile | None:
    """None where there is no quantile of classic buckets, or more than one: then nothing is said."""
    found = [*_QUANTILE.finditer(query)]
    if len(found) != 1:
        return None
    end = _closing(query, found[0].end())
    buckets = _BUCKETS.search(query, found[0].end(), end)
    return Quantile(query[: found[0].start()], buckets[0], query[end:]) if buckets else None


def largest_bound(bounds: Iterable[str]) -> float | None:
    """Of the values of `le`; None when no bucket but the one without a bound is there."""
    numbers = [bound for text in bounds if (bound := number(text)) is not None and math.isfinite(bound)]
    return max(numbers, default=None)


def _closing(query: str, start: int) -> int:
    """Behind the bracket that closes the one before `start`; what stands in quotes is no bracket."""
    depth, position = 1, start
    while depth and position < len(query):
        if skipped := _SKIPPED.match(query, position):
            position = skipped.end()
            continue
        depth += {"(": 1, ")": -1}.get(query[position], 0)
        position += 1
    return position
