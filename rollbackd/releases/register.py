"""The release register: one place where a report from CI, a source's answer and rollbackd's own rollback become releases."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, Protocol

from rollbackd.clock import Clock, rfc3339
from rollbackd.decision.record import span
from rollbackd.errors import NotFoundError
from rollbackd.model.release import Mark, Release, ReleaseKind, ReleaseStatus, check_version

OWN: Final = "rollbackd"
"""The source of the releases that rollbackd itself makes."""

AHEAD_AT_MOST: Final = timedelta(minutes=5)
"""How far a clock elsewhere may be ahead of ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseReport:
    """What a person or CI says about one release; what is left out is filled in: artifact = version, started now, live when it started.

    A report about a version that is recorded as rolling, without a start of its own, finishes or fails that one.
    """

    service: str
    version: str
    artifact: str | None = None
    started_at: datetime | None = None
    live_at: datetime | None = None
    status: ReleaseStatus | None = None
    irreversible: bool = False
    group: str | None = None
    schema: str | None = None
    schema_compatible: bool = False


class Recorded(Protocol):
    @property
    def release(self) -> Release: ...
    @property
    def created(self) -> bool: ...


class Releases(Protocol):
    """The part of the store that keeps releases."""

    async def record(self, release: Release) -> Recorded: ...
    async def update(
        self, service: str, version: str, *, status: ReleaseStatus, live_at: datetime | None, started_at: datetime | None = None
    ) -> Release | None: ...
    async def of_service(self, service: str) -> tuple[Release, ...]: ...
    async def mark(self, service: str, version: str, mark: Mark, reason: str) -> bool: ...


class Register:
    def __init__(self, releases: Releases, clock: Clock) -> None:
        self._releases = releases
        self._clock = clock

    async def of_service(self, service: str) -> tuple[Release, ...]:
        """Newest first."""
        return await self._releases.of_service(service)

    async def report(self, report: ReleaseReport) -> tuple[Release, bool]:
        """Record what was reported; the flag says whether it was new.

        What a deploy tool reports of the artifact that a rollback is just putting back is that rollback, which is recorded already and
        ends when its runbook does.

        Raises:
            ValueError: a version or an artifact that may not become part of a command line, or a time that lies ahead.
        """
        check_version(report.version)
        check_version(report.artifact or report.version, what="artifact")
        now = self._clock.now()
        check_happened("started_at", report.started_at, now)
        check_happened("live_at", report.live_at, now)
        status = report.status or ReleaseStatus.LIVE
        known = await self._releases.of_service(report.service)
        rollback = _own_rollback(known)
        if rollback is not None and (report.artifact or report.version) in {rollback.artifact, rollback.version}:
            return rollback, False
        if report.started_at is None and status is not ReleaseStatus.ROLLING:
            newest = next((release for release in known if release.version == report.version), None)
            if newest is not None and newest.status is ReleaseStatus.ROLLING:
                live_at = (report.live_at or now) if status is ReleaseStatus.LIVE else None
                updated = await self._releases.update(
                    report.service, report.version, status=status, live_at=live_at, started_at=newest.started_at
                )
                return updated or newest, False
        started_at = report.started_at or report.live_at or now
        live_at = (report.live_at or started_at) if status is ReleaseStatus.LIVE else None
        recorded = await self._releases.record(
            Release(
                service=report.service,
                version=report.version,
                artifact=report.artifact or report.version,
                started_at=started_at,
                live_at=live_at,
                status=status,
                group=report.group,
                irreversible=report.irreversible,
                schema=report.schema,
                schema_compatible=report.schema_compatible,
            )
        )
        return recorded.release, recorded.created

    async def mark(self, service: str, version: str, mark: Mark, *, reason: str) -> Release:
        """Mark every record of that version. Raises NotFoundError when there is none."""
        newest = next((release for release in await self._releases.of_service(service) if release.version == version), None)
        if newest is None or not await self._releases.mark(service, version, mark, reason):
            raise NotFoundError(f"no release {version!r} of {service} is recorded: see 'rollbackd release list {service}'")
        return replace(newest, mark=mark, mark_reason=reason)

    async def rollback_started(self, target: Release) -> None:
        """Record rollbackd's own rollback as a release that is rolling. Said again, as after a restart, it is the same one."""
        known = await self._releases.of_service(target.service)
        begun = _own_rollback(known)
        if begun is not None and begun is known[0] and begun.artifact == target.artifact:
            return
        if begun is not None:  # one whose end nobody came to write down: it is not this one
            await self._ended(begun, ReleaseStatus.FAILED)
        await self._releases.record(
            replace(
                target,
                started_at=self._clock.now(),
                live_at=None,
                status=ReleaseStatus.ROLLING,
                kind=ReleaseKind.ROLLBACK,
                source=OWN,
            )
        )

    async def rollback_ended(self, service: str, status: ReleaseStatus) -> None:
        """Only the record of the rollback itself is touched: where none was begun, the target keeps its good name."""
        begun = _own_rollback(await self._releases.of_service(service))
        if begun is not None:
            await self._ended(begun, status)

    async def _ended(self, begun: Release, status: ReleaseStatus) -> None:
        live_at = self._clock.now() if status is ReleaseStatus.LIVE else None
        await self._releases.update(begun.service, begun.version, status=status, live_at=live_at, started_at=begun.started_at)


def check_happened(what: str, at: datetime | None, now: datetime) -> None:
    """Raises ValueError for a time that is still to come: what happens then can have caused nothing, so it would be let go for ever."""
    if at is not None and at - now > AHEAD_AT_MOST:
        lies = f"{rfc3339(at)} lies {span(at - now)} ahead"
        raise ValueError(f"{what}: {lies}: write it with its own time zone, as in 2026-01-31T13:00:00+01:00")


def _own_rollback(releases: tuple[Release, ...]) -> Release | None:
    """The rollback that is going on; of a service there is at most one (I1)."""
    return next((release for release in releases if release.source == OWN and release.status is ReleaseStatus.ROLLING), None)
