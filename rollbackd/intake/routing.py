"""Which service is an alert about, and which of its triggers answers it? Pure; what it costs does not grow with the services."""

from collections import Counter
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
        self._by_label: dict[str, dict[str, list[_Candidate]]] = {}
        self._others: list[_Candidate] = []  # without a label to be found by, they are asked each time
        shared_by = Counter(matcher for policy in services.values() for matcher in policy.match)
        for policy in services.values():
            rarest = min(filter(_can_be_looked_up, policy.match), key=shared_by.__getitem__, default=None)
            candidate = _Candidate.of(policy, rest=tuple(matcher for matcher in policy.match if matcher != rarest))
            if rarest is None:
                self._others.append(candidate)
            else:
                self._by_label.setdefault(rarest.name, {}).setdefault(rarest.value, []).append(candidate)

    def route(self, labels: Mapping[str, str]) -> Route:
        candidates = self._others
        for label, by_value in self._by_label.items():
            if found := by_value.get(labels.get(label, "")):
                candidates = candidates + found
        matching = [candidate for candidate in candidates if candidate.fits(labels)]
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
    rest: tuple[Matcher, ...]  # what is left to be asked of the labels that it was found by
    answers: Mapping[str, Route]  # by alert rule

    @classmethod
    def of(cls, policy: ServicePolicy, *, rest: tuple[Matcher, ...]) -> "_Candidate":
        answers = {
            alert: Route(policy.name, trigger.name, None, f"fits service {policy.name}, whose trigger {trigger.name} answers {alert}")
            for trigger in reversed(policy.triggers)
            for alert in trigger.alerts
        }
        return cls(policy, rest, answers)

    def fits(self, labels: Mapping[str, str]) -> bool:
        return not self.rest or all(matcher.matches(labels) for matcher in self.rest)

    def route(self, alertname: str) -> Route:
        name = self.policy.name
        return self.answers.get(alertname) or Route(
            None, None, Reason.NO_SERVICE, f"no trigger of {name} answers alert rule {alertname or '(none)'}: see 'alerts' of its triggers"
        )


def _can_be_looked_up(matcher: Matcher) -> bool:
    """An empty value would also fit a label that is absent."""
    return matcher.operator is MatchOperator.EQUAL and matcher.value != ""
