"""The rollback itself: check once more that the world is as it was decided, mark, run the runbook, say how it ended."""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from typing import Final

from rollbackd.action.doubt import how_to_find_out
from rollbackd.action.rollout import Gate, Refusal, RunResult, RunStatus
from rollbackd.action.runner import Runner
from rollbackd.clock import Clock
from rollbackd.decision.record import span
from rollbackd.errors import RefusedError, RollbackdError
from rollbackd.flow import plans
from rollbackd.flow.bell import Bell
from rollbackd.flow.collect import Collector
from rollbackd.flow.move import Move
from rollbackd.model.attempt import AttemptStatus
from rollbackd.model.incident import Event, Incident, Outcome
from rollbackd.model.plan import Plan
from rollbackd.model.policy import ServicePolicy
from rollbackd.model.reason import Reason
from rollbackd.model.release import Mark, Release, ReleaseStatus
from rollbackd.model.runbook import RunbookKind
from rollbackd.releases.register import Register
from rollbackd.releases.sources import Sources
from rollbackd.store.store import Store
from rollbackd.store.timeline import NewEntry
from rollbackd.supervisor import together

_STILL_TRUE: Final = timedelta(minutes=1)
"""From the decision to the first step it takes a second; what is decided is not true for ever."""
_LONGEST_HOLD: Final = timedelta(seconds=15)  # between two looks at a pause, or at an abort; either rings the bell


class Roll:
    def __init__(
        self, *, store: Store, register: Register, sources: Sources, runner: Runner, collector: Collector, bell: Bell, clock: Clock
    ) -> None:
        self._store = store
        self._register = register
        self._sources = sources
        self._runner = runner
        self._collector = collector
        self._bell = bell
        self._clock = clock
        self._stopping = False
        self._going_on: dict[asyncio.Event, Plan] = {}  # what interrupts a run that is going on, and what it runs
        self._idle = asyncio.Event()
        self._idle.set()

    async def rolling_back(self, incident: Incident, policy: ServicePolicy) -> Move:
        releases = await self._register.of_service(incident.service)
        suspect = plans.release_of(releases, incident.suspect) if incident.suspect else None
        target = plans.release_of(releases, incident.target, incident.target_artifact) if incident.target else None
        try:
            if incident.target is not None and target is None:
                raise RefusedError(f"release {incident.target} is no longer recorded", reason=Reason.NO_SAFE_TARGET)
            if target is not None:
                plans.refuse_bad(releases, target)
            plan = plans.make(policy, suspect=suspect, target=target)
            if plan.digest != incident.plan:
                raise RefusedError("the plan is no longer the one that was decided on", reason=Reason.OUTDATED_PLAN)
        except RollbackdError as e:
            reason = Reason(e.reason) if isinstance(e, RefusedError) else Reason.NO_SAFE_TARGET
            await self.leave(incident, str(e))
            return await self._ended(incident, RunResult(status=RunStatus.REFUSED, reason=reason, detail=str(e)))
        return await self._ended(incident, await self._run(incident, policy, plan, suspect, target))

    async def leave(self, incident: Incident, why: str) -> None:
        """The rollback does not go on. Nothing of it keeps running, and no attempt stays without an outcome."""
        await self._runner.leave(incident.id, why)

    async def stop(self, *, grace: timedelta) -> None:
        """No further step starts. One that runs ends by itself, within its own timeout, unless it may be interrupted; what is left
        after that and `grace` is cut off with everything else, and observed at the next start (I10).
        """
        self._stopping = True
        longest = max((step.timeout for plan in self._going_on.values() for step in plan.steps), default=timedelta(0))
        for interrupt in self._going_on:
            interrupt.set()
        try:
            async with asyncio.timeout((longest + grace).total_seconds()):
                await self._idle.wait()
        except TimeoutError:
            return

    async def _run(
        self, incident: Incident, policy: ServicePolicy, plan: Plan, suspect: Release | None, target: Release | None
    ) -> RunResult:
        async def still_as_decided() -> Refusal | None:
            """Compare-and-set on the running version; the marks are set between this and the first step."""
            if target is None:  # no release is put in the place of another
                return self._too_late(incident)
            refusal = await self._compare(incident, policy, plan, suspect, target) or self._too_late(incident)
            if refusal is None:
                await self._begin(incident, suspect, target)
            return refusal

        async def gate() -> Gate:
            """Asked before each step: a pause holds (I8), an abort stops."""
            async with together() as both:
                current = both.create_task(self._store.incidents.get(incident.id))
                pause = both.create_task(self._store.pauses.facts(incident.service, self._clock.now()))
            if current.result().abort_reason is not None:
                return Gate.STOP
            return Gate.HOLD if self._stopping or (pause.result().paused and not incident.while_paused) else Gate.GO

        async def tell(kind: str, text: str, facts: Mapping[str, object]) -> None:
            await self._store.timeline.append(incident.id, NewEntry(kind, text, facts), self._clock.now(), last_resort=True)

        async def ticked(index: int) -> str | None:
            return (await self._store.incidents.get(incident.id)).ticks.get(str(index))

        with self._counted(plan) as interrupt:
            async with together() as tasks:
                waiting = tasks.create_task(self._interrupt_when_aborted(incident, interrupt), name=f"abort {incident.id}")
                result = await self._runner.run(
                    incident.id,
                    policy,
                    plan,
                    gate=gate,
                    report=tell,
                    compare_and_set=still_as_decided,
                    interrupt=interrupt,
                    ticked=ticked,
                    first_index=incident.first_step,
                )
                waiting.cancel()
        return result

    @contextmanager
    def _counted(self, plan: Plan) -> Iterator[asyncio.Event]:
        """What is yielded interrupts the run, as far as its steps let themselves be interrupted."""
        interrupt = asyncio.Event()
        self._going_on[interrupt] = plan
        self._idle.clear()
        try:
            yield interrupt
        finally:
            del self._going_on[interrupt]
            if not self._going_on:
                self._idle.set()

    async def _interrupt_when_aborted(self, incident: Incident, interrupt: asyncio.Event) -> None:
        """A store that cannot be read now is asked again: it must not cost the step that is running."""
        while True:
            with suppress(RollbackdError):
                if (await self._store.incidents.get(incident.id)).abort_reason is not None:
                    interrupt.set()
                    return
            await self._bell.wait(incident.id, _LONGEST_HOLD)

    async def _compare(
        self, incident: Incident, policy: ServicePolicy, plan: Plan, suspect: Release | None, target: Release
    ) -> Refusal | None:
        """What runs must be the suspect; a rollback of this incident that got stuck may have left some of the target beside it."""
        running = await self._collector.running_version(policy)
        if running.reason is Reason.NOT_APPLICABLE:
            return await self._compare_register(policy, suspect)
        if running.reason is not None:
            return Refusal(Reason.RUNNING_VERSION_UNKNOWN, f"{running.detail}; {how_to_find_out(policy.running_version, plan, policy)}")
        seen = ", ".join(sorted(running.answers))
        if running.answers <= _names(target) and plan.kind is RunbookKind.QUICK:  # a full one restores more than the release
            return Refusal(Reason.RUNNING_VERSION_CHANGED, f"the target is running already: {seen}")
        expected = _names(suspect) | (_names(target) if incident.first_step else frozenset())
        if suspect is not None and not running.answers <= expected:
            return Refusal(Reason.RUNNING_VERSION_CHANGED, f"running is {seen}, decided was about {suspect.version}")
        return None

    def _too_late(self, incident: Incident) -> Refusal | None:
        """The machine slept, or was down, or a pause held the first step: what was measured before says nothing about now (I3).

        What rollbackd decided by itself is judged again; a person who asked for it is asked again.
        """
        decided_at = incident.rollback_started_at if incident.requested_by else incident.decided_at
        age = self._clock.now() - (decided_at or incident.opened_at)
        if age <= _STILL_TRUE:
            return None
        return Refusal(Reason.OUTDATED_PLAN, f"decided {span(age)} before the first step could start: look again, then approve")

    async def _compare_register(self, policy: ServicePolicy, suspect: Release | None) -> Refusal | None:
        """Without a probe the register is all there is: nothing else may have been released after the suspect."""
        refreshed = await self._sources.refresh(policy)
        if refreshed.problem:
            return Refusal(Reason.RUNNING_VERSION_UNKNOWN, refreshed.problem)
        if suspect is None:
            return None
        newer = plans.released_after(await self._register.of_service(policy.name), suspect)
        if newer is None:
            return None
        return Refusal(Reason.RUNNING_VERSION_CHANGED, f"{newer.version} was recorded after {suspect.version}")

    async def _begin(self, incident: Incident, suspect: Release | None, target: Release) -> None:
        """From the first step on the release is suspect, and the rollback is a release of its own. Said twice, it is the same."""
        async with together() as both:  # in one commit
            if suspect is not None and suspect.mark is Mark.NONE:
                both.create_task(
                    self._register.mark(incident.service, suspect.version, Mark.SUSPECT, reason=f"rolled back in {incident.id}")
                )
            both.create_task(self._register.rollback_started(target))

    async def _ended(self, incident: Incident, result: RunResult) -> Move:
        """Every way a run can end leads somewhere that is named (I9)."""
        if result.status is RunStatus.PAUSED:
            return Move.stay(incident, then_wait=_LONGEST_HOLD)
        incident = await self._store.incidents.get(incident.id)  # it took minutes, in which a person may have aborted it
        now = self._clock.now()
        succeeded = result.status is RunStatus.SUCCEEDED
        if incident.target is not None:
            await self._register.rollback_ended(incident.service, ReleaseStatus.LIVE if succeeded else ReleaseStatus.FAILED)
        detail = f"{result.step}: {result.detail}" if result.step and result.detail else result.detail
        attempts = await self._store.attempts.of_incident(incident.id)
        if any(one.status is not AttemptStatus.NOT_STARTED for one in attempts):  # the cooldown counts from here, whoever took note before
            ended = replace(incident, detail=detail, rollback_ended_at=now, acknowledged_by=None)
        else:
            ended = replace(incident, detail=detail, rollback_started_at=None)
        match result.status:
            case _ if incident.abort_reason is not None and result.status in {RunStatus.SUCCEEDED, RunStatus.ABORTED}:
                return Move.close(replace(ended, reason=Reason.ABORTED, detail=incident.abort_reason), Outcome.ABORTED)
            case RunStatus.SUCCEEDED:
                return Move.to(Event.ROLLED_BACK, ended)
            case RunStatus.FAILED:
                return Move.close(replace(ended, reason=Reason.STEP_FAILED), Outcome.FAILED)
            case RunStatus.ABORTED:
                return Move.close(replace(ended, reason=Reason.ABORTED), Outcome.ABORTED)
            case _:
                return self._handed_back(ended, result)

    def _handed_back(self, ended: Incident, result: RunResult) -> Move:
        """To a person; but where nothing was run on a decision that is too old, and nobody asked for it, to the next look."""
        now = self._clock.now()
        if ended.rollback_started_at is None and ended.requested_by is None and self._too_late(ended):
            return Move.to(Event.WITHDRAW, replace(ended, judging_since=now))
        return Move.to(Event.ESCALATE, replace(ended, reason=result.reason or Reason.STEP_UNCERTAIN, escalated_at=now))


def _names(release: Release | None) -> frozenset[str]:
    return frozenset() if release is None else frozenset({release.version, release.artifact})
