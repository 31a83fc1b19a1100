"""The release register: one place where a report from CI, a source's answer and rollbackd's own rollback become releases."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, Protocol

from rollbackd.clock import Clock, rfc3339
from rollbackd.decision.record import span
from rollbackd.errors import NotFoundError
from rollbackd.model.audit import AuditEntry
from rollbackd.model.release import MOST_AHEAD, Mark, Release, ReleaseKind, ReleaseStatus, check_version

OWN: Final = "rollbackd"
"""The source of the releases that rollbackd itself makes."""


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

    async def record(self, release: Release, *, audited: AuditEntry | None = None) -> Recorded: ...
    async def update(
        self,
        service: str,
        version: str,
        *,
        status: ReleaseStatus,
        live_at: datetime | None,
        started_at: datetime | None = None,
        audited: AuditEntry | None = None,
    ) -> Release | None: ...
    async def of_service(self, service: str) -> tuple[Release, ...]: ...
    async def mark(self, service: str, version: str, mark: Mark, reason: str, *, audited: AuditEntry | None = None) -> bool: ...


class Register:
    def __init__(self, releases: Releases, clock: Clock) -> None:
        self._releases = releases
        self._clock = clock

    async def of_service(self, service: str) -> tuple[Release, ...]:
        """Newest first."""
        return await self._releases.of_service(service)

    async def report(self, report: ReleaseReport, *, audited: AuditEntry | None = None) -> tuple[Release, bool]:
        """Record what was reported, and who did; the flag says whether it was new.

        What a deploy tool reports of the artifact that a rollback is just putting back is that rollback, which is recorded already and
        ends when its runbook does.

        Raises:
            ValueError: a version or an artifact that may not become part of a command line, or a time that is still to come.
        """
        check_version(report.version)
        check_version(report.artifact or report.version, what="artifact")
        now = self._clock.now()
        check_has_come(report.started_at, now, what="started_at")
        check_has_come(report.live_at, now, what="live_at")
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
                    report.service, report.version, status=status, live_at=live_at, started_at=newest.started_at, audited=audited
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
            ),
            audited=audited,
        )
        return recorded.release, recorded.created

    async def mark(self, service: str, version: str, mark: Mark, *, reason: str, audited: AuditEntry | None = None) -> Release:
        """Mark every record of that version. Raises NotFoundError when there is none."""
        newest = next((release for release in await self._releases.of_service(service) if release.version == version), None)
        if newest is None or not await self._releases.mark(service, version, mark, reason, audited=audited):
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


def check_has_come(at: datetime | None, now: datetime, *, what: str) -> None:
    """Raises ValueError, in words for whoever records it, when it lies further ahead than clocks differ."""
    if at is not None and at - now > MOST_AHEAD:
        ahead = f"{span(at - now)} ahead of this machine's clock ({span(MOST_AHEAD)} are allowed)"
        raise ValueError(f"{what} {rfc3339(at)} is still to come, {ahead}: record it when it happens")


def _own_rollback(releases: tuple[Release, ...]) -> Release | None:
    """The rollback that is going on; of a service there is at most one (I1)."""
    return next((release for release in releases if release.source == OWN and release.status is ReleaseStatus.ROLLING), None)
