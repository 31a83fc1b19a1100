"""Keeps the register up to date with each service's own release source, and says when it cannot."""

from dataclasses import dataclass, replace

from rollbackd.errors import RollbackdError
from rollbackd.model.policy import CommandSource, ServicePolicy
from rollbackd.model.release import Release, ReleaseKind, ReleaseStatus
from rollbackd.releases import command
from rollbackd.releases.register import Releases


@dataclass(frozen=True, slots=True)
class Refreshed:
    """`problem` is empty when the register is up to date, else the sentence that says why it may not be."""

    learned: int = 0  # releases that were new, or changed their status
    problem: str = ""


class Sources:
    def __init__(self, releases: Releases, run: command.RunSource) -> None:
        self._releases = releases
        self._run = run

    async def refresh(self, policy: ServicePolicy) -> Refreshed:
        """Ask the service's source now; a service whose releases are recorded over the API is always up to date."""
        source = policy.releases
        if not isinstance(source, CommandSource):
            return Refreshed()
        try:
            listed = await command.ask(self._run, policy, source)
        except RollbackdError as e:
            return Refreshed(problem=str(e))
        known = await self._releases.of_service(policy.name)
        learned = [await self._learn(release, known) for release in reversed(listed)]
        return Refreshed(learned=sum(learned))

    async def _learn(self, release: Release, known: tuple[Release, ...]) -> bool:
        """Record a release that a source lists, unless it is one that is known under the same version and start.

        One with the artifact of rollbackd's own rollback, started while that was rolling out, is that rollback.
        """
        same = next((one for one in known if one.version == release.version and one.started_at == release.started_at), None)
        if same is not None and (same.status is release.status or same.status is not ReleaseStatus.ROLLING):
            return False
        if same is not None:
            await self._releases.update(release.service, release.version, status=release.status, live_at=release.live_at)
            return True
        own = next((one for one in known if one.kind is ReleaseKind.ROLLBACK and _is_own_rollback(release, one)), None)
        await self._releases.record(release if own is None else replace(release, kind=ReleaseKind.ROLLBACK))
        return True


def _is_own_rollback(release: Release, rollback: Release) -> bool:
    ended = rollback.live_at
    return (
        release.artifact == rollback.artifact
        and rollback.started_at <= release.started_at
        and (ended is None or release.started_at <= ended)
    )
