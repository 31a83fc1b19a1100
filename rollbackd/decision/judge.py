"""What one number says of a trigger: breached, healthy, or unknown, which lies between the two conditions and wherever data is missing."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from rollbackd.model.measurement import IndicatorEvidence, Reading, Verdict
from rollbackd.model.policy import Trigger
from rollbackd.model.reason import Reason

Said = tuple[Verdict, Reason]

_MEASURED: Final = frozenset({Reason.BREACH, Reason.CLEAR, Reason.DEAD_BAND})
_BREACHED: Final = (Verdict.BREACHED, Reason.BREACH)
_HEALTHY: Final = (Verdict.HEALTHY, Reason.CLEAR)
_BETWEEN: Final = (Verdict.UNKNOWN, Reason.DEAD_BAND)


@dataclass(frozen=True, slots=True)
class Judged:
    """One step of the evidence with the trigger's verdict on it."""

    at: datetime
    verdict: Verdict
    reason: Reason
    value: float | None = None

    @property
    def measured(self) -> bool:
        """Whether it says something: a value in the dead band does, it is no breach. Anything else could be one."""
        return self.reason in _MEASURED


def judge(trigger: Trigger, value: float, *, baseline: float | None = None, newborn: bool = False) -> Said:
    """A newborn counter still lacks its first increase: what looks healthy may not be, what is breached is."""
    return judging(trigger, baseline)(value, newborn)


def judging(trigger: Trigger, baseline: float | None) -> Callable[[float, bool], Said]:
    """`judge` of a value and whether it is a newborn's, for many of them: the trigger's two limits are worked out once."""
    if trigger.is_relative and (baseline is None or (baseline <= 0 and trigger.at_least is None)):  # times nothing is no limit
        return lambda value, _newborn: (Verdict.UNKNOWN, Reason.NO_BASELINE if math.isfinite(value) else Reason.NOT_A_NUMBER)
    is_breached = trigger.breach.test(baseline=baseline, at_least=trigger.at_least)
    is_clear = trigger.clear.test(baseline=baseline)

    def said(value: float, newborn: bool) -> Said:  # noqa: FBT001 - asked once a step
        if not math.isfinite(value):
            return Verdict.UNKNOWN, Reason.NOT_A_NUMBER
        if is_breached(value):
            return _BREACHED
        if not is_clear(value):
            return _BETWEEN
        return (Verdict.UNKNOWN, Reason.COUNTER_BIRTH) if newborn else _HEALTHY

    return said


def judge_steps(
    trigger: Trigger, evidence: IndicatorEvidence, *, baseline: float | None, now: datetime, back: timedelta, until: datetime | None = None
) -> Iterator[Judged]:
    """Each step from `now` back, newest first, judged as it is asked for; with `until`, from the last one that is not later.

    A step that the evidence does not hold is unknown: leaving data out proves nothing.
    """
    first = 0 if until is None else -((until - now) // evidence.step)
    said, absent = judging(trigger, baseline), evidence.reason or Reason.NO_SERIES
    for at, reading in _by_step(evidence, now, first, back // evidence.step + 1):
        if reading is None:
            yield Judged(at, Verdict.UNKNOWN, absent)
        elif reading.value is None:
            yield Judged(reading.at, Verdict.UNKNOWN, reading.reason or Reason.UNKNOWN)
        else:
            yield Judged(reading.at, *said(reading.value, reading.newborn), reading.value)


def _by_step(evidence: IndicatorEvidence, now: datetime, first: int, count: int) -> Iterator[tuple[datetime, Reading | None]]:
    """Each step from the `first` of so many with its reading, which lies where evidence keeps it: the last now, others a step apart.

    From the first one on that does not, each is looked for among all of them; a time that was rounded on the way is still its step's.
    """
    step, readings = evidence.step, evidence.readings
    half, at, k = step / 2, now - first * step, first
    while k < min(count, len(readings)):
        reading = readings[-1 - k]
        if not (reading.at == at or abs(reading.at - at) < half):
            break
        yield at, reading
        at, k = at - step, k + 1
    found = {round((now - reading.at) / step): reading for reading in readings} if k < min(count, len(readings)) else {}
    for later in range(k, count):
        yield now - later * step, found.get(later)
