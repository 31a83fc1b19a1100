"""After a rollback that helped: does the bad release stay away? If somebody puts it back people are told, and nothing rolls by that."""

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Final

from rollbackd.clock import Clock
from rollbackd.flow import plans
from rollbackd.flow.collect import Collector
from rollbackd.model.incident import Incident, Severity
from rollbackd.model.message import Topic
from rollbackd.model.policy import ServicePolicy
from rollbackd.model.release import Mark, Release, ReleaseKind
from rollbackd.notify.teller import Teller
from rollbackd.releases.sources import Sources
from rollbackd.store.store import Store
from rollbackd.store.timeline import NewEntry

IS_BACK: Final = "bad_is_back"
"""The entry that says that people were told: once an incident."""


class Aftercare:
    def __init__(
        self, *, services: Mapping[str, ServicePolicy], store: Store, sources: Sources, collector: Collector, teller: Teller, clock: Clock
    ) -> None:
        self._services = services
        self._store = store
        self._sources = sources
        self._collector = collector
        self._teller = teller
        self._clock = clock

    async def sweep(self) -> None:
        """Look at every service whose rollback helped less than its `guard_for` ago."""
        now = self._clock.now()
        longest = max((policy.guard_for for policy in self._services.values()), default=timedelta(0))
        for incident in await self._store.incidents.helped_since(now - longest):
            policy = self._services.get(incident.service)
            if policy is None or incident.closed_at is None or now - incident.closed_at > policy.guard_for:
                continue
            if any(entry.kind == IS_BACK for entry in await self._store.timeline.of_incident(incident.id)):
                continue
            seen = await self._seen(incident, policy)
            if seen:
                text = f"{incident.service}: {incident.suspect}, rolled back in {incident.id}, is back ({seen}): stop what releases it"
                await self._teller.tell(incident, Severity.CRITICAL, text, Topic.BAD_IS_BACK)
                await self._store.timeline.append(incident.id, NewEntry(IS_BACK, text), now)

    async def _seen(self, incident: Incident, policy: ServicePolicy) -> str:
        """How it is known that the bad release is back; empty: it is not, or nobody can tell."""
        await self._sources.refresh(policy)
        releases = await self._store.releases.of_service(policy.name)
        suspect = plans.release_of(releases, incident.suspect)
        if suspect is None or incident.rollback_ended_at is None or not _is_distrusted(suspect, releases):
            return ""
        running = (await self._collector.running_version(policy)).answers
        if running and not running.isdisjoint({suspect.version, suspect.artifact}):
            return f"running: {', '.join(sorted(running))}"
        again = next((one for one in releases if _is_again(one, suspect, incident)), None)
        return f"released again as {again.version}" if again and not running else ""


def _is_distrusted(suspect: Release, releases: Iterable[Release]) -> bool:
    """Its mark is on the records of then; one that a person has since called good may come back."""
    return any(one.mark is not Mark.NONE for one in releases if one.artifact == suspect.artifact)


def _is_again(release: Release, suspect: Release, incident: Incident) -> bool:
    ended = incident.rollback_ended_at
    is_later = ended is not None and release.started_at > ended
    return is_later and release.kind is ReleaseKind.RELEASE and release.artifact == suspect.artifact
