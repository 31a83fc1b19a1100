"""A journal in memory, as strict as the store's: one intent per attempt id, one outcome per attempt, in this order."""

from rollbackd.model.attempt import Attempt, AttemptStatus


class MemoryJournal:
    """`written` is every write in its order; `fail` holds the statuses whose write is refused."""

    def __init__(self, *attempts: Attempt) -> None:
        self._attempts = {attempt.id: attempt for attempt in attempts}
        self.written: list[Attempt] = []
        self.fail: dict[AttemptStatus, Exception] = {}

    async def intend(self, attempt: Attempt) -> None:
        assert attempt.status is AttemptStatus.INTENDED
        assert attempt.id not in self._attempts, f"{attempt.id} is executed twice"
        self._write(attempt)

    async def started(self, attempt: Attempt) -> None:
        assert self._attempts[attempt.id].status is AttemptStatus.INTENDED
        self._write(attempt)

    async def ended(self, attempt: Attempt) -> None:
        assert attempt.status.ended
        assert not self._attempts[attempt.id].status.ended, f"{attempt.id} gets a second outcome"
        self._write(attempt)

    async def of_incident(self, incident_id: str) -> tuple[Attempt, ...]:
        return tuple(attempt for attempt in self._attempts.values() if attempt.incident_id == incident_id)

    def statuses(self) -> list[AttemptStatus]:
        """Of every attempt, as it stands, in the order of the intents."""
        return [attempt.status for attempt in self._attempts.values()]

    def last(self) -> Attempt:
        return list(self._attempts.values())[-1]

    def _write(self, attempt: Attempt) -> None:
        if attempt.status in self.fail:
            raise self.fail[attempt.status]
        self._attempts[attempt.id] = attempt
        self.written.append(attempt)
