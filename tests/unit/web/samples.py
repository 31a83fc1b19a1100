"""One service, its releases and one incident of it, as the other rooms would leave them behind."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from rollbackd.model.alert import AlertEvent, AlertStatus
from rollbackd.model.attempt import Attempt, AttemptStatus
from rollbackd.model.condition import Condition
from rollbackd.model.decision import Action, Blame, Check, CheckVerdict, Decision
from rollbackd.model.incident import Incident, Outcome, Phase, TimelineEntry
from rollbackd.model.look import Look, ObjectiveLook, ObjectiveVerdict, TriggerLook
from rollbackd.model.matchers import Matcher, MatchOperator
from rollbackd.model.measurement import Verdict
from rollbackd.model.plan import Plan
from rollbackd.model.policy import Indicator, Mode, Objective, ServicePolicy, Trigger
from rollbackd.model.reason import Reason
from rollbackd.model.release import Release
from rollbackd.model.runbook import HttpAsk, Probe, PromqlAsk, Run, RunAsk, Runbook, RunbookKind, Step, Verify, Wait

NOW = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
HOSTILE = '\x1b[31mred\x07 [bold]bold[/bold] \u202egnp.exe <script>alert("x")</script> {{ 7 * 7 }}\nforged line'


def after(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


ERROR_RATE = Indicator(
    name="error_rate",
    bad='sum(increase(http_requests_total{$selector,code=~"5.."}[$window]))',
    total="sum(increase(http_requests_total{$selector}[$window]))",
    samples="http_requests_total{$selector}",
    window=timedelta(minutes=1),
)

RUNBOOK = Runbook(
    name="checkout-quick",
    kind=RunbookKind.QUICK,
    budget=timedelta(minutes=10),
    steps=(
        Step(name="deploy the target image", action=Run(argv=("deploy", "--image", "shop:v1")), timeout=timedelta(minutes=5)),
        Step(
            name="healthy again",
            action=Wait(until=Probe(ask=HttpAsk(url="http://127.0.0.1:1/healthz"), status=(200,))),
            timeout=timedelta(minutes=2),
        ),
        Step(
            name="technical checks",
            action=Verify(
                checks=(
                    Probe(name="error rate", ask=PromqlAsk(query="errors{$selector}"), satisfies=Condition.parse("< 0.005")),
                    Probe(name="database answers", ask=RunAsk(argv=("psql", "-c", "select 1")), exit_code=0),
                    Probe(name="version", ask=RunAsk(argv=("running-version",)), equals="v1"),
                )
            ),
            timeout=timedelta(minutes=2),
        ),
    ),
)

POLICY = ServicePolicy(
    name="checkout",
    match=(Matcher("service", MatchOperator.EQUAL, "checkout"),),
    selector=(Matcher("service", MatchOperator.EQUAL, "checkout"),),
    triggers=(
        Trigger(
            name="HighErrorRate",
            indicator=ERROR_RATE,
            breach=Condition.parse("> 0.01"),
            clear=Condition.parse("<= 0.005"),
            hold_for=timedelta(minutes=2),
            alerts=("HighErrorRate",),
        ),
    ),
    objectives=(Objective(name="error_rate", indicator=ERROR_RATE, target=Condition.parse("< 0.005")),),
    prometheus="main",
    scrape_interval=timedelta(seconds=15),
    max_sample_age=timedelta(seconds=30),
    recheck_every=timedelta(seconds=15),
    mode=Mode.AUTO,
    runbook=RUNBOOK,
)

PLAN = Plan(
    service="checkout",
    runbook="checkout-quick",
    current_version="v2",
    current_artifact="shop:v2",
    target_version="v1",
    target_artifact="shop:v1",
    steps=RUNBOOK.steps,
    digest="d1gest",
)

V1 = Release(service="checkout", version="v1", artifact="shop:v1", started_at=after(-86400), live_at=after(-86390))
V2 = Release(service="checkout", version="v2", artifact="shop:v2", started_at=after(-300), live_at=after(-290))

ALERT = AlertEvent(
    fingerprint="00000000000000f1",
    starts_at=after(-12),
    status=AlertStatus.FIRING,
    ends_at=None,
    labels={"alertname": "HighErrorRate", "service": "checkout"},
    received_at=NOW,
    service="checkout",
    trigger="HighErrorRate",
)


def incident(**changes: Any) -> Incident:
    """Just opened, unless told otherwise."""
    opened = Incident(
        id="20260131-120000-7f3a",
        service="checkout",
        trigger="HighErrorRate",
        alertname="HighErrorRate",
        fingerprint=ALERT.fingerprint,
        starts_at=ALERT.starts_at,
        delivered_at=ALERT.received_at,
        phase=Phase.DECIDING,
        mode=Mode.AUTO,
        snapshot="snapshot",
        opened_at=NOW,
        judging_since=NOW,
    )
    return replace(opened, **changes)


def recovered(**changes: Any) -> Incident:
    return incident(
        **{
            "phase": Phase.CLOSED,
            "decision": Action.ROLL_BACK,
            "reason": Reason.TO_BLAME,
            "blame": Blame.TO_BLAME,
            "outcome": Outcome.RECOVERED,
            "suspect": "v2",
            "target": "v1",
            "target_artifact": "shop:v1",
            "onset": after(-180),
            "plan": "d1gest",
            "decision_value": 0.31,
            "decided_at": after(0.4),
            "rollback_started_at": after(0.5),
            "rollback_ended_at": after(13),
            "closed_at": after(253),
        }
        | changes
    )


def check(name: str, verdict: CheckVerdict, reason: Reason, **changes: Any) -> Check:
    return Check(name=name, verdict=verdict, reason=reason, at=after(0.4), **changes)


MEASURED = check(
    "HighErrorRate",
    CheckVerdict.PASSED,
    Reason.PASSED,
    query='sum(increase(http_requests_total{service="checkout",code=~"5.."}[2m]))',
    value="0.31 now; breached in 9 of 9 measurements",
    limit="> 0.01; now and in 8 of 9 measurements",
    sample_time=after(-3),
)

BLAMED = Decision(
    action=Action.ROLL_BACK,
    reason=Reason.TO_BLAME,
    at=after(0.4),
    blame=Blame.TO_BLAME,
    trigger="HighErrorRate",
    value=0.31,
    limit=0.01,
    onset=after(-180),
    suspect=V2,
    target=V1,
    checks=(
        check("stale_alert", CheckVerdict.PASSED, Reason.PASSED, value="delivered 12 s after its start", limit="5 min"),
        MEASURED,
        check("no_recent_release", CheckVerdict.PASSED, Reason.PASSED, value="v2 began 5 min ago", limit="1 h"),
        check("cooldown", CheckVerdict.PASSED, Reason.PASSED, value="no rollback yet", limit="1 h"),
    ),
)

HELD = Decision(
    action=Action.HOLD,
    reason=Reason.COOLDOWN,
    at=after(0.4),
    blame=Blame.TO_BLAME,
    trigger="HighErrorRate",
    value=0.31,
    limit=0.01,
    suspect=V2,
    target=V1,
    checks=(
        MEASURED,
        check("no_recent_release", CheckVerdict.PASSED, Reason.PASSED, value="v2 began 5 min ago", limit="1 h"),
        check(
            "cooldown", CheckVerdict.FAILED, Reason.COOLDOWN, value="the last rollback ended 12 min ago", limit="1 h, until 12:48:00 UTC"
        ),
        check("running_version", CheckVerdict.UNKNOWN, Reason.RUNNING_VERSION_UNKNOWN, value="the probe did not answer"),
    ),
)

ATTEMPTS = (
    Attempt(
        id="attempt-1",
        incident_id="20260131-120000-7f3a",
        step_index=0,
        step_name="deploy the target image",
        number=1,
        argv=("deploy", "--image", "shop:v1"),
        status=AttemptStatus.FAILED,
        intended_at=after(0.6),
        started_at=after(0.7),
        ended_at=after(2),
        exit_code=3,
        output="no route to the registry\n",
        detail="exit 3",
    ),
    Attempt(
        id="attempt-2",
        incident_id="20260131-120000-7f3a",
        step_index=0,
        step_name="deploy the target image",
        number=2,
        argv=("deploy", "--image", "shop:v1"),
        status=AttemptStatus.SUCCEEDED,
        intended_at=after(2.1),
        started_at=after(2.2),
        ended_at=after(6.3),
        exit_code=0,
        output="deployed shop:v1\n",
    ),
    Attempt(
        id="attempt-3",
        incident_id="20260131-120000-7f3a",
        step_index=1,
        step_name="healthy again",
        number=1,
        argv=(),
        status=AttemptStatus.SUCCEEDED,
        intended_at=after(6.4),
        started_at=after(6.4),
        ended_at=after(13),
        detail="answered 200",
    ),
)


def look(seconds: float, value: float | None) -> Look:
    met = ObjectiveVerdict.UNKNOWN if value is None else ObjectiveVerdict.MET if value < 0.005 else ObjectiveVerdict.MISSED
    verdict = Verdict.UNKNOWN if value is None else Verdict.BREACHED if value > 0.01 else Verdict.HEALTHY
    reason = Reason.NO_SERIES if value is None else None
    return Look(
        at=after(seconds),
        objectives=(ObjectiveLook(name="error_rate", indicator="error_rate", verdict=met, value=value, limit="< 0.005", reason=reason),),
        triggers=(
            TriggerLook(
                name="HighErrorRate",
                indicator="error_rate",
                verdict=verdict,
                value=value,
                limit="> 0.01",
                clear=met == "met",
                reason=reason,
            ),
        ),
    )


LOOKS = (look(88, 0.2), look(103, None), look(118, 0.04), look(133, 0.002), look(148, 0.0011))

TIMELINE = (
    TimelineEntry(seq=1, incident_id="20260131-120000-7f3a", at=NOW, kind="alert", text="HighErrorRate firing", data={"status": "firing"}),
    TimelineEntry(
        seq=2, incident_id="20260131-120000-7f3a", at=after(0.4), kind="decision", text="roll back v2 to v1", data={"action": "roll_back"}
    ),
    TimelineEntry(seq=3, incident_id="20260131-120000-7f3a", at=after(253), kind="phase", text="checkout: recovered", data={}),
)
