"""Runs the steps of a plan in order, and goes on with them after a restart, each attempt journaled.

What to do next about a step is said by `recovery` from the journal alone, so a run that was cut off goes on exactly as one that was not.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Final

from rollbackd.action import placeholders
from rollbackd.action.commands import Commands
from rollbackd.action.doubt import how_to_find_out, whether_it_happened
from rollbackd.action.http_client import HttpClient
from rollbackd.action.journal import Journal
from rollbackd.action.pipe import OnLine
from rollbackd.action.probe import Prober
from rollbackd.action.recovery import NextMove, Observed, next_move, tried
from rollbackd.action.steps import CAN_TELL, Job, Report, Steps
from rollbackd.clock import Clock
from rollbackd.errors import UncertainError
from rollbackd.failpoints import reach
from rollbackd.model.attempt import Attempt, AttemptStatus
from rollbackd.model.plan import Plan
from rollbackd.model.policy import ServicePolicy
from rollbackd.model.reason import Reason
from rollbackd.model.runbook import OnFailure, Step


class Gate(StrEnum):
    """Asked before each attempt."""

    GO = "go"
    HOLD = "hold"  # paused: nothing starts, and the run goes on when it is called again (I8)
    STOP = "stop"  # aborted


class RunStatus(StrEnum):
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    UNCERTAIN = "uncertain"  # nobody knows whether a step happened: a person has to look
    REFUSED = "refused"  # what runs is not what was decided about
    ABORTED = "aborted"
    PAUSED = "paused"  # call again to go on


@dataclass(frozen=True, slots=True)
class Refusal:
    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """How a run ended; `step` is the name of the step at which it stopped."""

    status: RunStatus
    step: str | None = None
    reason: Reason | None = None
    detail: str = ""


_FRESH: Final = timedelta(seconds=2)
_LOOKS: Final = 3

AskGate = Callable[[], Awaitable[Gate]]
CompareAndSet = Callable[[], Awaitable[Refusal | None]]


async def _tell_nobody(_kind: str, _text: str, _facts: Mapping[str, object]) -> None: ...


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
        first_index: int = 0,
    ) -> RunResult:
        """Run what is left of `plan`; steps that have succeeded are not run again.

        `compare_and_set` is asked right before the first attempt of all: is the world still as it was decided? With it, each later
        command is preceded by a look whether what runs is still the release that is rolled back, or its target. A look that is no
        longer fresh when the command could start is repeated.
        `interrupt` ends a step that is interruptible. A second plan of the same incident, such as an emergency runbook, gets a
        `first_index` behind the first's.

        Raises:
            TemporaryError: the journal could not be written; nothing was started, or what was started is uncertain.
        """
        attempts = await self._journal.of_incident(incident_id)
        try:
            await self._end_remains(attempts)
        except UncertainError as e:
            await self._cut_off(attempts, str(e))
            return RunResult(status=RunStatus.UNCERTAIN, reason=Reason.STEP_UNCERTAIN, detail=str(e))
        by_step = [[one for one in attempts if one.step_index == first_index + place] for place in range(len(plan.steps))]
        began = min((one.intended_at for of_step in by_step for one in of_step), default=self._clock.now())
        rollout = _Rollout(
            steps=self._steps,
            prober=self._prober,
            clock=self._clock,
            gate=gate,
            compare_and_set=compare_and_set,
            begun=any(tried(of_step) for of_step in by_step),
            looked_at=self._clock.monotonic(),
        )
        interrupt = interrupt or asyncio.Event()
        over_budget = False
        for place, step in enumerate(plan.steps):
            job = Job(
                incident_id=incident_id,
                policy=policy,
                plan=plan,
                step=placeholders.fill_step(step, {placeholders.INCIDENT_ID: incident_id}),
                index=first_index + place,
                first_command=_first_command(plan.steps[: place + 1]),
                report=report,
                interrupt=interrupt,
                on_line=on_line,
            )
            result = await rollout.bring_about(job, by_step[place])
            if not over_budget and plan.budget is not None and self._clock.now() - began > plan.budget:
                over_budget = True
                await report("over_budget", f"{plan.runbook} takes longer than its budget of {plan.budget}", {"step": step.name})
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


@dataclass(slots=True, kw_only=True)
class _Rollout:
    """One call of `run`: what is the same for all of its steps, and whether something has begun."""

    steps: Steps
    prober: Prober
    clock: Clock
    gate: AskGate
    compare_and_set: CompareAndSet | None
    begun: bool  # a command of this plan may have run
    looked_at: float  # when the last look at what runs began, on the monotonic clock
    passed_over: list[str] = field(default_factory=list)  # steps that are not done, and may be missing

    async def bring_about(self, job: Job, attempts: list[Attempt]) -> RunResult | None:
        """Attempt the step until it is done (None), or until it is known why this run has to stop at it."""
        observed, why = Observed.NOT_ASKED, attempts[-1].detail if attempts else ""
        while True:
            match next_move(job.step, attempts, observed):
                case NextMove.OBSERVE:
                    observed, why = await self.steps.observe(job, until=CAN_TELL)
                case NextMove.DONE:
                    await self._resolve(job, attempts, AttemptStatus.SUCCEEDED, why)
                    return None
                case NextMove.RUN:
                    await self._resolve(job, attempts, AttemptStatus.UNCERTAIN, why)
                    stop = await self._look(job)
                    if stop is not None:
                        return stop
                    attempt, stop = await self._perform(job, len(attempts) + 1)
                    if stop is not None:
                        return stop
                    attempts.append(attempt)
                    if attempts[-1].status is AttemptStatus.INTERRUPTED:
                        return await self._stop(job) or _stopped(RunStatus.PAUSED, job, None, "interrupted")
                    observed = Observed.CANNOT_TELL if attempts[-1].status is AttemptStatus.UNCERTAIN else Observed.NOT_ASKED
                    why = attempts[-1].detail
                case NextMove.GIVE_UP:
                    return self._unless_it_may_fail(job, _stopped(RunStatus.FAILED, job, Reason.STEP_FAILED, why))
                case NextMove.ASK_A_PERSON:
                    await self._resolve(job, attempts, AttemptStatus.UNCERTAIN, why)
                    doubt = whether_it_happened(tried(attempts)[-1], job.question, job.plan, job.policy)
                    return self._unless_it_may_fail(job, _stopped(RunStatus.UNCERTAIN, job, Reason.STEP_UNCERTAIN, doubt))

    async def _perform(self, job: Job, number: int) -> tuple[Attempt, RunResult | None]:
        """One attempt; with a result where it was not started, because the world had changed by the time it could be."""
        stop: RunResult | None = None

        async def why_not() -> str | None:
            nonlocal stop
            stop = await self._look_again(job)
            return None if stop is None else stop.detail

        await job.report("step_started", f"{_place(job)}: attempt {number}", {"step": job.step.name, "index": job.index, "number": number})
        attempt = await self.steps.perform(job, number, why_not)
        self.begun = self.begun or attempt.status is not AttemptStatus.NOT_STARTED
        await _tell(job, attempt)
        return attempt, stop

    async def _look_again(self, job: Job) -> RunResult | None:
        """Between the look and the start the machine may have stood still, or the store been slow, and somebody deployed meanwhile (I3).

        Bounded, for a look that itself takes longer is as fresh as it gets.
        """
        for _ in range(_LOOKS):
            if self.clock.monotonic() - self.looked_at <= _FRESH.total_seconds():
                break
            stop = await self._look(job)
            if stop is not None:
                return stop
        return None

    async def _look(self, job: Job) -> RunResult | None:
        """Why the command must not start. A person is asked twice: the look at what runs takes seconds, in which one may say stop (I8)."""
        self.looked_at = self.clock.monotonic()
        return await self._stop(job) or await self._refuse(job) or await self._stop(job)

    async def _resolve(self, job: Job, attempts: list[Attempt], status: AttemptStatus, observation: str) -> None:
        """Give the last attempt an outcome if it was cut off before it got one."""
        if attempts and not attempts[-1].status.ended:
            attempts[-1] = await self.steps.end(attempts[-1], status, f"cut off; {observation or 'nothing was changed'}")
            await _tell(job, attempts[-1])

    async def _stop(self, job: Job) -> RunResult | None:
        match await self.gate():
            case Gate.STOP:
                return _stopped(RunStatus.ABORTED, job, Reason.ABORTED, "aborted")
            case Gate.HOLD:
                return _stopped(RunStatus.PAUSED, job, Reason.PAUSED, "paused")
            case Gate.GO:
                return _stopped(RunStatus.PAUSED, job, None, "interrupted") if job.interrupt.is_set() else None

    async def _refuse(self, job: Job) -> RunResult | None:
        """Compare-and-set (I1, I4): nobody deploys over what somebody else has deployed meanwhile."""
        if self.compare_and_set is None:
            return None
        refusal = await self._changed_hands(job) if self.begun else await self.compare_and_set()
        return None if refusal is None else _stopped(RunStatus.REFUSED, job, refusal.reason, refusal.detail)

    async def _changed_hands(self, job: Job) -> Refusal | None:
        """Once something has run, what is rolled back may be running, its target, or both. Not knowing stops what is not idempotent."""
        plan, probe = job.plan, job.policy.running_version
        if probe is None or plan.current_version is None or not job.step.acts:
            return None
        answer = await self.prober.ask(probe, job.policy)
        if answer.answers is None:
            doubt = f"{answer.reason}; {how_to_find_out(probe, plan, job.policy)}"
            return None if job.step.idempotent else Refusal(Reason.RUNNING_VERSION_UNKNOWN, doubt)
        if answer.answers <= {plan.current_version, plan.current_artifact, plan.target_version, plan.target_artifact}:
            return None
        return Refusal(
            Reason.RUNNING_VERSION_CHANGED, f"running is {answer.value}: neither {plan.current_version} nor {plan.target_version}"
        )

    def _unless_it_may_fail(self, job: Job, result: RunResult) -> RunResult | None:
        if job.step.on_failure is OnFailure.STOP:
            return result
        self.passed_over.append(f"{job.step.name}: {result.detail}")
        return None


async def _tell(job: Job, attempt: Attempt) -> None:
    facts = {"step": job.step.name, "index": job.index, "number": attempt.number, "attempt": attempt.id, "exit_code": attempt.exit_code}
    await job.report(f"step_{attempt.status}", f"{_place(job)}: {attempt.status.replace('_', ' ')} ({attempt.detail})", facts)


def _place(job: Job) -> str:
    return f"{job.plan.runbook}, {job.step.name}"


def _stopped(status: RunStatus, job: Job, reason: Reason | None, detail: str) -> RunResult:
    return RunResult(status=status, step=job.step.name, reason=reason, detail=detail)


def _first_command(steps: Sequence[Step]) -> bool:
    """Whether the last of `steps` acts, as the only one."""
    return steps[-1].acts and sum(step.acts for step in steps) == 1
