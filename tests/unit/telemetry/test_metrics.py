from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client.parser import text_string_to_metric_families

from rollbackd.model.decision import Action
from rollbackd.model.incident import Outcome
from rollbackd.model.policy import Mode
from rollbackd.model.readiness import ReadinessVerdict
from rollbackd.model.reason import Reason
from rollbackd.telemetry.metrics import Metrics, measure_lag


def samples(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    text, _ = metrics.exposition()
    families = text_string_to_metric_families(text.decode())
    return {(one.name, tuple(sorted(one.labels.items()))): one.value for family in families for one in family.samples}


def test_the_names_are_those_of_the_public_interface() -> None:
    metrics = Metrics()
    metrics.alert_received("stored")
    metrics.decided("api", Action.HOLD, Reason.COOLDOWN)
    metrics.rollback_ended("api", Outcome.RECOVERED)
    metrics.query_failed("timeout")
    metrics.paused(["global"])
    metrics.readiness("api", ReadinessVerdict.READY)
    metrics.serving({"api": Mode.AUTO})
    metrics.config_taken(datetime(2026, 1, 31, tzinfo=UTC))

    names = {name for name, _ in samples(metrics) if name.startswith("rollbackd_")}

    histograms = {
        "rollbackd_step_seconds",
        "rollbackd_alert_to_action_seconds",
        "rollbackd_time_to_recovery_seconds",
        "rollbackd_prometheus_query_seconds",
        "rollbackd_store_commit_seconds",
        "rollbackd_event_loop_lag_seconds",
    }
    assert names == {
        "rollbackd_build_info",
        "rollbackd_alerts_received_total",
        "rollbackd_decisions_total",
        "rollbackd_incidents_open",
        "rollbackd_rollbacks_total",
        "rollbackd_prometheus_errors_total",
        "rollbackd_paused",
        "rollbackd_ready",
        "rollbackd_rollback_ready",
        "rollbackd_service_mode",
        "rollbackd_clock_ahead_seconds",
        "rollbackd_config_last_reload_successful",
        "rollbackd_config_last_reload_success_timestamp_seconds",
    } | {f"{name}_{suffix}" for name in histograms for suffix in ("bucket", "count", "sum")}


def test_what_happened_is_counted() -> None:
    metrics = Metrics()
    metrics.alert_received("stored", 3)
    metrics.alert_received("duplicate")
    metrics.decided("api", Action.ROLL_BACK, Reason.TO_BLAME)
    metrics.incidents_open(2)
    metrics.incident_opened()
    metrics.incident_closed()
    metrics.incident_closed()
    metrics.rollback_ended("api", Outcome.NO_EFFECT)
    metrics.acted(1.5)
    metrics.step_ended(4)
    metrics.recovered(240)
    metrics.queried(0.002)
    metrics.committed(0.001)
    metrics.paused(["global"])

    seen = samples(metrics)

    assert seen["rollbackd_alerts_received_total", (("result", "stored"),)] == 3
    assert seen["rollbackd_alerts_received_total", (("result", "duplicate"),)] == 1
    assert seen["rollbackd_decisions_total", (("decision", "roll_back"), ("reason", "to_blame"), ("service", "api"))] == 1
    assert seen["rollbackd_incidents_open", ()] == 1
    assert seen["rollbackd_rollbacks_total", (("outcome", "no_effect"), ("service", "api"))] == 1
    assert seen["rollbackd_alert_to_action_seconds_sum", ()] == 1.5
    assert seen["rollbackd_step_seconds_sum", ()] == 4
    assert seen["rollbackd_time_to_recovery_seconds_sum", ()] == 240
    assert seen["rollbackd_prometheus_query_seconds_count", ()] == 1
    assert seen["rollbackd_store_commit_seconds_count", ()] == 1
    assert seen["rollbackd_paused", (("service", "global"),)] == 1


def test_a_pause_that_is_over_is_gone() -> None:
    metrics = Metrics()
    metrics.paused(["global", "api"])
    metrics.paused(["api"])

    assert {labels for name, labels in samples(metrics) if name == "rollbackd_paused"} == {(("service", "api"),)}


def test_only_what_is_ready_is_ready() -> None:
    metrics = Metrics()
    for service, verdict in zip("abcd", ReadinessVerdict, strict=True):
        metrics.readiness(service, verdict)

    found = {labels[0][1]: value for (name, labels), value in samples(metrics).items() if name == "rollbackd_rollback_ready"}
    assert dict(zip("abcd", ReadinessVerdict, strict=True)) == {"a": "ready", "b": "not_ready", "c": "unknown", "d": "not_applicable"}
    assert found == {"a": 1, "b": 0, "c": 0}  # a service that is only observed has no rollback to be ready for

    metrics.readiness("a", ReadinessVerdict.NOT_APPLICABLE)
    assert ("rollbackd_rollback_ready", (("service", "a"),)) not in samples(metrics)


def test_nothing_that_is_not_known_yet_has_a_value() -> None:
    names = {name for name, labels in samples(Metrics()) if not name.endswith(("_bucket", "_count", "_sum"))}

    assert not names & {
        "rollbackd_leader",
        "rollbackd_config_last_reload_success_timestamp_seconds",
        "rollbackd_rollback_ready",
        "rollbackd_paused",
        "rollbackd_decisions_total",
    }
    assert samples(Metrics())["rollbackd_config_last_reload_successful", ()] == 1


def test_a_config_that_is_refused_leaves_the_time_of_the_one_in_use() -> None:
    metrics = Metrics()
    metrics.config_taken(datetime(2026, 1, 31, 12, tzinfo=UTC))
    metrics.config_refused()
    assert (found := samples(metrics))["rollbackd_config_last_reload_successful", ()] == 0
    assert found["rollbackd_config_last_reload_success_timestamp_seconds", ()] == 1769860800
    metrics.config_taken(datetime(2026, 1, 31, 13, tzinfo=UTC))
    assert (found := samples(metrics))["rollbackd_config_last_reload_successful", ()] == 1
    assert found["rollbackd_config_last_reload_success_timestamp_seconds", ()] == 1769864400


def test_two_daemons_in_one_process_do_not_share_their_numbers() -> None:
    one, other = Metrics(), Metrics()
    one.incidents_open(5)

    assert samples(other)["rollbackd_incidents_open", ()] == 0


def test_the_content_type_is_the_text_format_that_every_prometheus_reads() -> None:
    assert Metrics().exposition()[1].startswith("text/plain; version=0.0.4")


class LateClock:
    """Wakes every sleeper a fixed time late; ends the test after three sleeps."""

    def __init__(self, late: float) -> None:
        self._late = late
        self._at = 0.0
        self._left = 3

    def monotonic(self) -> float:
        return self._at

    async def sleep(self, duration: timedelta) -> None:
        if not self._left:
            raise StopLookingError
        self._left -= 1
        self._at += duration.total_seconds() + self._late

    def now(self) -> None:
        raise AssertionError("lag is no matter of the wall clock")


class StopLookingError(Exception):
    pass


@pytest.mark.parametrize(("late", "total"), [(0.25, 0.75), (0.0, 0.0)])
async def test_lag_is_how_late_a_sleeper_wakes(late: float, total: float) -> None:
    metrics = Metrics()

    with pytest.raises(StopLookingError):
        await measure_lag(metrics, LateClock(late))  # type: ignore[arg-type]

    seen = samples(metrics)
    assert seen["rollbackd_event_loop_lag_seconds_count", ()] == 3
    assert seen["rollbackd_event_loop_lag_seconds_sum", ()] == pytest.approx(total)
