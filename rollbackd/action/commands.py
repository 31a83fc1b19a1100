"""Runs a command on behalf of a service: its environment before, its output made fit to be kept after."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final
from uuid import uuid4

from rollbackd.action import placeholders
from rollbackd.action.environment import Environments
from rollbackd.action.output import Cleaner
from rollbackd.action.pipe import OnLine
from rollbackd.action.process import OnStart, Processes, find_executable
from rollbackd.errors import MisconfiguredError
from rollbackd.model.attempt import ProcessIdentity
from rollbackd.model.policy import CommandSource, ServicePolicy
from rollbackd.model.process import Completed
from rollbackd.model.runbook import CredentialRef, EnvironmentValue, Run

_KEEP_ANSWER: Final = 1 << 20
"""A question's answer is read whole or not at all; the JSON of a large deployment may be long."""


@dataclass(frozen=True, slots=True)
class Ended:
    """A command that has ended. Text for a person comes from `output` and `clean`; the raw bytes may hold secrets."""

    completed: Completed
    cleaner: Cleaner

    @property
    def output(self) -> str:
        """Both outputs, stdout first."""
        return "\n".join(text for raw in (self.completed.stdout, self.completed.stderr) if (text := self.cleaner.clean(raw).strip("\n")))

    @property
    def how(self) -> str:
        """One line for a person."""
        completed = self.completed
        if completed.error:
            return self.cleaner.clean_text(completed.error)
        end = f"exit {completed.exit_code}" if completed.signal is None else f"killed by {completed.signal}"
        if completed.timed_out:
            return f"timed out ({end})"
        if completed.interrupted:
            return f"interrupted ({end})"
        return end


class Commands:
    """`cwd` is where every command starts; a step that needs another directory names it in its own arguments."""

    def __init__(self, processes: Processes, environments: Environments, *, cwd: Path) -> None:
        self._processes = processes
        self._environments = environments
        self._cwd = cwd

    async def run(
        self,
        policy: ServicePolicy,
        run: Run,
        *,
        mark: str,
        timeout: timedelta,  # noqa: ASYNC109 - of the process
        on_start: OnStart | None = None,
        interrupt: asyncio.Event | None = None,
        on_line: OnLine | None = None,
    ) -> Ended:
        """One attempt of a step, `mark` its id. Raises MisconfiguredError before anything starts, UncertainError after."""
        environment = self._environments.of_step(policy, run.env, mark=mark)
        cleaner = Cleaner(environment.secrets)
        completed = await self._processes.run(
            run.argv,
            env=environment.variables,
            timeout=timeout,
            cwd=self._cwd,
            on_start=on_start,
            interrupt=interrupt,
            on_line=None if on_line is None else lambda line: on_line(cleaner.clean_text(line)),
        )
        return Ended(completed, cleaner)

    async def ask(
        self,
        policy: ServicePolicy,
        argv: tuple[str, ...],
        env: Mapping[str, EnvironmentValue],
        *,
        timeout: timedelta,  # noqa: ASYNC109 - of the process
    ) -> Ended:
        """A command that only finds something out: it may name its service and gets all of its credentials. Raises as `run`."""
        values = placeholders.values_of(policy)
        environment = self._environments.of_question(policy, placeholders.fill_env(env, values), mark=f"question-{uuid4().hex}")
        argv = placeholders.fill_argv(argv, values)
        completed = await self._processes.run(argv, env=environment.variables, timeout=timeout, cwd=self._cwd, keep=_KEEP_ANSWER)
        return Ended(completed, Cleaner(environment.secrets))

    async def ask_source(self, policy: ServicePolicy, source: CommandSource) -> Completed:
        """The command of a release source. Raises as `run`."""
        return (await self.ask(policy, source.argv, source.env, timeout=source.timeout)).completed

    def find(self, policy: ServicePolicy, command: str, env: Mapping[str, EnvironmentValue]) -> str:
        """The absolute path of the program that `run` or `ask` would start for this command, with nothing started.

        Raises:
            MisconfiguredError: it is not there, may not be executed, or asks for a credential that the service does not have.
        """
        values = placeholders.values_of(policy)
        name = placeholders.fill(command, values)
        for value in env.values():
            if isinstance(value, CredentialRef) and value.credential not in policy.credentials:
                raise MisconfiguredError(f"{name} asks for {value.credential}, which is not a credential of {policy.name}: add it there")
        path = placeholders.fill(self._environments.path(env), values)
        try:
            return find_executable(name, path=path, cwd=self._cwd)
        except (OSError, ValueError) as e:
            why = (e.strerror if isinstance(e, OSError) else None) or str(e)
            advice = ": install it, or write its path" if isinstance(e, FileNotFoundError) else ""
            raise MisconfiguredError(f"{name}: {why}{advice}") from e

    async def end_remains(self, identity: ProcessIdentity | None, *, mark: str) -> tuple[int, ...]:
        """What an attempt of an earlier daemon left behind is killed. Raises UncertainError when it cannot be."""
        return await self._processes.end_remains(identity, mark=mark)
