"""What people may say: approve, reject, abort, acknowledge, tick, pause, resume, and what they record: releases and changes."""

from dataclasses import replace
from datetime import datetime, timedelta

from rollbackd.clock import Clock
from rollbackd.errors import RefusedError
from rollbackd.flow.conductor import Conductor
from rollbackd.flow.desk import GLOBAL, Desk
from rollbackd.flow.reopen import Reopen
from rollbackd.model.audit import Caller
from rollbackd.model.change import Change, ChangeKind
from rollbackd.model.decision import PauseFacts
from rollbackd.model.incident import Event, Incident, Outcome, Phase
from rollbackd.model.reason import Reason
from rollbackd.model.release import Mark, Release, ReleaseStatus
from rollbackd.releases.register import Register, ReleaseReport, check_has_come
from rollbackd.store.store import Store


class Operator:
    def __init__(self, desk: Desk, *, store: Store, register: Register, conductor: Conductor, reopen: Reopen, clock: Clock) -> None:
        self._desk = desk
        self._store = store
        self._register = register
        self._conductor = conductor
        self._reopen = reopen
        self._clock = clock

    async def approve(self, incident_id: str, *, plan: str | None, by: Caller) -> Incident:
        """Run the plan of a proposal or an escalation. Raises RefusedError when `plan` is not the digest of the plan that stands."""

        async def approved(incident: Incident) -> Incident:
            if incident.phase not in {Phase.PROPOSED, Phase.ESCALATED}:
                raise RefusedError(f"incident {incident.id} is {incident.phase}: there is nothing to approve", reason=incident.phase)
            if incident.plan is None:
                raise RefusedError(
                    f"incident {incident.id} has no plan ({incident.reason}): use 'rollbackd rollback {incident.service} --to VERSION'",
                    reason=Reason.NO_SAFE_TARGET,
                )
            if plan is not None and plan != incident.plan:
                raise RefusedError(
                    f"the plan has changed since it was shown: look again with 'rollbackd show {incident.id}'", reason=Reason.OUTDATED_PLAN
                )
            await self._desk.refuse_while_paused(incident.service)
            begun = await self._desk.begun(incident, Event.APPROVE)
            return replace(begun, requested_by=by.name, reason=Reason.APPROVED, while_paused=False)

        async with self._desk.audited(by, "approve", incident_id, f"plan {plan}" if plan else "the plan that stands") as entry:
            return await self._desk.change(incident_id, approved, entry)

    async def reject(self, incident_id: str, *, reason: str, by: Caller) -> Incident:
        async def rejected(incident: Incident) -> Incident:
            if incident.phase not in {Phase.PROPOSED, Phase.ESCALATED, Phase.DECIDING}:
                raise RefusedError(f"incident {incident.id} is {incident.phase}: use 'rollbackd abort' to stop it", reason=incident.phase)
            return incident.after(Event.CLOSE, outcome=Outcome.REJECTED, reason=Reason.REJECTED, closed_at=self._clock.now())

        async with self._desk.audited(by, "reject", incident_id, reason) as entry:
            return await self._desk.change(incident_id, rejected, entry)

    async def abort(self, incident_id: str, *, reason: str, by: Caller) -> Incident:
        """Stop before the next step; before the first one, and in the watch, at once."""

        async def aborted(incident: Incident) -> Incident:
            match incident.phase:
                case Phase.CLOSED:
                    raise RefusedError(f"incident {incident.id} is closed: there is nothing to stop", reason=incident.phase)
                case Phase.ROLLING_BACK:
                    return replace(incident, abort_reason=reason)
                case _:
                    return incident.after(
                        Event.CLOSE, outcome=Outcome.ABORTED, reason=Reason.ABORTED, abort_reason=reason, closed_at=self._clock.now()
                    )

        async with self._desk.audited(by, "abort", incident_id, reason) as entry:
            return await self._desk.change(incident_id, aborted, entry)

    async def acknowledge(self, incident_id: str, *, reason: str, by: Caller) -> Incident:
        """A person has taken note: the cooldown after this incident's rollback is lifted."""

        async def acknowledged(incident: Incident) -> Incident:
            return replace(incident, acknowledged_by=by.name)

        async with self._desk.audited(by, "acknowledge", incident_id, reason) as entry:
            return await self._desk.change(incident_id, acknowledged, entry)

    async def tick(self, incident_id: str, step: str, *, by: Caller) -> Incident:
        """A person has done, or seen, what the step says. `step` is its name or its number, from 1."""

        async def ticked(incident: Incident) -> Incident:
            attempts = await self._store.attempts.of_incident(incident.id)
            waiting = {one.step_index: one.step_name for one in attempts if one.manual and not one.status.ended}
            found = [index for index, name in waiting.items() if step in {name, str(index + 1)}]
            if incident.phase is not Phase.ROLLING_BACK or not found:
                lines = ", ".join(f"{index + 1} ({name})" for index, name in waiting.items()) or "nothing"
                raise RefusedError(f"step {step!r} of incident {incident.id} waits for nobody: {lines} does", reason=incident.phase)
            return replace(incident, ticks={**incident.ticks, str(found[0]): by.name})

        async with self._desk.audited(by, "tick", incident_id, step) as entry:
            return await self._desk.change(incident_id, ticked, entry)

    async def pause(self, service: str | None, *, duration: timedelta, reason: str, by: Caller) -> PauseFacts:
        """Nothing starts, and a running runbook holds before its next step, until then (I8)."""
        if service is not None and await self._store.incidents.open_of(service) is None:
            self._desk.policy(service)  # one that is in no config any more may have an incident that goes on
        now = self._clock.now()
        entry = self._desk.entry(by, "pause", service or GLOBAL, reason)
        await self._store.pauses.set(service or GLOBAL, now + duration, reason, by.name, now, audited=entry)
        return PauseFacts(paused=True, scope=service or GLOBAL, until=now + duration, why=reason)

    async def resume(self, service: str | None, *, by: Caller) -> bool:
        was_paused = await self._store.pauses.clear(service or GLOBAL, audited=self._desk.entry(by, "resume", service or GLOBAL))
        if service is not None and not was_paused and await self._store.incidents.open_of(service) is None:
            self._desk.policy(service)
        for incident in await self._store.incidents.open_ones():
            self._conductor.go_on(incident.id)
        return was_paused

    async def record_release(self, report: ReleaseReport, *, by: Caller) -> tuple[Release, bool]:
        self._desk.policy(report.service)
        entry = self._desk.entry(by, "release", f"{report.service} {report.version}", report.status or ReleaseStatus.LIVE)
        recorded = await self._register.report(report, audited=entry)
        await self._reopen.release_recorded(report.service)
        return recorded

    async def record_change(self, service: str, *, kind: ChangeKind, what: str, at: datetime | None, by: Caller) -> tuple[Change, bool]:
        """The flag says whether it was new. Said again it still wakes: the first time may have ended before that.

        Raises ValueError for a time that is still to come.
        """
        self._desk.policy(service)
        now = self._clock.now()
        check_has_come(at, now, what="at")
        change = Change(service=service, kind=kind, what=what, at=at or now, by=by.name)
        recorded = await self._store.changes.record(change, audited=self._desk.entry(by, "change", f"{service} {kind}", what))
        await self._reopen.change_recorded(recorded.change)
        return recorded.change, recorded.created

    async def mark(self, service: str, version: str, mark: Mark, *, reason: str, by: Caller) -> Release:
        self._desk.policy(service)
        entry = self._desk.entry(by, f"mark {mark}", f"{service} {version}", reason)
        return await self._register.mark(service, version, mark, reason=reason, audited=entry)
