"""The config that an incident started with is pinned to it: a reload, or a restart with another file, does not change it midway."""

from rollbackd.model.incident import Incident
from rollbackd.model.policy import ServicePolicy
from rollbackd.settings import snapshot
from rollbackd.store.store import Store


class Pinned:
    def __init__(self, store: Store) -> None:
        self._store = store
        self._kept: dict[str, tuple[ServicePolicy, str]] = {}  # by service: the policy that was pinned last, and its digest
        self._read: dict[str, ServicePolicy] = {}  # by digest

    async def pin(self, policy: ServicePolicy) -> str:
        """The digest under which `policy` is kept."""
        kept = self._kept.get(policy.name)
        if kept is None or kept[0] is not policy:
            kept = (policy, await self._store.snapshots.put(snapshot.dump(policy)))
            self._kept[policy.name] = kept
        return kept[1]

    async def policy_of(self, incident: Incident) -> ServicePolicy:
        kept = self._kept.get(incident.service)
        if kept is not None and kept[1] == incident.snapshot:
            return kept[0]
        if incident.snapshot not in self._read:
            self._read[incident.snapshot] = snapshot.load(await self._store.snapshots.get(incident.snapshot))
        return self._read[incident.snapshot]
