"""A held incident is judged again when a release is recorded while its alert still fires: CI often records at the end."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from rollbackd.clock import Clock
from rollbackd.flow.conductor import Conductor
from rollbackd.model.incident import Event, Incident, Outcome, Phase
from rollbackd.model.policy import CommandSource, ServicePolicy
from rollbackd.releases.sources import Sources
from rollbackd.store.incidents import ConflictError
from rollbackd.store.store import Store
from rollbackd.store.timeline import NewEntry

AT_MOST: Final = timedelta(hours=24)


class Reopen:
    def __init__(
        self, *, services: Mapping[str, ServicePolicy], store: Store, sources: Sources, conductor: Conductor, clock: Clock
    ) -> None:
        self._services = services
        self._store = store
        self._sources = sources
        self._conductor = conductor
        self._clock = clock

    async def release_recorded(self, service: str) -> None:
        """Wake the open incident of the service, or re-open its last one where that is still about the present."""
        current = await self._store.incidents.open_of(service)
        if current is not None:
            self._conductor.go_on(current.id)
            return
        held = await self._still_firing(service)
        if held is None:
            return
        now = self._clock.now()
        again = held.after(Event.REOPEN, outcome=None, closed_at=None, told_at=None, judging_since=now, healthy_looks=0)
        try:
            await self._store.incidents.save(held, again, entries=(NewEntry("phase", "a release was recorded: judging again", {}),))
        except ConflictError:
            return  # somebody else re-opened it, or a new incident was opened meanwhile
        self._conductor.go_on(held.id)

    async def sweep(self) -> None:
        """Ask the release sources of services that were held and still fire; what reports by itself needs no sweep."""
        for policy in self._services.values():
            if isinstance(policy.releases, CommandSource) and await self._still_firing(policy.name) is not None:
                refreshed = await self._sources.refresh(policy)
                if refreshed.learned:
                    await self.release_recorded(policy.name)

    async def _still_firing(self, service: str) -> Incident | None:
        latest = await self._store.incidents.latest_of(service)
        if latest is None or latest.phase is not Phase.CLOSED or latest.outcome is not Outcome.HELD:
            return None
        if latest.closed_at is None or self._clock.now() - latest.closed_at > AT_MOST:
            return None
        if latest.fingerprint is None or latest.starts_at is None:
            return None
        return latest if await self._store.alerts.still_firing(latest.fingerprint, latest.starts_at) else None
