"""Turns the words of `model` into the JSON of the API. Pure: the same record always becomes the same text."""

import shlex
from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING

from rollbackd.clock import rfc3339
from rollbackd.model.attempt import Attempt
from rollbackd.model.audit import AuditEntry
from rollbackd.model.change import Change
from rollbackd.model.decision import Check, Decision, PauseFacts
from rollbackd.model.incident import Incident, TimelineEntry
from rollbackd.model.look import Look, ObjectiveLook, TriggerLook
from rollbackd.model.plan import Plan
from rollbackd.model.policy import ServicePolicy
from rollbackd.model.readiness import Readiness
from rollbackd.model.release import Release, ReleaseStatus
from rollbackd.model.runbook import HttpAsk, Manual, Probe, PromqlAsk, Request, Run, RunAsk, Step, Verify, Wait
from rollbackd.web import readiness, why
from rollbackd.web.shapes import (
    AttemptOutput,
    AttemptShape,
    AuditShape,
    ChangeShape,
    CheckShape,
    ConfigShape,
    DeliveryShape,
    EntryShape,
    IncidentInList,
    IncidentRecord,
    IncidentShape,
    LookShape,
    MeasureShape,
    PauseShape,
    PlanShape,
    ReleaseShape,
    ServiceShape,
    StatusShape,
    StepShape,
)

if TYPE_CHECKING:
    from rollbackd.flow.courier import Delivery
    from rollbackd.web.deps import DaemonStatus  # at run time it would bring the whole daemon into a room of pure functions


def incident(one: Incident, decision: Decision | None) -> IncidentShape:
    return {
        "id": one.id,
        "service": one.service,
        "trigger": one.trigger,
        "alertname": one.alertname,
        "phase": one.phase,
        "decision": one.decision,
        "reason": one.reason,
        "blame": one.blame,
        "outcome": one.outcome,
        "mode": one.mode,
        "why": why.sentence(one, decision),
        "detail": one.detail,
        "opened_at": rfc3339(one.opened_at),
        "starts_at": _time(one.starts_at),
        "delivered_at": _time(one.delivered_at),
        "onset": _time(one.onset),
        "decided_at": _time(one.decided_at),
        "proposed_at": _time(one.proposed_at),
        "escalated_at": _time(one.escalated_at),
        "rollback_started_at": _time(one.rollback_started_at),
        "rollback_ended_at": _time(one.rollback_ended_at),
        "closed_at": _time(one.closed_at),
        "suspect": one.suspect,
        "target": one.target,
        "runbook": one.runbook,
        "restores": one.restores,
        "plan": one.plan,
        "value": one.decision_value,
        "abort_reason": one.abort_reason,
        "acknowledged_by": one.acknowledged_by,
        "requested_by": one.requested_by,
        "request_reason": one.request_reason,
        "reason_code": one.reason_code,
    }


def listed(one: Incident, attempts: Iterable[Attempt]) -> IncidentInList:
    return {**incident(one, None), "attempts": [attempt(tried) for tried in attempts]}


def record(
    one: Incident, *, decision: Decision | None, attempts: Iterable[Attempt], looks: Iterable[Look], timeline: Iterable[TimelineEntry]
) -> IncidentRecord:
    deciding = why.deciding(decision) if decision is not None else None
    return {
        **incident(one, decision),
        "attempts": [attempt_output(tried) for tried in attempts],
        "deciding": deciding.name if deciding is not None else None,
        "nearest": (decision.nearest or None) if decision is not None else None,
        "checks": [check(line) for line in decision.checks] if decision is not None else [],
        "looks": [look(taken) for taken in looks],
        "timeline": [entry(line) for line in timeline],
    }


def check(line: Check) -> CheckShape:
    return {
        "name": line.name,
        "verdict": line.verdict,
        "reason": line.reason,
        "query": line.query,
        "value": line.value,
        "limit": line.limit,
        "sample_time": _time(line.sample_time),
        "at": rfc3339(line.at),
    }


def attempt(tried: Attempt) -> AttemptShape:
    return {
        "id": tried.id,
        "step": tried.step_name,
        "step_index": tried.step_index,
        "number": tried.number,
        "argv": list(tried.argv),
        "request": tried.request,
        "status": tried.status,
        "detail": tried.detail,
        "exit_code": tried.exit_code,
        "signal": tried.signal,
        "intended_at": rfc3339(tried.intended_at),
        "started_at": _time(tried.started_at),
        "ended_at": _time(tried.ended_at),
    }


def attempt_output(tried: Attempt) -> AttemptOutput:
    return {**attempt(tried), "output": tried.output}


def look(taken: Look) -> LookShape:
    return {
        "at": rfc3339(taken.at),
        "objectives": [_measure(one) for one in taken.objectives],
        "triggers": [_measure(one) for one in taken.triggers],
    }


def entry(line: TimelineEntry) -> EntryShape:
    return {
        "seq": line.seq,
        "incident": line.incident_id,
        "at": rfc3339(line.at),
        "kind": line.kind,
        "text": line.text,
        "data": dict(line.data),
    }


def release(one: Release) -> ReleaseShape:
    return {
        "service": one.service,
        "version": one.version,
        "artifact": one.artifact,
        "started_at": rfc3339(one.started_at),
        "live_at": _time(one.live_at),
        "status": one.status,
        "kind": one.kind,
        "mark": one.mark,
        "mark_reason": one.mark_reason,
        "group": one.group,
        "irreversible": one.irreversible,
        "schema": one.schema,
        "schema_compatible": one.schema_compatible,
        "source": one.source,
    }


def change(one: Change) -> ChangeShape:
    return {"service": one.service, "kind": one.kind, "what": one.what, "at": rfc3339(one.at), "by": one.by}


def audited(one: AuditEntry) -> AuditShape:
    return {
        "at": rfc3339(one.at),
        "person": one.person,
        "remote": one.remote,
        "action": one.action,
        "subject": one.subject,
        "reason": one.reason,
        "result": one.result,
    }


def plan(made: Plan) -> PlanShape:
    return {
        "service": made.service,
        "runbook": made.runbook,
        "current": {"version": made.current_version, "artifact": made.current_artifact},
        "target": {"version": made.target_version, "artifact": made.target_artifact},
        "steps": [step(one) for one in made.steps],
        "digest": made.digest,
        "kind": made.kind,
        "restores": made.restores,
        "destroys": list(made.destroys),
        "confirm": made.confirm,
    }


def step(one: Step) -> StepShape:
    """What it does, in lines for a person; for a command exactly the argv, quoted as a shell would need it."""
    kind, argv, lines = _does(one)
    return {"name": one.name, "kind": kind, "argv": list(argv), "text": lines, "timeout": one.timeout.total_seconds()}


def question(probe: Probe) -> str:
    """One probe in words: what is asked, and the answer that is hoped for."""
    expectations = (
        f"equals {probe.equals}" if probe.equals is not None else "",
        f"answers {' or '.join(map(str, probe.status))}" if probe.status else "",
        f"exits with {probe.exit_code}" if probe.exit_code is not None else "",
        f"is {probe.satisfies}" if probe.satisfies is not None else "",
    )
    return " ".join(part for part in (f"{probe.name}:" if probe.name else "", _asked(probe), *expectations) if part)


def _does(one: Step) -> tuple[str, tuple[str, ...], list[str]]:
    match one.action:
        case Run(argv=argv):
            return "run", argv, [shlex.join(argv)]
        case Request(method=method, url=url, json=json):
            return "http", (), [f"{method} {url}", *([json] if json is not None else [])]
        case Wait(until=until):
            return "wait", (), [f"until {question(until)}"]
        case Manual(text=text):
            return "manual", (), [text]
        case Verify(checks=checks):
            return "verify", (), [question(check) for check in checks]


def _asked(probe: Probe) -> str:
    match probe.ask:
        case RunAsk(argv=argv):
            return shlex.join(argv)
        case HttpAsk(url=url):
            return f"GET {url}"
        case PromqlAsk(query=query):
            return query


def pause(facts: PauseFacts) -> PauseShape:
    return {"scope": facts.scope, "paused": facts.paused, "until": _time(facts.until), "why": facts.why}


def service(
    policy: ServicePolicy, *, pause_facts: PauseFacts, open_incident: Incident | None, releases: Iterable[Release], ready: Readiness
) -> ServiceShape:
    live = next((one.version for one in releases if one.status is ReleaseStatus.LIVE), None)
    return {
        "name": policy.name,
        "mode": policy.mode,
        "runbook": policy.runbook.name if policy.runbook is not None else None,
        "triggers": [trigger.name for trigger in policy.triggers],
        "objectives": [objective.name for objective in policy.objectives],
        "pause": pause(pause_facts),
        "incident": open_incident.id if open_incident is not None else None,
        "live": live,
        "readiness": readiness.summary(ready),
    }


def status(
    daemon: "DaemonStatus",
    in_use: ConfigShape,
    opened: Iterable[Incident],
    pauses: Iterable[PauseFacts],
    ready: Iterable[Readiness],
    *,
    deliveries: Iterable["Delivery"],
) -> StatusShape:
    summaries = [readiness.summary(one) for one in ready]
    return {
        "version": daemon.version,
        "started_at": rfc3339(daemon.started_at),
        "ready": daemon.ready,
        "why_not": daemon.why_not,
        "clock_ahead_seconds": daemon.clock_ahead.total_seconds(),
        "services": len(summaries),
        "config": in_use,
        "incidents_open": [incident(one, None) for one in opened],
        "pauses": [pause(one) for one in pauses],
        "readiness": summaries,
        "notify": [delivery(one) for one in deliveries],
    }


def delivery(one: "Delivery") -> DeliveryShape:
    return {
        "channel": one.channel,
        "waiting": one.waiting,
        "oldest": _time(one.oldest),
        "delivered_at": _time(one.delivered_at),
        "error": one.error,
    }


def _measure(one: ObjectiveLook | TriggerLook) -> MeasureShape:
    return {
        "name": one.name,
        "indicator": one.indicator,
        "verdict": one.verdict,
        "value": one.value,
        "limit": one.limit,
        "reason": one.reason,
    }


def _time(instant: datetime | None) -> str | None:
    return None if instant is None else rfc3339(instant)
