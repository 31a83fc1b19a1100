"""Says what happens to an incident, everywhere that it is said: timeline, log, metrics, people, report."""

from collections.abc import Iterable
from typing import Final

import structlog

from rollbackd.clock import Clock
from rollbackd.flow.move import Move
from rollbackd.flow.reporting import Reporting
from rollbackd.model.attempt import Attempt
from rollbackd.model.decision import Action, Decision
from rollbackd.model.incident import SEVERITIES, Incident, Outcome, Phase, Severity
from rollbackd.notify.teller import Teller
from rollbackd.store.timeline import NewEntry
from rollbackd.telemetry.metrics import Metrics

_log: Final = structlog.get_logger("incident")


class Story:
    def __init__(self, *, metrics: Metrics, teller: Teller, reporting: Reporting, clock: Clock) -> None:
        self._metrics = metrics
        self._teller = teller
        self._reporting = reporting
        self._clock = clock

    def going_on(self, incidents: int) -> None:
        """How many incidents somebody is busy with."""
        self._metrics.incidents_open(incidents)

    def entries(self, before: Incident, after: Incident, move: Move) -> tuple[NewEntry, ...]:
        """The lines of the timeline that belong into the same transaction as the move."""
        lines = []
        if move.decision is not None and (after.decision, after.reason) != (before.decision, before.reason):
            lines.append(NewEntry("decision", sentence(move.decision), {"action": move.decision.action, "reason": move.decision.reason}))
        if after.phase is not before.phase:
            data = {"from": before.phase, "to": after.phase, "outcome": after.outcome, "reason": after.reason}
            lines.append(NewEntry("phase", phase_sentence(after), data))
        if after.reminded_at not in {None, before.reminded_at}:
            lines.append(NewEntry("reminder", phase_sentence(after), {"reason": after.reason}))
        if after.told_with is not None and lines:
            text = f"people were told of the fleet brake with {after.told_with}, and are not told again"
            lines.append(NewEntry("notice", text, {"told_with": after.told_with}))
        return tuple(lines)

    async def stands(self, before: Incident | None, now: Incident) -> None:
        """After the commit: tell the log and the metrics and, where a person is asked, the people.

        `before` is None when this process sees the incident for the first time. After a restart people are told again: nobody knows
        whether the last process came to it.
        """
        _log.info(
            "incident_moved" if before else "incident_taken_up",
            service=now.service,
            trigger=now.trigger,
            phase=now.phase,
            was=before.phase if before else None,
            decision=now.decision,
            reason=now.reason,
            outcome=now.outcome,
            suspect=now.suspect,
            target=now.target,
            detail=now.detail or None,
        )
        if before is not None and now.phase is Phase.ROLLING_BACK and now.delivered_at is not None:
            self._metrics.acted((self._clock.now() - now.delivered_at).total_seconds())
        if now.phase in {Phase.PROPOSED, Phase.ESCALATED} and now.told_with is None:
            await self._teller.tell(now, Severity.WARNING, phase_sentence(now))
        elif now.phase is Phase.ROLLING_BACK:
            await self._teller.tell(now, Severity.INFO, phase_sentence(now))

    async def closed(self, incident: Incident, *, with_report: bool) -> None:
        """The last word on an incident; said again after a crash, with the same id, rather than never.

        Without its report when that cannot be made: that people hear of the end matters more.
        """
        if incident.outcome is None:
            raise AssertionError(f"incident {incident.id} is closed without an outcome")
        if with_report:
            self._reporting.write(await self._reporting.facts(incident.id))
        severity = SEVERITIES[incident.outcome] if incident.told_with is None else Severity.INFO
        await self._teller.tell(incident, severity, phase_sentence(incident))

    def count(self, incident: Incident, attempts: Iterable[Attempt]) -> None:
        """An incident that is closed and told, in the figures."""
        for attempt in attempts:
            if attempt.started_at is not None and attempt.ended_at is not None:
                self._metrics.step_ended((attempt.ended_at - attempt.started_at).total_seconds())
        if incident.rollback_started_at is not None and incident.outcome is not None:
            self._metrics.rollback_ended(incident.service, incident.outcome)
        if incident.outcome is Outcome.RECOVERED and incident.onset is not None and incident.closed_at is not None:
            self._metrics.recovered((incident.closed_at - incident.onset).total_seconds())


def sentence(decision: Decision) -> str:
    """The decision in one line, with the number that it rests on."""
    measured = (
        f" ({decision.trigger} {decision.value:.4g}, limit {decision.limit:.4g})" if decision.value is not None and decision.limit else ""
    )
    match decision.action:
        case Action.ROLL_BACK if decision.suspect is not None and decision.target is not None:
            return f"roll back {decision.suspect.version} to {decision.target.version}: {decision.reason}{measured}"
        case _:
            return f"{decision.action.replace('_', ' ')}: {decision.reason}{measured}"


def phase_sentence(incident: Incident) -> str:
    """Where the incident stands, in one line that says what to do where there is something to do."""
    because = incident.detail or incident.reason or ""
    match incident.phase:
        case Phase.PROPOSED:
            question = f"{incident.service}: roll back {incident.suspect} to {incident.target}?"
            return f"{question} ({because}) — approve with 'rollbackd approve {incident.id}'"
        case Phase.ESCALATED:
            return f"{incident.service}: a person is needed ({because}) — see 'rollbackd explain {incident.id}'"
        case Phase.ROLLING_BACK:
            return f"{incident.service}: rolling back {incident.suspect or 'what runs'} to {incident.target}"
        case Phase.WATCHING:
            return f"{incident.service}: {incident.target} is back; watching the objectives"
        case Phase.CLOSED:
            return f"{incident.service}: {incident.outcome}" + (f" ({because})" if because else "")
        case Phase.DECIDING:
            return f"{incident.service}: judging again ({because})"
