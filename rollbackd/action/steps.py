"""Performs one attempt of one step: intent, start, end, what the world says of it, outcome (I5, I10, I15)."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from rollbackd.action.checklist import Checklist, Line
from rollbackd.action.commands import Commands, Ended
from rollbackd.action.journal import Journal, settle
from rollbackd.action.pipe import OnLine
from rollbackd.action.probe import Prober
from rollbackd.action.recovery import Observed
from rollbackd.clock import Clock
from rollbackd.errors import MisconfiguredError, UncertainError
from rollbackd.failpoints import reach
from rollbackd.model.attempt import Attempt, AttemptStatus, ProcessIdentity
from rollbackd.model.plan import Plan
from rollbackd.model.policy import ServicePolicy
from rollbackd.model.runbook import Probe, Run, Step, Verify, Wait

Report = Callable[[str, str, Mapping[str, object]], Awaitable[None]]
"""Tells whoever watches: a kind, a line for a person, and the facts behind it."""

CAN_TELL: Final = frozenset({Observed.DONE, Observed.NOT_DONE})

_AFTER_EXIT_0: Final = {
    Observed.DONE: AttemptStatus.SUCCEEDED,
    Observed.NOT_DONE: AttemptStatus.FAILED,
    Observed.CANNOT_TELL: AttemptStatus.UNCERTAIN,
}
_AFTER_TIMEOUT: Final = _AFTER_EXIT_0 | {Observed.NOT_DONE: AttemptStatus.TIMED_OUT}


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One step of one rollback, with all that performing it needs. `index` is the step's number in the incident, from 0."""

    incident_id: str
    policy: ServicePolicy
    plan: Plan
    step: Step
    index: int
    first_command: bool  # no command of the plan comes before it
    report: Report
    interrupt: asyncio.Event
    on_line: OnLine | None


class Steps:
    def __init__(
        self, journal: Journal, commands: Commands, prober: Prober, clock: Clock, *, ask_every: timedelta, observe_for: timedelta
    ) -> None:
        self._journal = journal
        self._commands = commands
        self._prober = prober
        self._checklist = Checklist(prober, clock, ask_every=ask_every)
        self._clock = clock
        self._ask_every = ask_every
        self._observe_for = observe_for

    async def perform(self, job: Job, number: int) -> Attempt:
        """One attempt, journaled. When it is cancelled it is left without an outcome, and its processes are killed."""
        attempt = Attempt(
            id=f"{job.incident_id}-{job.index}-{number}",
            incident_id=job.incident_id,
            step_index=job.index,
            step_name=job.step.name,
            number=number,
            argv=job.step.action.argv if isinstance(job.step.action, Run) else (),
            status=AttemptStatus.INTENDED,
            intended_at=self._clock.now(),
        )
        await self._journal.intend(attempt)
        match job.step.action:
            case Run() as run:
                attempt = await self._run(job, run, attempt)
            case Wait(until=check):
                attempt = await self._ask(job, (check,), attempt)
            case Verify(checks=checks):
                attempt = await self._ask(job, checks, attempt)
        return await self.end(attempt, attempt.status, attempt.detail)

    async def end(self, attempt: Attempt, status: AttemptStatus, detail: str) -> Attempt:
        """Write an outcome down; one that is known is not lost to a shutdown."""
        attempt = replace(attempt, status=status, detail=detail, ended_at=self._clock.now())
        await settle(self._journal.ended(attempt))
        return attempt

    async def observe(self, job: Job, *, until: frozenset[Observed]) -> tuple[Observed, str]:
        """Ask whether the step is done, until the answer is one of `until` or patience is over; the last answer, and why."""
        deadline = self._clock.monotonic() + self._observe_for.total_seconds()
        while True:
            observed, why = await self._look(job)
            if observed in until or not self._can_look(job) or self._clock.monotonic() >= deadline:
                return observed, why
            await self._clock.sleep(self._ask_every)

    async def _look(self, job: Job) -> tuple[Observed, str]:
        """The step's own probe; else, for the first command, the running version: nothing before that command can have changed it."""
        if job.step.probe is not None:
            answer = await self._prober.ask(job.step.probe, job.policy)
            return Observed.of(answer.held), answer.reason
        if not self._can_look(job) or job.policy.running_version is None:
            return Observed.CANNOT_TELL, "the step has no probe"
        answer = await self._prober.ask(job.policy.running_version, job.policy)
        if answer.answers is None:
            return Observed.CANNOT_TELL, answer.reason
        return Observed.of(answer.answers <= {job.plan.target_version, job.plan.target_artifact}), f"running is {answer.value}"

    @staticmethod
    def _can_look(job: Job) -> bool:
        return job.step.probe is not None or (job.first_command and job.policy.running_version is not None)

    async def _run(self, job: Job, run: Run, attempt: Attempt) -> Attempt:
        async def on_start(identity: ProcessIdentity) -> None:
            nonlocal attempt
            attempt = replace(attempt, status=AttemptStatus.STARTED, started_at=self._clock.now(), process=identity)
            await self._journal.started(attempt)

        try:
            ended = await self._commands.run(
                job.policy,
                run,
                mark=attempt.id,
                timeout=job.step.timeout,
                on_start=on_start,
                interrupt=job.interrupt if job.step.interruptible else None,
                on_line=job.on_line,
            )
        except MisconfiguredError as e:
            return replace(attempt, status=AttemptStatus.FAILED, detail=str(e))
        except UncertainError as e:
            return replace(attempt, status=AttemptStatus.UNCERTAIN, detail=str(e))
        await reach("attempt.after_exit")
        status, detail = await self._outcome(job, ended)
        completed = ended.completed
        if completed.leftovers:
            detail += f"; left behind and ended: process {', '.join(map(str, completed.leftovers))}"
        return replace(attempt, status=status, detail=detail, exit_code=completed.exit_code, signal=completed.signal, output=ended.output)

    async def _outcome(self, job: Job, ended: Ended) -> tuple[AttemptStatus, str]:
        """By the probe where there is one: an exit code alone is a claim, and a timeout not even that."""
        completed = ended.completed
        if completed.error:
            return AttemptStatus.FAILED, ended.how
        if completed.interrupted:
            return AttemptStatus.INTERRUPTED, ended.how
        if completed.timed_out:
            return await self._after_timeout(job, ended)
        if job.step.probe is None:
            return AttemptStatus.SUCCEEDED if completed.ok else AttemptStatus.FAILED, ended.how
        if completed.ok:
            observed, why = await self.observe(job, until=frozenset({Observed.DONE}))
            return _AFTER_EXIT_0[observed], f"{ended.how}; {why}"
        observed, why = await self._look(job)  # a client can fail after its server has accepted
        return AttemptStatus.SUCCEEDED if observed is Observed.DONE else AttemptStatus.FAILED, f"{ended.how}; {why}"

    async def _after_timeout(self, job: Job, ended: Ended) -> tuple[AttemptStatus, str]:
        if not self._can_look(job):
            return AttemptStatus.TIMED_OUT, ended.how
        observed, why = await self.observe(job, until=CAN_TELL)
        return _AFTER_TIMEOUT[observed], f"{ended.how}; {why}"

    async def _ask(self, job: Job, checks: tuple[Probe, ...], attempt: Attempt) -> Attempt:
        async def on_change(line: Line) -> None:
            await job.report("check", line.text, {"step": job.step.name, "check": line.name, "held": line.held})

        attempt = replace(attempt, status=AttemptStatus.STARTED, started_at=self._clock.now())
        await self._journal.started(attempt)
        status, lines = await self._checklist.complete(
            job.policy, checks, within=job.step.timeout, interrupt=job.interrupt, on_change=on_change
        )
        await reach("attempt.after_exit")
        missing = [line.text for line in lines if not line.held]
        detail = "; ".join(missing) or f"{len(lines)} of {len(lines)} hold"
        return replace(attempt, status=status, output="\n".join(line.text for line in lines), detail=detail)
