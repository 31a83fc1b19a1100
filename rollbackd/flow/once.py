"""People hear of a fleet brake once: an incident that it holds and that would ask them lets another one speak, if one has just spoken."""

from dataclasses import dataclass, replace
from datetime import datetime

from rollbackd.flow.move import Move
from rollbackd.model.incident import Event, Incident, Outcome
from rollbackd.model.policy import ServicePolicy
from rollbackd.store.store import Store


@dataclass(frozen=True, slots=True)
class Said:
    """The move, with who speaks written on its incident. `speaks_since`: only if nobody else has spoken since, when it is written."""

    move: Move
    speaks_since: datetime | None = None


async def told_once(store: Store, before: Incident, move: Move, policy: ServicePolicy, now: datetime) -> Said:
    """Asked anew each time that people would be told: whoever spoke before may be closed, and then somebody else has to (I9)."""
    if not _tells_of_brake(before, move):
        return Said(move if move.event is None else replace(move, incident=replace(move.incident, braked=False, told_with=None)))
    since = now - policy.fleet_brake.within
    speaker = await store.fleet.spokesman(since, except_incident=before.id)
    said = replace(move, incident=replace(move.incident, told_with=speaker))
    return Said(said, speaks_since=since if speaker is None else None)


def _tells_of_brake(before: Incident, move: Move) -> bool:
    """Whether people would be told of an incident because it was judged and is held, and not of what became of a rollback."""
    after = move.incident
    match move.event:
        case Event.ESCALATE:
            return after.braked and move.decision is not None
        case Event.CLOSE:
            return after.braked and after.outcome is Outcome.ESCALATED
        case None:
            return after.braked and after.reminded_at != before.reminded_at
        case _:
            return False
