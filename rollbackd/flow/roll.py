"""The rollback itself: check once more that the world is as it was decided, mark, run the runbook, say how it ended."""

from dataclasses import replace
from datetime import timedelta
from typing import Final

from rollbackd.action.doubt import how_to_find_out
from rollbackd.action.rollout import Refusal, RunResult, RunStatus
from rollbackd.clock import Clock
from rollbackd.decision.record import span
from rollbackd.errors import RefusedError, RollbackdError
from rollbackd.flow import plans
from rollbackd.flow.collect import Collector
from rollbackd.flow.emergency import Emergency
from rollbackd.flow.move import Move
from rollbackd.flow.runs import LONGEST_HOLD, Runs
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
from rollbackd.supervisor import together

_STILL_TRUE: Final = timedelta(minutes=1)
"""From the decision to the first step it takes a second; what is decided is not true for ever."""


class Roll:
    def __init__(
        self, *, store: Store, register: Register, sources: Sources, collector: Collector, runs: Runs, emergency: Emergency, clock: Clock
    ) -> None:
        self._store = store
        self._register = register
        self._sources = sources
        self._runs = runs
        self._emergency = emergency
        self._collector = collector
        self._clock = clock

    async def rolling_back(self, incident: Incident, policy: ServicePolicy) -> Move:
        releases = await self._register.of_service(incident.service)
        suspect = plans.release_of(releases, incident.suspect) if incident.suspect else None
        target = plans.release_of(releases, incident.target, incident.target_artifact) if incident.target else None
        restored = plans.release_of(releases, incident.restores) if incident.restores else None
        try:
            for version, found in ((incident.target, target), (incident.restores, restored)):
                if version is not None and found is None:
                    raise RefusedError(f"release {version} is no longer recorded", reason=Reason.NO_SAFE_TARGET)
            if target is not None:
                plans.refuse_bad(releases, target)
            plan = plans.make(policy, suspect=suspect, target=target or restored)
            if plan.digest != incident.plan:
                raise RefusedError("the plan is no longer the one that was decided on", reason=Reason.OUTDATED_PLAN)
        except RollbackdError as e:
            reason = Reason(e.reason) if isinstance(e, RefusedError) else Reason.NO_SAFE_TARGET
            await self._runs.leave(incident, str(e))
            return await self._ended(incident, RunResult(status=RunStatus.REFUSED, reason=reason, detail=str(e)))
        result = await self._run(incident, policy, plan, suspect, target)
        if result.status is RunStatus.FAILED and incident.runbook is None:
            result = await self._emergency.after(result, incident, policy)
        return await self._ended(incident, result)

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

        return await self._runs.run(incident, policy, plan, first_index=incident.first_step, compare_and_set=still_as_decided)

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
            return Move.stay(incident, then_wait=LONGEST_HOLD)
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
