"""Runs the steps of a plan in order, and goes on with them after a restart, each attempt journaled.

What to do next about a step is said by `recovery` from the journal alone, so a run that was cut off goes on exactly as one that was not.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from itertools import groupby

from rollbackd.action import placeholders
from rollbackd.action.commands import Commands
from rollbackd.action.doubt import how_to_find_out
from rollbackd.action.http_client import HttpClient
from rollbackd.action.journal import Journal
from rollbackd.action.pipe import OnLine
from rollbackd.action.probe import Prober
from rollbackd.action.recovery import Observed, tried
from rollbackd.action.rollout import AskGate, CompareAndSet, Rollout, RunResult, RunStatus
from rollbackd.action.steps import Job, Report, Steps, Ticked
from rollbackd.clock import Clock
from rollbackd.errors import UncertainError
from rollbackd.failpoints import reach
from rollbackd.model.attempt import Attempt, AttemptStatus
from rollbackd.model.plan import Plan
from rollbackd.model.policy import ServicePolicy
from rollbackd.model.reason import Reason
from rollbackd.model.runbook import Step


async def _tell_nobody(_kind: str, _text: str, _facts: Mapping[str, object]) -> None: ...


async def _by_nobody(_index: int) -> str | None:
    return None


class Runner:
    def __init__(
        self,
        journal: Journal,
        commands: Commands,
        http: HttpClient,
        prober: Prober,
        clock: Clock,
        *,
        ask_every: timedelta = timedelta(seconds=1),
        observe_for: timedelta = timedelta(seconds=30),
    ) -> None:
        """`ask_every` is the pause between two questions; `observe_for` how long a probe is asked once a command has ended."""
        self._journal = journal
        self._commands = commands
        self._prober = prober
        self._steps = Steps(journal, commands, http, prober, clock, ask_every=ask_every, observe_for=observe_for)
        self._clock = clock

    async def run(
        self,
        incident_id: str,
        policy: ServicePolicy,
        plan: Plan,
        *,
        gate: AskGate,
        report: Report = _tell_nobody,
        compare_and_set: CompareAndSet | None = None,
        interrupt: asyncio.Event | None = None,
        on_line: OnLine | None = None,
        ticked: Ticked = _by_nobody,
        first_index: int = 0,
    ) -> RunResult:
        """Run what is left of `plan`; steps that have succeeded are not run again.

        `compare_and_set` is asked right before the first attempt of all: is the world still as it was decided? With it, each later
        command is preceded by a look whether what runs is still the release that is rolled back, or its target. A look that is no
        longer fresh when the command could start is repeated.
        `interrupt` ends a step that is interruptible. A run that fails takes back what it did, as far as its steps say how. A second
        plan of the same incident, such as an emergency runbook, gets a `first_index` behind `last_index` of the first.

        Raises:
            TemporaryError: the journal could not be written; nothing was started, or what was started is uncertain.
        """
        attempts = await self._journal.of_incident(incident_id)
        try:
            await self._end_remains(attempts)
        except UncertainError as e:
            await self._cut_off(attempts, str(e))
            return RunResult(status=RunStatus.UNCERTAIN, reason=Reason.STEP_UNCERTAIN, detail=str(e))
        by_index: dict[int, list[Attempt]] = {}
        for attempt in attempts:
            if first_index <= attempt.step_index <= last_index(plan, first_index):
                by_index.setdefault(attempt.step_index, []).append(attempt)
        began = min((one.intended_at for of_step in by_index.values() for one in of_step), default=self._clock.now())
        rollout = Rollout(
            steps=self._steps,
            prober=self._prober,
            clock=self._clock,
            gate=gate,
            compare_and_set=compare_and_set,
            begun=any(tried(of_step) for of_step in by_index.values()),
            looked_at=self._clock.monotonic(),
        )
        interrupt = interrupt or asyncio.Event()

        def job(step: Step, place: int, *, first_command: bool = False) -> Job:
            return Job(
                incident_id=incident_id,
                policy=policy,
                plan=plan,
                step=placeholders.fill_step(step, {placeholders.INCIDENT_ID: incident_id}),
                index=first_index + place,
                first_command=first_command,
                report=report,
                interrupt=interrupt,
                on_line=on_line,
                ticked=ticked,
            )

        over_budget = False
        for batch in _batches(plan.steps):
            jobs = [job(step, place, first_command=_first_command(plan.steps[: place + 1])) for step, place in batch]
            result = await rollout.bring_all_about(jobs, [by_index.setdefault(one.index, []) for one in jobs])
            if not over_budget and plan.budget is not None and self._clock.now() - began > plan.budget:
                over_budget = True
                await report("over_budget", f"{plan.runbook} takes longer than its budget of {plan.budget}", {"step": jobs[0].step.name})
            if result is not None and result.status is RunStatus.FAILED:
                begun = [(step, place) for step, place in reversed(_placed(plan.steps)) if tried(by_index.get(first_index + place, []))]
                undos = [job(undo, _undone_at(plan, place)) for step, place in begun if (undo := _undo(step)) is not None]
                return await rollout.take_back(result, undos, [by_index.setdefault(one.index, []) for one in undos])
            if result is not None:
                return result
        observed, why = await self._steps.arrived(policy, plan)
        if observed is Observed.NOT_DONE:
            detail = f"every step succeeded, but {why}; {how_to_find_out(policy.running_version, plan, policy)}"
            return RunResult(status=RunStatus.UNCERTAIN, reason=Reason.STEP_UNCERTAIN, detail=detail)
        unknown = [f"what runs now: {why}"] if observed is Observed.CANNOT_TELL else []
        await reach("rollback.after_last_step")
        return RunResult(status=RunStatus.SUCCEEDED, detail="; ".join(rollout.passed_over + unknown))

    async def leave(self, incident_id: str, why: str) -> None:
        """A run that does not go on: what it left running is ended, and an attempt that was cut off gets its outcome.

        Raises:
            TemporaryError: the journal could not be written.
        """
        attempts = await self._journal.of_incident(incident_id)
        try:
            await self._end_remains(attempts)
        except UncertainError as e:
            why = f"{why}; {e}"
        await self._cut_off(attempts, why)

    async def _cut_off(self, attempts: Sequence[Attempt], why: str) -> None:
        for attempt in attempts:
            if not attempt.status.ended:
                await self._steps.end(attempt, AttemptStatus.UNCERTAIN, f"cut off, and not observed: {why}")

    async def _end_remains(self, attempts: Sequence[Attempt]) -> None:
        """What an earlier daemon's attempt left running would change the world behind the back of whoever observes it now."""
        for attempt in attempts:
            if not attempt.status.ended:
                await self._commands.end_remains(attempt.process, mark=attempt.id)


def last_index(plan: Plan, first_index: int) -> int:
    """The number of the last step that a run of this plan may have: behind its steps lie those that take them back, in reverse."""
    return first_index + 2 * len(plan.steps) - 1


def _undone_at(plan: Plan, place: int) -> int:
    return 2 * len(plan.steps) - 1 - place


def _undo(step: Step) -> Step | None:
    undo = step.undo
    if undo is None:
        return None
    return Step(name=f"undo: {step.name}", action=undo.action, timeout=undo.timeout, idempotent=undo.idempotent)


def _placed(steps: Sequence[Step]) -> list[tuple[Step, int]]:
    return [(step, place) for place, step in enumerate(steps)]


def _batches(steps: Sequence[Step]) -> Iterator[list[tuple[Step, int]]]:
    """Each step with its place; those that are one step for several items together."""
    for _, batch in groupby(_placed(steps), key=lambda placed: (placed[1],) if placed[0].batch is None else ("batch", placed[0].batch)):
        yield list(batch)


def _first_command(steps: Sequence[Step]) -> bool:
    """Whether the last of `steps` acts, as the only one. One item of several changes only a part of what runs."""
    return steps[-1].acts and steps[-1].batch is None and sum(step.acts for step in steps) == 1
