"""Names the outcome of a rollback from the looks of its watch. Pure; one method a row of the table, in the order of the table.

Three-valued throughout (I15): an unknown look is neither a success nor a failure, and neither is time in which nobody looked.
What cannot be told is `unverified` and goes to a person.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Final

from rollbackd.model.incident import Outcome
from rollbackd.model.look import Look, ObjectiveLook, ObjectiveVerdict, TriggerLook
from rollbackd.model.measurement import Verdict
from rollbackd.model.policy import ServicePolicy
from rollbackd.watch.look import looked_at

LOOKS: Final = 3
WORSE_BY: Final = 1.5
HALF: Final = 0.5

_DIGITS: Final = 9  # so that 0.3 is half as much again as 0.2
_CLOCK_SLACK: Final = timedelta(seconds=5)
_NOTHING: Final[Mapping[str, float]] = MappingProxyType({})
_BY_CLEAR: Final = {True: ObjectiveVerdict.MET, False: ObjectiveVerdict.MISSED, None: ObjectiveVerdict.UNKNOWN}


@dataclass(frozen=True, slots=True)
class Ended:
    """How the watch ended; `why` is a sentence for a person, with the numbers."""

    outcome: Outcome
    why: str


def judge(
    looks: Sequence[Look],
    *,
    policy: ServicePolicy,
    trigger: str | None,
    decision_value: float | None,
    watch_started_at: datetime,
    now: datetime,
    met_before: frozenset[str] = frozenset(),
    usual: Mapping[str, float] = _NOTHING,
    alerts_since: int = 0,
) -> Ended | None:
    """None while the watch goes on. Looks from before `watch_started_at` say nothing about the rollback and are left out.

    `trigger` is None where a person asked without one: then every trigger is its own. `met_before` are the objectives that were met
    right before the rollback, `usual` the worst value of an objective that was usual before the release. `alerts_since` counts the
    alerts that began to fire during the watch: an alert is no measurement and names no outcome, but after one `recovered` asks that
    every trigger is known not to be breached.
    """
    looks = [look for look in looks if look.at >= watch_started_at]
    watch = _Watch(
        looks=looks,
        unbroken=_unbroken(looks, policy, now),
        policy=policy,
        trigger=trigger,
        decision_value=decision_value,
        met_before=met_before,
        usual=usual,
        alerts_since=alerts_since,
    )
    rows: list[tuple[Outcome, Callable[[], str | None]]] = [(Outcome.WORSE, watch.worse), (Outcome.RECOVERED, watch.recovered)]
    if now >= watch_started_at + policy.watch.duration:
        rows += [(Outcome.IMPROVED, watch.improved), (Outcome.NO_EFFECT, watch.no_effect), (Outcome.UNVERIFIED, watch.unverified)]
    return next((Ended(outcome, why) for outcome, fits in rows if (why := fits()) is not None), None)


def _unbroken(looks: Sequence[Look], policy: ServicePolicy, now: datetime) -> Sequence[Look]:
    """The newest looks, back to the first gap that no look covers: each sees as far back as the shortest window."""
    shortest = min((each.window for each in looked_at(policy)), default=timedelta(0))
    reach = max(2 * policy.watch.interval, shortest)
    later = now
    for count, look in enumerate(reversed(looks)):
        if not -_CLOCK_SLACK <= later - look.at <= reach:
            return looks[len(looks) - count :]
        later = look.at
    return looks


@dataclass(frozen=True, slots=True, kw_only=True)
class _Watch:
    """Each row of the table is a method that says in words why its outcome fits, or None."""

    looks: Sequence[Look]
    unbroken: Sequence[Look]  # the newest of them, without a gap up to now
    policy: ServicePolicy
    trigger: str | None
    decision_value: float | None
    met_before: frozenset[str]
    usual: Mapping[str, float]
    alerts_since: int

    def worse(self) -> str | None:
        if self.trigger is not None and self._at_last_looks(lambda own: any(self._is_worse(one) for one in own)):
            return f"{self.trigger} is at least {WORSE_BY:g} times as bad as at the decision: {self._own_in_words()}"
        missed = [name for name in sorted(self.met_before) if self._is_missed_steadily(name)]
        return f"met before the rollback, missed since: {self._in_words(missed)}" if missed else None

    def recovered(self) -> str | None:
        """A known objective is one that any look could measure; one that was never known is named, but does not stand in the way."""
        known = {name for look in self.looks for name, verdict in self._standing(look).items() if verdict is not ObjectiveVerdict.UNKNOWN}
        wanted = known | self._own_lines()
        if not wanted or not self._steadily(lambda look: self._is_well(look, wanted)):
            return None
        unknown = sorted(self._standing(self.unbroken[-1]).keys() - wanted)
        return f"met for {self.policy.watch.stable_for.total_seconds():g} s: {self._in_words(sorted(wanted))}" + (
            f"; never measured: {', '.join(unknown)}" if unknown else ""
        )

    def improved(self) -> str | None:
        if not self._at_last_looks(lambda own: all(_is_calm(one) or self._is_halved(one) for one in own)):
            return None
        unmet = [name for name, verdict in self._standing(self.unbroken[-1]).items() if verdict is not ObjectiveVerdict.MET]
        return f"{self._own_in_words()}, but " + (f"not met: {self._in_words(unmet)}" if unmet else "not met for long enough")

    def no_effect(self) -> str | None:
        if not self._at_last_looks(lambda own: any(one.verdict is Verdict.BREACHED for one in own)):
            return None
        return f"still breached: {self._own_in_words()}"

    def unverified(self) -> str:
        if len(self.unbroken) < LOOKS:
            return f"{len(self.unbroken)} looks without a gap up to the end of the watch are too few to tell"
        return f"cannot be told: {self._own_in_words() or 'the service has no trigger to go by'}"

    def _at_last_looks(self, holds: Callable[[Sequence[TriggerLook]], bool]) -> bool:
        """At each of the last three looks, of what there is to ask."""
        last = self.unbroken[-LOOKS:]
        return len(last) == LOOKS and all(bool(own := self._own(look)) and holds(own) for look in last)

    def _steadily(self, holds: Callable[[Look], bool]) -> bool:
        """At every look, without a gap, for all of `stable_for` up to now."""
        if not self.unbroken:
            return False
        begin = self.unbroken[-1].at - self.policy.watch.stable_for
        for look in reversed(self.unbroken):
            if not holds(look):
                return False
            if look.at <= begin:
                return True
        return False

    def _is_missed_steadily(self, name: str) -> bool:
        return self._steadily(lambda look: self._standing(look).get(name) is ObjectiveVerdict.MISSED)

    def _is_well(self, look: Look, wanted: Iterable[str]) -> bool:
        standing = self._standing(look)
        return (
            all(standing.get(name) is ObjectiveVerdict.MET for name in wanted)
            and all(one.verdict is not Verdict.BREACHED for one in look.triggers)
            and (not self.alerts_since or all(_is_calm(one) for one in look.triggers))
        )

    def _standing(self, look: Look) -> Mapping[str, ObjectiveVerdict]:
        """What has to be met: each objective, and the own trigger, by its `clear`, where no objective measures its indicator."""
        measured = {one.indicator for one in look.objectives}
        by_clear = {one.name: _BY_CLEAR[one.clear] for one in self._own(look) if one.indicator not in measured}
        return {one.name: self._verdict(one) for one in look.objectives} | by_clear

    def _verdict(self, one: ObjectiveLook) -> ObjectiveVerdict:
        return ObjectiveVerdict.MET if self._is_back(one) else one.verdict

    def _is_back(self, one: ObjectiveLook) -> bool:
        """Missed, but no worse than what was usual before the release."""
        if one.verdict is not ObjectiveVerdict.MISSED or one.value is None or one.name not in self.usual:
            return False
        target = next(each.target for each in self.policy.objectives if each.name == one.name)
        return one.value >= self.usual[one.name] if target.upward else one.value <= self.usual[one.name]

    def _own(self, look: Look) -> Sequence[TriggerLook]:
        return [one for one in look.triggers if self.trigger in {None, one.name}]

    def _own_lines(self) -> set[str]:
        """The lines of `_standing` that speak for the own trigger; where there is none, no line must be known."""
        if self.trigger is None or not self.unbroken:
            return set()
        look = self.unbroken[-1]
        indicators = {one.indicator for one in self._own(look)}
        return {one.name for one in look.objectives if one.indicator in indicators} or {one.name for one in self._own(look)}

    def _is_worse(self, one: TriggerLook) -> bool:
        times = self._times_as_bad(one)
        return one.verdict is Verdict.BREACHED and times is not None and times >= WORSE_BY

    def _is_halved(self, one: TriggerLook) -> bool:
        times = self._times_as_bad(one)
        return one.clear is not None and times is not None and times <= HALF

    def _times_as_bad(self, one: TriggerLook) -> float | None:
        """Beside its value at the decision; None: there is nothing to compare. Where less is worse, half as much is twice as bad."""
        if one.value is None or not self.decision_value or self.trigger is None:
            return None
        if self.policy.trigger(one.name).breach.upward:
            return round(one.value / self.decision_value, _DIGITS)
        return round(self.decision_value / one.value, _DIGITS) if one.value else math.inf

    def _own_in_words(self) -> str:
        return ", ".join(_words(one.name, one.value, one.limit, one.reason or one.verdict) for one in self._own(self.unbroken[-1]))

    def _in_words(self, names: Sequence[str]) -> str:
        """The lines of these names, as the last look saw them."""
        look = self.unbroken[-1]
        objectives = {
            one.name: _words(
                one.name,
                one.value,
                one.limit,
                f"back in the range before the release, up to {self.usual[one.name]:.4g}" if self._is_back(one) else one.reason or "",
            )
            for one in look.objectives
        }
        triggers = {one.name: _words(one.name, one.value, one.limit, one.reason or one.verdict) for one in self._own(look)}
        return ", ".join((triggers | objectives)[name] for name in names)


def _is_calm(one: TriggerLook) -> bool:
    """Known not to be breached; the dead band is no breach."""
    return one.clear is not None and one.verdict is not Verdict.BREACHED


def _words(name: str, value: float | None, limit: str, note: str) -> str:
    """`error_rate 0.012 (< 0.005; low_traffic)`"""
    measured = "unknown" if value is None else f"{value:.4g}"
    return f"{name} {measured} ({limit}{f'; {note}' if note else ''})"
