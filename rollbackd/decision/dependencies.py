"""Were the services below ours burning when it caught fire? A dependency's breach is looked for at our onset, not at the present."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain

from rollbackd.decision.judge import Judged, judge_steps
from rollbackd.decision.onset import Onset, find_onset
from rollbackd.decision.trigger import usual
from rollbackd.model.decision import Dependency
from rollbackd.model.measurement import Verdict
from rollbackd.model.policy import Trigger
from rollbackd.model.reason import Reason
from rollbackd.model.release import Release, ReleaseStatus

BRIDGED_STEPS = 3
"""How far before the moment in question the last step that says something may lie."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Burning:
    """A dependency that was breached at the moment in question, with the onset of its breach.

    `release` is its own that may be the cause, if it had one.
    """

    service: str
    trigger: str
    onset: Onset
    release: Release | None


@dataclass(frozen=True, slots=True)
class Looked:
    """What is known of a dependency at one moment. Without `burning` it was healthy, unless `unmeasured` says that this cannot be told.

    Few requests are something that was measured.
    """

    burning: Burning | None
    unmeasured: Reason | None


def look_at(moment: datetime, name: str, dependency: Dependency, now: datetime) -> Looked:
    """Of several triggers that were breached, the one that began first."""
    said = {trigger.name: _said(trigger, dependency, moment, now) for trigger in dependency.policy.triggers}
    burning = [
        Burning(service=name, trigger=trigger, onset=onset, release=_own_release(dependency, onset.at, moment))
        for trigger, onset in said.items()
        if isinstance(onset, Onset)
    ]
    return Looked(
        burning=min(burning, key=lambda one: one.onset.at or datetime.min.replace(tzinfo=now.tzinfo), default=None),
        unmeasured=next((reason for reason in said.values() if isinstance(reason, Reason)), None),
    )


def _said(trigger: Trigger, dependency: Dependency, moment: datetime, now: datetime) -> Onset | Reason | None:
    """Its breach, or why it cannot be told whether there was one; None: there was none."""
    evidence = dependency.evidence.get(trigger.name)
    if evidence is None or not evidence.readings:
        return (evidence and evidence.reason) or Reason.NO_SERIES
    end = moment - trigger.hold_for - trigger.indicator.window
    baseline = usual(evidence, end - dependency.policy.baseline, end) if trigger.is_relative else None
    steps = judge_steps(trigger, evidence, baseline=baseline, now=now, back=now - evidence.readings[0].at)
    unmeasured: Reason | None = None
    for step in steps:
        if step.at > moment:
            continue
        match step.verdict:
            case Verdict.BREACHED:
                return find_onset(chain([step], steps))
            case Verdict.HEALTHY:
                return unmeasured
        if not _says_something(step):
            unmeasured = unmeasured or step.reason
        if moment - step.at >= BRIDGED_STEPS * evidence.step:
            break
    return unmeasured


def _says_something(step: Judged) -> bool:
    return step.measured or step.reason is Reason.LOW_TRAFFIC


def _own_release(dependency: Dependency, since: datetime | None, moment: datetime) -> Release | None:
    """The newest release of its own that can have caused it: started before it was breached, and recent then, or still rolling."""
    began = since or moment
    slack = dependency.policy.scrape_interval + timedelta(seconds=5)
    started = [one for one in dependency.releases if one.started_at <= began + slack]
    recent = [one for one in started if one.status is ReleaseStatus.ROLLING or began - one.started_at <= dependency.policy.blame_window]
    return max(recent, key=lambda one: one.started_at, default=None)
