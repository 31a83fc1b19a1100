"""Is one stretch of an indicator worse than another: by more than chance, and by enough to matter?"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from operator import attrgetter
from statistics import median
from typing import Final

from rollbackd.decision.statistics import SIGNIFICANT, binomial_p, proportion_p, rank_p
from rollbackd.model.measurement import IndicatorEvidence, Reading
from rollbackd.model.policy import Trigger

_NEGLIGIBLE: Final = 1e-9  # a smaller p tells a person nothing more
_TIME: Final = attrgetter("at")

RELEVANT_SHARE: Final = 0.5
"""Of the distance from `clear` to `breach`: a smaller difference leaves the service on the side of the gap where it already was."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """What was measured over a time: the counts of a ratio, or the values of a value indicator and the traffic behind them in `total`."""

    bad: int = 0
    total: int = 0
    values: tuple[float, ...] = ()
    is_ratio: bool = True

    @classmethod
    def of_all(cls, stretches: Iterable["Stretch"], *, is_ratio: bool) -> "Stretch":
        """Several of the same time as one."""
        all_of_them = tuple(stretches)
        return cls(
            bad=sum(one.bad for one in all_of_them),
            total=sum(one.total for one in all_of_them),
            values=tuple(value for one in all_of_them for value in one.values),
            is_ratio=is_ratio,
        )

    @property
    def level(self) -> float | None:
        """The ratio of all of it, or the median value; None when nothing was measured."""
        if self.is_ratio:
            return self.bad / self.total if self.total else None
        return median(self.values) if self.values else None

    def __str__(self) -> str:
        level = self.level
        if level is None:
            return "not measured"
        if self.is_ratio:
            return f"{level:.4g} ({self.bad:,} of {self.total:,})"
        return f"{level:.4g} (median of {len(self.values)})"

    def says_enough(self, trigger: Trigger) -> bool:
        """Whether as many requests stand behind it as behind a breach of the trigger itself. One failure of one request is no verdict."""
        return self.level is not None and self.total >= max(trigger.min_requests, 1 if self.is_ratio else 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """A trigger's two conditions as numbers. `upward`: more is worse."""

    breach: float
    clear: float
    upward: bool

    @classmethod
    def of(cls, trigger: Trigger, baseline: float | None) -> "Limits | None":
        """None: they are relative, and nothing is known to be usual."""
        if trigger.is_relative and baseline is None:
            return None
        breach = trigger.breach.limit(baseline=baseline, at_least=trigger.at_least)
        return cls(breach=breach, clear=trigger.clear.limit(baseline=baseline), upward=trigger.breach.upward)

    @property
    def relevant(self) -> float:
        return RELEVANT_SHARE * abs(self.breach - self.clear)

    def is_breached(self, stretch: Stretch) -> bool:
        """The level is beyond the breach, and of a ratio that is more than chance would make of one that is clear."""
        level = stretch.level
        if level is None or (level < self.breach if self.upward else level > self.breach):
            return False
        if not stretch.is_ratio:
            return True
        return _counts(stretch, self)[0] > 0 and binomial_p(*_counts(stretch, self), self._clear_rate) < SIGNIFICANT

    def beyond_clear(self, stretch: Stretch) -> float:
        """How far its level is from being clear; nothing when it is, or was not measured."""
        level = self.clear if stretch.level is None else stretch.level
        return max(level - self.clear if self.upward else self.clear - level, 0.0)

    def is_clear(self, stretch: Stretch) -> bool:
        level = stretch.level
        return level is not None and (level <= self.clear if self.upward else level >= self.clear)

    @property
    def _clear_rate(self) -> float:
        return min(max(self.clear if self.upward else 1 - self.clear, 0.0), 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """How much worse one stretch is than another; `p` is the chance of such a difference if both were alike."""

    this: Stretch
    other: Stretch
    p: float
    difference: float
    relevant_from: float

    @property
    def significant(self) -> bool:
        return self.p < SIGNIFICANT

    @property
    def relevant(self) -> bool:
        return self.difference >= self.relevant_from

    @property
    def worse(self) -> bool:
        return self.significant and self.relevant

    def worse_of(self, compared: int) -> bool:
        """As `worse`, of the one that looks worst of so many: the more there are, the likelier chance makes one stand out."""
        return self.p * compared < SIGNIFICANT and self.relevant

    @property
    def in_words(self) -> str:
        chance = f"p < {_NEGLIGIBLE:g}" if self.p < _NEGLIGIBLE else f"p = {self.p:.2g}"
        return f"{self.this} against {self.other}: {chance}"

    @property
    def limit_in_words(self) -> str:
        return f"p < {SIGNIFICANT:g}, and worse by at least {self.relevant_from:.4g}"


def compare(this: Stretch, other: Stretch, limits: Limits) -> Comparison | None:
    """None: one of them was not measured."""
    level, beside = this.level, other.level
    if level is None or beside is None:
        return None
    sign = 1 if limits.upward else -1
    if this.is_ratio:
        p = proportion_p(*_counts(this, limits), *_counts(other, limits))
    else:
        p = rank_p([sign * value for value in this.values], [sign * value for value in other.values])
    return Comparison(this=this, other=other, p=p, difference=sign * (level - beside), relevant_from=limits.relevant)


def stretch(trigger: Trigger, readings: Sequence[Reading], *, start: datetime, end: datetime) -> Stretch:
    """What was measured from `start` to `end`: of a value every step, of a ratio the counts of windows that do not overlap. Oldest first.

    No request may be counted twice. A value's steps do overlap, so neighbours are alike and their p is too small by itself: what keeps
    a single burst from passing for a change is the trigger's `for`, which is asked before.
    """
    first, last = bisect_left(readings, start, key=_TIME), bisect_right(readings, end, key=_TIME)
    within = [one for one in reversed(readings[first:last]) if one.value is not None]
    if not trigger.indicator.is_ratio:
        behind = round(sum(count for _, count in traffic(within, trigger.indicator.window)))
        return Stretch(total=behind, values=tuple(one.value for one in within if one.value is not None), is_ratio=False)
    chosen: list[Reading] = []
    for reading in within:
        if not chosen or chosen[-1].at - reading.at >= trigger.indicator.window:
            chosen.append(reading)
    counted = [(one.bad, one.total) for one in chosen if one.bad is not None and one.total is not None]
    total = round(sum(total for _, total in counted))
    return Stretch(bad=min(round(sum(bad for bad, _ in counted)), total), total=total)


def measured(trigger: Trigger, evidence: IndicatorEvidence) -> Stretch:
    """All of it."""
    if not evidence.readings:
        return Stretch(is_ratio=trigger.indicator.is_ratio)
    return stretch(trigger, evidence.readings, start=evidence.readings[0].at, end=evidence.readings[-1].at)


def traffic(readings: Sequence[Reading], window: timedelta) -> list[tuple[datetime, float]]:
    """Requests in each window that overlaps no other, newest first, of `readings` in any order; steps without a count are left out."""
    chosen: list[tuple[datetime, float]] = []
    for reading in sorted(readings, key=lambda one: one.at, reverse=True):
        if reading.total is not None and (not chosen or chosen[-1][0] - reading.at >= window):
            chosen.append((reading.at, reading.total))
    return chosen


def _counts(stretch: Stretch, limits: Limits) -> tuple[int, int]:
    """How many of how many are on the wrong side: of a ratio where less is worse, those that are not counted in it."""
    return (stretch.bad if limits.upward else stretch.total - stretch.bad), stretch.total
