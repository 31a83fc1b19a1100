"""Were the services below ours burning when it caught fire? A dependency's breach is looked for at our onset, not at the present."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain
from typing import Final

from rollbackd.decision.compare import stretch, traffic
from rollbackd.decision.judge import Judged, judge_steps
from rollbackd.decision.onset import Onset, find_onset
from rollbackd.decision.trigger import usual
from rollbackd.model.decision import Dependency
from rollbackd.model.measurement import IndicatorEvidence, Verdict
from rollbackd.model.policy import Trigger
from rollbackd.model.reason import Reason
from rollbackd.model.release import Release, ReleaseStatus

_NEAR: Final = 3
"""Steps before the moment in question: what was last measured before them was not measured then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Burning:
    """A dependency that was breached at the moment in question, with the onset of its breach.

    `release` is its own that may be the cause, if it had one. `is_sure`: as many requests stand behind it as a breach of ours needs.
    """

    service: str
    trigger: str
    onset: Onset
    release: Release | None
    is_sure: bool


@dataclass(frozen=True, slots=True)
class Looked:
    """What is known of a dependency at one moment.

    `unmeasured` says of which of its triggers it cannot be told whether they burnt then, and why. Few requests are something that was
    measured. Without either it was healthy.
    """

    burning: Burning | None
    unmeasured: Mapping[str, Reason]


def look_at(moment: datetime, name: str, dependency: Dependency, now: datetime) -> Looked:
    """Of several triggers that were breached, the one that began first."""
    burning: list[Burning] = []
    unmeasured: dict[str, Reason] = {}
    for trigger in dependency.policy.triggers:
        said = _said(trigger, dependency, moment, now)
        if isinstance(said, Reason) and not _is_hardly_asked(trigger, dependency.evidence.get(trigger.name), moment):
            unmeasured[trigger.name] = said
        elif isinstance(said, Onset):
            is_sure = _is_sure(trigger, dependency.evidence[trigger.name], said.at, moment)
            release = _own_release(dependency, said.at, moment)
            burning.append(Burning(service=name, trigger=trigger.name, onset=said, release=release, is_sure=is_sure))
    first = min(burning, key=lambda one: one.onset.at or datetime.min.replace(tzinfo=now.tzinfo), default=None)
    return Looked(first, unmeasured)


def _said(trigger: Trigger, dependency: Dependency, moment: datetime, now: datetime) -> Onset | Reason | None:
    """Its breach, or why it cannot be told whether there was one; None: there was none.

    What is not measured now any more may have gone down with it.
    """
    evidence = dependency.evidence.get(trigger.name)
    if evidence is None or not evidence.readings:
        return (evidence and evidence.reason) or Reason.NO_SERIES
    end = moment - trigger.hold_for - trigger.indicator.window
    baseline = usual(evidence, end - dependency.policy.baseline, end) if trigger.is_relative else None
    back = now - evidence.readings[0].at
    last = next(judge_steps(trigger, evidence, baseline=baseline, now=now, back=back))
    gap = None if _says_something(last) else last.reason
    then = judge_steps(trigger, evidence, baseline=baseline, now=now, back=back, until=moment)
    for step in then:
        if step.verdict is Verdict.BREACHED:
            return find_onset(chain([step], then))
        if step.verdict is Verdict.HEALTHY:
            return gap
        gap = gap or (None if _says_something(step) else step.reason)
        if moment - step.at >= _NEAR * evidence.step:
            return gap
    return gap or Reason.NO_SERIES  # not looked at as far back as that


def _is_hardly_asked(trigger: Trigger, evidence: IndicatorEvidence | None, moment: datetime) -> bool:
    """Fewer requests than its own trigger asks for, whatever became of them: counted, so that nothing is missing."""
    if evidence is None:
        return False
    over = max(trigger.hold_for, trigger.indicator.window)
    counted = [count for at, count in traffic(evidence.readings, trigger.indicator.window) if moment - over < at <= moment]
    return len(counted) >= over // trigger.indicator.window and sum(counted) < trigger.min_requests


def _says_something(step: Judged) -> bool:
    return step.measured or step.reason is Reason.LOW_TRAFFIC


def _own_release(dependency: Dependency, since: datetime | None, moment: datetime) -> Release | None:
    """The newest release of its own that can have caused it: started before it was breached, and recent then, or still rolling."""
    began, policy = since or moment, dependency.policy
    last, first = began + policy.scrape_interval + timedelta(seconds=5), began - policy.blame_window
    recent = (
        one for one in dependency.releases if one.started_at <= last and (one.started_at >= first or one.status is ReleaseStatus.ROLLING)
    )
    return max(recent, key=lambda one: one.started_at, default=None)


def _is_sure(trigger: Trigger, evidence: IndicatorEvidence, since: datetime | None, moment: datetime) -> bool:
    return stretch(trigger, evidence.readings, start=since or evidence.readings[0].at, end=moment).says_enough(trigger)
