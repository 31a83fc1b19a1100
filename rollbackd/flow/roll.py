"""The rollback itself: check once more that the world is as it was decided, mark, run the runbook, say how it ended."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Final

from rollbackd.action.runner import Gate, Refusal, Runner, RunResult, RunStatus
from rollbackd.clock import Clock
from rollbackd.errors import RollbackdError
from rollbackd.flow import plans
from rollbackd.flow.collect import Collector
from rollbackd.flow.move import Move
from rollbackd.model.incident import Event, Incident, Outcome
from rollbackd.model.plan import Plan
from rollbackd.model.policy import ServicePolicy
from rollbackd.model.reason import Reason
from rollbackd.model.release import Mark, Release, ReleaseKind, ReleaseStatus
from rollbackd.releases.register import Register
from rollbackd.store.store import Store
from rollbackd.store.timeline import NewEntry

_LONGEST_HOLD: Final = timedelta(seconds=15)  # between two looks at a pause; lifting it rings the bell


class Roll:
    def __init__(self, *, store: Store, register: Register, runner: Runner, collector: Collector, clock: Clock) -> None:
        self._store = store
        self._register = register
        self._runner = runner
        self._collector = collector
        self._clock = clock

    async def rolling_back(self, incident: Incident, policy: ServicePolicy) -> Move:
        releases = await self._register.of_service(incident.service)
        suspect = plans.release_of(releases, incident.suspect) if incident.suspect else None
        target = plans.release_of(releases, incident.target, incident.target_artifact)
        try:
            if target is None:
                raise RollbackdError(f"release {incident.target} is no longer recorded")
            plan = plans.make(policy, suspect=suspect, target=target)
        except RollbackdError as e:
            return self._ask_a_person(incident, Reason.NO_SAFE_TARGET, str(e))
        if plan.digest != incident.plan:
            return self._ask_a_person(incident, Reason.OUTDATED_PLAN, "the plan is no longer the one that was decided on")
        return await self._ended(incident, await self._run(incident, policy, plan, suspect, target), target)

    async def _run(self, incident: Incident, policy: ServicePolicy, plan: Plan, suspect: Release | None, target: Release) -> RunResult:
        async def still_as_decided() -> Refusal | None:
            """Compare-and-set on the running version; the marks are set between this and the first step."""
            refusal = await self._compare(policy, suspect, target)
            if refusal is None:
                await self._begin(incident, suspect, target)
            return refusal

        async def gate() -> Gate:
            """Asked before each step: a pause holds (I8), an abort stops."""
            current = await self._store.incidents.get(incident.id)
            if current.abort_reason is not None:
                return Gate.STOP
            pause = await self._store.pauses.facts(incident.service, self._clock.now())
            return Gate.HOLD if pause.paused and not incident.while_paused else Gate.GO

        async def tell(kind: str, text: str, facts: Mapping[str, object]) -> None:
            await self._store.timeline.append(incident.id, NewEntry(kind, text, facts), self._clock.now())

        return await self._runner.run(
            incident.id,
            policy,
            plan,
            gate=gate,
            report=tell,
            compare_and_set=still_as_decided,
            first_index=incident.first_step,
        )

    async def _compare(self, policy: ServicePolicy, suspect: Release | None, target: Release) -> Refusal | None:
        running = await self._collector.running_version(policy)
        if running.reason is Reason.NOT_APPLICABLE:
            return None
        if running.reason is not None:
            return Refusal(Reason.RUNNING_VERSION_UNKNOWN, running.detail)
        seen = ", ".join(sorted(running.answers))
        if running.answers & {target.version, target.artifact} and target.artifact not in _names(suspect):
            return Refusal(Reason.RUNNING_VERSION_CHANGED, f"the target is running already: {seen}")
        if suspect is not None and not running.answers <= _names(suspect):
            return Refusal(Reason.RUNNING_VERSION_CHANGED, f"running is {seen}, decided was about {suspect.version}")
        return None

    async def _begin(self, incident: Incident, suspect: Release | None, target: Release) -> None:
        """From the first step on the release is suspect, and the rollback is a release of its own. Said twice, it is the same."""
        if suspect is not None and suspect.mark is Mark.NONE:
            await self._register.mark(incident.service, suspect.version, Mark.SUSPECT, reason=f"rolled back in {incident.id}")
        releases = await self._register.of_service(incident.service)
        if not any(one.kind is ReleaseKind.ROLLBACK and one.status is ReleaseStatus.ROLLING for one in releases):
            await self._register.rollback_started(target)

    async def _ended(self, incident: Incident, result: RunResult, target: Release) -> Move:
        """Every way a run can end leads somewhere that is named (I9)."""
        now = self._clock.now()
        detail = f"{result.step}: {result.detail}" if result.step and result.detail else result.detail
        match result.status:
            case RunStatus.SUCCEEDED:
                await self._register.rollback_ended(incident.service, target.version, ReleaseStatus.LIVE)
                return Move.to(Event.ROLLED_BACK, replace(incident, rollback_ended_at=now, detail=detail))
            case RunStatus.PAUSED:
                return Move.stay(incident, then_wait=_LONGEST_HOLD)
            case RunStatus.REFUSED | RunStatus.UNCERTAIN:
                await self._register.rollback_ended(incident.service, target.version, ReleaseStatus.FAILED)
                return self._ask_a_person(incident, result.reason or Reason.STEP_UNCERTAIN, detail)
            case RunStatus.FAILED | RunStatus.ABORTED:
                await self._register.rollback_ended(incident.service, target.version, ReleaseStatus.FAILED)
                outcome = Outcome.FAILED if result.status is RunStatus.FAILED else Outcome.ABORTED
                reason = Reason.STEP_FAILED if result.status is RunStatus.FAILED else Reason.ABORTED
                return Move.close(replace(incident, rollback_ended_at=now, reason=reason, detail=incident.abort_reason or detail), outcome)

    def _ask_a_person(self, incident: Incident, reason: Reason, why: str) -> Move:
        return Move.to(Event.ESCALATE, replace(incident, reason=reason, detail=why, escalated_at=self._clock.now()))


def _names(release: Release | None) -> frozenset[str]:
    return frozenset() if release is None else frozenset({release.version, release.artifact})
