"""Alertmanager cut a batch (`truncatedAlerts`): the alerts that are missing are looked up in Prometheus' own `ALERTS`."""

import asyncio
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog

from rollbackd.clock import Clock
from rollbackd.errors import RollbackdError
from rollbackd.intake.routing import Route
from rollbackd.model.alert import AlertEvent, AlertStatus
from rollbackd.model.policy import ServicePolicy
from rollbackd.prometheus.answer import Series
from rollbackd.prometheus.client import PrometheusClient
from rollbackd.store.store import Store

_log: Final = structlog.get_logger("truncated")
AGAIN_AFTER: Final = timedelta(seconds=30)
_ONLY_IN_PROMETHEUS: Final = frozenset({"__name__", "alertstate"})


class TruncatedAlerts:
    def __init__(
        self,
        *,
        services: Mapping[str, ServicePolicy],
        clients: Mapping[str, PrometheusClient],
        route: Callable[[Mapping[str, str]], Route],
        store: Store,
        on_stored: Callable[[], None],
        clock: Clock,
    ) -> None:
        self._services = services
        self._clients = clients
        self._route = route
        self._store = store
        self._on_stored = on_stored
        self._clock = clock
        self._missed = asyncio.Event()

    def missed(self, count: int) -> None:
        """Alertmanager says that it left out so many."""
        _log.error("alerts_truncated", missing=count, hint="set max_alerts: 0 on rollbackd's receiver in Alertmanager")
        self._missed.set()

    async def run(self) -> None:
        """For ever: look once for however many batches were cut meanwhile (I14), and again when it could not be done (I2)."""
        while True:
            await self._missed.wait()
            self._missed.clear()
            try:
                await self._look_up()
            except RollbackdError as e:
                _log.error("truncated_alerts_not_found", error=str(e), retry_in=AGAIN_AFTER.total_seconds())
                await self._clock.sleep(AGAIN_AFTER)
                self._missed.set()

    async def _look_up(self) -> None:
        """Store every firing alert that Prometheus knows and we do not. A server that does not answer keeps none from the others."""
        failed: RollbackdError | None = None
        for name, client in self._clients.items():
            policies = [policy for policy in self._services.values() if policy.prometheus == name]
            rules = {alert for policy in policies for trigger in policy.triggers for alert in trigger.alerts}
            try:
                events = [event for event in await self._firing(client, rules) if not await self._is_known(event)] if rules else []
                if events and (await self._store.alerts.append(events)).stored:
                    self._on_stored()
            except RollbackdError as e:
                failed = e
        if failed is not None:
            raise failed

    async def _is_known(self, event: AlertEvent) -> bool:
        """Whether it is in the service's latest incident, where it has Alertmanager's startsAt and the external labels."""
        latest = await self._store.incidents.latest_of(event.service or "")
        known = await self._store.alerts.of_incident(latest.id) if latest is not None else ()
        return any(event.labels.items() <= one.labels.items() and event.starts_at <= one.starts_at for one in known)

    async def _firing(self, client: PrometheusClient, rules: set[str]) -> tuple[AlertEvent, ...]:
        now = self._clock.now()
        names = "|".join(re.escape(rule) for rule in sorted(rules)).replace("\\", "\\\\").replace('"', '\\"')
        # ALERTS_FOR_STATE's value is the time at which the alert became active, the nearest that Prometheus keeps to startsAt.
        query = f'ALERTS_FOR_STATE{{alertname=~"{names}"}} and ignoring(alertstate) ALERTS{{alertstate="firing"}}'
        answer = await client.query(query, at=now)
        events = []
        for series in answer.series:
            labels = {name: value for name, value in series.labels.items() if name not in _ONLY_IN_PROMETHEUS}
            route = self._route(labels)
            if route.service is None:
                continue
            active_at = _instant(series)
            if active_at is None:
                _log.error("truncated_alert_unusable", labels=labels)
                continue
            events.append(
                AlertEvent(
                    fingerprint=fingerprint(labels),
                    starts_at=min(active_at, now + timedelta(seconds=5)),
                    status=AlertStatus.FIRING,
                    ends_at=None,
                    labels=labels,
                    received_at=now,
                    service=route.service,
                    trigger=route.trigger,
                )
            )
        return tuple(events)


def _instant(series: Series) -> datetime | None:
    """The newest value as a time; None when it is none."""
    try:
        return datetime.fromtimestamp(float(series.samples[-1][1]), UTC)
    except (ValueError, OverflowError, OSError):
        return None


def fingerprint(labels: Mapping[str, str]) -> str:
    """Alertmanager's fingerprint of a label set: 64-bit FNV-1a over the sorted names and values, each followed by 0xFF."""
    digest = 0xCBF29CE484222325
    for name in sorted(labels):
        for byte in name.encode() + b"\xff" + labels[name].encode() + b"\xff":
            digest = ((digest ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return f"{digest:016x}"
