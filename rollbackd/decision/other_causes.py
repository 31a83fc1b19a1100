"""Could everything be asked that may let the release go? What is not known of another cause must not act, whatever proves the blame (I3).

Only earlier days are left out: Prometheus keeps them for so long and no longer, and no history is no exoneration.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Final

from rollbackd.decision.dependencies import look_at
from rollbackd.decision.exoneration import came_first, divided
from rollbackd.decision.facts import Facts
from rollbackd.decision.record import Rule, Ruling, clock_time
from rollbackd.model.decision import CheckVerdict, Context
from rollbackd.model.measurement import IndicatorEvidence
from rollbackd.model.reason import Reason
from rollbackd.model.release import Release

_NAMED: Final = 5  # of many
_ANSWERED: Final = frozenset({Reason.LOW_TRAFFIC, Reason.NOT_A_NUMBER})
"""Why an answer has no value: nobody asked anything of what it is about."""


def _other_causes(facts: Facts) -> Ruling:
    suspect, began, context = facts.suspect, facts.onset.at, facts.context
    if suspect is None or began is None or context is None:
        return Ruling(CheckVerdict.NOT_APPLICABLE, "no suspect, or nothing was asked about it")
    limit = "old and new version, places and dependencies were measured since the breach, as far as there are any"
    unknown = [*_versions(facts, context, suspect), *_places(facts, context), *_dependencies(facts, context, suspect, began)]
    if not unknown:
        return Ruling(CheckVerdict.PASSED, "nothing that may let it go is left out", limit)
    more = f" and {len(unknown) - _NAMED} more" if len(unknown) > _NAMED else ""
    return Ruling(CheckVerdict.UNKNOWN, f"not measured: {', '.join(unknown[:_NAMED])}{more}", limit)


def _versions(facts: Facts, context: Context, suspect: Release) -> Iterator[str]:
    """Those that serve, by the label of their samples."""
    for release in (suspect, facts.predecessor):
        if (
            release is not None
            and release.version in (context.versions_seen or ())
            and not _is_told(facts, context.versions.get(release.version))
        ):
            yield release.version


def _places(facts: Facts, context: Context) -> Iterator[str]:
    """Where two are breached it is not the place's fault, whatever the others would say."""
    limits = facts.limits
    for label in facts.policy.spread if context.places and limits else ():
        by_value = context.places.get(label)
        if by_value is None:
            yield f"the values of {label}"
        elif limits is not None and len(divided(facts, limits, by_value)[0]) <= 1:
            yield from (f"{label}={value}" for value, evidence in sorted(by_value.items()) if not _is_told(facts, evidence))


def _dependencies(facts: Facts, context: Context, suspect: Release, began: datetime) -> Iterator[str]:
    for name in facts.policy.depends_on:
        dependency = context.dependencies.get(name)
        if dependency is None:
            yield name
            continue
        looked = look_at(began, name, dependency, facts.now)
        if looked.unmeasured is not None:
            yield f"{name} ({looked.unmeasured})"
        elif looked.burning is not None and came_first(looked.burning.onset.earliest, began, suspect, facts):
            earliest = looked.burning.onset.earliest
            yield f"{name} since {clock_time(earliest) if earliest else 'before the look-back'}, when its breach may have begun"


def _is_told(facts: Facts, evidence: IndicatorEvidence | None) -> bool:
    """Whether there is any answer since the onset; that nothing was asked of it is one."""
    since = facts.onset.at or facts.looked_back_to
    return evidence is not None and any(one.at >= since and (one.value is not None or one.reason in _ANSWERED) for one in evidence.readings)


OTHER_CAUSES: Final = Rule(Reason.INCONCLUSIVE, _other_causes, name="other_causes")
