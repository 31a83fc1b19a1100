"""Says what happens to an incident, everywhere that it is said: timeline, log, metrics, people, report."""

from typing import Final

import structlog

from rollbackd.clock import Clock
from rollbackd.flow.move import Move
from rollbackd.flow.reporting import Reporting
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

    def opened(self, incident: Incident) -> None:
        self._metrics.incident_opened()
        _log.info("incident_opened", incident=incident.id, service=incident.service, trigger=incident.trigger, alertname=incident.alertname)

    def entries(self, before: Incident, after: Incident, move: Move) -> tuple[NewEntry, ...]:
        """The lines of the timeline that belong into the same transaction as the move."""
        lines = []
        if move.decision is not None and (after.decision, after.reason) != (before.decision, before.reason):
            lines.append(NewEntry("decision", sentence(move.decision), {"action": move.decision.action, "reason": move.decision.reason}))
        if after.phase is not before.phase:
            data = {"from": before.phase, "to": after.phase, "outcome": after.outcome, "reason": after.reason}
            lines.append(NewEntry("phase", phase_sentence(after), data))
        return tuple(lines)

    async def moved(self, before: Incident, after: Incident) -> None:
        """After the commit: tell the log, the metrics and, where a person is asked, the people."""
        _log.info(
            "incident_moved",
            service=after.service,
            phase=after.phase,
            was=before.phase,
            decision=after.decision,
            reason=after.reason,
            outcome=after.outcome,
            suspect=after.suspect,
            target=after.target,
            detail=after.detail or None,
        )
        if after.phase is Phase.ROLLING_BACK and after.delivered_at is not None:
            self._metrics.acted((self._clock.now() - after.delivered_at).total_seconds())
        if after.phase in {Phase.PROPOSED, Phase.ESCALATED}:
            await self._teller.tell(after, Severity.WARNING, phase_sentence(after))

    async def closed(self, incident: Incident) -> None:
        """The last word on an incident; said again after a crash, with the same id, rather than never."""
        if incident.outcome is None:
            raise AssertionError(f"incident {incident.id} is closed without an outcome")
        self._metrics.incident_closed()
        if incident.rollback_started_at is not None:
            self._metrics.rollback_ended(incident.service, incident.outcome)
        if incident.outcome is Outcome.RECOVERED and incident.onset is not None and incident.closed_at is not None:
            self._metrics.recovered((incident.closed_at - incident.onset).total_seconds())
        facts = await self._reporting.facts(incident.id)
        for attempt in facts.attempts:
            if attempt.started_at is not None and attempt.ended_at is not None:
                self._metrics.step_ended((attempt.ended_at - attempt.started_at).total_seconds())
        self._reporting.write(facts)
        await self._teller.tell(incident, SEVERITIES[incident.outcome], phase_sentence(incident))


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
