"""What people may do: approve, reject, abort, acknowledge, pause, resume, plan, roll back by hand, record releases and changes.

Each is refused with a reason or done completely, and either way it stands in the audit. A manual rollback bypasses cooldown, budget,
mode and blame; never the lock, the compare-and-set or a bad mark.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from typing import Final

from rollbackd.clock import Clock
from rollbackd.decision.target import choose_target
from rollbackd.errors import NotFoundError, RefusedError
from rollbackd.flow import plans
from rollbackd.flow.collect import Collector
from rollbackd.flow.conductor import Conductor, new_id
from rollbackd.flow.pinned import Pinned
from rollbackd.flow.reopen import Reopen
from rollbackd.model.audit import AuditEntry, Caller
from rollbackd.model.change import Change, ChangeKind
from rollbackd.model.decision import Action, PauseFacts
from rollbackd.model.incident import Event, Incident, Outcome, Phase, TransitionError
from rollbackd.model.plan import Plan
from rollbackd.model.policy import ServicePolicy
from rollbackd.model.reason import Reason
from rollbackd.model.release import Mark, Release, ReleaseStatus
from rollbackd.releases.register import Register, ReleaseReport, check_has_come
from rollbackd.releases.sources import Sources
from rollbackd.store.incidents import ConflictError
from rollbackd.store.store import Store
from rollbackd.store.timeline import NewEntry

GLOBAL: Final = "global"
Word = Callable[[Incident], Awaitable[Incident]]
"""What a person says about an incident: as it stands in, as it is wanted out. Raises RefusedError."""


class Operator:
    def __init__(
        self,
        *,
        services: Mapping[str, ServicePolicy],
        store: Store,
        register: Register,
        sources: Sources,
        collector: Collector,
        conductor: Conductor,
        reopen: Reopen,
        pinned: Pinned,
        clock: Clock,
    ) -> None:
        self._services = services
        self._store = store
        self._register = register
        self._sources = sources
        self._collector = collector
        self._conductor = conductor
        self._reopen = reopen
        self._pinned = pinned
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
            await self._refuse_while_paused(incident.service)
            return replace(await self._begun(incident, Event.APPROVE), requested_by=by.name, reason=Reason.APPROVED, while_paused=False)

        async with self._audited(by, "approve", incident_id, f"plan {plan}" if plan else "the plan that stands") as entry:
            return await self._change(incident_id, approved, entry)

    async def reject(self, incident_id: str, *, reason: str, by: Caller) -> Incident:
        async def rejected(incident: Incident) -> Incident:
            if incident.phase not in {Phase.PROPOSED, Phase.ESCALATED, Phase.DECIDING}:
                raise RefusedError(f"incident {incident.id} is {incident.phase}: use 'rollbackd abort' to stop it", reason=incident.phase)
            return incident.after(Event.CLOSE, outcome=Outcome.REJECTED, reason=Reason.REJECTED, closed_at=self._clock.now())

        async with self._audited(by, "reject", incident_id, reason) as entry:
            return await self._change(incident_id, rejected, entry)

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

        async with self._audited(by, "abort", incident_id, reason) as entry:
            return await self._change(incident_id, aborted, entry)

    async def acknowledge(self, incident_id: str, *, reason: str, by: Caller) -> Incident:
        """A person has taken note: the cooldown after this incident's rollback is lifted."""

        async def acknowledged(incident: Incident) -> Incident:
            return replace(incident, acknowledged_by=by.name)

        async with self._audited(by, "acknowledge", incident_id, reason) as entry:
            return await self._change(incident_id, acknowledged, entry)

    async def pause(self, service: str | None, *, duration: timedelta, reason: str, by: Caller) -> PauseFacts:
        """Nothing starts, and a running runbook holds before its next step, until then (I8)."""
        if service is not None and await self._store.incidents.open_of(service) is None:
            self._policy(service)  # one that is in no config any more may have an incident that goes on
        now = self._clock.now()
        entry = self._entry(by, "pause", service or GLOBAL, reason)
        await self._store.pauses.set(service or GLOBAL, now + duration, reason, by.name, now, audited=entry)
        return PauseFacts(paused=True, scope=service or GLOBAL, until=now + duration, why=reason)

    async def resume(self, service: str | None, *, by: Caller) -> bool:
        was_paused = await self._store.pauses.clear(service or GLOBAL, audited=self._entry(by, "resume", service or GLOBAL))
        if service is not None and not was_paused and await self._store.incidents.open_of(service) is None:
            self._policy(service)
        for incident in await self._store.incidents.open_ones():
            self._conductor.go_on(incident.id)
        return was_paused

    async def plan(self, service: str, *, to: str | None = None) -> Plan:
        """The exact commands that a rollback of this service would run now."""
        policy = self._policy(service)
        suspect, target = await self._from_and_to(policy, to)
        return plans.make(policy, suspect=suspect, target=target)

    async def rollback(
        self, service: str, *, to: str | None, plan: str | None, reason: str, reason_code: str | None, while_paused: bool, by: Caller
    ) -> Incident:
        """Roll back by hand; takes an open incident over when no step is running. `plan` is the digest of what the person was shown."""
        policy = self._policy(service)
        async with self._audited(by, "rollback", service, reason) as entry:
            if not while_paused:
                await self._refuse_while_paused(service)
            current = await self._store.incidents.open_of(service)
            if current is not None and current.phase is Phase.ROLLING_BACK:
                raise RefusedError(f"incident {current.id} of {service} is {current.phase}: only one at a time", reason=Reason.STEP_RUNNING)
            suspect, target = await self._from_and_to(policy, to)
            digest = plans.make(policy, suspect=suspect, target=target).digest
            if plan is not None and plan != digest:
                raise RefusedError(
                    f"the plan has changed since it was shown: look again with 'rollbackd plan {service}'", reason=Reason.OUTDATED_PLAN
                )
            now = self._clock.now()
            digest_of_config, content = self._pinned.snapshot_of(policy)

            def by_hand(incident: Incident) -> Incident:
                return replace(
                    incident,
                    snapshot=digest_of_config,
                    decision=Action.ROLL_BACK,
                    reason=Reason.MANUAL,
                    suspect=suspect.version if suspect else None,
                    target=target.version,
                    target_artifact=target.artifact,
                    plan=digest,
                    requested_by=by.name,
                    request_reason=reason,
                    reason_code=reason_code,
                    while_paused=while_paused,
                )

            async def taken_over(incident: Incident) -> Incident:
                return by_hand(await self._begun(incident, Event.ACT))

            if current is not None:
                await self._store.snapshots.put(content)
                return await self._change(current.id, taken_over, replace(entry, subject=current.id))
            incident = by_hand(
                Incident(
                    id=new_id(now),
                    service=service,
                    trigger=None,
                    phase=Phase.ROLLING_BACK,
                    mode=policy.mode,
                    snapshot=digest_of_config,
                    opened_at=now,
                    rollback_started_at=now,
                )
            )
            line = NewEntry("phase", f"rollback by hand by {by.name}: {reason}", {"to": Phase.ROLLING_BACK})
            if not await self._store.incidents.open(incident, None, (line,), pinned=content, audited=replace(entry, subject=incident.id)):
                raise RefusedError(
                    f"another incident of {service} was opened just now: look at 'rollbackd list'", reason=Reason.STEP_RUNNING
                )
            self._conductor.go_on(incident.id)
            return incident

    async def record_release(self, report: ReleaseReport, *, by: Caller) -> tuple[Release, bool]:
        self._policy(report.service)
        entry = self._entry(by, "release", f"{report.service} {report.version}", report.status or ReleaseStatus.LIVE)
        recorded = await self._register.report(report, audited=entry)
        await self._reopen.release_recorded(report.service)
        return recorded

    async def record_change(self, service: str, *, kind: ChangeKind, what: str, at: datetime | None, by: Caller) -> tuple[Change, bool]:
        """The flag says whether it was new. Said again it still wakes: the first time may have ended before that.

        Raises ValueError for a time that is still to come.
        """
        self._policy(service)
        now = self._clock.now()
        check_has_come(at, now, what="at")
        change = Change(service=service, kind=kind, what=what, at=at or now, by=by.name)
        recorded = await self._store.changes.record(change, audited=self._entry(by, "change", f"{service} {kind}", what))
        await self._reopen.change_recorded(recorded.change)
        return recorded.change, recorded.created

    async def mark(self, service: str, version: str, mark: Mark, *, reason: str, by: Caller) -> Release:
        self._policy(service)
        entry = self._entry(by, f"mark {mark}", f"{service} {version}", reason)
        return await self._register.mark(service, version, mark, reason=reason, audited=entry)

    async def _begun(self, incident: Incident, event: Event) -> Incident:
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

    def _policy(self, service: str) -> ServicePolicy:
        try:
            return self._services[service]
        except KeyError:
            raise NotFoundError(f"no service {service!r} in the config: 'rollbackd status' lists them") from None

    async def _from_and_to(self, policy: ServicePolicy, to: str | None) -> tuple[Release | None, Release]:
        """What runs, and what it would be rolled back to: the release that was named, else the one that a decision would choose."""
        refreshed = await self._sources.refresh(policy)
        running = await self._collector.running_version(policy)
        releases = await self._register.of_service(policy.name)
        suspect = plans.running_release(releases, running.answers)
        if to is not None:
            return suspect, plans.chosen_target(releases, to, running.answers)
        if refreshed.problem:  # the register may be out of date, and the best target with it
            raise RefusedError(f"{refreshed.problem}: name a target with --to", reason=Reason.NO_SAFE_TARGET)
        choice = choose_target(suspect, releases, self._clock.now())
        if choice.target is None:
            raise RefusedError(f"{policy.name} has no safe target ({choice.check.value}): name one with --to", reason=choice.check.reason)
        return suspect, choice.target

    async def _refuse_while_paused(self, service: str) -> None:
        pause = await self._store.pauses.facts(service, self._clock.now())
        if pause.paused:
            raise RefusedError(f"{pause.scope} is paused ({pause.why}): resume first", reason=Reason.PAUSED)

    def _entry(self, by: Caller, action: str, subject: str, reason: str = "") -> AuditEntry:
        return AuditEntry(self._clock.now(), by.name, action, subject, reason, by.remote)

    @asynccontextmanager
    async def _audited(self, by: Caller, action: str, subject: str, reason: str = "") -> AsyncIterator[AuditEntry]:
        """The entry for what is asked, to be written with what is done; what is refused inside is written here."""
        entry = self._entry(by, action, subject, reason)
        try:
            yield entry
        except RefusedError as refusal:
            await self._store.audit.append(**asdict(replace(entry, result=refusal.reason)))
            raise

    async def _change(self, incident_id: str, word: Word, audited: AuditEntry) -> Incident:
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
