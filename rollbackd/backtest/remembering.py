"""Measures one past alert look by look: of what the look before has measured, only what came since is read again.

A step depends on nothing later than itself, so what was said of it stays said. That holds for each number, and for how old the newest
sample is; where it may not (a query that asks where its range begins, a gap at either seam) everything is measured anew.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from rollbackd.model.matchers import Matcher
from rollbackd.model.measurement import IndicatorEvidence, Reading
from rollbackd.model.policy import Indicator, ServicePolicy
from rollbackd.model.reason import Reason
from rollbackd.prometheus import measure
from rollbackd.prometheus.measurer import Measurer, Server

_Question = tuple[str, tuple[Matcher, ...], str, timedelta | None]


@dataclass(frozen=True, slots=True)
class _Before:
    now: datetime
    readings: tuple[Reading, ...]


class Remembering(Measurer):
    """In the place of a measurer, for one alert."""

    def __init__(self, servers: Mapping[str, Server]) -> None:
        super().__init__(servers, check_clock=False)
        self._before: dict[_Question, _Before] = {}

    async def evidence(
        self, policy: ServicePolicy, indicator: Indicator, *, now: datetime, lookback: timedelta, pool_window: timedelta | None = None
    ) -> IndicatorEvidence:
        question = (policy.name, policy.selector, indicator.name, pool_window)
        before, found = self._before.get(question), None
        if before is not None and not any("@" in query for query in measure.range_queries(policy, indicator).values()):
            found = await self._since(before, policy, indicator, now=now, lookback=lookback, pool_window=pool_window)
        if found is None:
            found = await super().evidence(policy, indicator, now=now, lookback=lookback, pool_window=pool_window)
        if found.readings:
            self._before[question] = _Before(now, found.readings)
        return found

    async def _since(
        self,
        before: _Before,
        policy: ServicePolicy,
        indicator: Indicator,
        *,
        now: datetime,
        lookback: timedelta,
        pool_window: timedelta | None,
    ) -> IndicatorEvidence | None:
        """What was measured then and what came since; None where the two cannot be put together."""
        step, passed = policy.scrape_interval, now - before.now
        first = now - lookback // step * step
        dropped = (first - before.readings[0].at) // step
        if passed < step or passed > lookback or passed % step or dropped < 0:
            return None
        kept = before.readings[dropped:]
        came = await super().evidence(policy, indicator, now=now, lookback=passed - step, pool_window=pool_window)
        if not kept or kept[0].at != first or not (_is_present(kept[0]) and came.readings and _is_present(came.readings[0])):
            return None
        return replace(came, readings=(*kept, *came.readings))


def _is_present(reading: Reading) -> bool:
    """Whether the newest sample that it names was there at that step, and is not remembered from a step before: that would be stale."""
    return reading.sample_at is not None and reading.reason is not Reason.STALE_SAMPLES
