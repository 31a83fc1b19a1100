"""Past alerts out of Prometheus: each time that an alert rule began to fire, as its `ALERTS` series has it."""

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Final

from rollbackd.backtest.past import PastAlert
from rollbackd.clock import rfc3339
from rollbackd.errors import TemporaryError
from rollbackd.model.matchers import Matcher, MatchOperator
from rollbackd.model.policy import ServicePolicy
from rollbackd.prometheus.measurer import Server

STEPS_AT_ONCE: Final = 5_000
_ONLY_IN_PROMETHEUS: Final = frozenset({"__name__", "alertstate"})

_Labels = frozenset[tuple[str, str]]


async def find(services: Iterable[ServicePolicy], servers: Mapping[str, Server], start: datetime, end: datetime) -> tuple[PastAlert, ...]:
    """Every alert that a trigger answers and that began to fire from `start` to `end`, to the scrape interval; in the order of time.

    Raises:
        TemporaryError | PermanentError: a server cannot tell, or not all of it.
    """
    policies = tuple(services)
    found: dict[str, PastAlert] = {}
    for name, server in servers.items():
        asked = [policy for policy in policies if policy.prometheus == name]
        if not asked:
            continue
        rules = {rule for policy in asked for trigger in policy.triggers for rule in trigger.alerts}
        step = min(policy.scrape_interval for policy in asked)
        for labels, at in await _began(name, server, rules, start=start, end=end, step=step):
            alert = _alert(labels, at)
            found.setdefault(alert.id, alert)
    return tuple(sorted(found.values(), key=lambda alert: (alert.at, alert.id)))


async def _began(
    name: str, server: Server, rules: Iterable[str], *, start: datetime, end: datetime, step: timedelta
) -> list[tuple[_Labels, datetime]]:
    """A series that fires at a step and did not one step before. What fired already before `start` began earlier, and is not told."""
    pattern = "|".join(map(re.escape, sorted(rules)))
    query = f'ALERTS{{{Matcher("alertname", MatchOperator.REGEX, pattern)},alertstate="firing"}}'
    firing: dict[_Labels, set[int]] = {}
    first = start - step
    for begin, until in _chunks(first, end, step):
        answer = await server.query_range(query, start=begin, end=until, step=step)
        if answer.warnings:
            raise TemporaryError(f"Prometheus server {name} does not tell all of its alerts: {'; '.join(answer.warnings)}")
        for series in answer.series:
            steps = firing.setdefault(frozenset(series.labels.items()), set())
            steps.update(round((seconds - first.timestamp()) / step.total_seconds()) for seconds, _ in series.samples)
    return [(labels, first + k * step) for labels, steps in firing.items() for k in sorted(steps) if k > 0 and k - 1 not in steps]


def _chunks(first: datetime, end: datetime, step: timedelta) -> Iterator[tuple[datetime, datetime]]:
    """`first` to `end` in parts that Prometheus does not refuse, each beginning one step after the one before it."""
    while first <= end:
        yield first, min(first + (STEPS_AT_ONCE - 1) * step, end)
        first += STEPS_AT_ONCE * step


def _alert(series: _Labels, at: datetime) -> PastAlert:
    labels = {name: value for name, value in sorted(series) if name not in _ONLY_IN_PROMETHEUS}
    alertname = labels.get("alertname", "")
    digest = sha256(repr(sorted(labels.items())).encode()).hexdigest()[:8]
    return PastAlert(id=f"{alertname}-{digest}-{rfc3339(at.astimezone(UTC))}", at=at, name=alertname, labels=labels)
