"""A runner with everything around it: a service whose tool is `Tool`, a journal in memory, every patience shortened."""

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from secrets import token_hex

from rollbackd.action import plan
from rollbackd.action.commands import Commands
from rollbackd.action.environment import Environments
from rollbackd.action.http_client import HttpClient
from rollbackd.action.pipe import OnLine
from rollbackd.action.probe import Prober
from rollbackd.action.process import Processes
from rollbackd.action.rollout import AskGate, CompareAndSet, Gate, RunResult
from rollbackd.action.runner import Runner
from rollbackd.action.steps import Ticked
from rollbackd.clock import SystemClock, parse_rfc3339
from rollbackd.model.plan import Plan
from rollbackd.model.release import Release
from rollbackd.model.runbook import Probe, Run, RunAsk, Runbook, RunbookKind, Step
from tests.fakes.journal import MemoryJournal
from tests.fakes.measures import FixedMeasures
from tests.fakes.policies import service
from tests.fakes.tool import Tool

CURRENT = Release(service="api", version="v2", artifact="img:v2", started_at=parse_rfc3339("2026-01-02T00:00:00Z"))
TARGET = Release(service="api", version="v1", artifact="img:v1", started_at=parse_rfc3339("2026-01-01T00:00:00Z"))


async def go() -> Gate:
    return Gate.GO


@dataclass(frozen=True, slots=True)
class Report:
    kind: str
    text: str
    facts: Mapping[str, object]


class Rollout:
    """The rollback of `api` from v2 to v1. A second `run` is what a restarted daemon does."""

    def __init__(self, directory: Path, *, grace: timedelta = timedelta(milliseconds=100)) -> None:
        self.incident = f"i{token_hex(8)}"  # several suites may run on one machine: each finds only its own processes
        self.tool = Tool(directory, live=CURRENT.artifact)
        self.journal = MemoryJournal()
        self.clock = SystemClock()
        self.policy = service("api")
        self.reports: list[Report] = []
        self.measures = FixedMeasures()
        self._directory = directory
        environments = Environments(os.environ, lambda path: Path(path).read_text())
        self.commands = Commands(Processes(grace=grace), environments, cwd=directory)
        self.http = HttpClient(environments)

    def deploy(self, *, name: str = "deploy", probe: bool = True, idempotent: bool = False, retries: int = 0, **how: object) -> Step:
        step = Step(
            name=name,
            action=Run(argv=("./tool", "deploy", "${target.artifact}")),
            timeout=timedelta(seconds=30),
            probe=self.asks_live(equals="${target.artifact}") if probe else None,
            idempotent=idempotent,
            retries=retries,
        )
        return replace(step, **how)  # type: ignore[arg-type]

    def asks_live(self, *, equals: str | None = None) -> Probe:
        return Probe(ask=RunAsk(argv=("./tool", "live")), equals=equals)

    def sh(self, script: str, **how: object) -> Step:
        return replace(Step(name=script, action=Run(argv=("sh", "-c", script)), timeout=timedelta(seconds=30)), **how)  # type: ignore[arg-type]

    def plan(self, *steps: Step, budget: timedelta = timedelta(minutes=10), kind: RunbookKind = RunbookKind.QUICK) -> Plan:
        return plan.make(self.policy, Runbook(name="quick", kind=kind, budget=budget, steps=steps), current=CURRENT, target=TARGET)

    async def run(
        self,
        *steps: Step,
        gate: AskGate = go,
        compare_and_set: CompareAndSet | None = None,
        interrupt: asyncio.Event | None = None,
        budget: timedelta = timedelta(minutes=10),
        first_index: int = 0,
        on_line: OnLine | None = None,
        ticked: Ticked | None = None,
    ) -> RunResult:
        return await self.runner().run(
            self.incident,
            self.policy,
            self.plan(*steps, budget=budget),
            gate=gate,
            report=self._report,
            compare_and_set=compare_and_set,
            interrupt=interrupt,
            first_index=first_index,
            on_line=on_line,
            **({} if ticked is None else {"ticked": ticked}),
        )

    def runner(self) -> Runner:
        prober = Prober(self.commands, self.measures, self.clock)
        patience = timedelta(milliseconds=300)
        return Runner(self.journal, self.commands, self.http, prober, self.clock, ask_every=timedelta(milliseconds=5), observe_for=patience)

    def attempt(self, step: int, number: int) -> str:
        """The id that this attempt has."""
        return f"{self.incident}-{step}-{number}"

    def told(self, kind: str) -> list[str]:
        """The lines of this kind that were reported."""
        return [report.text for report in self.reports if report.kind == kind]

    async def _report(self, kind: str, text: str, facts: Mapping[str, object]) -> None:
        self.reports.append(Report(kind, text, facts))
