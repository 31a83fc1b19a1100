"""Keeps the register up to date with each service's own release source, and says when it cannot."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from rollbackd.clock import Clock
from rollbackd.errors import RollbackdError
from rollbackd.model.policy import CommandSource, ServicePolicy
from rollbackd.model.release import MOST_AHEAD, Release, ReleaseKind, ReleaseStatus
from rollbackd.releases import command
from rollbackd.releases.register import OWN, Releases

_CLOCK_SLACK: Final = timedelta(seconds=5)  # between this clock and the platform's, which often counts whole seconds


@dataclass(frozen=True, slots=True)
class Refreshed:
    """`problem` is empty when the register is up to date, else the sentence that says why it may not be."""

    learned: int = 0  # releases that were new, or changed their status
    problem: str = ""


class Sources:
    def __init__(self, releases: Releases, run: command.RunSource, clock: Clock) -> None:
        self._releases = releases
        self._run = run
        self._clock = clock

    async def refresh(self, policy: ServicePolicy) -> Refreshed:
        """Ask the service's source now; a service whose releases are recorded over the API is always up to date.

        What a platform lists for later, such as a deploy that is scheduled, is learned when its time has come.
        """
        source = policy.releases
        if not isinstance(source, CommandSource):
            return Refreshed()
        try:
            listed = await command.ask(self._run, policy, source)
        except RollbackdError as e:
            return Refreshed(problem=str(e))
        now = self._clock.now()
        listed = tuple(release for release in listed if release.started_at - now <= MOST_AHEAD)
        known = await self._releases.of_service(policy.name)
        rollbacks = [_Rollback(one, listed, policy.watch.duration) for one in known if one.source == OWN]
        learned = [await self._learn(release, known, rollbacks) for release in reversed(listed)]
        return Refreshed(learned=sum(learned))

    async def _learn(self, release: Release, known: Iterable[Release], rollbacks: Iterable["_Rollback"]) -> bool:
        """Record a release that a source lists, unless it is one that is known under the same version and start."""
        same = next((one for one in known if one.version == release.version and one.started_at == release.started_at), None)
        if same is None:
            is_ours = any(rollback.made(release) for rollback in rollbacks)
            return (await self._releases.record(replace(release, kind=ReleaseKind.ROLLBACK) if is_ours else release)).created
        if same.status is release.status or same.status is not ReleaseStatus.ROLLING:
            return False
        await self._releases.update(
            release.service, release.version, status=release.status, live_at=release.live_at, started_at=release.started_at
        )
        return True


@dataclass(frozen=True, slots=True)
class _Rollback:
    """A rollback of ours beside what the platform lists, where each deploy, that of a rollback too, is a release with a new number."""

    record: Release
    listed: Iterable[Release]
    watched_for: timedelta

    def made(self, release: Release) -> bool:
        """It has the target's artifact, and was started between the first step and the outcome.

        A rollback that did not end well has no time of its end: then until anything else was released.
        """
        if release.artifact != self.record.artifact or release.started_at < self.record.started_at - _CLOCK_SLACK:
            return False
        if self.record.live_at is not None:
            return release.started_at <= self.record.live_at + self.watched_for + _CLOCK_SLACK
        others = (one.started_at for one in self.listed if one.artifact != release.artifact)
        return not any(self.record.started_at < started_at < release.started_at for started_at in others)
