"""The watch after the rollback, and what its outcome means for the releases."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Final

from rollbackd.clock import Clock
from rollbackd.failpoints import reach
from rollbackd.flow import plans
from rollbackd.flow.bell import Bell
from rollbackd.flow.emergency import Emergency
from rollbackd.flow.move import Move
from rollbackd.flow.runs import LONGEST_HOLD
from rollbackd.model.incident import Incident, Outcome, Phase
from rollbackd.model.look import Look
from rollbackd.model.policy import ServicePolicy
from rollbackd.model.release import Mark
from rollbackd.releases.register import Register
from rollbackd.store.store import Store
from rollbackd.store.timeline import NewEntry
from rollbackd.supervisor import together
from rollbackd.watch.outcome import Ended
from rollbackd.watch.watcher import Watcher

_HELPED: Final = frozenset({Outcome.RECOVERED, Outcome.IMPROVED})
_LONG: Final = timedelta(hours=1)


class Observe:
    def __init__(self, *, store: Store, register: Register, watcher: Watcher, emergency: Emergency, bell: Bell, clock: Clock) -> None:
        self._store = store
        self._register = register
        self._watcher = watcher
        self._emergency = emergency
        self._bell = bell
        self._clock = clock

    async def watching(self, incident: Incident, policy: ServicePolicy) -> Move:
        """Watch for what is left of the time, also after a restart; a person who aborts it, or rolls back again, ends it early."""
        if await self._emergency.has_begun(incident, policy):
            return await self._became_worse(incident, policy, incident.detail)
        async with together() as group:
            watch = group.create_task(self._watch(incident, policy), name=f"watch {incident.id}")
            left = group.create_task(self._ended_by_a_person(incident), name=f"bell {incident.id}")
            await asyncio.wait({watch, left}, return_when=asyncio.FIRST_COMPLETED)
            watch.cancel()
            left.cancel()
        if watch.cancelled():
            return Move.stay(incident)
        ended = watch.result()
        await reach("watch.before_outcome")
        if ended.outcome is Outcome.WORSE:
            return await self._became_worse(incident, policy, ended.why)
        if ended.outcome in _HELPED and incident.suspect is not None and incident.target is not None:
            await self._register.mark(incident.service, incident.suspect, Mark.BAD, reason=f"its rollback helped ({incident.id})")
        return Move.close(replace(incident, detail=ended.why), ended.outcome)

    async def _became_worse(self, incident: Incident, policy: ServicePolicy, why: str) -> Move:
        came_of_it = await self._emergency.run(incident, policy) if incident.runbook is None else ""
        if came_of_it is None:
            return Move.stay(incident, then_wait=LONGEST_HOLD)
        return Move.close(replace(incident, detail="; ".join(filter(None, (why, came_of_it)))), Outcome.WORSE)

    async def _watch(self, incident: Incident, policy: ServicePolicy) -> Ended:
        suspect = plans.release_of(await self._register.of_service(incident.service), incident.suspect)

        async def on_look(look: Look) -> None:
            await self._store.looks.append(incident.id, look)
            await self._store.timeline.append(incident.id, NewEntry("look", _in_words(look)), look.at)

        async def alerts_since() -> int:
            ended_at = incident.rollback_ended_at
            return await self._store.alerts.fired_after(incident.id, ended_at) if ended_at is not None else 0

        return await self._watcher.watch(
            incident,
            policy,
            looks=await self._store.looks.of_incident(incident.id),
            on_look=on_look,
            alerts_since=alerts_since,
            release_started_at=suspect.started_at if suspect else None,
        )

    async def _ended_by_a_person(self, incident: Incident) -> None:
        while (await self._store.incidents.get(incident.id)).phase is Phase.WATCHING:
            await self._bell.wait(incident.id, _LONG)


def _in_words(look: Look) -> str:
    """`error_rate 0.001 met (< 0.005)`: measured against the limit, in every line."""
    return ", ".join(
        f"{one.name} {'unknown' if one.value is None else format(one.value, '.4g')} {one.verdict} ({one.limit})" for one in look.objectives
    )
