"""Asks Prometheus what a service's indicators say, several questions at once. A fault of Prometheus is a reason, not an exception."""

from collections.abc import Awaitable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final, Protocol

from rollbackd.clock import Clock
from rollbackd.errors import MisconfiguredError, PermanentError, TemporaryError
from rollbackd.model.measurement import IndicatorEvidence, Reading
from rollbackd.model.policy import Indicator, ServicePolicy
from rollbackd.model.reason import Reason
from rollbackd.prometheus import measure, promql
from rollbackd.prometheus.answer import Answer
from rollbackd.prometheus.measure import Fault, Part
from rollbackd.supervisor import together

BARE_WINDOW_SCRAPES: Final = 4
"""`$window` in a query that belongs to no indicator is as many scrape intervals: the shortest of which `check` does not warn."""


class Server(Protocol):
    """What answers as a Prometheus server does: the client of one, or its history in a backtest. Raises as `client` says."""

    @property
    def clock(self) -> Clock: ...
    async def query(self, expr: str, *, at: datetime) -> Answer: ...
    async def query_range(self, expr: str, *, start: datetime, end: datetime, step: timedelta) -> Answer: ...


class Measurer:
    """`check_clock` is off in a backtest: history is right, whatever the server's clock says now."""

    def __init__(self, clients: Mapping[str, Server], *, check_clock: bool = True) -> None:
        self._clients = clients
        self._check_clock = check_clock

    async def evidence(
        self, policy: ServicePolicy, indicator: Indicator, *, now: datetime, lookback: timedelta, pool_window: timedelta | None = None
    ) -> IndicatorEvidence:
        """The indicator at every scrape interval from now back to now - lookback; with a `pool_window` its counts over that as well."""
        at = measure.steps(now, policy.scrape_interval, lookback)
        async with together() as group:
            ranges = group.create_task(self._ranges(policy, at, measure.range_queries(policy, indicator)))
            pool = {
                part: group.create_task(self._believed(self._query(policy, query, at=now)), name=f"pool {part}")
                for part, query in (measure.pool_queries(policy, indicator, pool_window) if pool_window else {}).items()
            }
        counted = {part: task.result() for part, task in pool.items()}
        return measure.evidence(policy, indicator, at=at, ranges=ranges.result(), pool=counted, pool_window=pool_window)

    async def past(self, policy: ServicePolicy, indicator: Indicator, *, now: datetime, lookback: timedelta) -> IndicatorEvidence:
        """The indicator as it stood at the steps up to a `now` that may lie days back: to compare with, never to act on.

        Nothing is asked of the age of its samples; a step without any has no value.
        """
        at = measure.steps(now, policy.scrape_interval, lookback)
        ranges = await self._ranges(policy, at, measure.range_queries(policy, indicator, of_the_past=True))
        return measure.evidence(policy, indicator, at=at, ranges=ranges)

    async def value(self, policy: ServicePolicy, query: str, *, now: datetime) -> Reading:
        """The one number of a query of a runbook or a check; nothing is known of the age of its samples."""
        answer = await self._believed(self._query(policy, self._rendered(policy, query), at=now))
        return measure.reading(answer, now)

    async def label_values(self, policy: ServicePolicy, query: str, label: str, *, now: datetime) -> frozenset[str]:
        """The values of `label` over all series of the query; raises TemporaryError | PermanentError rather than give some of them."""
        answer = await self._query(policy, self._rendered(policy, query), at=now)
        if fault := measure.fault(answer, check_clock=self._check_clock):
            raise TemporaryError(f"Prometheus server {policy.prometheus}: {fault.detail}")
        return frozenset(series.labels[label] for series in answer.series if label in series.labels)

    async def alert_firing(self, policy: ServicePolicy, alertname: str, labels: Mapping[str, str]) -> bool | None:
        """Whether that alert fires in Prometheus now; None: unknown.

        Only the labels that both carry are compared: external labels stand on the alert alone, those of a querier on the series alone.
        """
        answer = await self._believed(self._query(policy, promql.firing(alertname)))
        if isinstance(answer, Fault):
            return None
        return any(all(labels.get(name, value) == value for name, value in series.labels.items()) for series in answer.series)

    async def _ranges(self, policy: ServicePolicy, at: Sequence[datetime], queries: Mapping[Part, str]) -> Mapping[Part, Answer | Fault]:
        async with together() as group:
            asked = {
                part: group.create_task(self._believed(self._query_range(policy, query, at)), name=f"measure {part}")
                for part, query in queries.items()
            }
        return {part: task.result() for part, task in asked.items()}

    async def _query(self, policy: ServicePolicy, query: str, *, at: datetime | None = None) -> Answer:
        """`at` None: now."""
        server = self._server_of(policy)
        return await server.query(query, at=at or server.clock.now())

    async def _query_range(self, policy: ServicePolicy, query: str, at: Sequence[datetime]) -> Answer:
        return await self._server_of(policy).query_range(query, start=at[0], end=at[-1], step=policy.scrape_interval)

    def _server_of(self, policy: ServicePolicy) -> Server:
        """An incident keeps the config that it began with; the server that it named then may be in no config now."""
        try:
            return self._clients[policy.prometheus]
        except KeyError:
            raise MisconfiguredError(f"Prometheus server {policy.prometheus} is not in the config any more") from None

    def _rendered(self, policy: ServicePolicy, query: str) -> str:
        return promql.render(query, policy.selector, BARE_WINDOW_SCRAPES * policy.scrape_interval)

    async def _believed(self, asked: Awaitable[Answer]) -> Answer | Fault:
        try:
            answer = await asked
        except (TemporaryError, PermanentError) as error:
            return Fault(Reason.QUERY_FAILED, str(error))
        return measure.fault(answer, check_clock=self._check_clock) or answer
