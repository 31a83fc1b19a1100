"""One of each thing that a store keeps, with every field set; tests change what they are about."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

from rollbackd.model.alert import AlertEvent, AlertStatus, IgnoredAlert
from rollbackd.model.attempt import Attempt, AttemptStatus
from rollbackd.model.change import Change, ChangeKind
from rollbackd.model.decision import Action, Blame, Check, CheckVerdict, Decision
from rollbackd.model.incident import Incident, Phase
from rollbackd.model.look import Look, ObjectiveLook, ObjectiveVerdict, TriggerLook
from rollbackd.model.measurement import Verdict
from rollbackd.model.policy import Mode
from rollbackd.model.reason import Reason
from rollbackd.model.release import Release
from tests.contract.conftest import NOW


def alert(**changes: Any) -> AlertEvent:
    event = AlertEvent(
        fingerprint="5ed9b5a0c9a1f1e3",
        starts_at=NOW - timedelta(minutes=2, microseconds=1),
        status=AlertStatus.FIRING,
        ends_at=None,
        labels={"alertname": "HighErrorRate", "service": "api", "note": 'quote " backslash \\ newline \n ünïcödé 🚨'},
        annotations={"summary": "5xx above 1 %"},
        generator_url="http://prometheus:9090/graph?g0.expr=up",
        received_at=NOW,
        service="api",
        trigger="HighErrorRate",
    )
    return replace(event, **changes)


def ignored(number: int = 0) -> IgnoredAlert:
    return IgnoredAlert(received_at=NOW, why=f"no service {number}", labels={"alertname": "Other"})


def incident(identifier: str = "20260131-120000-7f3a", **changes: Any) -> Incident:
    made = Incident(
        id=identifier, service="api", trigger="HighErrorRate", phase=Phase.DECIDING, mode=Mode.AUTO, snapshot="0" * 64, opened_at=NOW
    )
    return replace(made, **changes)


def decision(**changes: Any) -> Decision:
    check = Check(
        name="trigger",
        verdict=CheckVerdict.PASSED,
        reason=Reason.CONFIRMED,
        at=NOW,
        query="sum(rate(x[1m]))",
        value="4.2 %",
        limit="> 1 %",
        sample_time=NOW - timedelta(seconds=3),
    )
    made = Decision(
        action=Action.ROLL_BACK,
        reason=Reason.TO_BLAME,
        at=NOW,
        blame=Blame.TO_BLAME,
        trigger="HighErrorRate",
        value=0.042,
        limit=0.01,
        onset=NOW - timedelta(minutes=2),
        suspect=release("v2"),
        target=release("v1", started_at=NOW - timedelta(days=1)),
        checks=(check, replace(check, name="paused", query=None, value=None, limit=None, sample_time=None)),
    )
    return replace(made, **changes)


def release(version: str = "v2", **changes: Any) -> Release:
    made = Release(
        service="api",
        version=version,
        artifact=f"registry.example.com/api:{version}",
        started_at=NOW - timedelta(minutes=5),
        live_at=NOW - timedelta(minutes=4),
        group="deploy-17",
        schema="0042",
    )
    return replace(made, **changes)


def change(what: str = "pool of 20 connections, was 50", **changes: Any) -> Change:
    return replace(Change(service="api", kind=ChangeKind.CONFIG, what=what, at=NOW - timedelta(minutes=5), by="ci"), **changes)


def attempt(identifier: str = "a-1", **changes: Any) -> Attempt:
    made = Attempt(
        id=identifier,
        incident_id="20260131-120000-7f3a",
        step_index=0,
        step_name="deploy the target image",
        number=1,
        argv=("fly", "deploy", "--image", "x y"),
        status=AttemptStatus.INTENDED,
        intended_at=NOW,
    )
    return replace(made, **changes)


def look(**changes: Any) -> Look:
    made = Look(
        at=NOW,
        objectives=(ObjectiveLook(name="error_rate", indicator="error_rate", verdict=ObjectiveVerdict.MET, value=0.001, limit="< 0.005"),),
        triggers=(
            TriggerLook(
                name="HighErrorRate",
                indicator="error_rate",
                verdict=Verdict.UNKNOWN,
                value=None,
                limit="> 0.01",
                clear=None,
                reason=Reason.NO_SERIES,
            ),
        ),
    )
    return replace(made, **changes)
