"""What people may run: a rollback by hand, or any runbook of another kind. What would run is shown before, exactly.

It bypasses cooldown, budget, mode and blame; never the lock, the compare-and-set or a bad mark. A `data` runbook destroys: whoever runs it
has typed the name of what that is.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from rollbackd.action.plan import asks_for
from rollbackd.clock import Clock
from rollbackd.decision.target import choose_target
from rollbackd.errors import NotFoundError, RefusedError
from rollbackd.flow import plans
from rollbackd.flow.collect import Collector
from rollbackd.flow.conductor import Conductor, new_id
from rollbackd.flow.desk import Desk
from rollbackd.flow.pinned import Pinned
from rollbackd.model.audit import Caller
from rollbackd.model.decision import Action
from rollbackd.model.incident import Event, Incident, Phase
from rollbackd.model.plan import Plan
from rollbackd.model.policy import ServicePolicy
from rollbackd.model.reason import Reason
from rollbackd.model.release import Release
from rollbackd.model.runbook import Runbook, RunbookKind
from rollbackd.releases.register import Register
from rollbackd.releases.sources import Sources
from rollbackd.store.store import Store
from rollbackd.store.timeline import NewEntry


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a person wants to have run. `plan` is the digest of what they were shown; `confirm` what they typed."""

    reason: str
    to: str | None = None
    plan: str | None = None
    reason_code: str | None = None
    confirm: str | None = None
    while_paused: bool = False


class ByHand:
    def __init__(
        self,
        desk: Desk,
        *,
        runbooks: Mapping[str, Runbook],
        store: Store,
        register: Register,
        sources: Sources,
        collector: Collector,
        conductor: Conductor,
        pinned: Pinned,
        clock: Clock,
    ) -> None:
        self._desk = desk
        self._runbooks = runbooks
        self._store = store
        self._register = register
        self._sources = sources
        self._collector = collector
        self._conductor = conductor
        self._pinned = pinned
        self._clock = clock

    async def plan(self, service: str, *, to: str | None = None, runbook: str | None = None) -> Plan:
        """The exact commands that a rollback of this service, or that runbook, would run now."""
        policy = self._policy(service, runbook)
        current, target = await self._from_and_to(policy, to)
        return plans.make(policy, suspect=current, target=target)

    async def rollback(self, service: str, wish: Wish, *, by: Caller) -> Incident:
        """Roll back by hand; takes an open incident over when no step is running."""
        return await self._run(service, None, wish, by)

    async def run(self, service: str, runbook: str, wish: Wish, *, by: Caller) -> Incident:
        """Run that runbook for the service; takes an open incident over when no step is running."""
        return await self._run(service, runbook, wish, by)

    async def _run(self, service: str, runbook: str | None, wish: Wish, by: Caller) -> Incident:
        policy = self._policy(service, runbook)
        what = "rollback" if runbook is None else f"run {runbook}"
        async with self._desk.audited(by, what, service, wish.reason) as entry:
            if not wish.while_paused:
                await self._desk.refuse_while_paused(service)
            open_one = await self._store.incidents.open_of(service)
            if open_one is not None and open_one.phase is Phase.ROLLING_BACK:
                raise RefusedError(
                    f"incident {open_one.id} of {service} is {open_one.phase}: only one at a time", reason=Reason.STEP_RUNNING
                )
            current, target = await self._from_and_to(policy, wish.to)
            plan = plans.make(policy, suspect=current, target=target)
            self._check(plan, wish, f"rollbackd plan {service}" + (f" --runbook {runbook}" if runbook else ""))
            now = self._clock.now()
            digest_of_config, content = self._pinned.snapshot_of(policy)

            def by_hand(incident: Incident) -> Incident:
                return replace(
                    incident,
                    snapshot=digest_of_config,
                    runbook=runbook,
                    restores=plan.restores,
                    decision=Action.ROLL_BACK if plan.target_version else incident.decision,
                    reason=Reason.MANUAL,
                    suspect=current.version if current else None,
                    target=plan.target_version,
                    target_artifact=plan.target_artifact,
                    plan=plan.digest,
                    requested_by=by.name,
                    request_reason=wish.reason,
                    reason_code=wish.reason_code,
                    while_paused=wish.while_paused,
                    ticks={},
                )

            async def taken_over(incident: Incident) -> Incident:
                return by_hand(await self._desk.begun(incident, Event.ACT))

            if open_one is not None:
                await self._store.snapshots.put(content)
                return await self._desk.change(open_one.id, taken_over, replace(entry, subject=open_one.id))
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
            line = NewEntry(
                "phase", f"{'rollback' if runbook is None else runbook} by hand by {by.name}: {wish.reason}", {"to": Phase.ROLLING_BACK}
            )
            if not await self._store.incidents.open(incident, None, (line,), pinned=content, audited=replace(entry, subject=incident.id)):
                raise RefusedError(
                    f"another incident of {service} was opened just now: look at 'rollbackd list'", reason=Reason.STEP_RUNNING
                )
            self._conductor.go_on(incident.id)
            return incident

    def _policy(self, service: str, runbook: str | None) -> ServicePolicy:
        """The service's, with that runbook in the place of its quick one: what an incident runs is what is pinned to it."""
        policy = self._desk.policy(service)
        if runbook is None:
            return policy
        try:
            return replace(policy, runbook=self._runbooks[runbook])
        except KeyError:
            known = ", ".join(sorted(self._runbooks)) or "none"
            raise NotFoundError(f"no runbook {runbook!r} beside the config: there is {known}") from None

    def _check(self, plan: Plan, wish: Wish, look: str) -> None:
        if wish.plan is not None and wish.plan != plan.digest:
            raise RefusedError(f"the plan has changed since it was shown: look again with '{look}'", reason=Reason.OUTDATED_PLAN)
        if plan.confirm is not None and wish.confirm != plan.confirm:
            raise RefusedError(
                f"{plan.runbook} destroys {', '.join(plan.destroys)}: confirm it with --confirm {plan.confirm}", reason=Reason.UNCONFIRMED
            )

    async def _from_and_to(self, policy: ServicePolicy, to: str | None) -> tuple[Release | None, Release | None]:
        """What runs, and the release that the runbook is about: the one that was named, else the one that a decision would choose.

        A runbook that names neither is not kept waiting by whoever could say what runs: it may be for just that case.
        """
        book = policy.runbook
        if book is None or book.kind is RunbookKind.QUICK or (book.deploys and asks_for(book, "target.")):
            return await self._rolled_back(policy, to)
        running = await self._running(policy) if asks_for(book, "current.") else None
        if asks_for(book, "target."):
            return running, await self._restored(policy, book, to)
        if to is not None:
            raise RefusedError(f"{book.name} goes back to no release: leave out the target", reason=Reason.BAD_TARGET)
        return running, None

    async def _running(self, policy: ServicePolicy) -> Release | None:
        running = await self._collector.running_version(policy)
        return plans.running_release(await self._register.of_service(policy.name), running.answers)

    async def _restored(self, policy: ServicePolicy, book: Runbook, to: str | None) -> Release:
        """Of which release something is restored only a person can say, and it may be any that was recorded."""
        if to is None:
            raise RefusedError(f"{book.name} restores what belongs to a release: say to which with --to", reason=Reason.NO_SAFE_TARGET)
        found = plans.release_of(await self._register.of_service(policy.name), to)
        if found is None:
            raise RefusedError(f"release {to!r} of {policy.name} is not recorded", reason=Reason.BAD_TARGET)
        return found

    async def _rolled_back(self, policy: ServicePolicy, to: str | None) -> tuple[Release | None, Release]:
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
