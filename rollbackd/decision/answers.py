"""Was everything answered that could have let the release go?

History that is not there proves nothing. A question that failed is something else: what its answer would have been nobody knows, and
Prometheus fails most where most is wrong. So nothing acts on its silence (I3); the next look asks again.
"""

from collections.abc import Iterator
from typing import Final

from rollbackd.decision.facts import Facts
from rollbackd.decision.record import Rule, Ruling, span
from rollbackd.decision.target import candidates, seen_unhealthy
from rollbackd.model.decision import CheckVerdict, Context
from rollbackd.model.measurement import IndicatorEvidence
from rollbackd.model.reason import Reason

_NAMED: Final = 3


def _answers(facts: Facts) -> Ruling:
    context = facts.context
    if context is None:
        return Ruling(CheckVerdict.NOT_APPLICABLE, "nothing was asked")
    unread = [f"the values of {label}" for label in sorted(context.unread)]
    silent = [*unread, *(f"{what} ({one.detail or one.reason})" for what, one in _asked(facts, context) if one.reason)]
    limit = "every question that could let the release go is answered"
    if not silent:
        return Ruling(CheckVerdict.PASSED, "all of them", limit)
    more = f" and {len(silent) - _NAMED} more" if len(silent) > _NAMED else ""
    return Ruling(CheckVerdict.UNKNOWN, f"no answer: {', '.join(silent[:_NAMED])}{more}", limit)


def _asked(facts: Facts, context: Context) -> Iterator[tuple[str, IndicatorEvidence]]:
    """The versions, the places, other days, the dependencies, and the last hour of what would be gone back to."""
    yield from context.versions.items()
    for label, places in context.places.items():
        yield from ((f"{label}={place}", evidence) for place, evidence in places.items())
    yield from ((f"{span(ago)} ago", evidence) for ago, evidence in context.earlier.items())
    for name, dependency in context.dependencies.items():
        yield from ((f"{trigger} of {name}", evidence) for trigger, evidence in dependency.evidence.items())
    if facts.suspect is not None:
        unhealthy = seen_unhealthy(facts.finding.trigger, context.targets, facts.finding.baseline)
        target = next((one for one in candidates(facts.suspect, facts.releases) if one not in unhealthy), None)
        if target is not None and target in context.targets:
            yield f"{target.version} when it last served", context.targets[target]


ANSWERS: Final = Rule(Reason.INCONCLUSIVE, _answers, name="answers")
"""Asked on either road to blame."""
