"""What a report states, gathered and derived from the records of one incident. Pure, and without words: those are the template's.

An unknown or missing check is never reported as passed (I15).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Final

from rollbackd.model.alert import AlertEvent, AlertStatus
from rollbackd.model.attempt import Attempt, AttemptStatus
from rollbackd.model.change import Change
from rollbackd.model.decision import Action, Check, CheckVerdict, Decision
from rollbackd.model.incident import Incident, Outcome, TimelineEntry
from rollbackd.model.look import Look, ObjectiveVerdict
from rollbackd.model.measurement import Verdict
from rollbackd.model.policy import ServicePolicy
from rollbackd.model.reason import Reason
from rollbackd.model.runbook import Verify, Wait
from rollbackd.settings.effective import Contact

BUDGETS: Final[Mapping[str, timedelta]] = MappingProxyType({
    "assess": timedelta(minutes=2),
    "plan": timedelta(minutes=3),
    "execute": timedelta(minutes=10),
    "verify": timedelta(minutes=5),
    "notify": timedelta(minutes=2),
})  # fmt: skip
"""The phases of the seed's runbook, and the most that each may take by it."""

_OF_OBJECTIVE: Final = {
    ObjectiveVerdict.MET: CheckVerdict.PASSED,
    ObjectiveVerdict.MISSED: CheckVerdict.FAILED,
    ObjectiveVerdict.UNKNOWN: CheckVerdict.UNKNOWN,
}
_OF_TRIGGER: Final = {
    Verdict.HEALTHY: CheckVerdict.PASSED,
    Verdict.BREACHED: CheckVerdict.FAILED,
    Verdict.UNKNOWN: CheckVerdict.UNKNOWN,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseTime:
    """How long a phase took beside its budget; `spent` is None for one that was not reached, or is not over."""

    name: str
    budget: timedelta
    spent: timedelta | None

    @property
    def is_over_budget(self) -> bool:
        return self.spent is not None and self.spent > self.budget


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """One of the four lines of the seed's report; `details` names what did not pass."""

    name: str
    verdict: CheckVerdict
    details: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchLine:
    """One objective or trigger over the whole watch. `good` of `looks` looks found it met, or not breached."""

    kind: str
    name: str
    limit: str
    first: float | None
    last: float | None
    verdict: CheckVerdict
    reason: Reason | None
    good: int
    looks: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Everything that is known of one incident at `made_at`."""

    incident: Incident
    policy: ServicePolicy
    made_at: datetime
    decision: Decision | None = None
    changes: tuple[Change, ...] = ()  # newest first; those before the incident that could have caused it
    attempts: tuple[Attempt, ...] = ()
    looks: tuple[Look, ...] = ()
    alerts: tuple[AlertEvent, ...] = ()
    timeline: tuple[TimelineEntry, ...] = ()
    contacts: tuple[Contact, ...] = ()

    @property
    def was_run(self) -> bool:
        return self.incident.rollback_started_at is not None

    @property
    def ended_at(self) -> datetime | None:
        """When the runbook ended, well or not."""
        return (self.incident.rollback_ended_at or self.incident.closed_at) if self.was_run else None

    @property
    def deciding_check(self) -> Check | None:
        """The check that stood in the way; None when nothing did."""
        if self.decision is None or self.decision.action is Action.ROLL_BACK:
            return None
        in_the_way = [each for each in self.decision.checks if each.verdict in {CheckVerdict.FAILED, CheckVerdict.UNKNOWN}]
        of_the_reason = (each for each in in_the_way if each.reason is self.decision.reason)
        return next(of_the_reason, in_the_way[0] if in_the_way else None)

    @property
    def calm_since(self) -> datetime | None:
        """From when on no trigger was breached and none unknown; None: that is not so at the last look."""
        calm = None
        for look in reversed(self.looks):
            if not look.triggers or any(each.clear is None or each.verdict is Verdict.BREACHED for each in look.triggers):
                break
            calm = look.at
        return calm

    @property
    def impact_ended_at(self) -> datetime | None:
        return self.calm_since if self.incident.outcome in {Outcome.RECOVERED, Outcome.IMPROVED} else None

    @property
    def still_firing(self) -> tuple[AlertEvent, ...]:
        """The newest event of each alert that was not resolved yet."""
        newest = {(each.fingerprint, each.starts_at): each for each in sorted(self.alerts, key=_by_state)}
        return tuple(each for each in newest.values() if each.status is AlertStatus.FIRING)

    @property
    def phases(self) -> tuple[PhaseTime, ...]:
        incident = self.incident
        settled = min(
            filter(None, (incident.proposed_at, incident.escalated_at, incident.rollback_started_at, incident.closed_at)), default=None
        )
        assessed = min(filter(None, (incident.decided_at, settled)), default=None) if settled is not None else None
        spans = {
            "assess": (incident.opened_at, assessed),
            "plan": (assessed, incident.rollback_started_at),
            "execute": (incident.rollback_started_at, self.ended_at),
            "verify": (incident.rollback_ended_at, incident.closed_at),
            "notify": (incident.closed_at, incident.told_at),
        }
        return tuple(PhaseTime(name=name, budget=budget, spent=_between(*spans[name])) for name, budget in BUDGETS.items())

    @property
    def verifications(self) -> tuple[Verification, ...]:
        return (
            self._functional(),
            _of_lines("performance", [each for each in self.watch_lines if each.kind == "objective"]),
            Verification(name="security", verdict=CheckVerdict.NOT_EVALUATED),
            self._monitoring(),
        )

    @property
    def watch_lines(self) -> tuple[WatchLine, ...]:
        """Objectives first, in the order of the config."""
        rows: dict[tuple[str, str], list[tuple[str, float | None, CheckVerdict, Reason | None, bool]]] = {}
        for look in self.looks:
            for goal in look.objectives:
                verdict = _OF_OBJECTIVE[goal.verdict]
                seen = (goal.limit, goal.value, verdict, goal.reason, verdict is CheckVerdict.PASSED)
                rows.setdefault(("objective", goal.name), []).append(seen)
            for trigger in look.triggers:
                calm = trigger.clear is not None and trigger.verdict is not Verdict.BREACHED
                measured = (trigger.limit, trigger.value, _OF_TRIGGER[trigger.verdict], trigger.reason, calm)
                rows.setdefault(("trigger", trigger.name), []).append(measured)
        lines = (
            WatchLine(
                kind=kind,
                name=name,
                limit=seen[-1][0],
                first=seen[0][1],
                last=seen[-1][1],
                verdict=seen[-1][2],
                reason=seen[-1][3],
                good=sum(good for *_, good in seen),
                looks=len(seen),
            )
            for (kind, name), seen in rows.items()
        )
        return tuple(sorted(lines, key=lambda line: line.kind))

    def _functional(self) -> Verification:
        """The runbook's own checks: its steps that verify, or wait for something to hold."""
        steps = self.policy.runbook.steps if self.policy.runbook is not None else ()
        checks = [step.name for step in steps if isinstance(step.action, Verify | Wait)]
        last = {each.step_name: each for each in self.attempts}
        made = [last[name] for name in checks if name in last]
        if not checks or not made:
            return Verification(name="functional", verdict=CheckVerdict.NOT_EVALUATED if checks else CheckVerdict.NOT_APPLICABLE)
        verdicts = [_of_attempt(each) for each in made] + [CheckVerdict.UNKNOWN] * (len(checks) - len(made))
        details = tuple(f"{each.step_name}: {each.detail or each.status}" for each in made if each.status is not AttemptStatus.SUCCEEDED)
        return Verification(name="functional", verdict=_worst(verdicts), details=details)

    def _monitoring(self) -> Verification:
        """The triggers, and the alerts: one that is not resolved yet may only be late, so it is unknown rather than failed."""
        of_triggers = _of_lines("monitoring", [each for each in self.watch_lines if each.kind == "trigger"])
        firing = tuple(each.name for each in self.still_firing)
        if not firing or of_triggers.verdict is not CheckVerdict.PASSED:
            return of_triggers
        return Verification(name="monitoring", verdict=CheckVerdict.UNKNOWN, details=firing)


def _by_state(event: AlertEvent) -> tuple[datetime, bool]:
    """In order of arrival; a resolved that arrives together with its firing is the newer."""
    return event.received_at, event.status is AlertStatus.RESOLVED


def _between(begin: datetime | None, end: datetime | None) -> timedelta | None:
    return None if begin is None or end is None else max(end - begin, timedelta(0))


def _of_attempt(attempt: Attempt) -> CheckVerdict:
    match attempt.status:
        case AttemptStatus.SUCCEEDED:
            return CheckVerdict.PASSED
        case AttemptStatus.FAILED | AttemptStatus.TIMED_OUT:
            return CheckVerdict.FAILED
        case _:
            return CheckVerdict.UNKNOWN


def _of_lines(name: str, lines: list[WatchLine]) -> Verification:
    if not lines:
        return Verification(name=name, verdict=CheckVerdict.NOT_EVALUATED)
    details = tuple(line.name for line in lines if line.verdict is not CheckVerdict.PASSED)
    return Verification(name=name, verdict=_worst(line.verdict for line in lines), details=details)


def _worst(verdicts: Iterable[CheckVerdict]) -> CheckVerdict:
    found = set(verdicts)
    return next((each for each in (CheckVerdict.FAILED, CheckVerdict.UNKNOWN) if each in found), CheckVerdict.PASSED)
