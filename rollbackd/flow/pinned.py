"""The config that an incident started with is pinned to it: a reload, or a restart with another file, does not change it midway."""

from rollbackd.model.incident import Incident
from rollbackd.model.policy import ServicePolicy
from rollbackd.settings import snapshot
from rollbackd.store.snapshots import digest_of
from rollbackd.store.store import Store


class Pinned:
    def __init__(self, store: Store) -> None:
        self._store = store
        self._last: dict[str, tuple[str, ServicePolicy]] = {}  # by service: the digest that was pinned last, and its policy

    def snapshot_of(self, policy: ServicePolicy) -> tuple[str, bytes]:
        """The digest under which `policy` is kept, and the content that is to be written with whatever refers to it.

        Written each time: that it is in use is what keeps it from being purged.
        """
        content = snapshot.dump(policy)
        digest = digest_of(content)
        self._last[policy.name] = digest, policy
        return digest, content

    async def policy_of(self, incident: Incident) -> ServicePolicy:
        digest, policy = self._last.get(incident.service, ("", None))
        if policy is not None and digest == incident.snapshot:
            return policy
        return snapshot.load(await self._store.snapshots.get(incident.snapshot))
