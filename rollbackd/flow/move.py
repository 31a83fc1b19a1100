"""What a station makes of an incident: where it goes next, as a value. The conductor carries it out, in one transaction."""

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Self

from rollbackd.model.decision import Decision
from rollbackd.model.incident import Event, Incident, Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """`incident` has everything written on it but its phase. Without an event it stays in its phase, and is looked at again
    after `then_wait`, or sooner when its bell rings.
    """

    incident: Incident
    event: Event | None = None
    decision: Decision | None = None
    then_wait: timedelta = timedelta(0)

    @classmethod
    def to(cls, event: Event, incident: Incident, decision: Decision | None = None) -> Self:
        return cls(incident=incident, event=event, decision=decision)

    @classmethod
    def close(cls, incident: Incident, outcome: Outcome, decision: Decision | None = None) -> Self:
        return cls(incident=replace(incident, outcome=outcome), event=Event.CLOSE, decision=decision)

    @classmethod
    def stay(cls, incident: Incident, decision: Decision | None = None, *, then_wait: timedelta = timedelta(0)) -> Self:
        return cls(incident=incident, decision=decision, then_wait=then_wait)
