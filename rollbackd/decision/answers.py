"""Was everything answered that could have let the release go?

History that is not there proves nothing. A question that failed is something else, and so is something that serves and was not measured
when the breach began: what the answer would have been nobody knows, and Prometheus fails most where most is wrong. So nothing acts on
its silence (I3); the next look asks again.
"""

from collections.abc import Iterator
from typing import Final

from rollbackd.decision.exoneration import came_first
from rollbackd.decision.facts import Facts
from rollbackd.decision.record import Rule, Ruling, clock_time, span
from rollbackd.decision.target import candidates, past_of
from rollbackd.model.decision import CheckVerdict, Context
from rollbackd.model.measurement import IndicatorEvidence
from rollbackd.model.reason import Reason

_NAMED: Final = 3
_UNASKED: Final = frozenset({Reason.LOW_TRAFFIC, Reason.NOT_A_NUMBER})
"""Why an answer has no value where nobody asked anything of what it is about: a ratio, and a quantile, of nothing."""


def _answers(facts: Facts) -> Ruling:
    context = facts.context
    if context is None:
        return Ruling(CheckVerdict.NOT_APPLICABLE, "nothing was asked")
    unread = [f"the values of {label}" for label in sorted(context.unread)]
    failed = [f"{what} ({one.detail or one.reason})" for what, one in _asked(facts, context) if one.reason]
    silent = [*unread, *failed, *_versions(facts, context), *_places(facts, context), *_dependencies(facts, context)]
    limit = "every question that could let the release go is answered"
    if not silent:
        return Ruling(CheckVerdict.PASSED, "all of them", limit)
    more = f" and {len(silent) - _NAMED} more" if len(silent) > _NAMED else ""
    return Ruling(CheckVerdict.UNKNOWN, f"no answer: {', '.join(silent[:_NAMED])}{more}", limit)


def _asked(facts: Facts, context: Context) -> Iterator[tuple[str, IndicatorEvidence]]:
    """The versions, the places, other days, the dependencies, and the last hour of what would be gone back to."""
    yield from sorted(context.versions.items())
    for label in facts.policy.spread:
        yield from ((f"{label}={place}", evidence) for place, evidence in sorted(context.places.get(label, {}).items()))
    yield from ((f"{span(ago)} ago", evidence) for ago, evidence in sorted(context.earlier.items()))
    for name in facts.policy.depends_on:
        dependency = context.dependencies.get(name)
        yield from ((f"{trigger} of {name}", evidence) for trigger, evidence in sorted(dependency.evidence.items())) if dependency else ()
    if facts.suspect is not None and any(one.reason for one in context.targets.values()):
        past = past_of(facts.finding.trigger, context.targets, facts.finding.baseline)
        target = next((one for one in candidates(facts.suspect, facts.releases) if not past(one)), None)
        if target is not None and target in context.targets:
            yield f"{target.version} when it last served", context.targets[target]


def _versions(facts: Facts, context: Context) -> Iterator[str]:
    """One that serves, as its label says, and of which nothing was measured since the breach."""
    for release in (facts.suspect, facts.predecessor):
        if (
            release is not None
            and release.version in (context.versions_seen or ())
            and not _is_told(facts, context.versions.get(release.version))
        ):
            yield release.version


def _places(facts: Facts, context: Context) -> Iterator[str]:
    """One that could be the only breached or the only healthy one. Where two are breached it is not the place's fault anyway."""
    limits = facts.limits
    for label in facts.policy.spread:
        by_value = context.places.get(label, {})
        missing = [value for value, evidence in sorted(by_value.items()) if not _is_told(facts, evidence)]
        if missing and limits and sum(limits.is_breached(facts.since_onset(evidence)) for evidence in by_value.values()) <= 1:
            yield from (f"{label}={value}" for value in missing)


def _dependencies(facts: Facts, context: Context) -> Iterator[str]:
    """One that was not measured when the breach began, or whose own breach may have begun before it, in a gap."""
    began, suspect = facts.onset.at, facts.suspect
    if began is None or suspect is None:
        return
    for name in facts.policy.depends_on:
        looked = facts.below.get(name)
        if looked is None:
            yield name
            continue
        failed = {trigger for trigger, evidence in context.dependencies[name].evidence.items() if evidence.reason}
        yield from (f"{trigger} of {name} ({reason})" for trigger, reason in looked.unmeasured.items() if trigger not in failed)
        onset = looked.burning.onset if looked.burning else None
        if onset and came_first(onset.earliest, began, suspect, facts) and not came_first(onset.at, began, suspect, facts):
            since = clock_time(onset.earliest) if onset.earliest else "before the look-back"
            yield f"{name} since {since}, when its breach may have begun"


def _is_told(facts: Facts, evidence: IndicatorEvidence | None) -> bool:
    """Whether there is any answer since the onset; that nothing was asked of it is one. What failed as a whole is told of elsewhere."""
    if evidence is None:
        return False
    began = facts.began
    return evidence.reason is not None or any(
        one.at >= began and (one.value is not None or one.reason in _UNASKED) for one in evidence.readings
    )


ANSWERS: Final = Rule(Reason.INCONCLUSIVE, _answers, name="answers")
"""Asked on either road to blame."""
