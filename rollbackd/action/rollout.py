"""Brings the steps of one run about: each is attempted until it is done, or until it is known why the run has to stop at it.

Before each command the world is looked at once more: did a person say stop, and is what runs still what was decided about?
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from enum import StrEnum
from typing import Final

from rollbackd.action.doubt import how_to_find_out, whether_it_happened
from rollbackd.action.probe import Prober
from rollbackd.action.recovery import NextMove, Observed, next_move, tried
from rollbackd.action.steps import CAN_TELL, Job, Steps
from rollbackd.clock import Clock
from rollbackd.model.attempt import Attempt, AttemptStatus
from rollbackd.model.reason import Reason
from rollbackd.model.runbook import OnFailure
from rollbackd.supervisor import together


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


_BY_WEIGHT: Final = (RunStatus.UNCERTAIN, RunStatus.REFUSED, RunStatus.ABORTED, RunStatus.PAUSED, RunStatus.FAILED)
"""Which of several reasons to stop stands for all of them; what only holds is asked again, and what failed has failed then as well."""
_FRESH: Final = timedelta(seconds=2)
_LOOKS: Final = 3

AskGate = Callable[[], Awaitable[Gate]]
CompareAndSet = Callable[[], Awaitable[Refusal | None]]


@dataclass(slots=True, kw_only=True)
class Rollout:
    """One call of `run`: what is the same for all of its steps, and whether something has begun."""

    steps: Steps
    prober: Prober
    clock: Clock
    gate: AskGate
    compare_and_set: CompareAndSet | None
    begun: bool  # a command of this plan may have run
    looked_at: float  # when the last look at what runs began, on the monotonic clock
    passed_over: list[str] = field(default_factory=list)  # steps that are not done, and may be missing

    async def bring_all_about(self, jobs: Sequence[Job], attempts: Sequence[list[Attempt]]) -> RunResult | None:
        """The items of one step, a few at a time. One that is running is never cut off by another that failed."""
        if len(jobs) == 1:
            return await self.bring_about(jobs[0], attempts[0])
        step = jobs[0].step
        slots = asyncio.Semaphore(step.max_parallel)
        stops: list[RunResult] = []

        async def one(job: Job, tried_before: list[Attempt]) -> None:
            async with slots:
                failures = sum(stop.status is RunStatus.FAILED for stop in stops)
                if failures >= step.stop_after_failures or failures < len(stops):
                    return
                stop = await self.bring_about(job, tried_before)
                if stop is not None:
                    stops.append(stop)

        async with together() as group:
            for job, tried_before in zip(jobs, attempts, strict=True):
                group.create_task(one(job, tried_before), name=f"{job.incident_id}, {job.step.name}")
        if not stops:
            return None
        worst = min(stops, key=lambda stop: _BY_WEIGHT.index(stop.status))
        if len(stops) == 1:
            return worst
        return replace(worst, detail="; ".join(f"{stop.step}: {stop.detail}" for stop in stops))

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

    async def take_back(self, failed: RunResult, undos: Sequence[Job], attempts: Sequence[list[Attempt]]) -> RunResult:
        """The result of a run that failed, once what it did has been taken back as far as that goes. A pause holds this as well."""
        said = [failed.detail]
        for job, tried_before in zip(undos, attempts, strict=True):
            stop = await self.bring_about(job, tried_before)
            if stop is not None and stop.status in {RunStatus.PAUSED, RunStatus.ABORTED}:
                return stop if stop.status is RunStatus.PAUSED else replace(failed, detail="; ".join([*said, f"{job.step.name}: aborted"]))
            said.append(f"{job.step.name}: {'done' if stop is None else stop.detail}")
        return replace(failed, detail="; ".join(said))

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
