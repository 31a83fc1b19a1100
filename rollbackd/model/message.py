"""What people are told: one message for one thing that happened, under an id that is the same however often it is said."""

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Self

from rollbackd.model.decision import Action
from rollbackd.model.incident import Incident, Outcome, Phase, Severity
from rollbackd.model.reason import Reason

_RANKS: Final = {Severity.INFO: 0, Severity.WARNING: 1, Severity.CRITICAL: 2}


class Topic(StrEnum):
    PROPOSED = "proposed"
    ESCALATED = "escalated"
    ROLLING_BACK = "rolling_back"
    CLOSED = "closed"
    BAD_IS_BACK = "bad_is_back"  # what was rolled back runs again
    TEST = "test"


_TOPICS: Final = {
    Phase.PROPOSED: Topic.PROPOSED,
    Phase.ESCALATED: Topic.ESCALATED,
    Phase.ROLLING_BACK: Topic.ROLLING_BACK,
    Phase.CLOSED: Topic.CLOSED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """`text` is one line in English; with the other fields it can be said in another language. A field that is not known is None."""

    id: str
    topic: Topic
    severity: Severity
    text: str
    incident: str | None = None
    service: str | None = None
    trigger: str | None = None
    decision: Action | None = None
    reason: Reason | None = None
    outcome: Outcome | None = None
    suspect: str | None = None
    target: str | None = None
    detail: str = ""
    reminder: bool = False

    @classmethod
    def of(cls, incident: Incident, severity: Severity, text: str, topic: Topic | None = None) -> Self:
        """How the incident stands; or something else about it, `topic`, that happens once to it."""
        topic = topic or _TOPICS[incident.phase]
        moments = {
            Topic.PROPOSED: incident.proposed_at,
            Topic.ESCALATED: incident.escalated_at,
            Topic.ROLLING_BACK: incident.rollback_started_at,
            Topic.CLOSED: incident.closed_at,
        }
        reminded = incident.reminded_at if topic in {Topic.PROPOSED, Topic.ESCALATED} else None
        parts = (incident.id, topic, incident.outcome or "", moments.get(topic) or "", reminded or "")
        return cls(
            id=hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()[:32],
            topic=topic,
            severity=severity,
            text=text,
            incident=incident.id,
            service=incident.service,
            trigger=incident.trigger,
            decision=incident.decision,
            reason=incident.reason,
            outcome=incident.outcome,
            suspect=incident.suspect,
            target=incident.target,
            detail=incident.detail,
            reminder=reminded is not None,
        )

    def is_for(self, min_severity: Severity) -> bool:
        return _RANKS[self.severity] >= _RANKS[min_severity]
