"""Indicators, triggers and objectives: those of the whole config, and what one service changes of them."""

from collections.abc import Iterator, Mapping
from typing import Literal, TypeVar

from rollbackd.model.condition import Condition
from rollbackd.model.policy import Indicator, Objective, Trigger
from rollbackd.settings import schema
from rollbackd.settings.document import Place
from rollbackd.settings.layers import Layered
from rollbackd.settings.problems import Problems
from rollbackd.settings.section import Section
from rollbackd.settings.suggest import unknown

Kind = Literal["indicators", "triggers", "objectives"]
S = TypeVar("S", bound=Section)


class Judging:
    """Everything is checked once where it is defined, and again only where a service changes it; the rest is shared by all services."""

    def __init__(self, config: schema.ConfigFile, root: Place, problems: Problems) -> None:
        self._config = config
        self._root = root
        self._problems = problems
        everything = Layered("", schema.ServiceSettings(), (root,))
        self._indicators = {name: self._indicator(name, section, root / "indicators" / name) for name, section in config.indicators.items()}
        self._triggers: dict[str, Trigger] = {}
        self._triggers = {trigger.name: trigger for trigger in self.triggers_of(everything, self._indicators)}
        self._objectives: dict[str, Objective] = {}
        self._objectives = {objective.name: objective for objective in self.objectives_of(everything, self._indicators)}

    def indicators_of(self, service: Layered) -> dict[str, Indicator]:
        chosen = self._chosen(service, "indicators", service.settings.indicators, self._config.indicators)
        changed = {name: self._indicator(name, section, service.at("indicators", name)) for name, section in chosen if section}
        return {**self._indicators, **changed}

    def triggers_of(self, service: Layered, indicators: dict[str, Indicator]) -> tuple[Trigger, ...]:
        triggers = []
        for name, changed in self._chosen(service, "triggers", service.settings.triggers, self._config.triggers):
            section, place = changed or self._config.triggers[name], service.at("triggers", name)
            indicator = self._named(section.indicator, indicators, place / "indicator")
            if indicator is None:
                continue
            shared = None if changed else self._triggers.get(name)
            if shared is None or shared.indicator is not indicator:
                shared = self._trigger(name, section, indicator, place)
            triggers.append(shared)
        return tuple(triggers)

    def objectives_of(self, service: Layered, indicators: dict[str, Indicator]) -> tuple[Objective, ...]:
        objectives = []
        for name, changed in self._chosen(service, "objectives", service.settings.objectives, self._config.objectives):
            section, place = changed or self._config.objectives[name], service.at("objectives", name)
            indicator = self._named(section.indicator, indicators, place / "indicator")
            if indicator is None:
                continue
            shared = None if changed else self._objectives.get(name)
            if shared is None or shared.indicator is not indicator:
                shared = Objective(name=name, indicator=indicator, target=section.target)
            objectives.append(shared)
        return tuple(objectives)

    def check(self, service: Layered, triggers: tuple[Trigger, ...]) -> None:
        """A service has a trigger, and an alert rule is answered by one of them only."""
        chosen = service.settings.triggers
        if not ((self._root / "triggers").entries if chosen is None else chosen):
            self._problems.error(
                service.place, f"{service.name} has no trigger: define one under 'triggers', and name it here", at_key=True
            )
        answered: dict[str, str] = {}
        for trigger in triggers:
            for rule in trigger.alerts:
                first = answered.setdefault(rule, trigger.name)
                if first != trigger.name:
                    place = service.at("triggers", trigger.name, "alerts")
                    self._problems.error(place, f"{service.name}: the alert rule {rule!r} is answered by trigger {first!r} as well")

    def _chosen(
        self, service: Layered, kind: Kind, chosen: tuple[str, ...] | Mapping[str, Section] | None, defined: dict[str, S]
    ) -> Iterator[tuple[str, S | None]]:
        """The names that a service takes, each with what it is there if the service changes it."""
        if chosen is None:
            yield from ((name, None) for name in defined)
            return
        overrides = chosen if isinstance(chosen, Mapping) else dict.fromkeys(chosen, Section())
        for position, (name, override) in enumerate(overrides.items()):
            if name in defined:
                yield name, defined[name].with_overrides(override) if override.model_fields_set else None
            elif not (self._root / kind / name).written:
                place = service.at(kind, name if isinstance(chosen, Mapping) else position)
                self._problems.error(place, f"unknown {kind.removesuffix('s')} {name!r}: {unknown(name, defined)}", at_key=True)

    def _named(self, name: str, indicators: dict[str, Indicator], place: Place) -> Indicator | None:
        if name not in indicators and not (self._root / "indicators" / name).written:
            self._problems.error(place, f"unknown indicator {name!r}: {unknown(name, indicators)}")
        return indicators.get(name)

    def _indicator(self, name: str, section: schema.Indicator, place: Place) -> Indicator:
        bad = section.bad is not None or (place / "bad").written
        total = section.total is not None or (place / "total").written
        value = section.query is not None or (place / "query").written
        ratio = bad or total
        if ratio == value:
            self._problems.error(place, "write either 'bad' and 'total' (a ratio) or 'query' (a value)")
        elif bad != total:
            self._problems.error(place, f"{'total' if bad else 'bad'!r} is missing: a ratio has both")
        if ratio and section.count is not None:
            self._problems.error(place / "count", "count belongs to a value: a ratio's traffic is its total")
        if not ratio and section.bad_samples is not None:
            self._problems.error(place / "bad_samples", "bad_samples belongs to a ratio: take it out")
        return Indicator(name=name, **section.model_dump(exclude={"preset", "of", "quantile"}))

    def _trigger(self, name: str, section: schema.Trigger, indicator: Indicator, place: Place) -> Trigger:
        message = _contradiction(section.breach, section.clear)
        if message:
            self._problems.error(place / "clear", message)
        if section.at_least is not None and not (section.breach.relative and section.breach.upward):
            self._problems.error(place / "at_least", "at_least is the floor under a relative breach such as '> 3x': take it out")
        if section.min_requests and not indicator.is_ratio and indicator.count is None:
            self._problems.error(place / "min_requests", f"min_requests needs a 'count' in the indicator {indicator.name!r}")
        return Trigger(
            name=name,
            indicator=indicator,
            breach=section.breach,
            clear=section.clear,
            hold_for=section.hold_for,
            alerts=section.alerts or (name,),
            min_requests=section.min_requests,
            at_least=section.at_least,
            severity=section.severity,
        )


def _contradiction(breach: Condition, clear: Condition) -> str:
    """What is wrong with the two, if no value may be both breached and clear, and a worse one is never clear."""
    if breach.relative != clear.relative:
        return f"breach {str(breach)!r} and clear {str(clear)!r}: either both relative to the baseline or neither"
    if breach.upward == clear.upward:
        return f"breach {str(breach)!r} and clear {str(clear)!r} look the same way: clear is the other side, such as '< {clear.number:g}'"
    gap = breach.number - clear.number if breach.upward else clear.number - breach.number
    touching = gap == 0 and breach.comparison.endswith("=") and clear.comparison.endswith("=")
    if gap < 0 or touching:
        return f"breach {str(breach)!r} and clear {str(clear)!r} overlap: no value may be both"
    return ""
