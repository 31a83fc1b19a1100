"""What one number says of a trigger: breached, healthy, or unknown, which lies between the two conditions and wherever data is missing."""

import math
from dataclasses import dataclass
from datetime import datetime, timedelta

from rollbackd.model.measurement import IndicatorEvidence, Reading, Verdict
from rollbackd.model.policy import Trigger
from rollbackd.model.reason import Reason


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
        return self.reason in {Reason.BREACH, Reason.CLEAR, Reason.DEAD_BAND}


def judge(trigger: Trigger, value: float, *, baseline: float | None = None, newborn: bool = False) -> tuple[Verdict, Reason]:
    """A newborn counter still lacks its first increase: what looks healthy may not be, what is breached is."""
    if not math.isfinite(value):
        return Verdict.UNKNOWN, Reason.NOT_A_NUMBER
    if trigger.is_relative and (baseline is None or (baseline <= 0 and trigger.at_least is None)):  # times nothing is no limit
        return Verdict.UNKNOWN, Reason.NO_BASELINE
    if trigger.breach.holds(value, baseline=baseline, at_least=trigger.at_least):
        return Verdict.BREACHED, Reason.BREACH
    if not trigger.clear.holds(value, baseline=baseline):
        return Verdict.UNKNOWN, Reason.DEAD_BAND
    return (Verdict.UNKNOWN, Reason.COUNTER_BIRTH) if newborn else (Verdict.HEALTHY, Reason.CLEAR)


def judge_steps(
    trigger: Trigger, evidence: IndicatorEvidence, *, baseline: float | None, now: datetime, back: timedelta
) -> tuple[Judged, ...]:
    """Each step from `now` back, newest first. A step that the evidence does not hold is unknown: leaving data out proves nothing."""
    readings = {round((now - reading.at) / evidence.step): reading for reading in evidence.readings}
    absent = evidence.reason or Reason.NO_SERIES
    steps = (readings.get(k) or Reading(now - k * evidence.step, None, absent) for k in range(back // evidence.step + 1))
    return tuple(_judge_reading(trigger, reading, baseline) for reading in steps)


def _judge_reading(trigger: Trigger, reading: Reading, baseline: float | None) -> Judged:
    if reading.value is None:
        return Judged(reading.at, Verdict.UNKNOWN, reading.reason or Reason.UNKNOWN)
    verdict, reason = judge(trigger, reading.value, baseline=baseline, newborn=reading.newborn)
    return Judged(reading.at, verdict, reason, reading.value)
