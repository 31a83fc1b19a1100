"""What `check` warns of: configs that are valid and yet judge badly. Pure over the settings and where they are written."""

import re
from collections.abc import Collection, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Final, Protocol

from rollbackd.model.matchers import Matcher, MatchOperator
from rollbackd.model.policy import Indicator, Mode, ServicePolicy
from rollbackd.settings.document import Place
from rollbackd.settings.durations import format_duration
from rollbackd.settings.effective import Settings

_LEAST_SCRAPES: Final = 4
_STRINGS: Final = re.compile(r'"(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)*\'|`[^`]*`')
_SELECTORS: Final = re.compile(r"\{[^{}]*\}")
_HIDING: Final = {
    "bool": (re.compile(r"\bbool\b"), "NaN compared with bool is 0 and looks healthy: compare in the trigger instead"),
    "or vector(0)": (re.compile(r"\bor\s+(?:on\s*\(\s*\)\s*)?vector\s*\(\s*0\s*\)"), "it makes missing data look healthy: take it out"),
    "!=": (re.compile(r"!="), "a comparison in an indicator hides values: compare in the trigger instead"),
}
_PLAIN: Final = re.compile(r"[^\\.+*?()|\[\]{}^$]*")

Finding = tuple[Place, str]


class Placed(Protocol):
    """Where one service's settings are written."""

    def at(self, *path: str | int) -> Place: ...


def lint(settings: Settings, written: Mapping[str, Placed]) -> Iterator[Finding]:
    for name, policy in settings.services.items():
        yield from _service(policy, written[name])
        indicators = [trigger.indicator for trigger in policy.triggers] + [objective.indicator for objective in policy.objectives]
        for indicator in {indicator.name: indicator for indicator in indicators}.values():
            yield from _indicator(indicator, policy, written[name])
        yield from _triggers(policy, written[name])
    yield from _circles(settings.services, written)


def _circles(services: Mapping[str, ServicePolicy], written: Mapping[str, Placed]) -> Iterator[Finding]:
    """Each circle of `depends_on` once, at the entry that leads into it from the service that comes first in the config."""
    depends_on = {name: list(policy.depends_on) for name, policy in services.items()}
    order = {name: position for position, name in enumerate(services)}
    while circle := _circle(depends_on):
        first = min(range(len(circle)), key=lambda place: order[circle[place]])
        way = [*circle[first:], *circle[: first + 1]]
        entry = services[way[0]].depends_on.index(way[1])
        why = "when they break at once, none of their releases can be told to be the cause; take out what does not really depend"
        yield written[way[0]].at("depends_on", entry), f"depends_on goes in a circle, {' → '.join(way)}: {why}"
        depends_on[way[0]].remove(way[1])


def _circle(depends_on: Mapping[str, Collection[str]]) -> list[str]:
    """The services of one circle, each followed by one that it depends on; none when there is no circle (any more)."""
    try:
        TopologicalSorter(depends_on).prepare()
    except CycleError as found:
        backwards: list[str] = found.args[1]
        return backwards[:0:-1]
    return []


def _service(policy: ServicePolicy, written: Placed) -> Iterator[Finding]:
    if not policy.blame:
        yield written.at("blame"), "blame: off rolls back on any confirmed trigger, whatever caused it"
    if policy.mode is Mode.AUTO and policy.running_version is None:
        yield written.at("mode"), "mode: auto without running_version: what runs is not compared before the rollback"
    pinned = {matcher.name for matcher in policy.selector if not _has_several_values(matcher)}
    for matcher in policy.match:
        if _has_several_values(matcher) and matcher.name not in pinned:
            label = matcher.name
            why = f"an alert of one could roll back another: add {label}=… to selector"
            yield written.at("match"), f"{policy.name}: {matcher} takes several values of {label} that selector does not tell apart: {why}"


def _has_several_values(matcher: Matcher) -> bool:
    if matcher.operator is MatchOperator.REGEX:
        return not _PLAIN.fullmatch(matcher.value)
    return matcher.operator is not MatchOperator.EQUAL


def _triggers(policy: ServicePolicy, written: Placed) -> Iterator[Finding]:
    for trigger in policy.triggers:
        counted = trigger.indicator.is_ratio or trigger.indicator.count is not None
        if counted and not trigger.min_requests:
            yield (
                written.at("triggers", trigger.name),
                f"trigger {trigger.name!r} has no min_requests: one failure among few counts as a breach",
            )
        if trigger.is_relative and trigger.breach.upward and trigger.at_least is None:
            little = f"{trigger.breach.number:g} times almost nothing is almost nothing, and of nothing it is unknown"
            yield written.at("triggers", trigger.name), f"trigger {trigger.name!r} is relative without at_least: {little}"


def _indicator(indicator: Indicator, policy: ServicePolicy, written: Placed) -> Iterator[Finding]:
    least = _LEAST_SCRAPES * policy.scrape_interval
    if indicator.window < least:
        short, scrape = format_duration(indicator.window), format_duration(policy.scrape_interval)
        message = f"window {short} is under {_LEAST_SCRAPES} scrapes of {scrape}: write {format_duration(least)} or more"
        yield written.at("indicators", indicator.name, "window"), message
    if indicator.is_ratio and indicator.bad_samples is None:
        message = f"ratio {indicator.name!r} has no bad_samples: 'no errors' and 'errors not counted yet' look the same"
        yield written.at("indicators", indicator.name), message
    for key in ("bad", "total", "query", "count"):
        expression: str | None = getattr(indicator, key)
        bare = _SELECTORS.sub("", _STRINGS.sub("", expression or ""))
        for what, (pattern, why) in _HIDING.items():
            if pattern.search(bare):
                yield written.at("indicators", indicator.name, key), f"{what} in an indicator: {why}"
