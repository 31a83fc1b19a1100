"""Whether there is a way back: a target for the newest release, and a running version that is the one that is recorded. Pure."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from rollbackd.decision.target import choose_target
from rollbackd.errors import RollbackdError
from rollbackd.flow import plans
from rollbackd.model.policy import ApiSource, ServicePolicy
from rollbackd.model.readiness import ReadinessCheck, ReadinessVerdict
from rollbackd.model.release import Release, ReleaseKind, ReleaseStatus

_RECORD: Final = "record each deploy from CI with 'rollbackd release record'"


@dataclass(frozen=True, slots=True)
class Known:
    """What is recorded of a service, newest first. `problem` says why it may not be up to date; empty: it is."""

    releases: tuple[Release, ...]
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Running:
    """What the running_version probe answered; `problem` says why it is no answer."""

    answers: frozenset[str] = frozenset()
    problem: str = ""


def check_target(policy: ServicePolicy, known: Known | None, now: datetime) -> ReadinessCheck:
    """`known` None: what is recorded is only in a store that is not looked at here."""
    if policy.runbook is None:
        return _target(ReadinessVerdict.NOT_APPLICABLE, "there is no runbook that could go back to one")
    if known is None:
        return _target(
            ReadinessVerdict.NOT_APPLICABLE, "releases are recorded with the daemon, which is not asked here: 'rollbackd doctor'"
        )
    if known.problem:
        return _target(ReadinessVerdict.UNKNOWN, known.problem)
    if not known.releases:
        return _target(ReadinessVerdict.NOT_READY, f"no release is recorded: {_advice(policy)}")
    return _from(known.releases[0], known.releases, policy, now)


def _from(newest: Release, releases: tuple[Release, ...], policy: ServicePolicy, now: datetime) -> ReadinessCheck:
    if newest.kind is ReleaseKind.ROLLBACK:
        return _target(
            ReadinessVerdict.NOT_APPLICABLE, f"{newest.version} is rollbackd's own rollback, which is never rolled back by itself"
        )
    choice = choose_target(newest, releases, now)
    if choice.target is None:
        reason = choice.check.reason.replace("_", " ")
        return _target(ReadinessVerdict.NOT_READY, f"{reason} for {newest.version}: {choice.check.value}; {_advice(policy)}")
    try:
        plans.make(policy, suspect=newest, target=choice.target)
    except RollbackdError as e:
        return _target(ReadinessVerdict.NOT_READY, f"no plan from {newest.version} to {choice.target.version}: {e}", about=("runbook",))
    return _target(ReadinessVerdict.READY, f"{newest.version} would go back to {choice.check.value}")


def check_running(policy: ServicePolicy, known: Known | None, running: Running | None) -> ReadinessCheck:
    """What runs must be what the register takes for the newest, else compare-and-set refuses the rollback. `running` None: not asked."""
    if policy.running_version is None or running is None:
        return _running(ReadinessVerdict.NOT_APPLICABLE, "no running_version probe: what runs is not compared before a rollback")
    if running.problem:
        return _running(ReadinessVerdict.UNKNOWN, f"{running.problem}: mend the question under 'running_version'")
    runs = f"runs {', '.join(sorted(running.answers))}"
    if known is None:
        return _running(ReadinessVerdict.READY, f"{runs}; the daemon compares it with its register")
    if known.problem:
        return _running(ReadinessVerdict.UNKNOWN, f"{runs}, which cannot be compared: {known.problem}")
    expected = _may_run(known.releases)
    if running.answers <= {name for release in expected for name in (release.version, release.artifact)}:
        return _running(ReadinessVerdict.READY, runs)
    recorded = f"{expected[0].version} ({expected[0].artifact})" if expected else "nothing"
    return _running(
        ReadinessVerdict.NOT_READY, f"{runs}, but recorded as newest is {recorded}: {_advice(policy)}, or see who deployed past it"
    )


def _may_run(releases: tuple[Release, ...]) -> tuple[Release, ...]:
    """The newest that is live, and while a newer one is rolling, that one as well."""
    may_run: list[Release] = []
    for release in releases:
        if release.status is ReleaseStatus.LIVE:
            return (*may_run, release)
        if release.status is ReleaseStatus.ROLLING:
            may_run.append(release)
    return tuple(may_run)


def _advice(policy: ServicePolicy) -> str:
    return _RECORD if isinstance(policy.releases, ApiSource) else "see what the command under 'releases' lists"


def _target(verdict: ReadinessVerdict, detail: str, *, about: tuple[str, ...] = ("releases",)) -> ReadinessCheck:
    return ReadinessCheck(name="target", verdict=verdict, detail=detail, about=about)


def _running(verdict: ReadinessVerdict, detail: str) -> ReadinessCheck:
    return ReadinessCheck(name="running_version", verdict=verdict, detail=detail, about=("running_version",))
