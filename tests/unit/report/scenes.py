"""Three incidents of one service, as their records stand in the store."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final

from rollbackd.model.alert import AlertEvent, AlertStatus
from rollbackd.model.attempt import Attempt, AttemptStatus
from rollbackd.model.change import Change, ChangeKind
from rollbackd.model.condition import Condition
from rollbackd.model.decision import Action, Blame, Check, CheckVerdict, Decision
from rollbackd.model.incident import Incident, Outcome, Phase, TimelineEntry
from rollbackd.model.look import Look, ObjectiveLook, ObjectiveVerdict, TriggerLook
from rollbackd.model.measurement import Verdict
from rollbackd.model.policy import EmergencyPolicy, Indicator, Mode, Objective, ServicePolicy, Trigger
from rollbackd.model.reason import Reason
from rollbackd.model.release import Release
from rollbackd.model.runbook import HttpAsk, Probe, Run, Runbook, RunbookKind, Step, Verify, Wait
from rollbackd.report.facts import Facts
from rollbackd.settings.effective import Contact

NOON: Final = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
QUERY: Final = 'sum(increase(http_requests_total{service="api",code=~"5..|0"}[60s]))'

ERROR_RATE: Final = Indicator(name="error_rate", samples="s", bad="b", total="t", window=timedelta(minutes=1))
P95: Final = Indicator(name="response_time_p95", samples="s", query="q", window=timedelta(minutes=1))
HEALTHY_AGAIN: Final = Probe(ask=HttpAsk(url="https://api.example.com/healthz"), status=(200,))
STEPS: Final = (
    Step(name="deploy the target image", action=Run(argv=("deploy", "image:v1")), timeout=timedelta(minutes=5)),
    Step(name="healthy again", action=Wait(until=HEALTHY_AGAIN), timeout=timedelta(minutes=2)),
    Step(name="technical checks", action=Verify(checks=(HEALTHY_AGAIN,)), timeout=timedelta(minutes=2)),
)
POLICY: Final = ServicePolicy(
    name="api",
    match=(),
    selector=(),
    triggers=(
        Trigger(
            name="HighErrorRate",
            indicator=ERROR_RATE,
            breach=Condition.parse("> 0.01"),
            clear=Condition.parse("<= 0.005"),
            hold_for=timedelta(minutes=2),
            alerts=("HighErrorRate",),
            min_requests=50,
        ),
    ),
    objectives=(
        Objective(name="error_rate", indicator=ERROR_RATE, target=Condition.parse("< 0.005")),
        Objective(name="response_time_p95", indicator=P95, target=Condition.parse("< 500")),
    ),
    prometheus="main",
    scrape_interval=timedelta(seconds=15),
    max_sample_age=timedelta(seconds=30),
    recheck_every=timedelta(seconds=15),
    mode=Mode.AUTO,
    runbook=Runbook(name="api-quick", kind=RunbookKind.QUICK, budget=timedelta(minutes=10), steps=STEPS),
    on_failure=EmergencyPolicy(
        runbook=Runbook(name="emergency-stop", kind=RunbookKind.EMERGENCY, budget=timedelta(minutes=10), steps=STEPS[:1])
    ),
)
CONTACTS: Final = (
    Contact(role="technical", name="Technical lead on duty", channel="chat"),
    Contact(role="operations", name="Operations on duty"),
)
V1: Final = Release(service="api", version="v1", artifact="image:v1", started_at=NOON - timedelta(days=1), live_at=NOON - timedelta(days=1))
V2: Final = Release(
    service="api", version="v2", artifact="image:v2", started_at=NOON - timedelta(minutes=3), live_at=NOON - timedelta(seconds=150)
)
ALERT: Final = AlertEvent(
    fingerprint="f1",
    starts_at=NOON - timedelta(seconds=20),
    status=AlertStatus.FIRING,
    ends_at=None,
    labels={"alertname": "HighErrorRate", "service": "api", "severity": "critical"},
    annotations={"summary": "too many errors"},
    received_at=NOON,
    service="api",
    trigger="HighErrorRate",
)
INCIDENT: Final = Incident(
    id="20260131-120000-7f3a",
    service="api",
    trigger="HighErrorRate",
    phase=Phase.CLOSED,
    mode=Mode.AUTO,
    snapshot="s1",
    opened_at=NOON,
    fingerprint="f1",
    starts_at=ALERT.starts_at,
    delivered_at=NOON,
    decision=Action.ROLL_BACK,
    reason=Reason.TO_BLAME,
    blame=Blame.TO_BLAME,
    suspect="v2",
    target="v1",
    target_artifact="image:v1",
    onset=NOON - timedelta(seconds=140),
    decision_value=0.1234567,
    decided_at=NOON + timedelta(milliseconds=250),
)


def after(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def entries(*lines: tuple[float, str, str]) -> tuple[TimelineEntry, ...]:
    return tuple(
        TimelineEntry(seq=seq, incident_id=INCIDENT.id, at=after(seconds), kind=kind, text=text, data={})
        for seq, (seconds, kind, text) in enumerate(lines, 1)
    )


def attempt(step: int, begin: float, end: float, status: AttemptStatus, *, number: int = 1, detail: str = "", output: str = "") -> Attempt:
    return Attempt(
        id=f"{INCIDENT.id}-{step}-{number}",
        incident_id=INCIDENT.id,
        step_index=step,
        step_name=STEPS[step].name,
        number=number,
        argv=("deploy", "image:v1") if step == 0 else (),
        status=status,
        intended_at=after(begin),
        started_at=after(begin),
        ended_at=after(end),
        exit_code=0 if status is AttemptStatus.SUCCEEDED and step == 0 else None,
        output=output,
        detail=detail,
    )


def look(seconds: float, error_rate: float, p95: float | None) -> Look:
    breached = error_rate > 0.01
    return Look(
        at=after(seconds),
        objectives=(
            ObjectiveLook(
                name="error_rate",
                indicator="error_rate",
                verdict=ObjectiveVerdict.MET if error_rate < 0.005 else ObjectiveVerdict.MISSED,
                value=error_rate,
                limit="< 0.005",
            ),
            ObjectiveLook(
                name="response_time_p95",
                indicator="response_time_p95",
                verdict=ObjectiveVerdict.UNKNOWN if p95 is None else ObjectiveVerdict.MET,
                value=p95,
                limit="< 500",
                reason=Reason.LOW_TRAFFIC if p95 is None else None,
            ),
        ),
        triggers=(
            TriggerLook(
                name="HighErrorRate",
                indicator="error_rate",
                verdict=Verdict.BREACHED if breached else Verdict.HEALTHY,
                value=error_rate,
                limit="> 0.01",
                clear=not breached,
                reason=Reason.BREACH if breached else Reason.CLEAR,
            ),
        ),
    )


def decision(action: Action, reason: Reason, *, predates: bool = False) -> Decision:
    onset = Check(
        name="onset after the release",
        verdict=CheckVerdict.FAILED if predates else CheckVerdict.PASSED,
        reason=Reason.BREACH_PREDATES_RELEASE if predates else Reason.PASSED,
        at=after(0.25),
        value="11:40:05" if predates else "11:57:40",
        limit="not before 11:56:40",
    )
    return Decision(
        action=action,
        reason=reason,
        at=after(0.25),
        blame=Blame.EXONERATED if predates else Blame.TO_BLAME,
        trigger="HighErrorRate",
        value=0.1234567,
        limit=0.01,
        onset=NOON - timedelta(seconds=140),
        suspect=V2,
        target=None if predates else V1,
        checks=(
            Check(
                name="trigger HighErrorRate",
                verdict=CheckVerdict.PASSED,
                reason=Reason.CONFIRMED,
                at=after(0.25),
                query=QUERY,
                value="0.1235, 9 of 9 steps breached",
                limit="> 0.01",
                sample_time=after(-4),
            ),
            onset,
            Check(name="cooldown", verdict=CheckVerdict.PASSED, reason=Reason.PASSED, at=after(0.25), limit="1 h since the last rollback"),
            Check(name="running version", verdict=CheckVerdict.NOT_APPLICABLE, reason=Reason.NOT_APPLICABLE, at=after(0.25)),
        ),
    )


RECOVERED: Final = Facts(
    incident=replace(
        INCIDENT,
        outcome=Outcome.RECOVERED,
        detail="met for 180 s: error_rate 0.0012 (< 0.005), response_time_p95 120 (< 500)",
        rollback_started_at=after(0.3),
        rollback_ended_at=after(46),
        closed_at=after(316),
        told_at=after(317.5),
    ),
    policy=POLICY,
    decision=decision(Action.ROLL_BACK, Reason.TO_BLAME),
    attempts=(
        attempt(0, 0.4, 38.9, AttemptStatus.SUCCEEDED, detail="exit 0", output="deployed\n"),
        attempt(1, 39, 45, AttemptStatus.SUCCEEDED, detail="HTTP 200"),
        attempt(2, 45, 46, AttemptStatus.SUCCEEDED, detail="1 of 1 holds"),
    ),
    looks=(look(121, 0.02, 180.0), *(look(136 + 15 * number, 0.0012, 120.0) for number in range(13))),
    alerts=(ALERT, replace(ALERT, status=AlertStatus.RESOLVED, ends_at=after(130), received_at=after(131))),
    timeline=entries(
        (0, "alert", "HighErrorRate firing"),
        (0.25, "decision", "roll back v2 to v1: to_blame (HighErrorRate 0.1235, limit 0.01)"),
        (0.3, "phase", "api: rolling back v2 to v1"),
        (46, "phase", "api: v1 is back; watching the objectives"),
        (121, "look", ""),
        (316, "phase", "api: recovered (met for 180 s)"),
    ),
    contacts=CONTACTS,
    made_at=after(318),
)

HELD: Final = Facts(
    incident=replace(
        INCIDENT,
        outcome=Outcome.HELD,
        decision=Action.HOLD,
        reason=Reason.BREACH_PREDATES_RELEASE,
        blame=Blame.EXONERATED,
        target=None,
        target_artifact=None,
        onset=NOON - timedelta(seconds=1195),
        closed_at=after(0.3),
    ),
    policy=POLICY,
    decision=decision(Action.HOLD, Reason.BREACH_PREDATES_RELEASE, predates=True),
    changes=(
        Change(service="api", kind=ChangeKind.CONFIG, what="pool of 20 connections, was 50", at=NOON - timedelta(seconds=1200), by="ci"),
        Change(service="api", kind=ChangeKind.FLAG, what="new_checkout on", at=NOON - timedelta(seconds=3000), by="oncall"),
    ),
    alerts=(ALERT,),
    timeline=entries(
        (0, "alert", "HighErrorRate firing"),
        (0.25, "decision", "hold: breach_predates_release (HighErrorRate 0.1235, limit 0.01)"),
        (0.3, "phase", "api: held (breach_predates_release)"),
    ),
    contacts=CONTACTS,
    made_at=after(1),
)

FAILED: Final = Facts(
    incident=replace(
        INCIDENT,
        outcome=Outcome.FAILED,
        reason=Reason.STEP_FAILED,
        detail="step 'deploy the target image' failed: exit 1",
        requested_by="oncall",
        proposed_at=after(0.3),
        rollback_started_at=after(420),
        closed_at=after(451),
    ),
    policy=POLICY,
    decision=decision(Action.ROLL_BACK, Reason.TO_BLAME),
    attempts=(
        attempt(0, 420, 435, AttemptStatus.FAILED, detail="exit 1", output="pulling\nError: image not found\n"),
        attempt(0, 436, 451, AttemptStatus.FAILED, number=2, detail="exit 1", output="pulling\n```\nError: image `v1` not found\n"),
    ),
    alerts=(ALERT,),
    timeline=entries(
        (0, "alert", "HighErrorRate firing"),
        (0.3, "phase", "api: roll back v2 to v1? (to_blame)"),
        (420, "phase", "api: rolling back v2 to v1"),
        (451, "phase", "api: failed (step 'deploy the target image' failed: exit 1)"),
    ),
    contacts=CONTACTS,
    made_at=after(452),
)
