"""The exact plan of a rollback, made from an incident's pinned config and the recorded releases: what is shown is what is run."""

from rollbackd.action import plan
from rollbackd.errors import MisconfiguredError, RefusedError
from rollbackd.model.plan import Plan
from rollbackd.model.policy import ServicePolicy
from rollbackd.model.reason import Reason
from rollbackd.model.release import Mark, Release, ReleaseKind, ReleaseStatus


def make(policy: ServicePolicy, *, suspect: Release | None, target: Release | None) -> Plan:
    """Raises MisconfiguredError when the service has no runbook, RefusedError when a value may not stand in a command."""
    if policy.runbook is None:
        raise MisconfiguredError(f"{policy.name} has no runbook: name one with 'runbook:' in the config", path=f"services.{policy.name}")
    return plan.make(policy, policy.runbook, current=suspect, target=target)


def release_of(releases: tuple[Release, ...], version: str | None, artifact: str | None = None) -> Release | None:
    """The newest record of that version (and artifact, where one is given)."""
    return next(
        (release for release in releases if release.version == version and (artifact is None or release.artifact == artifact)), None
    )


def running_release(releases: tuple[Release, ...], answers: frozenset[str]) -> Release | None:
    """The newest record of what runs: of what the probe answered, else the newest that went live."""
    if answers:
        return next((release for release in releases if answers <= {release.version, release.artifact}), None)
    return next((release for release in releases if release.status is ReleaseStatus.LIVE), None)


def released_after(releases: tuple[Release, ...], suspect: Release) -> Release | None:
    """The newest release that may run in the place of `suspect`: not one that failed, nor a rollback that is only beginning."""

    def may_run(release: Release) -> bool:
        is_rollback = release.kind is ReleaseKind.ROLLBACK and release.status is ReleaseStatus.ROLLING
        return release.status is not ReleaseStatus.FAILED and not is_rollback and release.artifact != suspect.artifact

    return next((release for release in releases if release.started_at > suspect.started_at and may_run(release)), None)


def chosen_target(releases: tuple[Release, ...], version: str, running: frozenset[str]) -> Release:
    """The release that a person named. Raises RefusedError for one that is not recorded, marked bad or running (I4)."""
    target = release_of(releases, version)
    if target is None:
        raise RefusedError(
            f"release {version!r} is not recorded: record it first, or name one of 'rollbackd release list'", reason=Reason.NO_SAFE_TARGET
        )
    refuse_bad(releases, target)
    if running and running <= {target.version, target.artifact}:
        raise RefusedError(f"release {version!r} is the one that is running", reason=Reason.BAD_TARGET)
    return target


def refuse_bad(releases: tuple[Release, ...], target: Release) -> None:
    """Raises RefusedError when the target's artifact is marked bad, under whatever version (I4)."""
    if any(release.mark is Mark.BAD and release.artifact == target.artifact for release in releases):
        raise RefusedError(f"release {target.version!r} is marked bad: mark it good first, with a reason", reason=Reason.BAD_TARGET)
