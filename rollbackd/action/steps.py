"""Performs one attempt of one step: intent, start, end, what the world says of it, outcome (I5, I10, I15)."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from rollbackd.action.checklist import Checklist, Line
from rollbackd.action.commands import Commands, Ended
from rollbackd.action.http_client import HttpClient, Replied
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
from rollbackd.model.runbook import Manual, Probe, PromqlAsk, Request, Run, Step, Verify, Wait
from rollbackd.settings.durations import format_duration

Report = Callable[[str, str, Mapping[str, object]], Awaitable[None]]
"""Tells whoever watches: a kind, a line for a person, and the facts behind it."""

WhyNot = Callable[[], Awaitable[str | None]]
"""Asked once the intent is written, right before a command starts: why it must not, after all; None to go on."""

Ticked = Callable[[int], Awaitable[str | None]]
"""Who has ticked the step of this number, if anybody has."""

CAN_TELL: Final = frozenset({Observed.DONE, Observed.NOT_DONE})

_SHOWS: Final = frozenset({Observed.DONE})
"""An effect may come a moment later than the end of the command that caused it."""


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
    ticked: Ticked

    @property
    def question(self) -> Probe | None:
        """What can tell whether the step is done: its own probe; else, for the first command, what runs, which nothing before that
        command can have changed.
        """
        brings_a_release = self.first_command and self.plan.target_version is not None
        return self.step.probe or (self.policy.running_version if brings_a_release else None)


class Steps:
    def __init__(
        self,
        journal: Journal,
        commands: Commands,
        http: HttpClient,
        prober: Prober,
        clock: Clock,
        *,
        ask_every: timedelta,
        observe_for: timedelta,
    ) -> None:
        self._journal = journal
        self._commands = commands
        self._http = http
        self._prober = prober
        self._checklist = Checklist(prober, clock, ask_every=ask_every)
        self._clock = clock
        self._ask_every = ask_every
        self._observe_for = observe_for

    async def perform(self, job: Job, number: int, why_not: WhyNot) -> Attempt:
        """One attempt, journaled. When it is cancelled it is left without an outcome, and its processes are killed."""
        attempt = Attempt(
            id=f"{job.incident_id}-{job.index}-{number}",
            incident_id=job.incident_id,
            step_index=job.index,
            step_name=job.step.name,
            number=number,
            argv=job.step.action.argv if isinstance(job.step.action, Run) else (),
            request=f"{job.step.action.method} {job.step.action.url}" if isinstance(job.step.action, Request) else "",
            manual=isinstance(job.step.action, Manual),
            status=AttemptStatus.INTENDED,
            intended_at=self._clock.now(),
        )
        await self._journal.intend(attempt)
        reason = await why_not() if job.step.acts else None
        if reason is not None:
            return await self.end(attempt, AttemptStatus.NOT_STARTED, reason)
        match job.step.action:
            case Run() as run:
                attempt = await self._run(job, run, attempt)
            case Request() as request:
                attempt = await self._send(job, request, attempt)
            case Wait(until=check):
                attempt = await self._ask(job, (check,), attempt)
            case Verify(checks=checks):
                attempt = await self._ask(job, checks, attempt)
            case Manual(text=text):
                attempt = await self._wait_for_a_person(job, text, attempt)
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
            if observed in until or job.question is None or self._clock.monotonic() >= deadline:
                return observed, why
            await self._clock.sleep(self._ask_every)

    async def arrived(self, policy: ServicePolicy, plan: Plan) -> tuple[Observed, str]:
        """Once every step has succeeded: does any of the target run? Steps without a probe have only claimed it.

        Some of it is enough, for a platform may still be replacing the rest, and that is what the watch measures.
        """
        probe = policy.running_version
        if probe is None or plan.target_version is None or not any(step.acts for step in plan.steps):
            return Observed.DONE, ""
        lag = 2 * policy.max_sample_age if isinstance(probe.ask, PromqlAsk) else timedelta(0)
        deadline = self._clock.monotonic() + (self._observe_for + lag).total_seconds()
        while True:
            answer = await self._prober.ask(probe, policy)
            if answer.answers is None:
                observed, why = Observed.CANNOT_TELL, answer.reason
            else:
                observed = Observed.of(not answer.answers.isdisjoint({plan.target_version, plan.target_artifact}))
                why = f"running is {answer.value}"
            if observed is Observed.DONE or self._clock.monotonic() >= deadline:
                return observed, why
            await self._clock.sleep(self._ask_every)

    async def _look(self, job: Job) -> tuple[Observed, str]:
        if job.question is None:
            return Observed.CANNOT_TELL, "the step has no probe"
        answer = await self._prober.ask(job.question, job.policy)
        if job.step.probe is not None:
            return Observed.of(answer.held), answer.reason
        if answer.answers is None:
            return Observed.CANNOT_TELL, answer.reason
        return Observed.of(answer.answers <= {job.plan.target_version, job.plan.target_artifact}), f"running is {answer.value}"

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
            _, why = await self._look(job)
            return replace(attempt, status=AttemptStatus.UNCERTAIN, detail=f"{e}; {why}")
        await reach("attempt.after_exit")
        status, detail = await self._outcome(job, ended)
        completed = ended.completed
        if completed.left:
            detail += f"; {completed.left}"
        if completed.survivors and status is not AttemptStatus.SUCCEEDED:
            status = AttemptStatus.UNCERTAIN  # it may yet do what it was started for
        return replace(attempt, status=status, detail=detail, exit_code=completed.exit_code, signal=completed.signal, output=ended.output)

    async def _outcome(self, job: Job, ended: Ended) -> tuple[AttemptStatus, str]:
        """By the probe where there is one: an exit code alone is a claim, and a timeout not even that."""
        completed = ended.completed
        if completed.error:
            return AttemptStatus.FAILED, ended.how
        if completed.interrupted:
            return AttemptStatus.INTERRUPTED, ended.how
        if completed.ok:
            return await self._claimed(job, ended.how)
        otherwise = AttemptStatus.TIMED_OUT if completed.timed_out else AttemptStatus.FAILED
        if job.question is None:
            return otherwise, ended.how
        # A client can fail after its server has accepted: whatever may be tried again, or was cut off, is given the time to show.
        is_patient = completed.timed_out or (job.step.idempotent and job.step.retries > 0)
        return await self._as_observed(job, ended.how, until=_SHOWS if is_patient else CAN_TELL, otherwise=otherwise)

    async def _send(self, job: Job, request: Request, attempt: Attempt) -> Attempt:
        attempt = replace(attempt, status=AttemptStatus.STARTED, started_at=self._clock.now())
        await self._journal.started(attempt)
        try:
            replied = await self._http.send(job.policy, request, mark=attempt.id, timeout=job.step.timeout)
        except MisconfiguredError as e:
            return replace(attempt, status=AttemptStatus.FAILED, detail=str(e))
        await reach("attempt.after_exit")
        status, detail = await self._answered(job, request, replied)
        return replace(attempt, status=status, detail=detail, output=replied.output)

    async def _answered(self, job: Job, request: Request, replied: Replied) -> tuple[AttemptStatus, str]:
        """A request that was sent and not answered may have been obeyed; so may one that a gateway gave up on, says the probe if any."""
        if replied.status is None and not replied.sent:
            return AttemptStatus.FAILED, f"{replied.how}; nothing was sent"
        if replied.status is None:
            return await self._as_observed(job, replied.how, until=_SHOWS, otherwise=AttemptStatus.TIMED_OUT)
        if request.accepts(replied.status):
            return await self._claimed(job, replied.how)
        redirected = ": a redirect is not followed, write the address that it leads to" if 300 <= replied.status < 400 else ""
        how = f"{replied.how}{redirected}"
        if job.question is None or replied.status < 500:
            return AttemptStatus.FAILED, how
        return await self._as_observed(job, how, until=_SHOWS, otherwise=AttemptStatus.FAILED)

    async def _claimed(self, job: Job, how: str) -> tuple[AttemptStatus, str]:
        """It says that it is done, which is all there is to know without a probe."""
        if job.step.probe is None:
            return AttemptStatus.SUCCEEDED, how
        return await self._as_observed(job, how, until=_SHOWS, otherwise=AttemptStatus.FAILED)

    async def _as_observed(self, job: Job, how: str, *, until: frozenset[Observed], otherwise: AttemptStatus) -> tuple[AttemptStatus, str]:
        observed, why = await self.observe(job, until=until)
        status = {
            Observed.DONE: AttemptStatus.SUCCEEDED,
            Observed.NOT_DONE: otherwise,
        }.get(observed, AttemptStatus.UNCERTAIN)
        return status, f"{how}; {why}"

    async def _wait_for_a_person(self, job: Job, text: str, attempt: Attempt) -> Attempt:
        attempt = replace(attempt, status=AttemptStatus.STARTED, started_at=self._clock.now())
        await self._journal.started(attempt)
        how = f"rollbackd tick {job.incident_id} {job.index + 1}"
        await job.report("person_needed", f"{job.step.name}: {text} (then {how})", {"step": job.step.name, "index": job.index})
        deadline = self._clock.monotonic() + job.step.timeout.total_seconds()
        while True:
            who = await job.ticked(job.index)
            if who is not None:
                return replace(attempt, status=AttemptStatus.SUCCEEDED, detail=f"ticked by {who}")
            if job.interrupt.is_set():
                return replace(attempt, status=AttemptStatus.INTERRUPTED, detail="not ticked yet")
            if self._clock.monotonic() >= deadline:
                detail = f"nobody has ticked it within {format_duration(job.step.timeout)}: {how}"
                return replace(attempt, status=AttemptStatus.TIMED_OUT, detail=detail)
            await self._clock.sleep(self._ask_every)

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
