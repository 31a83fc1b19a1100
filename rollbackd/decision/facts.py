"""What exonerations and proofs may ask: the breach, the releases around it, and what else was measured about it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Self

from rollbackd.decision.compare import Limits, Stretch, stretch
from rollbackd.decision.dependencies import Looked, look_at
from rollbackd.decision.judge import Judged, judge_steps
from rollbackd.decision.onset import Onset
from rollbackd.decision.record import clock_time, span
from rollbackd.decision.trigger import Finding, carrying, confirm, sight
from rollbackd.model.decision import Case, Context
from rollbackd.model.measurement import IndicatorEvidence
from rollbackd.model.policy import ServicePolicy, Trigger
from rollbackd.model.reason import Reason
from rollbackd.model.release import Release, ReleaseStatus, served_before

CLOCK_SLACK: Final = timedelta(seconds=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    case: Case
    releases: tuple[Release, ...]  # newest first; that have begun
    findings: tuple[Finding, ...]  # of every trigger
    finding: Finding  # the one that the decision rests on
    onset: Onset  # of a breach that would begin now, where there is none
    below: Mapping[str, Looked]  # the services that it depends on, as they stood at the onset; only of a confirmed breach
    now: datetime

    @classmethod
    def of(cls, case: Case, now: datetime) -> Self:
        """What is recorded for a later time is nobody's cause and no way back yet, and takes nothing from what serves now."""
        begun = [release for release in case.releases if release.started_at - now <= CLOCK_SLACK]
        releases = tuple(sorted(begun, key=lambda release: release.started_at, reverse=True))  # of two at once the later recorded
        findings = [
            confirm(trigger, evidence_of(case, trigger), case.alert, case.policy, releases, now) for trigger in case.policy.triggers
        ]
        finding = carrying(findings, case.alert)
        onset = finding.onset or Onset(at=now, earliest=now, latest=now)
        below = {
            name: look_at(onset.at, name, case.context.dependencies[name], now)
            for name in case.policy.depends_on
            if finding.confirmed and case.context and onset.at and name in case.context.dependencies
        }
        return cls(case=case, releases=releases, findings=tuple(findings), finding=finding, onset=onset, below=below, now=now)

    @property
    def evidence(self) -> IndicatorEvidence:
        return evidence_of(self.case, self.finding.trigger)

    @property
    def policy(self) -> ServicePolicy:
        return self.case.policy

    @property
    def context(self) -> Context | None:
        return self.case.context

    @property
    def limits(self) -> Limits | None:
        return Limits.of(self.finding.trigger, self.finding.baseline)

    @property
    def slack(self) -> timedelta:
        """How much earlier than its release a breach may seem to begin."""
        return self.finding.step + CLOCK_SLACK

    @property
    def looked_back_to(self) -> datetime:
        return self.now - sight(self.policy, self.finding.trigger, self.now - self.case.alert.starts_at)

    @property
    def began(self) -> datetime:
        """The onset, or the end of the look-back before which it lies."""
        return self.onset.at or self.looked_back_to

    @property
    def suspect(self) -> Release | None:
        return self.suspect_if(self.onset.at)

    @property
    def newest(self) -> Release | None:
        """The newest release, if it is recent at all: the one that people will suspect, rightly or not."""
        newest = next(iter(self.releases), None)
        return newest if newest and self.is_recent(newest, self.began) else None

    @property
    def predecessor(self) -> Release | None:
        """What served everybody before the suspect."""
        suspect = self.suspect
        if suspect is None:
            return None
        return next((one for one in served_before(suspect, self.releases) if one.version != suspect.version), None)

    def suspect_if(self, began: datetime | None) -> Release | None:
        """The newest release that had started when the breach began (None: before the look-back), if it was recent then.

        Its code was reaching production when the service broke. An older one had served without this breach until the newer one
        took over, and a later one cannot have caused what was there before it.
        """
        if began is None:
            return None
        started = next((release for release in self.releases if release.started_at - began <= self.slack), None)
        return started if started and self.is_recent(started, began) else None

    def is_recent(self, release: Release, began: datetime) -> bool:
        return release.status is ReleaseStatus.ROLLING or began - release.started_at <= self.policy.blame_window

    def since_onset(self, evidence: IndicatorEvidence) -> Stretch:
        return stretch(self.finding.trigger, evidence.readings, start=self.began, end=self.now)

    def before(self, release: Release) -> Stretch:
        """The `baseline` up to the begin of the release, or to the onset where that was seen a little earlier."""
        readings = self.context.before.readings if self.context and self.context.before else ()
        start, end = release.started_at - self.policy.baseline, min(release.started_at, self.onset.at or release.started_at)
        return stretch(self.finding.trigger, readings, start=start, end=end)

    def steps_before(self, release: Release, duration: timedelta) -> Sequence[Judged]:
        evidence, end = self.context.before if self.context else None, release.started_at
        if evidence is None:
            return ()
        steps = judge_steps(self.finding.trigger, evidence, baseline=self.finding.baseline, now=end, back=duration)
        return [step for step in steps if step.at < (self.onset.at or end)]

    def beside_breach(self, release: Release) -> str:
        """For a person: when a release started, seen from the breach."""
        began = self.onset.at
        if began is None:
            return f"at {clock_time(release.started_at)}; breached since {clock_time(self.looked_back_to)} or before"
        return f"{span(release.started_at - began)} {'after' if release.started_at > began else 'before'} the breach"


def evidence_of(case: Case, trigger: Trigger) -> IndicatorEvidence:
    """A trigger without evidence is one that could not be measured, which is unknown like any other gap (I3)."""
    absent = IndicatorEvidence(
        indicator=trigger.indicator.name,
        query=trigger.indicator.query or trigger.indicator.bad or "",
        step=case.policy.scrape_interval,
        readings=(),
        reason=Reason.NO_SERIES,
        detail="not measured",
    )
    return case.evidence.get(trigger.name, absent)
