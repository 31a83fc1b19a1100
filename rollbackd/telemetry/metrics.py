"""rollbackd's own metrics, under the fixed names of its public interface. A registry of its own: nothing else gets in.

Labels come only from the config and from closed enums, never from an alert: their number is bounded (I14). What is not known yet is
not there; no metric starts with a made-up value.
"""

import platform
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Final, Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector, disable_created_metrics, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from rollbackd import __version__
from rollbackd.clock import Clock
from rollbackd.model.decision import Action
from rollbackd.model.incident import Outcome
from rollbackd.model.policy import Mode
from rollbackd.model.readiness import ReadinessVerdict
from rollbackd.model.reason import Reason

Received = Literal["stored", "duplicate", "ignored", "unusable"]
"""What became of an alert in a payload: `ignored` matched no service, `unusable` was recorded and skipped."""

Limit = Literal["connections", "idle_connections", "slow_heads", "webhooks", "webhook_bodies", "reads", "scrapes", "streams", "decisions"]
"""What there was too much of: `connections` were not let in, idle ones made room for others, heads did not come in time or were too
large, and more requests of one kind came at once than are answered at once.
"""

_FAST: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_SLOW: Final = (0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1200, 1800, 3600)
_LAG_EVERY: Final = timedelta(seconds=1)


class Metrics:
    """Every method says, in words, that something happened; durations are seconds."""

    def __init__(self) -> None:
        # `_created` would double every series, and no name of the interface has it
        disable_created_metrics()  # type: ignore[no-untyped-call]
        registry = self._registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        Info("rollbackd_build", "The version that is running.", registry=registry).info(
            {
                "version": __version__,
                "python": platform.python_version(),
            }
        )
        self._alerts = Counter("rollbackd_alerts_received", "Alerts received, by what became of them.", ["result"], registry=registry)
        self._too_busy = Counter("rollbackd_too_busy", "Refused because there was too much, by the limit.", ["limit"], registry=registry)
        self._decisions = Counter(
            "rollbackd_decisions", "Decisions made, each re-check included.", ["service", "decision", "reason"], registry=registry
        )
        self._open = Gauge("rollbackd_incidents_open", "Incidents that are not closed.", registry=registry)
        self._rollbacks = Counter("rollbackd_rollbacks", "Rollbacks that ended, by outcome.", ["service", "outcome"], registry=registry)
        self._steps = Histogram("rollbackd_step_seconds", "How long an attempt of a step took.", buckets=_SLOW, registry=registry)
        self._to_action = Histogram(
            "rollbackd_alert_to_action_seconds", "From an alert's delivery to the start of its rollback.", buckets=_SLOW, registry=registry
        )
        self._to_recovery = Histogram(
            "rollbackd_time_to_recovery_seconds", "From the onset of a breach to its verified recovery.", buckets=_SLOW, registry=registry
        )
        self._queries = Histogram("rollbackd_prometheus_query_seconds", "How long a query took.", buckets=_FAST, registry=registry)
        self._query_errors = Counter("rollbackd_prometheus_errors", "Queries that failed.", ["kind"], registry=registry)
        self._paused = Gauge("rollbackd_paused", "1 while rollbackd is paused; service=global for all.", ["service"], registry=registry)
        self._commits = Histogram("rollbackd_store_commit_seconds", "How long a commit took.", buckets=_FAST, registry=registry)
        self._lag = Histogram("rollbackd_event_loop_lag_seconds", "How late the event loop woke.", buckets=_FAST, registry=registry)
        self._clock_ahead = Gauge(
            "rollbackd_clock_ahead_seconds",
            "How far the wall clock was set ahead of rollbackd's own time; 0 while it is followed.",
            registry=registry,
        )
        self._armed = Gauge("rollbackd_ready", "1 when it may take alerts and act on them: /-/ready says why not.", registry=registry)
        self._ready = Gauge(
            "rollbackd_rollback_ready",
            "1 when a rollback of the service would work; 0 also when it is not known.",
            ["service"],
            registry=registry,
        )
        self._modes = Gauge("rollbackd_service_mode", "1 for the mode that a service is in.", ["service", "mode"], registry=registry)
        self._messages = Counter(
            "rollbackd_notify_messages",
            "Messages, by what became of them: each failed try counts, and what was never delivered is given up.",
            ["channel", "result"],
            registry=registry,
        )
        self._undelivered = Gauge(
            "rollbackd_notify_oldest_undelivered_timestamp_seconds",
            "When the oldest message that a channel has not taken yet was put; absent when none waits.",
            ["channel"],
            registry=registry,
        )
        self._config_taken = Gauge(
            "rollbackd_config_last_reload_successful", "1 when the config in use is the one last read.", registry=registry
        )
        self._config_taken.set(1)  # a daemon does not start on a bad config
        self._config_unknown = True
        self._config_since = Gauge(
            "rollbackd_config_last_reload_success_timestamp_seconds", "When the config in use was read.", registry=None
        )  # registered once it is known

    def alert_received(self, result: Received, count: int = 1) -> None:
        self._alerts.labels(result).inc(count)

    def too_busy(self, limit: Limit) -> None:
        self._too_busy.labels(limit).inc()

    def decided(self, service: str, decision: Action, reason: Reason) -> None:
        self._decisions.labels(service, decision.value, reason.value).inc()

    def incidents_open(self, count: int) -> None:
        """How many the store held at start; from then on they are counted."""
        self._open.set(count)

    def incident_opened(self) -> None:
        self._open.inc()

    def incident_closed(self) -> None:
        self._open.dec()

    def acted(self, seconds_since_delivery: float) -> None:
        self._to_action.observe(seconds_since_delivery)

    def step_ended(self, seconds: float) -> None:
        self._steps.observe(seconds)

    def rollback_ended(self, service: str, outcome: Outcome) -> None:
        self._rollbacks.labels(service, outcome.value).inc()

    def recovered(self, seconds_since_onset: float) -> None:
        self._to_recovery.observe(seconds_since_onset)

    def queried(self, seconds: float) -> None:
        self._queries.observe(seconds)

    def query_failed(self, kind: str) -> None:
        """`kind` is a word of the client's own, one of a few; never text from the error."""
        self._query_errors.labels(kind).inc()

    def paused(self, scopes: Iterable[str]) -> None:
        """Everything that is paused now: "global", or services."""
        self._paused.clear()
        for scope in scopes:
            self._paused.labels(scope).set(1)

    def ready(self, *, is_ready: bool) -> None:
        self._armed.set(is_ready)

    def readiness(self, service: str, verdict: ReadinessVerdict) -> None:
        """Where there is no rollback to be ready for, there is no number."""
        if verdict is not ReadinessVerdict.NOT_APPLICABLE:
            self._ready.labels(service).set(verdict is ReadinessVerdict.READY)
        else:
            self._ready.remove(service)

    def serving(self, modes: Mapping[str, Mode]) -> None:
        """Every service of the config with its mode: an alert on one that may act by itself is another than on one that only looks."""
        self._modes.clear()
        for service, mode in modes.items():
            self._modes.labels(service, mode.value).set(1)

    def message_delivered(self, channel: str) -> None:
        self._messages.labels(channel, "delivered").inc()

    def message_failed(self, channel: str) -> None:
        self._messages.labels(channel, "failed").inc()

    def messages_given_up(self, channel: str, count: int) -> None:
        self._messages.labels(channel, "given_up").inc(count)

    def messages_wait(self, oldest: Mapping[str, datetime | None]) -> None:
        """Every channel of the config, with when the oldest message that waits was put."""
        self._undelivered.clear()
        for channel, at in oldest.items():
            if at is not None:
                self._undelivered.labels(channel).set(at.timestamp())

    def config_taken(self, at: datetime) -> None:
        """At the start, and at each reload that went through."""
        self._config_taken.set(1)
        self._config_since.set(at.timestamp())
        if self._config_unknown:
            self._registry.register(self._config_since)
            self._config_unknown = False

    def config_refused(self) -> None:
        self._config_taken.set(0)

    def committed(self, seconds: float) -> None:
        self._commits.observe(seconds)

    def woke_late(self, seconds: float) -> None:
        self._lag.observe(seconds)

    def clock_ahead(self, seconds: float) -> None:
        self._clock_ahead.set(seconds)

    def exposition(self) -> tuple[bytes, str]:
        """The body of `/metrics` and its content type."""
        return generate_latest(self._registry), CONTENT_TYPE_PLAIN_0_0_4


async def measure_lag(metrics: Metrics, clock: Clock, *, every: timedelta = _LAG_EVERY) -> None:
    """For ever: how much later than asked the event loop wakes a sleeper is how long something blocked it."""
    while True:
        due = clock.monotonic() + every.total_seconds()
        await clock.sleep(every)
        metrics.woke_late(max(clock.monotonic() - due, 0.0))
