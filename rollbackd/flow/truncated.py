"""Alertmanager cut a batch (`truncatedAlerts`): the alerts that are missing are looked up in Prometheus' own `ALERTS`."""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog

from rollbackd.clock import Clock
from rollbackd.errors import RollbackdError
from rollbackd.intake.routing import Routing
from rollbackd.model.alert import AlertEvent, AlertStatus
from rollbackd.model.policy import ServicePolicy
from rollbackd.prometheus.client import PrometheusClient
from rollbackd.store.store import Store

_log: Final = structlog.get_logger("truncated")
_ONLY_IN_PROMETHEUS: Final = frozenset({"__name__", "alertstate"})


class TruncatedAlerts:
    def __init__(
        self,
        *,
        services: Mapping[str, ServicePolicy],
        clients: Mapping[str, PrometheusClient],
        routing: Routing,
        store: Store,
        on_stored: Callable[[], None],
        clock: Clock,
    ) -> None:
        self._services = services
        self._clients = clients
        self._routing = routing
        self._store = store
        self._on_stored = on_stored
        self._clock = clock

    async def look_up(self, missing: int) -> None:
        """Store every firing alert of ours that Prometheus knows; those that are stored already are duplicates."""
        _log.error("alerts_truncated", missing=missing, hint="set max_alerts: 0 on rollbackd's receiver in Alertmanager")
        for name, client in self._clients.items():
            rules = {
                alert for policy in self._services.values() if policy.prometheus == name for t in policy.triggers for alert in t.alerts
            }
            if not rules:
                continue
            try:
                events = await self._firing(client, rules)
            except RollbackdError as e:
                _log.error("truncated_alerts_not_found", prometheus=name, error=str(e))
                continue
            if (await self._store.alerts.append(events)).stored:
                self._on_stored()

    async def _firing(self, client: PrometheusClient, rules: set[str]) -> tuple[AlertEvent, ...]:
        now = self._clock.now()
        names = "|".join(re.escape(rule) for rule in sorted(rules)).replace("\\", "\\\\").replace('"', '\\"')
        # ALERTS_FOR_STATE's value is the time at which the alert became active, the nearest that Prometheus keeps to startsAt.
        query = f'ALERTS_FOR_STATE{{alertname=~"{names}"}} and ignoring(alertstate) ALERTS{{alertstate="firing"}}'
        answer = await client.query(query, at=now)
        events = []
        for series in answer.series:
            labels = {name: value for name, value in series.labels.items() if name not in _ONLY_IN_PROMETHEUS}
            route = self._routing.route(labels)
            if route.service is not None:
                active_at = datetime.fromtimestamp(float(series.samples[-1][1]), UTC)
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


def fingerprint(labels: Mapping[str, str]) -> str:
    """Alertmanager's fingerprint of a label set: 64-bit FNV-1a over the sorted names and values, each followed by 0xFF."""
    digest = 0xCBF29CE484222325
    for name in sorted(labels):
        for byte in name.encode() + b"\xff" + labels[name].encode() + b"\xff":
            digest = ((digest ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return f"{digest:016x}"
