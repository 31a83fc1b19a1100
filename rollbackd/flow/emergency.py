"""The emergency runbook that a service names: run by itself where it says so, when its rollback failed or made things worse."""

from dataclasses import replace

from rollbackd.action import plan as plans
from rollbackd.action.plan import steps_of
from rollbackd.action.rollout import RunResult, RunStatus
from rollbackd.errors import RollbackdError
from rollbackd.flow.plans import release_of
from rollbackd.flow.runs import Runs
from rollbackd.model.incident import Incident
from rollbackd.model.plan import Plan
from rollbackd.model.policy import EmergencyPolicy, ServicePolicy
from rollbackd.releases.register import Register
from rollbackd.store.store import Store


class Emergency:
    def __init__(self, *, store: Store, register: Register, runs: Runs) -> None:
        self._store = store
        self._register = register
        self._runs = runs

    async def after(self, failed: RunResult, incident: Incident, policy: ServicePolicy) -> RunResult:
        """The result of a rollback that failed, with what came of the emergency runbook."""
        came_of_it = await self.run(incident, policy)
        if came_of_it is None:
            return replace(failed, status=RunStatus.PAUSED)
        return replace(failed, detail="; ".join(filter(None, (failed.detail, came_of_it))))

    async def run(self, incident: Incident, policy: ServicePolicy) -> str | None:
        """What came of it, in words, also after a restart; empty where there is none. None: it is held, call again."""
        emergency = policy.on_failure
        if emergency is None:
            return ""
        name = emergency.runbook.name
        if not emergency.auto:
            return f"next: rollbackd run {name} --service {incident.service} --reason WHY"
        try:
            plan = await self._plan(incident, policy, emergency)
        except RollbackdError as e:
            return f"{name} was not run: {e}"
        result = await self._runs.run(incident, policy, plan, first_index=_first_index(incident, policy))
        match result.status:
            case RunStatus.PAUSED:
                return None
            case RunStatus.SUCCEEDED:
                return f"{name} was run"
            case _:
                return f"{name} {result.status} at {result.step}: {result.detail}"

    async def has_begun(self, incident: Incident, policy: ServicePolicy) -> bool:
        attempts = await self._store.attempts.of_incident(incident.id)
        return any(attempt.step_index >= _first_index(incident, policy) for attempt in attempts)

    async def _plan(self, incident: Incident, policy: ServicePolicy, emergency: EmergencyPolicy) -> Plan:
        """It goes back to a release only where it asks for one: else nothing is said about what runs afterwards."""
        releases = await self._register.of_service(incident.service)
        current = release_of(releases, incident.suspect)
        target = release_of(releases, incident.target, incident.target_artifact)
        return plans.make(
            policy, emergency.runbook, current=current, target=target if plans.asks_for(emergency.runbook, "target.") else None
        )


def _first_index(incident: Incident, policy: ServicePolicy) -> int:
    """Behind every step that the incident's own plan may have."""
    steps = sum(1 for _ in steps_of(policy, policy.runbook)) if policy.runbook is not None else 0
    return incident.first_step + 2 * steps
