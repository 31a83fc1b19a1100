"""Gathers the evidence for one look at an incident: everything that `decide` may know, asked at the same time."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

from rollbackd.action.probe import Prober
from rollbackd.decision.fleet import facts_of
from rollbackd.flow.gather import Gatherer
from rollbackd.model.decision import AlertFacts, Case, Decision, FleetFacts, RunningVersion
from rollbackd.model.incident import Incident
from rollbackd.model.policy import ServicePolicy
from rollbackd.model.reason import Reason
from rollbackd.model.release import Release
from rollbackd.prometheus.measurer import Measurer
from rollbackd.releases.sources import Sources
from rollbackd.store.store import Store
from rollbackd.supervisor import together

STALE_AFTER: Final = timedelta(minutes=5)


def changes_since(policy: ServicePolicy, moment: datetime) -> datetime:
    """From when on a change counts at `moment`: a breach may have begun a blame window and a `for` ago, its release a window before."""
    return moment - 2 * policy.blame_window - max((trigger.hold_for for trigger in policy.triggers), default=timedelta())


class Collector:
    def __init__(
        self,
        *,
        services: Mapping[str, ServicePolicy],
        store: Store,
        measurer: Measurer,
        sources: Sources,
        prober: Prober,
        serving_since: datetime,
    ) -> None:
        self._services = services
        self._store = store
        self._measurer = measurer
        self._gatherer = Gatherer(measurer, services, store.releases.of_service)
        self._sources = sources
        self._prober = prober
        self._serving_since = serving_since

    async def case(self, incident: Incident, policy: ServicePolicy, now: datetime) -> Case:
        """Ask everything about `now`, which `decide` is then given.

        What Prometheus, a source or a probe cannot answer is in the case as unknown, never left out.
        """
        delivered_at = incident.delivered_at or incident.opened_at
        async with together() as group:
            evidence = group.create_task(self._gatherer.evidence(policy, now, known_for=now - delivered_at))
            refreshed = group.create_task(self._sources.refresh(policy))
            running = group.create_task(self.running_version(policy))
            firing = group.create_task(self._firing(incident, policy))
            changes = group.create_task(self._store.changes.of_service(policy.name, changes_since(policy, min(delivered_at, now))))
            pause = group.create_task(self._store.pauses.facts(policy.name, now))
            history = group.create_task(self._store.history(policy.name, now, except_incident=incident.id))
            fleet = group.create_task(self._fleet(incident, policy))
            room = group.create_task(self._store.room())
        case = Case(
            policy=policy,
            alert=AlertFacts(
                name=incident.alertname or incident.trigger or "",
                trigger=incident.trigger or "",
                starts_at=incident.starts_at or incident.opened_at,
                delivered_at=delivered_at,
                firing_now=firing.result(),
            ),
            evidence=evidence.result(),
            releases=await self._store.releases.of_service(policy.name),
            changes=changes.result(),
            releases_problem=refreshed.result().problem,
            running=running.result(),
            pause=pause.result(),
            history=history.result(),
            fleet=fleet.result(),
            serving_since=self._serving_since,
            room=room.result(),
        )
        return await self.in_context(case, now)

    async def in_context(self, case: Case, now: datetime) -> Case:
        """With what else has to be measured to find out whose fault it is; what was measured before is not asked again."""
        return case if case.context is not None else await self._gatherer.in_context(case, now)

    async def released_beside(self, policy: ServicePolicy, decision: Decision) -> tuple[Release, ...]:
        """What else was released before the breach, of the dependencies or in the suspect's group. Told, never acted on."""
        group = decision.suspect.group if decision.suspect else None
        began = decision.onset or decision.at
        recent = await self._store.releases.since(began - policy.blame_window)
        near = (one for one in recent if one.service in policy.depends_on or (group is not None and one.group == group))
        return tuple(one for one in near if one.service != policy.name and one.started_at <= decision.at)

    async def running_version(self, policy: ServicePolicy) -> RunningVersion:
        """What runs now, by the service's own probe."""
        if policy.running_version is None:
            return RunningVersion()
        answer = await self._prober.ask(policy.running_version, policy)
        if not answer.answers:
            return RunningVersion(reason=Reason.RUNNING_VERSION_UNKNOWN, detail=answer.reason)
        return RunningVersion(answers=answer.answers, reason=None)

    async def _fleet(self, incident: Incident, policy: ServicePolicy) -> FleetFacts:
        """Asked of the store only where there are as many services as the brake asks for."""
        if len(self._services) < policy.fleet_brake.services:
            return FleetFacts()
        since = (incident.starts_at or incident.opened_at) - policy.fleet_brake.within
        return facts_of(await self._store.fleet.trips(since), self._services, policy)

    async def _firing(self, incident: Incident, policy: ServicePolicy) -> bool | None:
        """Asked only of an alert that was old when it came: a replay must still be firing to count."""
        if incident.starts_at is None or incident.delivered_at is None or incident.alertname is None:
            return None
        if incident.delivered_at - incident.starts_at <= STALE_AFTER:
            return None
        return await self._measurer.alert_firing(policy, incident.alertname, incident.alert_labels)
