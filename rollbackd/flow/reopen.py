"""A held incident is judged again when a release or a change is recorded while its alert still fires: CI often records at the end."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from rollbackd.clock import Clock, rfc3339
from rollbackd.flow.conductor import Conductor
from rollbackd.model.change import Change
from rollbackd.model.incident import Event, Incident, Outcome, Phase
from rollbackd.model.policy import CommandSource, ServicePolicy
from rollbackd.releases.sources import Sources
from rollbackd.store.incidents import ConflictError
from rollbackd.store.store import Store
from rollbackd.store.timeline import NewEntry

AT_MOST: Final = timedelta(hours=24)
_HELD_AT_MOST: Final = 10  # that are looked at; more alerts of one service in a day say nothing new


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
        await self._judge_with(service, NewEntry("release", "a release was recorded"))

    async def change_recorded(self, change: Change) -> None:
        data = {"kind": change.kind, "what": change.what, "at": rfc3339(change.at), "by": change.by}
        await self._judge_with(change.service, NewEntry("change", f"a change was recorded: {change.kind}: {change.what}", data))

    async def sweep(self) -> None:
        """Ask the release sources of services that were held and still fire; what reports by itself needs no sweep."""
        for policy in self._services.values():
            if isinstance(policy.releases, CommandSource) and await self._held(policy.name) is not None:
                refreshed = await self._sources.refresh(policy)
                if refreshed.learned:
                    await self.release_recorded(policy.name)

    async def _judge_with(self, service: str, entry: NewEntry) -> None:
        """Have the open incident of the service judged with it, or re-open the last one that was held and is still about the present.

        Written onto the incident in both cases: a decision that was made without knowing of it cannot be saved any more.
        """
        while True:
            found = await self._store.incidents.open_of(service) or await self._held(service)
            if found is None:
                return
            again = found
            if found.phase is Phase.CLOSED:
                now = self._clock.now()
                again = found.after(Event.REOPEN, outcome=None, closed_at=None, told_at=None, judging_since=now, healthy_looks=0)
            try:
                await self._store.incidents.save(found, again, entries=(entry,))
            except ConflictError:
                continue  # it has moved, or a new one was opened: look again which one this is about
            self._conductor.go_on(found.id)
            return

    async def _held(self, service: str) -> Incident | None:
        """The newest that was held, not long ago, and whose alert still fires."""
        held = await self._store.incidents.page(service=service, outcome=Outcome.HELD, limit=_HELD_AT_MOST)
        for incident in held.items:
            if self._clock.now() - incident.opened_at > AT_MOST:
                break
            if incident.fingerprint is None or incident.starts_at is None:
                continue
            if await self._store.alerts.still_firing(incident.fingerprint, incident.starts_at):
                return incident
        return None
