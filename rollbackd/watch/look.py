"""One look: what the objectives and the triggers of a service measure now, each with a verdict of three values. Pure but for `Looker`.

After a rollback only fresh positive evidence counts (I15): what cannot be measured, or has too little traffic behind it, is unknown.
"""

import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Final, Protocol

from rollbackd.decision.judge import judge
from rollbackd.model.condition import Condition
from rollbackd.model.look import Look, ObjectiveLook, ObjectiveVerdict, TriggerLook
from rollbackd.model.measurement import IndicatorEvidence, Verdict
from rollbackd.model.policy import Indicator, Objective, ServicePolicy, Trigger
from rollbackd.model.reason import Reason
from rollbackd.supervisor import together

ENOUGH_READINGS: Final = 10
"""Fewer than these say nothing of what was usual."""

_TWENTIETHS: Final = 20
_CLEAR: Final = {Reason.CLEAR: True, Reason.DEAD_BAND: False, Reason.BREACH: False}
"""Whether `clear` holds, by what a value was judged to be; anything else is unknown."""

_NOTHING: Final[Mapping[str, float]] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Before:
    """How it was: what a watch compares with. What could not be measured is not in it, and then nothing rests on it."""

    met: frozenset[str] = frozenset()  # objectives that were met right before the rollback
    usual: Mapping[str, float] = field(default_factory=dict)  # by objective: the worst that was usual before the release
    baselines: Mapping[str, float] = field(default_factory=dict)  # by indicator: the median before the release


class Measures(Protocol):
    """What a look asks of Prometheus; faults come back as evidence that is unknown, never as an error."""

    async def evidence(
        self, policy: ServicePolicy, indicator: Indicator, *, now: datetime, lookback: timedelta, pool_window: timedelta
    ) -> IndicatorEvidence: ...


class Looker:
    def __init__(self, measures: Measures) -> None:
        self._measures = measures

    async def look(
        self, policy: ServicePolicy, *, now: datetime, since: datetime | None = None, baselines: Mapping[str, float] = _NOTHING
    ) -> Look:
        """Measure everything at once. Traffic is counted from `since` on, the end of the rollback, so that none from before counts."""
        async with together() as group:
            asked = {
                indicator.name: group.create_task(
                    self._measures.evidence(
                        policy, indicator, now=now, lookback=timedelta(0), pool_window=_pool_window(policy, indicator, now=now, since=since)
                    )
                )
                for indicator in looked_at(policy)
            }
        return make_look(policy, {name: task.result() for name, task in asked.items()}, now, baselines=baselines)

    async def before(self, policy: ServicePolicy, *, rollback_started_at: datetime, release_started_at: datetime | None) -> Before:
        """How it was right before the rollback, and before the release. Asked of Prometheus' history: the same after a restart."""
        usual = await self._usual(policy, release_started_at) if release_started_at is not None else {}
        baselines = {name: statistics.median(values) for name, values in usual.items()}
        look = await self.look(policy, now=rollback_started_at, baselines=baselines)
        return Before(
            met=frozenset(one.name for one in look.objectives if one.verdict is ObjectiveVerdict.MET),
            usual={one.name: _worst(one, usual[one.indicator.name]) for one in policy.objectives if one.indicator.name in usual},
            baselines=baselines,
        )

    async def _usual(self, policy: ServicePolicy, release_started_at: datetime) -> Mapping[str, list[float]]:
        """The known values of each indicator over `baseline` up to the release; only where there are enough."""
        async with together() as group:
            asked = {
                indicator.name: group.create_task(
                    self._measures.evidence(
                        policy, indicator, now=release_started_at, lookback=policy.baseline, pool_window=indicator.window
                    )
                )
                for indicator in looked_at(policy)
            }
        known = {name: [each.value for each in task.result().readings if each.value is not None] for name, task in asked.items()}
        return {name: values for name, values in known.items() if len(values) >= ENOUGH_READINGS}


def looked_at(policy: ServicePolicy) -> tuple[Indicator, ...]:
    """Every indicator that a look measures, each once."""
    indicators = (*(each.indicator for each in policy.triggers), *(each.indicator for each in policy.objectives))
    return tuple({each.name: each for each in indicators}.values())


def first_look_at(policy: ServicePolicy, rolled_back_at: datetime) -> datetime:
    """Not before the longest window and one scrape have passed, so that no error from before the rollback is measured."""
    longest = max((each.window for each in looked_at(policy)), default=timedelta(0))
    return rolled_back_at + longest + policy.scrape_interval


def make_look(
    policy: ServicePolicy, evidence: Mapping[str, IndicatorEvidence], now: datetime, *, baselines: Mapping[str, float] = _NOTHING
) -> Look:
    """Judge the newest reading of each indicator; `evidence` and `baselines` are by its name."""
    return Look(
        at=now,
        objectives=tuple(
            _objective(policy, each, evidence[each.indicator.name], baselines.get(each.indicator.name)) for each in policy.objectives
        ),
        triggers=tuple(_trigger(each, evidence[each.indicator.name], baselines.get(each.indicator.name)) for each in policy.triggers),
    )


def _objective(policy: ServicePolicy, objective: Objective, evidence: IndicatorEvidence, baseline: float | None) -> ObjectiveLook:
    """An objective needs as much traffic as the least demanding trigger on the same indicator."""
    least = min((each.min_requests for each in policy.triggers if each.indicator.name == objective.indicator.name), default=0)
    value, reason = _measured(evidence, least)
    if value is None or reason is not None:
        verdict = ObjectiveVerdict.UNKNOWN
    elif objective.target.relative and not baseline:  # times nothing is no limit
        verdict, reason = ObjectiveVerdict.UNKNOWN, Reason.NO_BASELINE
    elif not objective.target.holds(value, baseline=baseline):
        verdict = ObjectiveVerdict.MISSED
    elif _newborn(evidence):
        verdict, reason = ObjectiveVerdict.UNKNOWN, Reason.COUNTER_BIRTH
    else:
        verdict = ObjectiveVerdict.MET
    return ObjectiveLook(
        name=objective.name,
        indicator=objective.indicator.name,
        verdict=verdict,
        value=value,
        limit=_limit(objective.target, baseline),
        reason=reason,
    )


def _trigger(trigger: Trigger, evidence: IndicatorEvidence, baseline: float | None) -> TriggerLook:
    value, missing = _measured(evidence, trigger.min_requests)
    if value is None or missing is not None:
        verdict, reason = Verdict.UNKNOWN, missing
    else:
        verdict, reason = judge(trigger, value, baseline=baseline)
        if _newborn(evidence) and verdict is not Verdict.BREACHED:
            verdict, reason = Verdict.UNKNOWN, Reason.COUNTER_BIRTH
    return TriggerLook(
        name=trigger.name,
        indicator=trigger.indicator.name,
        verdict=verdict,
        value=value,
        limit=_limit(trigger.breach, baseline, trigger.at_least),
        clear=_CLEAR.get(reason) if reason is not None else None,
        reason=reason,
    )


def _measured(evidence: IndicatorEvidence, min_requests: int) -> tuple[float | None, Reason | None]:
    """The newest value; a reason beside it means that nothing may rest on it."""
    last = evidence.last
    if last is None or last.value is None:
        return None, (last.reason if last is not None else None) or evidence.reason or Reason.UNKNOWN
    if min_requests:
        pooled = evidence.pooled
        if pooled is None or pooled.total is None:
            return last.value, (pooled.reason if pooled is not None else None) or evidence.reason or Reason.UNKNOWN
        if round(pooled.total) < min_requests:
            return last.value, Reason.LOW_TRAFFIC
    return last.value, None


def _newborn(evidence: IndicatorEvidence) -> bool:
    return evidence.last is not None and evidence.last.newborn


def _limit(condition: Condition, baseline: float | None, at_least: float | None = None) -> str:
    if not condition.relative or baseline is None:
        return str(condition)
    limit = condition.limit(baseline=baseline, at_least=at_least)
    return f"{condition.comparison} {limit:g} ({condition.number:g}x)"


def _worst(objective: Objective, values: list[float]) -> float:
    """The end of the usual range on the objective's bad side, without the one in twenty that was out of the ordinary."""
    cuts = statistics.quantiles(values, n=_TWENTIETHS, method="inclusive")
    return cuts[0] if objective.target.upward else cuts[-1]


def _pool_window(policy: ServicePolicy, indicator: Indicator, *, now: datetime, since: datetime | None) -> timedelta:
    """As long as the triggers' `for`, but no longer than since the rollback, in whole seconds as queries write them."""
    longest = max((each.hold_for for each in policy.triggers if each.indicator.name == indicator.name), default=timedelta(0))
    wanted = max(longest, indicator.window)
    if since is None:
        return wanted
    lived = timedelta(seconds=(now - since - policy.scrape_interval) // timedelta(seconds=1))
    return max(min(wanted, lived), indicator.window)
