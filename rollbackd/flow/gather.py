"""What Prometheus knows about one service at one moment, as far as `decide` asks: the same questions for the daemon and the backtest."""

from collections.abc import Mapping
from datetime import datetime

from rollbackd.decision.trigger import lookback
from rollbackd.model.measurement import IndicatorEvidence
from rollbackd.model.policy import ServicePolicy, Trigger
from rollbackd.prometheus.measurer import Measurer
from rollbackd.supervisor import together


class Gatherer:
    def __init__(self, measurer: Measurer) -> None:
        self._measurer = measurer

    async def evidence(self, policy: ServicePolicy, now: datetime) -> Mapping[str, IndicatorEvidence]:
        """Of every trigger of the service, by its name."""
        async with together() as group:
            asked = {trigger.name: group.create_task(self._trigger(policy, trigger, now)) for trigger in policy.triggers}
        return {name: task.result() for name, task in asked.items()}

    async def _trigger(self, policy: ServicePolicy, trigger: Trigger, now: datetime) -> IndicatorEvidence:
        return await self._measurer.evidence(
            policy,
            trigger.indicator,
            now=now,
            lookback=lookback(policy, trigger),
            pool_window=max(trigger.hold_for, trigger.indicator.window),
        )
