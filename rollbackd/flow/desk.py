"""What all that a person may do has in common: it is refused with a reason or done completely, and stands in the audit either way."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, replace
from typing import Final

from rollbackd.clock import Clock
from rollbackd.errors import NotFoundError, RefusedError
from rollbackd.flow.conductor import Conductor
from rollbackd.model.audit import AuditEntry, Caller
from rollbackd.model.incident import Event, Incident, TransitionError
from rollbackd.model.policy import ServicePolicy
from rollbackd.model.reason import Reason
from rollbackd.store.incidents import ConflictError
from rollbackd.store.store import Store
from rollbackd.store.timeline import NewEntry

GLOBAL: Final = "global"
Word = Callable[[Incident], Awaitable[Incident]]
"""What a person says about an incident: as it stands in, as it is wanted out. Raises RefusedError."""


class Desk:
    def __init__(self, *, services: Mapping[str, ServicePolicy], store: Store, conductor: Conductor, clock: Clock) -> None:
        self._services = services
        self._store = store
        self._conductor = conductor
        self._clock = clock

    def policy(self, service: str) -> ServicePolicy:
        try:
            return self._services[service]
        except KeyError:
            raise NotFoundError(f"no service {service!r} in the config: 'rollbackd status' lists them") from None

    def entry(self, by: Caller, action: str, subject: str, reason: str = "") -> AuditEntry:
        return AuditEntry(self._clock.now(), by.name, action, subject, reason, by.remote)

    @asynccontextmanager
    async def audited(self, by: Caller, action: str, subject: str, reason: str = "") -> AsyncIterator[AuditEntry]:
        """The entry for what is asked, to be written with what is done; what is refused inside is written here."""
        entry = self.entry(by, action, subject, reason)
        try:
            yield entry
        except RefusedError as refusal:
            await self._store.audit.append(**asdict(replace(entry, result=refusal.reason)))
            raise

    async def change(self, incident_id: str, word: Word, audited: AuditEntry) -> Incident:
        """Write a person's decision onto the incident as it stands, with its entry in the audit, and wake its task."""
        who, did, why = audited.person, audited.action, audited.reason
        while True:
            incident = await self._store.incidents.get(incident_id)
            try:
                changed = await word(incident)
            except TransitionError as e:
                raise RefusedError(str(e), reason=incident.phase) from e
            entry = NewEntry("person", f"{did} by {who}" + (f": {why}" if why else ""), {"person": who, "did": did, "reason": why})
            try:
                saved = await self._store.incidents.save(incident, changed, entries=(entry,), audited=audited)
            except ConflictError:
                continue
            self._conductor.go_on(incident_id)
            return saved

    async def begun(self, incident: Incident, event: Event) -> Incident:
        """The incident at the begin of a rollback that a person asked for; what an earlier one left on it does not count for this one.

        Its steps are numbered behind those that were attempted before: a person has looked at those.
        """
        attempts = await self._store.attempts.of_incident(incident.id)
        return incident.after(
            event,
            detail="",
            abort_reason=None,
            first_step=max((attempt.step_index + 1 for attempt in attempts), default=0),
            rollback_started_at=self._clock.now(),
            rollback_ended_at=None,
        )

    async def refuse_while_paused(self, service: str) -> None:
        pause = await self._store.pauses.facts(service, self._clock.now())
        if pause.paused:
            raise RefusedError(f"{pause.scope} is paused ({pause.why}): resume first", reason=Reason.PAUSED)
