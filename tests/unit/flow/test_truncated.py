"""Alertmanager left alerts out: they are found in Prometheus, once each, and by one task however often it happens (I2 I14)."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from rollbackd.errors import TemporaryError
from rollbackd.flow.truncated import AGAIN_AFTER, TruncatedAlerts, fingerprint
from rollbackd.intake.routing import Routing
from rollbackd.model.condition import Condition
from rollbackd.model.incident import Outcome, Phase
from rollbackd.model.policy import Trigger
from rollbackd.prometheus.answer import Answer, Series
from rollbackd.supervisor import Supervisor
from tests.fakes.policies import error_rate
from tests.unit.flow.conftest import NOW, POLICY, Stage, alert, eventually

ACTIVE = NOW - timedelta(minutes=2)
ERRORS = Trigger(
    name="HighErrorRate",
    indicator=error_rate(),
    breach=Condition.parse("> 0.01"),
    clear=Condition.parse("<= 0.005"),
    hold_for=timedelta(minutes=2),
    alerts=("HighErrorRate",),
)
SERVICES = {"api": replace(POLICY, triggers=(ERRORS,))}
LABELS = {"alertname": "HighErrorRate", "service": "api"}


class GivenPrometheus:
    """`fails` times it does not answer."""

    def __init__(self, *series: Series, fails: int = 0) -> None:
        self._series = series
        self._fails = fails
        self.asked = 0

    async def query(self, _query: str, *, at: datetime) -> Answer:
        self.asked += 1
        if self.asked <= self._fails:
            raise TemporaryError(f"refused at {at}")
        return Answer(result_type="vector", series=self._series)


def firing(value: str = str(ACTIVE.timestamp()), **labels: str) -> Series:
    return Series({"__name__": "ALERTS_FOR_STATE", **LABELS, **labels}, ((NOW.timestamp(), value),))


def truncated_alerts(stage: Stage, prometheus: GivenPrometheus) -> TruncatedAlerts:
    clients: Any = {"main": prometheus}
    return TruncatedAlerts(
        services=SERVICES, clients=clients, route=Routing(SERVICES).route, store=stage.store, on_stored=lambda: None, clock=stage.clock
    )


async def stored(stage: Stage) -> list[str]:
    return [each.event.labels.get("instance", each.event.fingerprint) for each in await stage.store.alerts.unhandled()]


async def found(stage: Stage, *series: Series) -> list[str]:
    await truncated_alerts(stage, GivenPrometheus(*series))._look_up()
    return await stored(stage)


async def found_at_last(stage: Stage, prometheus: GivenPrometheus) -> list[str]:
    """By the task, however often it has to try."""

    async def is_stored() -> bool:
        return bool(await stored(stage))

    truncated = truncated_alerts(stage, prometheus)
    async with Supervisor() as supervisor:
        supervisor.spawn("truncated alerts", truncated.run())
        truncated.missed(3)
        await eventually(is_stored)
    return await stored(stage)


async def test_row_38_what_fires_is_stored_under_alertmanagers_fingerprint(stage: Stage) -> None:
    assert await found(stage, firing()) == [fingerprint(LABELS)]


async def test_what_is_no_ones_is_left_alone(stage: Stage) -> None:
    assert await found(stage, firing(service="nobody")) == []


@pytest.mark.parametrize("value", ["NaN", "+Inf", "1e300", "soon"])
async def test_a_value_that_is_no_time_costs_only_its_own_alert(stage: Stage, value: str) -> None:
    assert await found(stage, firing(value), firing(instance="b")) == ["b"]


async def test_row_38_a_server_that_does_not_answer_is_asked_again(stage: Stage) -> None:
    assert await found_at_last(stage, GivenPrometheus(firing(), fails=2)) == [fingerprint(LABELS)]
    assert stage.clock.now() == NOW + 2 * AGAIN_AFTER


async def test_a_store_that_cannot_be_written_now_is_no_end_of_the_daemon(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    append = stage.store.alerts.append
    failed = False

    async def full_once(*arguments: Any) -> Any:
        nonlocal failed
        if not failed:
            failed = True
            raise TemporaryError("the disk is full")
        return await append(*arguments)

    monkeypatch.setattr(stage.store.alerts, "append", full_once)
    assert await found_at_last(stage, GivenPrometheus(firing())) == [fingerprint(LABELS)]


async def test_however_often_it_is_said_one_look_answers_it(stage: Stage) -> None:
    prometheus = GivenPrometheus(firing())
    truncated = truncated_alerts(stage, prometheus)
    for count in range(1_000):
        truncated.missed(count)

    async def is_stored() -> bool:
        return bool(await stored(stage))

    async with Supervisor() as supervisor:
        supervisor.spawn("truncated alerts", truncated.run())
        await eventually(is_stored)
    assert prometheus.asked == 1


@pytest.mark.parametrize(
    ("known_labels", "known_since", "count"),
    [
        (LABELS, NOW, 0),  # Alertmanager's startsAt is when it fired, Prometheus' when it became active
        ({**LABELS, "cluster": "eu"}, NOW, 0),  # with an external label
        (LABELS, ACTIVE - timedelta(hours=1), 1),  # an earlier episode
        ({**LABELS, "service": "web"}, NOW, 1),
    ],
)
async def test_what_alertmanager_has_delivered_is_no_second_alert(
    stage: Stage, known_labels: dict[str, str], known_since: datetime, count: int
) -> None:
    """Else an incident that was closed as held would be followed by another one about the same."""
    await stage.open(phase=Phase.CLOSED, outcome=Outcome.HELD, closed_at=NOW, told_at=NOW)
    await stage.store.alerts.append([alert(labels=known_labels, starts_at=known_since)])
    (known,) = await stage.store.alerts.unhandled()
    await stage.store.alerts.handled(known.id, "i1")
    assert len(await found(stage, firing())) == count


def test_the_fingerprint_is_alertmanagers() -> None:
    assert fingerprint({}) == "cbf29ce484222325"
    assert fingerprint({"b": "2", "a": "1"}) == fingerprint({"a": "1", "b": "2"}) != fingerprint({"a": "1"})
