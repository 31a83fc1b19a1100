"""Is the service's own recent release the cause?

Two tuples of rules answer, each in the order of the record. An exoneration that fails lets the release go; it comes before the
guards. A proof must hold for the release to be to blame; it comes last, so that no guard hides behind "inconclusive".
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from rollbackd.decision.onset import Onset
from rollbackd.decision.record import Rule, Ruling, ask_all, clock_time, span, stands_in_the_way
from rollbackd.decision.trigger import Finding
from rollbackd.model.decision import Blame, Check, CheckVerdict
from rollbackd.model.policy import ServicePolicy
from rollbackd.model.reason import Reason
from rollbackd.model.release import Release, ReleaseStatus

CLOCK_SLACK: Final = timedelta(seconds=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspicion:
    """Which release is looked at, and what is found of it. `blame` is None when nothing is confirmed, and with `blame: off`."""

    suspect: Release | None
    blame: Blame | None
    exonerations: tuple[Check, ...]
    proofs: tuple[Check, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What exonerations and proofs may ask. `slack` is how much earlier than its release a breach may seem to begin."""

    policy: ServicePolicy
    releases: tuple[Release, ...]  # newest first
    onset: Onset
    looked_back_to: datetime
    slack: timedelta

    @property
    def suspect(self) -> Release | None:
        return self.suspect_if(self.onset.at)

    @property
    def newest(self) -> Release | None:
        """The newest release, if it is recent at all: the one that people will suspect, rightly or not."""
        newest = next(iter(self.releases), None)
        return newest if newest and self._recent(newest, self.onset.at or self.looked_back_to) else None

    def suspect_if(self, began: datetime | None) -> Release | None:
        """The newest release that had started when the breach began (None: before the look-back), if it was recent then.

        Its code was reaching production when the service broke. An older one had served without this breach until the newer one
        took over, and a later one cannot have caused what was there before it.
        """
        if began is None:
            return None
        started = next((release for release in self.releases if release.started_at - began <= self.slack), None)
        return started if started and self._recent(started, began) else None

    def _recent(self, release: Release, began: datetime) -> bool:
        return release.status is ReleaseStatus.ROLLING or began - release.started_at <= self.policy.blame_window


def judge_release(policy: ServicePolicy, releases: tuple[Release, ...], finding: Finding, now: datetime) -> Suspicion:
    """`releases` newest first. Without a breach there is no onset: the suspect is then the release that a breach now would point to."""
    facts = Facts(
        policy=policy,
        releases=releases,
        onset=finding.onset or Onset(at=now, earliest=now, latest=now),
        looked_back_to=now - policy.blame_window - finding.trigger.hold_for,
        slack=finding.step + CLOCK_SLACK,
    )
    if not policy.blame:
        return _not_judged(next(iter(releases), None), "blame is off: a confirmed trigger is enough", now)
    if not finding.confirmed:
        return _not_judged(facts.suspect, "no trigger is confirmed, so nothing is known to have begun", now)
    exonerations = ask_all(EXONERATIONS, facts, now)
    proofs = ask_all(PROOFS, facts, now)
    if any(map(stands_in_the_way, exonerations)):
        blame = Blame.EXONERATED
    elif any(map(stands_in_the_way, proofs)):
        blame = Blame.INCONCLUSIVE
    else:
        blame = Blame.TO_BLAME
    return Suspicion(suspect=facts.suspect or facts.newest, blame=blame, exonerations=exonerations, proofs=proofs)


def _not_judged(suspect: Release | None, why: str, now: datetime) -> Suspicion:
    def skipped(rules: tuple[Rule[Facts], ...]) -> tuple[Check, ...]:
        return tuple(rule.unasked(CheckVerdict.NOT_APPLICABLE, why, now) for rule in rules)

    return Suspicion(suspect=suspect, blame=None, exonerations=skipped(EXONERATIONS), proofs=skipped(PROOFS))


def _no_recent_release(facts: Facts) -> Ruling:
    newest = next(iter(facts.releases), None)
    return Ruling.of(
        against=facts.newest is None,
        value=f"{newest.version} started {_beside_breach(newest, facts)}" if newest else "no release is recorded",
        limit=f"a release within {span(facts.policy.blame_window)} before the breach, or one still rolling",
    )


def _breach_predates_release(facts: Facts) -> Ruling:
    release = facts.suspect or facts.newest
    if release is None:
        return Ruling(CheckVerdict.NOT_APPLICABLE, "no recent release")
    return Ruling.of(
        against=facts.suspect is None,
        value=f"{release.version} started {_beside_breach(release, facts)}",
        limit=f"the breach began at most {span(facts.slack)} before the release",
    )


def _onset_is_told(facts: Facts) -> Ruling:
    """Steps that were not measured must not decide which release is blamed."""
    suspect = facts.suspect
    if suspect is None:
        return Ruling(CheckVerdict.NOT_APPLICABLE, "no suspect")
    earliest, latest = facts.onset.earliest, facts.onset.latest
    told = facts.suspect_if(earliest) == facts.suspect_if(latest) == suspect
    between = f"between the moments {_instant(earliest)} and {_instant(latest)}, not measured throughout"
    return Ruling(
        CheckVerdict.PASSED if told else CheckVerdict.UNKNOWN,
        value=f"the breach began {_instant(earliest) if earliest == latest else between}",
        limit=f"{suspect.version}, started at {clock_time(suspect.started_at)}, is the suspect whatever the missing measurements hide",
    )


def _beside_breach(release: Release, facts: Facts) -> str:
    began = facts.onset.at
    if began is None:
        return f"at {clock_time(release.started_at)}; breached since {clock_time(facts.looked_back_to)} or before"
    return f"{span(release.started_at - began)} {'after' if release.started_at > began else 'before'} the breach"


def _instant(began: datetime | None) -> str:
    return "before the look-back" if began is None else f"at {clock_time(began)}"


EXONERATIONS: Final = (
    Rule(Reason.NO_RECENT_RELEASE, _no_recent_release),
    Rule(Reason.BREACH_PREDATES_RELEASE, _breach_predates_release),
)
"""Any one of them lets the release go."""

PROOFS: Final = (Rule(Reason.INCONCLUSIVE, _onset_is_told, name="onset"),)
"""Each of them must hold for the release to be to blame."""
