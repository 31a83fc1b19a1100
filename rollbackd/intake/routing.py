"""Which service is an alert about, and which of its triggers answers it? Pure; what it costs does not grow with the services."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from rollbackd.model.matchers import Matcher, MatchOperator
from rollbackd.model.policy import ServicePolicy
from rollbackd.model.reason import Reason

_NAMED_AT_MOST: Final = 5


@dataclass(frozen=True, slots=True)
class Route:
    """Either a service with a trigger, or a `reason`; `why` is the sentence for a person."""

    service: str | None
    trigger: str | None
    reason: Reason | None
    why: str


class Routing:
    """Exactly one service must match: an alert that could be about two of them acts on neither."""

    def __init__(self, services: Mapping[str, ServicePolicy]) -> None:
        candidates = [_Candidate.of(policy) for policy in services.values()]
        pairs = Counter(pair for candidate in candidates for pair in candidate.pairs)
        self._by_pair: dict[tuple[str, str], list[_Candidate]] = defaultdict(list)
        self._others: list[_Candidate] = []  # without a label to be found by, they are asked each time
        for candidate in candidates:
            if candidate.pairs:
                self._by_pair[min(candidate.pairs, key=lambda pair: (pairs[pair], pair))].append(candidate)
            else:
                self._others.append(candidate)

    def route(self, labels: Mapping[str, str]) -> Route:
        matching = [
            candidate
            for found in (self._others, *map(self._by_pair.get, labels.items()))
            if found
            for candidate in found
            if candidate.matches(labels)
        ]
        match matching:
            case [only]:
                return only.route(labels.get("alertname", ""))
            case []:
                return Route(None, None, Reason.NO_SERVICE, "no service has matchers that fit its labels: see 'match' in the config")
            case _:
                names = [candidate.policy.name for candidate in matching]
                more = f" and {len(names) - _NAMED_AT_MOST} more" if len(names) > _NAMED_AT_MOST else ""
                named = ", ".join(names[:_NAMED_AT_MOST]) + more
                return Route(None, None, Reason.AMBIGUOUS_SERVICE, f"its labels fit several services, {named}: narrow their 'match'")


@dataclass(frozen=True, slots=True)
class _Candidate:
    policy: ServicePolicy
    pairs: frozenset[tuple[str, str]]  # the labels that it must have with exactly this value
    answers: Mapping[str, Route]  # by alert rule

    @classmethod
    def of(cls, policy: ServicePolicy) -> "_Candidate":
        pairs = frozenset((matcher.name, matcher.value) for matcher in policy.match if _names_a_value(matcher))
        answers = {
            alert: Route(policy.name, trigger.name, None, f"fits service {policy.name}, whose trigger {trigger.name} answers {alert}")
            for trigger in reversed(policy.triggers)
            for alert in trigger.alerts
        }
        return cls(policy, pairs, answers)

    def matches(self, labels: Mapping[str, str]) -> bool:
        return all(matcher.matches(labels) for matcher in self.policy.match)

    def route(self, alertname: str) -> Route:
        name = self.policy.name
        return self.answers.get(alertname) or Route(
            None, None, Reason.NO_SERVICE, f"no trigger of {name} answers alert rule {alertname or '(none)'}: see 'alerts' of its triggers"
        )


def _names_a_value(matcher: Matcher) -> bool:
    """An empty value also fits a label that is absent, and so cannot be looked up."""
    return matcher.operator is MatchOperator.EQUAL and matcher.value != ""
