"""Wakes the task of one incident early: for a decision by a person, or a release that was recorded."""

import asyncio
from collections import defaultdict
from datetime import timedelta


class Bell:
    def __init__(self) -> None:
        self._rung: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)

    def ring(self, incident_id: str) -> None:
        self._rung[incident_id].set()

    async def wait(self, incident_id: str, at_most: timedelta) -> bool:
        """True when rung, also when that was before the wait began; False when the time was over."""
        event = self._rung[incident_id]
        try:
            async with asyncio.timeout(max(at_most.total_seconds(), 0.0)):
                await event.wait()
        except TimeoutError:
            return False
        event.clear()
        return True

    def has_rung(self, incident_id: str) -> bool:
        """Whether somebody rang whom nobody has heard; asking is hearing."""
        event = self._rung[incident_id]
        rung = event.is_set()
        event.clear()
        return rung

    def forget(self, incident_id: str) -> None:
        self._rung.pop(incident_id, None)
