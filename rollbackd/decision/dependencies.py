"""Were the services below ours burning when it caught fire? A dependency's breach is looked for at our onset, not at the present."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain, dropwhile
from typing import Final

from rollbackd.decision.compare import stretch
from rollbackd.decision.judge import judge_steps
from rollbackd.decision.onset import find_onset
from rollbackd.decision.trigger import usual
from rollbackd.model.decision import Dependency
from rollbackd.model.measurement import IndicatorEvidence, Reading, Verdict
from rollbackd.model.policy import Trigger
from rollbackd.model.reason import Reason
from rollbackd.model.release import Release, ReleaseStatus

_NEAR: Final = 3
"""Steps up to the moment in question: what was measured in none of them was not measured then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Burning:
    """A dependency that was breached at the moment in question; `since` is None when it was already at the end of what was measured.

    `release` is its own that may be the cause, if it had one. `is_sure`: as many requests stand behind it as a breach of ours needs.
    """

    service: str
    trigger: str
    since: datetime | None
    release: Release | None
    is_sure: bool


def burning_at(moment: datetime, name: str, dependency: Dependency, now: datetime) -> Burning | None:
    """Its breach at `moment`, of several triggers the one that began first. Whether None means healthy, `unmeasured` says."""
    found = [
        Burning(
            service=name,
            trigger=trigger.name,
            since=began.at,
            release=_own_release(dependency, began.at, moment),
            is_sure=_is_sure(trigger, dependency.evidence[trigger.name], began.at, moment),
        )
        for trigger in dependency.policy.triggers
        if (began := _onset(trigger, dependency, moment, now)) is not None
    ]
    return min(found, key=lambda one: one.since or datetime.min.replace(tzinfo=now.tzinfo), default=None)


def unmeasured(dependency: Dependency, moment: datetime) -> Reason | None:
    """Why it cannot be told whether it burnt at `moment`: none of its triggers was measured then, or none is now.

    Few requests are something that was measured.
    """
    reasons = [_unknown(dependency.evidence.get(trigger.name), moment) for trigger in dependency.policy.triggers]
    return reasons[0] if reasons and all(reason is not None for reason in reasons) else None


@dataclass(frozen=True, slots=True)
class _Began:
    at: datetime | None


def _onset(trigger: Trigger, dependency: Dependency, moment: datetime, now: datetime) -> _Began | None:
    evidence = dependency.evidence.get(trigger.name)
    if evidence is None or not evidence.readings:
        return None
    end = moment - trigger.hold_for - trigger.indicator.window
    baseline = usual(evidence, end - dependency.policy.baseline, end) if trigger.is_relative else None
    back = now - evidence.readings[0].at
    steps = judge_steps(trigger, evidence, baseline=baseline, now=now, back=back)
    until_then = dropwhile(lambda step: step.at > moment, steps)
    told = dropwhile(lambda step: step.verdict is Verdict.UNKNOWN and moment - step.at < _NEAR * evidence.step, until_then)
    last = next(told, None)
    if last is None or last.verdict is not Verdict.BREACHED:
        return None
    return _Began(find_onset(chain([last], told)).at)


def _own_release(dependency: Dependency, since: datetime | None, moment: datetime) -> Release | None:
    """The newest release of its own that can have caused it: started before it was breached, and recent then, or still rolling."""
    began = since or moment
    slack = dependency.policy.scrape_interval + timedelta(seconds=5)
    started = [one for one in dependency.releases if one.started_at <= began + slack]
    recent = [one for one in started if one.status is ReleaseStatus.ROLLING or began - one.started_at <= dependency.policy.blame_window]
    return max(recent, key=lambda one: one.started_at, default=None)


def _is_sure(trigger: Trigger, evidence: IndicatorEvidence, since: datetime | None, moment: datetime) -> bool:
    return stretch(trigger, evidence.readings, start=since or evidence.readings[0].at, end=moment).says_enough(trigger)


def _unknown(evidence: IndicatorEvidence | None, moment: datetime) -> Reason | None:
    if evidence is None or not evidence.readings:
        return (evidence and evidence.reason) or Reason.NO_SERIES
    then = [one for one in evidence.readings if timedelta(0) <= moment - one.at < _NEAR * evidence.step]
    last = evidence.readings[-1]
    return last.reason if not _says(last) else Reason.NO_SERIES if not any(map(_says, then)) else None


def _says(reading: Reading) -> bool:
    return reading.value is not None or reading.reason is Reason.LOW_TRAFFIC
