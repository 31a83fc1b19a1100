"""What the brake is told of the fleet: from the store, and so the same after a restart and whatever was done to a clock (I7)."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from rollbackd.decision.fleet import rule
from rollbackd.flow.collect import Collector
from rollbackd.model.decision import CheckVerdict, FleetFacts
from rollbackd.model.incident import Incident, Outcome, Phase
from rollbackd.model.policy import FleetBrakePolicy, ServicePolicy
from rollbackd.model.release import Release
from tests.fakes.policies import service
from tests.unit.decision.builders import alert_facts, case_of, service_policy
from tests.unit.flow.conftest import NOW, Stage

DAY, MINUTE = timedelta(days=1), timedelta(minutes=1)
POLICY = service_policy(fleet_brake=FleetBrakePolicy(services=3, within=5 * MINUTE))
POLICIES: Mapping[str, ServicePolicy] = {"api": POLICY, **{name: service(name) for name in ("db", "mail", "pay")}}


def collector(stage: Stage, policies: Mapping[str, ServicePolicy] = POLICIES) -> Collector:
    nobody: Any = None  # is asked here: it is about the store
    return Collector(services=policies, store=stage.store, measurer=nobody, sources=nobody, prober=nobody, serving_since=NOW)


async def trip(stage: Stage, name: str, *, at: datetime, opened_at: datetime) -> Incident:
    closed: dict[str, Any] = {} if name == "api" else {"phase": Phase.CLOSED, "outcome": Outcome.HELD, "closed_at": opened_at}
    return await stage.open(name, service=name, fingerprint=name, starts_at=at, opened_at=opened_at, told_at=opened_at, **closed)


def holds(facts: FleetFacts, incident: Incident) -> bool:
    assert incident.starts_at is not None
    case = replace(case_of(policy=POLICY, alert=alert_facts(starts_at=incident.starts_at)), fleet=facts)
    return rule(case).verdict is CheckVerdict.FAILED


@pytest.mark.parametrize("others", [timedelta(0), DAY, -DAY])
@pytest.mark.parametrize("own", [timedelta(0), DAY, -DAY])
async def test_i7_whatever_our_clock_showed_when_they_were_opened_what_tripped_at_once_did(
    stage: Stage, others: timedelta, own: timedelta
) -> None:
    """Prometheus says when an alert began to fire; our clock was set by a day before, between or after. Row 20."""
    for number, name in enumerate(("db", "mail", "pay")):
        await trip(stage, name, at=NOW - number * MINUTE, opened_at=NOW + others)
    incident = await trip(stage, "api", at=NOW, opened_at=NOW + own)
    assert holds(await collector(stage)._fleet(incident, POLICY), incident)


async def test_the_register_and_the_config_say_what_explains_a_trip(stage: Stage) -> None:
    released = Release(service="db", version="v2", artifact="image:2", started_at=NOW - MINUTE, live_at=NOW - MINUTE)
    await stage.store.releases.record(released)
    await stage.store.releases.record(replace(released, service="mail", started_at=NOW + MINUTE))  # the fix, say
    for name in ("db", "mail", "pay"):
        await trip(stage, name, at=NOW, opened_at=NOW)
    incident = await trip(stage, "api", at=NOW, opened_at=NOW)
    policies = {**POLICIES, "pay": replace(service("pay"), depends_on=("db",))}
    facts = await collector(stage, policies)._fleet(incident, POLICY)
    assert {one.service: (one.has_recent_release, one.depends_on_released) for one in facts.tripped} == {
        "db": (True, None),
        "mail": (False, None),
        "pay": (False, "db"),
    }


async def test_where_there_are_fewer_services_than_the_brake_asks_for_nobody_is_asked(stage: Stage) -> None:
    incident = await trip(stage, "api", at=NOW, opened_at=NOW)
    await trip(stage, "db", at=NOW, opened_at=NOW)
    assert await collector(stage, {"api": POLICY, "db": service("db")})._fleet(incident, POLICY) == FleetFacts()
