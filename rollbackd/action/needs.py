"""What the rollback of a service needs of this machine: programs that can be executed, credentials that can be read and are private."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from rollbackd.action.commands import Commands
from rollbackd.errors import RollbackdError
from rollbackd.model.policy import CommandSource, ServicePolicy
from rollbackd.model.readiness import ReadinessCheck, ReadinessVerdict
from rollbackd.model.runbook import EnvironmentValue, Probe, Run, RunAsk, Runbook, Step, Verify, Wait
from rollbackd.settings.secrets import check_private

_Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Need:
    """A program that something of a service starts; `of` says what, for a person."""

    command: str
    env: Mapping[str, EnvironmentValue]
    of: str
    about: _Path


def check_commands(policy: ServicePolicy, commands: Commands) -> tuple[ReadinessCheck, ...]:
    """One check for each program, looked for as the step or the question would look for it; nothing is started."""
    found: dict[tuple[str, ReadinessVerdict, str], list[Need]] = {}
    for need in needs_of(policy):
        try:
            outcome = need.command, ReadinessVerdict.READY, commands.find(policy, need.command, need.env)
        except RollbackdError as e:
            outcome = need.command, ReadinessVerdict.NOT_READY, str(e)
        found.setdefault(outcome, []).append(need)
    return tuple(
        ReadinessCheck(name=f"command {command}", verdict=verdict, detail=_detail(verdict, said, needs), about=needs[0].about)
        for (command, verdict, said), needs in found.items()
    )


def check_credentials(policy: ServicePolicy) -> tuple[ReadinessCheck, ...]:
    return tuple(_credential(name, Path(secret.file)) for name, secret in policy.credentials.items())


def needs_of(policy: ServicePolicy) -> Iterator[Need]:
    """Those of the quick runbook, of the emergency runbook that stands behind it, and of what is asked about releases."""
    if policy.runbook is not None:
        yield from _of_runbook(policy.runbook, ("runbook",))
    if policy.on_failure is not None:
        yield from _of_runbook(policy.on_failure.runbook, ("on_failure", "runbook"))
    if isinstance(policy.releases, CommandSource):
        yield Need(policy.releases.argv[0], policy.releases.env, "the release source", ("releases", "run"))
    if policy.running_version is not None:
        yield from _of_probe(policy.running_version, "running_version", ("running_version",))


def _of_runbook(runbook: Runbook, about: _Path) -> Iterator[Need]:
    for position, step in enumerate(runbook.steps):
        yield from _of_step(step, f"runbook {runbook.name}, step {step.name!r}", (*about, "steps", position))


def _of_step(step: Step, of: str, about: _Path) -> Iterator[Need]:
    match step.action:
        case Run(argv=argv, env=env):
            yield Need(argv[0], env, of, (*about, "run"))
        case Wait(until=until):
            yield from _of_probe(until, of, (*about, "wait"))
        case Verify(checks=checks):
            for position, check in enumerate(checks):
                yield from _of_probe(check, of, (*about, "verify", position))
    if step.undo is not None and isinstance(step.undo.action, Run):
        yield Need(step.undo.action.argv[0], step.undo.action.env, f"{of}, its undo", (*about, "undo", "run"))
    if step.probe is not None:
        yield from _of_probe(step.probe, f"{of}, its probe", (*about, "probe"))


def _of_probe(probe: Probe, of: str, about: _Path) -> Iterator[Need]:
    if isinstance(probe.ask, RunAsk):
        yield Need(probe.ask.argv[0], probe.ask.env, of, (*about, "run"))


def _detail(verdict: ReadinessVerdict, said: str, needs: list[Need]) -> str:
    if verdict is ReadinessVerdict.READY:
        return said
    also = f" and {len(needs) - 1} more" if len(needs) > 1 else ""
    return f"{said} (asked for by {needs[0].of}{also})"


def _credential(name: str, path: Path) -> ReadinessCheck:
    about = ("credentials", name, "file")
    try:
        check_private(path)
    except RollbackdError as e:
        return ReadinessCheck(name=f"credential {name}", verdict=ReadinessVerdict.NOT_READY, detail=str(e), about=about)
    return ReadinessCheck(name=f"credential {name}", verdict=ReadinessVerdict.READY, detail=str(path), about=about)
