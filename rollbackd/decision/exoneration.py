"""What lets a release go, whatever else speaks against it: the breach has another cause, or an older beginning."""

from collections.abc import Collection, Iterable
from datetime import datetime, timedelta
from typing import Final

from rollbackd.decision.compare import Limits, Stretch, compare, measured
from rollbackd.decision.facts import Facts
from rollbackd.decision.judge import judging
from rollbackd.decision.record import Rule, Ruling, clock_time, span
from rollbackd.decision.trigger import needed
from rollbackd.model.decision import CheckVerdict
from rollbackd.model.measurement import IndicatorEvidence, Verdict
from rollbackd.model.reason import Reason
from rollbackd.model.release import Release

SHARED: Final = 4
"""Versions that share a cause fail alike, give or take what each of them serves. One that is this many times as far from being clear
brings something of its own, and the other's trouble may be its doing: retries, a data base that both of them use."""

RECURS: Final = 2
"""The same service at the same hour does the same work: what was less than half as bad was something else."""


def _no_recent_release(facts: Facts) -> Ruling:
    newest = next(iter(facts.releases), None)
    return Ruling.of(
        against=facts.newest is None,
        value=f"{newest.version} started {facts.beside_breach(newest)}" if newest else "no release is recorded",
        limit=f"a release within {span(facts.policy.blame_window)} before the breach, or one still rolling",
    )


def _breach_predates_release(facts: Facts) -> Ruling:
    release = facts.suspect or facts.newest
    if release is None:
        return Ruling(CheckVerdict.NOT_APPLICABLE, "no recent release")
    return Ruling.of(
        against=facts.suspect is None,
        value=f"{release.version} started {facts.beside_breach(release)}",
        limit=f"the breach began at most {span(facts.slack)} before the release",
    )


def _old_version_as_bad(facts: Facts) -> Ruling:
    """Also where the new one has no series: the old one is breached without it. One that is breached by far less explains nothing."""
    old, limits = facts.predecessor, facts.limits
    if facts.policy.version_label is None or old is None or facts.context is None or limits is None:
        return Ruling(CheckVerdict.NOT_APPLICABLE, _why_no_versions(facts, old))
    evidence = facts.context.versions.get(old.version)
    beside = facts.since_onset(evidence) if evidence else None
    if beside is None or beside.level is None:
        return Ruling(CheckVerdict.NOT_APPLICABLE, f"{old.version} does not serve beside it")
    if not beside.says_enough(facts.finding.trigger):
        return Ruling(CheckVerdict.NOT_APPLICABLE, f"too little to tell of {old.version} since the breach: {beside}")
    new = facts.context.versions.get(facts.suspect.version) if facts.suspect else None
    explains = new is None or _explained(facts.since_onset(new), beside, limits, factor=SHARED)
    return Ruling.of(
        against=limits.is_breached(beside) and explains,
        value=f"{old.version} since the breach: {beside}" + ("" if explains else ", by far less"),
        limit=f"{facts.finding.trigger.breach} beyond chance, by the version before {facts.suspect.version if facts.suspect else 'it'}",
    )


def _explained(this: Stretch, other: Stretch, limits: Limits, *, factor: float) -> bool:
    """Whether `this` is, beyond chance, no more than `factor` times as far from being clear as `other`."""
    comparison = compare(this, other, limits)
    return comparison is None or not comparison.worse or limits.beyond_clear(this) <= factor * limits.beyond_clear(other)


def _why_no_versions(facts: Facts, old: Release | None) -> str:
    if facts.policy.version_label is None:
        return "versions cannot be told apart: no version_label"
    return "no version before it is recorded" if old is None else "not asked"


def _localised(facts: Facts) -> Ruling:
    """One zone, node or instance is broken while the same version is healthy in the others: that is the place's fault.

    A place without a single request serves nobody, and is in nobody's way.
    """
    places, limits = facts.context.places if facts.context else {}, facts.limits
    if not facts.policy.spread:
        return Ruling(CheckVerdict.NOT_APPLICABLE, "no spread label")
    if not places or limits is None:
        return Ruling(CheckVerdict.NOT_APPLICABLE, "no places to compare: none, too many, or the new version is not in all of them")
    told = []
    for label in facts.policy.spread:
        by_value = places.get(label, {})
        here = {place: facts.since_onset(evidence) for place, evidence in by_value.items() if not _is_idle(facts, evidence)}
        breached = [place for place, one in here.items() if limits.is_breached(one)]
        others = {place: one for place, one in here.items() if one.level is not None and place not in breached}
        told.append(f"{label}: {len(breached)} breached, {len(others)} healthy of {len(by_value)}")
        if len(breached) == 1 and len(others) == len(here) - 1 and _stands_out(here[breached[0]], others.values(), limits):
            return Ruling(CheckVerdict.FAILED, f"only {label}={breached[0]} is breached; healthy: {_named(others)}", _ELSEWHERE)
    return Ruling(CheckVerdict.PASSED, "; ".join(told), _ELSEWHERE)


_ELSEWHERE: Final = "breached in one place only, while the same version is healthy in all others"


def _is_idle(facts: Facts, evidence: IndicatorEvidence) -> bool:
    """Measured at every step since the onset, and each time there had been nothing to count."""
    began = facts.began
    since = [one.reason for one in evidence.readings if one.at >= began]
    return bool(since) and all(reason is Reason.LOW_TRAFFIC for reason in since)


def _stands_out(one: Stretch, others: Collection[Stretch], limits: Limits) -> bool:
    """All others together are clear, and it is worse than they by more than chance: a few requests without an error are no health."""
    elsewhere = Stretch.of_all(others, is_ratio=one.is_ratio)
    comparison = compare(one, elsewhere, limits) if others else None
    return comparison is not None and comparison.worse_of(len(others) + 1) and limits.is_clear(elsewhere)


def _recurrent(facts: Facts) -> Ruling:
    """The same breach at the same time of an earlier day: a cron job, a peak, a batch. Another release then would explain it as well.

    One that was less than half as bad does not explain this one.
    """
    earlier = facts.context.earlier if facts.context else {}
    told = []
    for ago, evidence in sorted(earlier.items()):
        then = facts.now - ago
        verdicts = _verdicts(facts, evidence)
        if verdicts is None:
            told.append(f"{span(ago)} ago: not measured")
            continue
        released = _released_before(facts.releases, then - facts.finding.trigger.hold_for, facts.policy.blame_window)
        breached, limits = verdicts.count(Verdict.BREACHED), facts.limits
        as_then = measured(facts.finding.trigger, evidence)
        explains = limits is None or _explained(facts.since_onset(facts.evidence), as_then, limits, factor=RECURS)
        stood = breached >= needed(len(verdicts))
        if stood and explains and released is None and (facts.suspect is None or facts.suspect.started_at > then):
            return Ruling(CheckVerdict.FAILED, f"the same breach stood {span(ago)} ago, before this release", _OTHER_DAYS)
        because = f", after the release of {released.version}" if released and stood else "" if explains else ", by far less"
        told.append(f"{span(ago)} ago: breached in {100 * breached / len(verdicts):.0f} % of the measurements{because}")
    if not told:
        return Ruling(CheckVerdict.NOT_APPLICABLE, "not asked")
    any_told = any("not measured" not in line for line in told)
    return Ruling(CheckVerdict.PASSED if any_told else CheckVerdict.NOT_APPLICABLE, "; ".join(told), _OTHER_DAYS)


_OTHER_DAYS: Final = "breached at this time 1 or 7 days ago, under another version and without a release of its own"


def _verdicts(facts: Facts, evidence: IndicatorEvidence) -> list[Verdict] | None:
    """By the limits that hold now; None when under half of the steps were measured, or with too few requests: that proves nothing."""
    trigger = facts.finding.trigger
    if not measured(trigger, evidence).says_enough(trigger):
        return None
    said = judging(trigger, facts.finding.baseline)
    verdicts = [said(one.value, False)[0] for one in evidence.readings if one.value is not None]
    return verdicts if verdicts and 2 * len(verdicts) >= len(evidence.readings) else None


def _released_before(releases: Iterable[Release], moment: datetime, window: timedelta) -> Release | None:
    return next((one for one in releases if timedelta(0) <= moment - one.started_at <= window), None)


def _dependency_first(facts: Facts) -> Ruling:
    began, suspect = facts.onset.at, facts.suspect
    if not facts.policy.depends_on:
        return Ruling(CheckVerdict.NOT_APPLICABLE, "depends on no other service")
    if began is None or suspect is None:
        return Ruling(CheckVerdict.NOT_APPLICABLE, "no release that could be let go")
    told = []
    for name, looked in facts.below.items():
        burning = looked.burning
        if burning is None:
            told.append(f"{name} was {'not measured' if looked.unmeasured else 'healthy'} when the breach began")
            continue
        since = "before the look-back" if burning.onset.at is None else clock_time(burning.onset.at)
        if came_first(burning.onset.at, began, suspect, facts) and burning.is_sure:
            return Ruling(CheckVerdict.FAILED, f"{name} is breached ({burning.trigger}) since {since}", _BELOW)
        told.append(f"{name} is breached since {since}" + (", by too few requests to tell" if not burning.is_sure else ""))
    return Ruling(CheckVerdict.PASSED, "; ".join(told) or "not asked", _BELOW)


def came_first(since: datetime | None, began: datetime, suspect: Release, facts: Facts) -> bool:
    """Whether a dependency's breach is older than both ours and the release. None: it is older than what was looked at."""
    return since is None or (since < began and since < suspect.started_at - facts.slack)


_BELOW: Final = "a service that this one depends on was breached before both the breach and the release"


def _named(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"


EXONERATIONS: Final = (
    Rule(Reason.NO_RECENT_RELEASE, _no_recent_release),
    Rule(Reason.BREACH_PREDATES_RELEASE, _breach_predates_release),
    Rule(Reason.OLD_VERSION_AS_BAD, _old_version_as_bad),
    Rule(Reason.LOCALISED, _localised),
    Rule(Reason.RECURRENT, _recurrent),
    Rule(Reason.DEPENDENCY_FIRST, _dependency_first),
)
"""Any one of them lets the release go."""
