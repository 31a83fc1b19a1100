"""One sentence that says why an incident stands as it does, and which check decided. Pure.

A person reads it first, at night: what was done or not done, then the reason in words, then the number beside its limit.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from rollbackd.decision.record import stands_in_the_way
from rollbackd.model.decision import Action, Check, Decision
from rollbackd.model.incident import Incident, Outcome, Phase
from rollbackd.model.reason import Reason

BECAUSE: Final[Mapping[Reason, str]] = MappingProxyType({
    Reason.BREACH: "the trigger is breached",
    Reason.CLEAR: "the trigger is clear",
    Reason.DEAD_BAND: "the trigger is neither breached nor clear",
    Reason.NO_SERIES: "Prometheus has no series for the trigger",
    Reason.NOT_A_NUMBER: "Prometheus answered with no finite number",
    Reason.SEVERAL_SERIES: "Prometheus answered with several series where one was meant",
    Reason.WARNINGS: "Prometheus answered with warnings, so that its answer may be partial",
    Reason.QUERY_FAILED: "Prometheus could not be asked",
    Reason.STALE_SAMPLES: "the newest sample is too old",
    Reason.THIN_SAMPLES: "too few raw samples stand in the window",
    Reason.CLOCK_SKEW: "the clock of Prometheus differs from this one",
    Reason.LOW_TRAFFIC: "there is too little traffic to judge by",
    Reason.COUNTER_BIRTH: "a counter is too young to tell",
    Reason.NO_BASELINE: "there is no baseline to compare with",
    Reason.NOT_SCRAPED_SINCE_DELIVERY: "nothing was scraped since the alert was delivered",
    Reason.CONFIRMED: "the trigger is confirmed",
    Reason.NOT_CONFIRMED: "the trigger is not confirmed",
    Reason.HEALTHY: "the trigger is healthy",
    Reason.UNKNOWN: "the trigger could not be measured",
    Reason.TO_BLAME: "the release is to blame",
    Reason.BLAME_OFF: "the trigger is confirmed, and blame is off for this service",
    Reason.INCONCLUSIVE: "it cannot be told whether the release is to blame",
    Reason.NO_RECENT_RELEASE: "no recent release of the service stands before the breach",
    Reason.BREACH_PREDATES_RELEASE: "the breach began before the release did",
    Reason.OLD_VERSION_AS_BAD: "the version before it is as bad beside it",
    Reason.LOCALISED: "only one place is broken, and the same version is healthy in the others",
    Reason.RECURRENT: "the same breach stood at this time of an earlier day, under another version",
    Reason.DEPENDENCY_FIRST: "a service that it depends on broke before it, and before the release",
    Reason.PAUSED: "rollbackd is paused",
    Reason.NO_SERVICE: "the alert matches no service",
    Reason.AMBIGUOUS_SERVICE: "the alert matches several services",
    Reason.STALE_ALERT: "the alert was old when it came and does not fire any more",
    Reason.STEP_RUNNING: "a step of this service is running",
    Reason.COOLDOWN: "the service was rolled back a short time ago",
    Reason.BUDGET: "the budget of rollbacks is used up",
    Reason.ROLLBACK_OF_ROLLBACK: "the release is rollbackd's own rollback, and that is never rolled back by itself",
    Reason.FREEZE: "a freeze window stands",
    Reason.FLEET_BRAKE: "several services broke at once without releases of their own, which is no deploy",
    Reason.RELEASE_IN_PROGRESS: "a release is in progress",
    Reason.SETTLING: "rollbackd started a moment ago",
    Reason.NO_ROOM: "the store of rollbackd has no room for the journal of a run",
    Reason.NO_SAFE_TARGET: "there is no release that is safe to go back to",
    Reason.MIGRATION_BARRIER: "an irreversible release stands between this one and the target",
    Reason.CONFIG_ONLY_RELEASE: "the release has the same artifact as the one before, so that code cannot be the cause",
    Reason.RUNNING_VERSION_CHANGED: "another version is running than the one that was judged",
    Reason.RUNNING_VERSION_UNKNOWN: "it is not known which version is running",
    Reason.NOT_APPLICABLE: "nothing had to be checked",
    Reason.PASSED: "every check passed",
    Reason.MANUAL: "a person asked for it",
    Reason.APPROVED: "a person approved",
    Reason.REJECTED: "a person rejected it",
    Reason.EXPIRED: "nobody approved in time",
    Reason.ABORTED: "a person aborted it",
    Reason.STEP_FAILED: "a step failed",
    Reason.STEP_UNCERTAIN: "it is not known whether a step was done",
    Reason.OUTDATED_PLAN: "the plan is no longer the one that was decided on",
    Reason.UNCONFIRMED: "what it destroys was not confirmed",
    Reason.BAD_TARGET: "the target is marked bad, or is the version that is running",
    Reason.GAVE_UP: "it could not be judged in time",
})  # fmt: skip

_OUTCOMES: Final[Mapping[Outcome, str]] = MappingProxyType({
    Outcome.RECOVERED: "{rolled}, and the service recovered",
    Outcome.IMPROVED: "{rolled}, and the service improved without meeting every objective",
    Outcome.NO_EFFECT: "{rolled} without effect, so that the release was probably innocent",
    Outcome.WORSE: "{rolled}, and it became worse",
    Outcome.UNVERIFIED: "{rolled}, but it cannot be told whether that helped",
    Outcome.FAILED: "{run} failed",
    Outcome.ABORTED: "Aborted",
    Outcome.HELD: "Held",
    Outcome.STOOD_DOWN: "Stood down",
    Outcome.OBSERVED: "Only observed: would have rolled back{versions}",
    Outcome.REJECTED: "Rejected",
    Outcome.EXPIRED: "Expired: nobody approved the proposal",
    Outcome.ESCALATED: "Escalated, and nobody took it over",
})  # fmt: skip

_PHASES: Final[Mapping[Phase, str]] = MappingProxyType({
    Phase.DECIDING: "Judging",
    Phase.PROPOSED: "Proposed to roll back{versions}, waiting for a person to approve",
    Phase.ESCALATED: "Escalated, waiting for a person",
    Phase.ROLLING_BACK: "{running}",
    Phase.WATCHING: "{rolled}, watching the objectives",
    Phase.CLOSED: "Closed",
})  # fmt: skip


def sentence(incident: Incident, decision: Decision | None) -> str:
    """Such as `Held: the service was rolled back a short time ago (12 min ago, limit 1 h).`"""
    words = _OUTCOMES[incident.outcome] if incident.outcome is not None else _PHASES[incident.phase]
    versions = "".join(
        f" {preposition} {version}" for preposition, version in (("from", incident.suspect), ("to", incident.target)) if version
    )
    if incident.runbook is not None and incident.target is None:
        head = words.format(rolled=f"Ran {incident.runbook}", running=f"Running {incident.runbook}", run=incident.runbook, versions="")
    else:
        head = words.format(rolled=f"Rolled back{versions}", running=f"Rolling back{versions}", run="The rollback", versions=versions)
    because = _because(incident, decision)
    return f"{head}: {because}." if because else f"{head}."


def deciding(decision: Decision) -> Check | None:
    """The first check that stood in the way; None when the decision is to roll back, as every one let it pass."""
    return None if decision.action is Action.ROLL_BACK else next(filter(stands_in_the_way, decision.checks), None)


def _by_a_person(incident: Incident) -> str:
    """Who wanted it so, and why."""
    who = incident.requested_by or "a person"
    if incident.abort_reason is not None and incident.outcome in {None, Outcome.ABORTED}:
        return (
            f"{'' if incident.outcome else 'stopping before the next step, as '}a person aborted it ({incident.abort_reason.rstrip('.')})"
        )
    match incident.reason:
        case Reason.MANUAL if incident.request_reason and not incident.detail:
            return f"{who} asked for it ({incident.request_reason.rstrip('.')})"
        case Reason.APPROVED if not incident.detail:
            return f"{who} approved"
        case _:
            return ""


def _because(incident: Incident, decision: Decision | None) -> str:
    if person := _by_a_person(incident):
        return person
    if incident.detail:
        return incident.detail.rstrip(".")
    if incident.reason is None:
        return ""
    words = BECAUSE[incident.reason]
    check = deciding(decision) if decision is not None and decision.reason is incident.reason else None
    if check is None:
        return words
    numbers = ", ".join(
        part for part in (check.value or "", f"limit {check.limit}" if check.limit and check.limit != check.value else "") if part
    )
    return f"{words} ({numbers})" if numbers else words
