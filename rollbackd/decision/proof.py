"""What has to be shown before a release is to blame. There are two roads, and either is enough.

Side by side: the new version is worse than the old one that serves beside it; both have the same users, dependencies and hour. Before
and after: the service is worse since the breach than before the release, was healthy then, broke soon after it, and nothing else that
would explain it happened meanwhile.
"""

from datetime import timedelta
from statistics import quantiles
from typing import Final

from rollbackd.decision.compare import Comparison, compare, stretch, traffic
from rollbackd.decision.dependencies import look_at
from rollbackd.decision.facts import Facts
from rollbackd.decision.record import Rule, Ruling, clock_time, span
from rollbackd.decision.trigger import needed
from rollbackd.model.decision import CheckVerdict
from rollbackd.model.measurement import Verdict
from rollbackd.model.policy import Trigger
from rollbackd.model.reason import Reason
from rollbackd.model.release import Release, ReleaseStatus

JUST_BEFORE: Final = timedelta(minutes=10)
ENOUGH_STEPS: Final = 5
"""Measured steps before a release, fewer say nothing of how it was."""
SURGE: Final = 2.0
"""Times the ninth decile of the hour before: twice what a busy minute brings is outside the service's own range."""
ENOUGH_WINDOWS: Final = 10
"""Windows of traffic, for a decile of them to mean something."""


def _side_by_side(facts: Facts) -> Ruling:
    new, old, limits = facts.suspect, facts.predecessor, facts.limits
    if facts.policy.version_label is None:
        return Ruling(CheckVerdict.NOT_APPLICABLE, "versions cannot be told apart: no version_label")
    if new is None or old is None or limits is None:
        return Ruling(CheckVerdict.NOT_APPLICABLE, "no two versions to compare")
    if facts.context is None or facts.context.versions_seen is None:
        return Ruling(CheckVerdict.UNKNOWN, f"the values of {facts.policy.version_label} could not be read")
    comparison = _beside(facts, new, old)
    if comparison is None:
        return Ruling(CheckVerdict.NOT_APPLICABLE, _alone(facts.policy.version_label, facts.context.versions_seen, new, old))
    said = f"{new.version} {comparison.in_words} by {old.version}"
    is_worse = comparison.worse and limits.is_breached(comparison.this)
    if not is_worse and not _is_enough(comparison, facts.finding.trigger):
        return Ruling(CheckVerdict.NOT_APPLICABLE, f"too little to tell: {said}")
    return Ruling.of(against=not is_worse, value=said, limit=comparison.limit_in_words)


def _is_enough(comparison: Comparison, trigger: Trigger) -> bool:
    """So much that a difference would have been seen."""
    if not comparison.this.is_ratio:
        return False
    return min(comparison.this.total, comparison.other.total) >= max(trigger.min_requests, 1)


def _alone(label: str, seen: frozenset[str], new: Release, old: Release) -> str:
    served = sorted(seen & {new.version, old.version})
    if served:
        return f"only {' and '.join(served)} served since the breach"
    shown = ", ".join(sorted(seen)[:5]) or "nothing"
    return f"neither {new.version} nor {old.version} is a value of {label}, but {shown}: record the versions that it says"


def _beside(facts: Facts, new: Release, old: Release) -> Comparison | None:
    """Counts of the same time; of a value more of the old version's, which has served for longer."""
    context, limits = facts.context, facts.limits
    if context is None or limits is None or not {new.version, old.version} <= context.versions.keys():
        return None
    this, other = facts.since_onset(context.versions[new.version]), facts.since_onset(context.versions[old.version])
    if other.level is not None and not other.is_ratio:
        other = stretch(
            facts.finding.trigger, context.versions[old.version].readings, start=facts.now - facts.policy.baseline, end=facts.now
        )
    return compare(this, other, limits)


def _onset_is_told(facts: Facts) -> Ruling:
    """Steps that were not measured must not decide which release is blamed."""
    suspect = facts.suspect
    if suspect is None:
        return Ruling(CheckVerdict.NOT_APPLICABLE, "no suspect")
    earliest, latest = facts.onset.earliest, facts.onset.latest
    told = facts.suspect_if(earliest) == facts.suspect_if(latest) == suspect
    instants = ["before the look-back" if began is None else f"at {clock_time(began)}" for began in (earliest, latest)]
    return Ruling(
        CheckVerdict.PASSED if told else CheckVerdict.UNKNOWN,
        value="the breach began "
        + (instants[0] if earliest == latest else f"between the moments {' and '.join(instants)}, not measured throughout"),
        limit=f"{suspect.version}, started at {clock_time(suspect.started_at)}, is the suspect whatever the missing measurements hide",
    )


def _before_and_after(facts: Facts) -> Ruling:
    suspect, limits = facts.suspect, facts.limits
    if suspect is None:
        return Ruling(CheckVerdict.NOT_APPLICABLE, "no suspect")
    comparison = compare(facts.since_onset(facts.evidence), facts.before(suspect), limits) if limits else None
    if comparison is None:
        return Ruling(CheckVerdict.UNKNOWN, f"nothing to compare: not measured before {suspect.version}, or not since")
    return Ruling.of(against=not comparison.worse, value=f"{comparison.in_words} before {suspect.version}", limit=comparison.limit_in_words)


def _healthy_before(facts: Facts) -> Ruling:
    """Of the last ten minutes before it or, where a noisy minute or a gap spoils those, of the whole `baseline`, an hour by default.

    A breach that filled those ten minutes was no noise: the hour before does not outvote it.
    """
    suspect = facts.suspect
    if suspect is None:
        return Ruling(CheckVerdict.NOT_APPLICABLE, "no suspect")
    whole = facts.policy.baseline
    just_before = min(JUST_BEFORE, whole)
    limit = f"healthy in the majority of the last {span(just_before)}, or else of the last {span(whole)}"
    measured: list[Verdict] = []
    for duration in (just_before, whole):
        measured = [step.verdict for step in facts.steps_before(suspect, duration) if step.measured]
        if len(measured) < ENOUGH_STEPS:
            continue
        healthy, breached = measured.count(Verdict.HEALTHY), measured.count(Verdict.BREACHED)
        if 2 * healthy > len(measured):
            return Ruling(CheckVerdict.PASSED, f"{healthy} of {len(measured)} measurements in the {span(duration)} before it", limit)
        if breached >= needed(len(measured)):
            return Ruling(
                CheckVerdict.FAILED, f"breached in {breached} of {len(measured)} measurements in the {span(duration)} before it", limit
            )
    if len(measured) < ENOUGH_STEPS:
        return Ruling(CheckVerdict.UNKNOWN, f"{len(measured)} measurements in the {span(whole)} before it: too few to tell", limit)
    healthy = measured.count(Verdict.HEALTHY)
    return Ruling(CheckVerdict.FAILED, f"only {healthy} of {len(measured)} measurements in the {span(whole)} before it", limit)


def _soon_after(facts: Facts) -> Ruling:
    """A release that had served in quiet for long may still leak slowly: that is for a person to see, so it never exonerates."""
    suspect, began = facts.suspect, facts.onset.at
    if suspect is None or began is None:
        return Ruling(CheckVerdict.NOT_APPLICABLE, "no suspect")
    since = None if suspect.status is ReleaseStatus.ROLLING else suspect.took_over_at
    limit = f"the breach began at most {span(facts.policy.max_quiet)} after it was live"
    if since is None:
        return Ruling(CheckVerdict.PASSED, f"{suspect.version} is still rolling", limit)
    quiet = began - since
    value = f"{span(quiet)} after {suspect.version} was live" if quiet > timedelta(0) else f"before {suspect.version} was live everywhere"
    return Ruling.of(against=quiet > facts.policy.max_quiet, value=f"the breach began {value}", limit=limit)


def _no_surge(facts: Facts) -> Ruling:
    """More requests than the service ever sees break it without any release. What a release itself brings about comes after the breach."""
    began = facts.onset.at
    if began is None:
        return Ruling(CheckVerdict.NOT_APPLICABLE, "no breach to explain")
    counted = traffic(facts.evidence.readings, facts.finding.trigger.indicator.window)
    usual = [count for at, count in counted if began - facts.policy.baseline - JUST_BEFORE <= at < began - JUST_BEFORE]
    if len(usual) < ENOUGH_WINDOWS:
        return Ruling(CheckVerdict.NOT_APPLICABLE, "the traffic of the hour before is not known")
    most = SURGE * quantiles(usual, n=10)[-1]
    earlier = [(at, count) for at, count in counted if began - JUST_BEFORE <= at < began - facts.finding.step]
    limit = f"at most {most:,.0f}: {SURGE:g} times what a busy minute of the hour before brought"
    if 2 * len(earlier) < JUST_BEFORE // facts.finding.trigger.indicator.window:
        return Ruling(CheckVerdict.UNKNOWN, "the traffic of the minutes before the breach was hardly measured", limit)
    surged = [at for at, count in earlier if count > most]
    peak = max((count for _, count in earlier), default=0.0)
    return Ruling.of(
        against=bool(surged),
        value=f"at most {peak:,.0f} requests in {span(facts.finding.trigger.indicator.window)} in the minutes before the breach",
        limit=limit,
    )


def _no_dependency(facts: Facts) -> Ruling:
    """One that was released and broke first may have taken this service along, though this service was released as well."""
    if not facts.policy.depends_on:
        return Ruling(CheckVerdict.NOT_APPLICABLE, "depends on no other service")
    began, dependencies = facts.onset.at, facts.context.dependencies if facts.context else {}
    if began is None:
        return Ruling(CheckVerdict.NOT_APPLICABLE, "no breach to explain")
    limit = "no service that it depends on was breached by then and had a release of its own"
    told, unknown = [], [name for name in facts.policy.depends_on if name not in dependencies]
    for name in (name for name in facts.policy.depends_on if name in dependencies):
        looked = look_at(began + facts.finding.step, name, dependencies[name], facts.now)
        burning = looked.burning
        if burning is not None and burning.release is not None:
            return Ruling(CheckVerdict.FAILED, f"{name} is breached as well, and {burning.release.version} was released there", limit)
        unknown.extend(f"{trigger} of {name} ({reason})" for trigger, reason in looked.unmeasured.items())
        told.append(f"{name} is {'breached, with no release of its own' if burning else 'healthy'}")
    if unknown:
        return Ruling(CheckVerdict.UNKNOWN, f"not measured: {', '.join(unknown)}", limit)
    return Ruling(CheckVerdict.PASSED, "; ".join(told), limit)


def _no_nearer_change(facts: Facts) -> Ruling:
    """A flag, a config or the infrastructure that was altered nearer to the breach is the likelier cause."""
    suspect, began = facts.suspect, facts.onset.at
    if suspect is None or began is None:
        return Ruling(CheckVerdict.NOT_APPLICABLE, "no breach to explain")
    quiet = timedelta(0) if suspect.live_at is None else max(began - suspect.live_at, timedelta(0))
    limit = f"no recorded change nearer to the breach than {suspect.version}"
    nearer = [change for change in facts.case.changes if -facts.slack <= began - change.at < quiet]
    if not nearer:
        return Ruling(CheckVerdict.PASSED, f"{len(facts.case.changes)} recorded", limit)
    nearest = min(nearer, key=lambda change: (abs(began - change.at), change.kind, change.what))
    distance = began - nearest.at
    side = "before" if distance >= timedelta(0) else "after"
    return Ruling(CheckVerdict.FAILED, f"{nearest.kind} {nearest.what!r} was altered {span(distance)} {side} the breach", limit)


SIDE_BY_SIDE: Final = Rule(Reason.INCONCLUSIVE, _side_by_side, name="side_by_side")
"""Not applicable where there are no two versions to compare; then the other road is left."""

BEFORE_AND_AFTER: Final = (
    Rule(Reason.INCONCLUSIVE, _onset_is_told, name="onset"),
    Rule(Reason.INCONCLUSIVE, _before_and_after, name="before_and_after"),
    Rule(Reason.INCONCLUSIVE, _healthy_before, name="healthy_before"),
    Rule(Reason.INCONCLUSIVE, _soon_after, name="soon_after"),
    Rule(Reason.INCONCLUSIVE, _no_surge, name="no_surge"),
    Rule(Reason.INCONCLUSIVE, _no_dependency, name="no_dependency"),
    Rule(Reason.INCONCLUSIVE, _no_nearer_change, name="no_nearer_change"),
)
"""Each of them must hold."""
