"""Where the releases of the past come from when no file tells them: the services' own release sources, asked now."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from rollbackd.action.commands import Commands
from rollbackd.action.environment import Environments
from rollbackd.action.process import Processes
from rollbackd.backtest.past import PastReleases, Recorded
from rollbackd.errors import RollbackdError
from rollbackd.model.policy import CommandSource, ServicePolicy
from rollbackd.model.process import Completed
from rollbackd.releases import command
from rollbackd.releases.command import RunSource
from rollbackd.settings.secrets import read_secret
from rollbackd.supervisor import together
from rollbackd.telemetry.redaction import register_secret

RECORDED_ELSEWHERE: Final = "its releases are recorded over the API, where a backtest does not ask: give them with --releases"


async def ask(policies: Iterable[ServicePolicy], directory: Path) -> PastReleases:
    """All at the same time, each command in `directory`. What a source cannot tell is a problem of its service: unknown (I3)."""
    policies = tuple(policies)
    if not any(isinstance(policy.releases, CommandSource) for policy in policies):
        return PastReleases({policy.name: Recorded(problem=RECORDED_ELSEWHERE) for policy in policies})
    run = _runner(directory)
    async with together() as group:
        asked = {policy.name: group.create_task(_ask(policy, run)) for policy in policies}
    return PastReleases({name: task.result() for name, task in asked.items()})


def _runner(directory: Path) -> RunSource:
    commands = Commands(Processes(), Environments(os.environ, _secret), cwd=directory)

    async def run(policy: ServicePolicy, source: CommandSource) -> Completed:
        return (await commands.ask(policy, source.argv, source.env, timeout=source.timeout)).completed

    return run


async def _ask(policy: ServicePolicy, run: RunSource) -> Recorded:
    if not isinstance(policy.releases, CommandSource):
        return Recorded(problem=RECORDED_ELSEWHERE)
    try:
        listed = await command.ask(run, policy, policy.releases)
    except RollbackdError as e:
        return Recorded(problem=str(e))
    return Recorded.of(reversed(listed), listed_from=min((release.started_at for release in listed), default=None))


def _secret(path: str) -> str:
    return register_secret(read_secret(Path(path))).reveal()
