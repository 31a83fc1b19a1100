"""The steps of a plan, in order, each attempt journaled, also after a restart."""

import asyncio
import signal
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from rollbackd.action.commands import Ended
from rollbackd.action.doubt import how_to_find_out
from rollbackd.action.rollout import Gate, Refusal, RunResult, RunStatus
from rollbackd.clock import SystemClock
from rollbackd.errors import TemporaryError, UncertainError
from rollbackd.failpoints import FailpointError
from rollbackd.model.attempt import Attempt, AttemptStatus
from rollbackd.model.condition import Condition
from rollbackd.model.policy import SecretRef
from rollbackd.model.reason import Reason
from rollbackd.model.runbook import CredentialRef, EnvironmentValue, HttpAsk, OnFailure, Probe, PromqlAsk, Run, RunAsk, Step, Verify, Wait
from tests.fakes.processes import children, eventually, open_files
from tests.fakes.rollout import Rollout

SUCCEEDED, FAILED, UNCERTAIN = AttemptStatus.SUCCEEDED, AttemptStatus.FAILED, AttemptStatus.UNCERTAIN
SHORT = timedelta(milliseconds=150)
AS_JSON = """./tool live | sed 's/.*/"&"/' | paste -sd, | sed 's/.*/[&]/'"""


@pytest.fixture
async def rollout(tmp_path: Path) -> AsyncIterator[Rollout]:
    before = open_files(), children()
    yield Rollout(tmp_path)
    assert (open_files(), children()) == before


def gates(*answers: Gate) -> "Gates":
    return Gates(list(answers))


class Gates:
    """Answers in turn, then go."""

    def __init__(self, answers: list[Gate]) -> None:
        self._answers = answers

    async def __call__(self) -> Gate:
        return self._answers.pop(0) if self._answers else Gate.GO


# One step


async def test_a_step_that_is_seen_to_be_done_has_succeeded(rollout: Rollout) -> None:
    assert await rollout.run(rollout.deploy()) == RunResult(status=RunStatus.SUCCEEDED)
    assert [attempt.status for attempt in rollout.journal.written] == [AttemptStatus.INTENDED, AttemptStatus.STARTED, SUCCEEDED]
    intended, started, ended = rollout.journal.written
    assert (intended.id, intended.number, intended.argv) == (rollout.attempt(0, 1), 1, ("./tool", "deploy", "img:v1"))
    assert intended.process is None
    assert started.process is not None
    assert started.started_at is not None
    assert (ended.process, ended.exit_code, ended.detail) == (started.process, 0, "exit 0; img:v1, wanted img:v1")
    assert rollout.tool.effects() == [(rollout.attempt(0, 1), "img:v1")]
    assert [report.kind for report in rollout.reports] == ["step_started", "step_succeeded"]


async def test_exit_0_alone_is_not_success(rollout: Rollout) -> None:
    rollout.tool.behave(before="exit 0")
    result = await rollout.run(rollout.deploy(), rollout.sh("touch later"))
    assert result == RunResult(status=RunStatus.FAILED, step="deploy", reason=Reason.STEP_FAILED, detail="exit 0; img:v2, wanted img:v1")
    assert rollout.journal.statuses() == [FAILED]


async def test_exit_0_with_a_probe_that_cannot_tell_is_uncertain(rollout: Rollout) -> None:
    rollout.tool.behave(asked="exit 1")
    result = await rollout.run(rollout.deploy(idempotent=True, retries=3))
    assert (result.status, result.reason) == (RunStatus.UNCERTAIN, Reason.STEP_UNCERTAIN)
    assert rollout.journal.statuses() == [UNCERTAIN]
    assert len(rollout.tool.effects()) == 1


async def test_an_effect_that_comes_a_moment_later_is_waited_for(rollout: Rollout) -> None:
    rollout.tool.behave(asked="if ! test -e asked-before; then touch asked-before; echo img:v2; exit; fi")
    assert (await rollout.run(rollout.deploy())).status is RunStatus.SUCCEEDED


async def test_without_a_probe_the_exit_code_decides(rollout: Rollout) -> None:
    assert (await rollout.run(rollout.sh("true"))).status is RunStatus.SUCCEEDED
    result = await rollout.run(rollout.sh("exit 3"), first_index=1)
    assert (result.status, result.detail) == (RunStatus.FAILED, "exit 3")


async def test_a_client_that_fails_after_its_server_accepted_is_done(rollout: Rollout) -> None:
    rollout.tool.behave(after="echo 502 from the API; exit 1")
    assert (await rollout.run(rollout.deploy(idempotent=True, retries=2))).status is RunStatus.SUCCEEDED
    assert rollout.journal.last().detail == "exit 1; img:v1, wanted img:v1"
    assert len(rollout.tool.effects()) == 1


@pytest.mark.parametrize(("idempotent", "attempts"), [(True, 3), (False, 1)])
async def test_only_an_idempotent_command_is_tried_again(rollout: Rollout, *, idempotent: bool, attempts: int) -> None:
    rollout.tool.behave(before="exit 1")
    result = await rollout.run(rollout.deploy(idempotent=idempotent, retries=2))
    assert result.status is RunStatus.FAILED
    assert [attempt.id for attempt in await rollout.journal.of_incident(rollout.incident)] == [
        rollout.attempt(0, number + 1) for number in range(attempts)
    ]
    assert rollout.journal.statuses() == [FAILED] * attempts


async def test_a_later_attempt_may_succeed(rollout: Rollout) -> None:
    rollout.tool.behave(before="if ! test -e tried; then touch tried; exit 1; fi")
    assert (await rollout.run(rollout.deploy(idempotent=True, retries=1))).status is RunStatus.SUCCEEDED
    assert rollout.journal.statuses() == [FAILED, SUCCEEDED]


async def test_a_timeout_ends_as_it_is_observed(rollout: Rollout) -> None:
    rollout.tool.behave(after="sleep 60")
    assert (await rollout.run(rollout.deploy(timeout=timedelta(seconds=1)))).status is RunStatus.SUCCEEDED
    rollout.tool.live = "img:v2"
    rollout.tool.behave(before="sleep 60")
    assert (await rollout.run(rollout.deploy(timeout=SHORT), first_index=1)).status is RunStatus.FAILED
    assert rollout.journal.last().status is AttemptStatus.TIMED_OUT
    rollout.tool.behave(before="sleep 60", asked="exit 1")
    assert (await rollout.run(rollout.deploy(timeout=SHORT), first_index=2)).status is RunStatus.UNCERTAIN
    assert (await rollout.run(rollout.deploy(timeout=SHORT, probe=False), first_index=3)).status is RunStatus.FAILED
    assert rollout.journal.last().status is AttemptStatus.TIMED_OUT


async def test_a_failure_that_cannot_be_looked_into_is_no_failure_that_may_be_repeated(rollout: Rollout) -> None:
    """Its server may have accepted: the client only says that it has heard of none of it."""
    rollout.tool.behave(after="echo 502 from the API; exit 1", asked="exit 1")
    result = await rollout.run(rollout.deploy(idempotent=True, retries=3))
    assert (result.status, result.reason) == (RunStatus.UNCERTAIN, Reason.STEP_UNCERTAIN)
    assert rollout.journal.statuses() == [UNCERTAIN]
    assert len(rollout.tool.effects()) == 1


@pytest.mark.parametrize("after", ["exit 1", "sleep 60"])  # failed, timed out
async def test_before_it_is_tried_again_the_effect_has_time_to_show(rollout: Rollout, after: str) -> None:
    rollout.tool.behave(after=after, asked="if ! test -e asked-before; then touch asked-before; echo img:v2; exit; fi")
    result = await rollout.run(rollout.deploy(idempotent=True, retries=3, timeout=timedelta(seconds=1)))
    assert result.status is RunStatus.SUCCEEDED
    assert rollout.tool.effects() == [(rollout.attempt(0, 1), "img:v1")]


async def test_what_cannot_be_ended_may_yet_do_its_work_so_nothing_is_repeated(rollout: Rollout, monkeypatch: pytest.MonkeyPatch) -> None:
    run = rollout.commands.run

    async def leaving_one(*arguments: Any, **how: Any) -> Ended:
        ended = await run(*arguments, **how)
        return replace(ended, completed=replace(ended.completed, survivors=(7,)))

    monkeypatch.setattr(rollout.commands, "run", leaving_one)
    rollout.tool.behave(before="exit 1")
    result = await rollout.run(rollout.deploy(idempotent=True, retries=3))
    assert result.status is RunStatus.UNCERTAIN
    assert rollout.journal.statuses() == [UNCERTAIN]
    assert "left behind and still running, it could not be ended: process 7" in result.detail


# All steps


async def test_that_every_step_succeeded_is_a_claim_until_the_target_runs(rollout: Rollout) -> None:
    """A step without a probe, and a tool that exits with 0 and has done nothing: the watch would say that the release was innocent."""
    rollout.policy = replace(rollout.policy, running_version=rollout.asks_live())
    rollout.tool.behave(before="exit 0")
    result = await rollout.run(rollout.deploy(probe=False))
    assert (result.status, result.reason, result.step) == (RunStatus.UNCERTAIN, Reason.STEP_UNCERTAIN, None)
    assert result.detail == "every step succeeded, but running is img:v2; to find out run `./tool live` and look for v1 or img:v1"


@pytest.mark.parametrize("asked", ["if ! test -e asked; then touch asked; echo img:v2; exit; fi", "echo img:v2"])  # later; beside the old
async def test_the_target_is_waited_for_and_need_not_be_everywhere(rollout: Rollout, asked: str) -> None:
    rollout.policy = replace(rollout.policy, running_version=Probe(ask=RunAsk(argv=("sh", "-c", AS_JSON), jmespath="[]")))
    rollout.tool.behave(asked=asked)
    assert await rollout.run(rollout.deploy(probe=False)) == RunResult(status=RunStatus.SUCCEEDED)


async def test_that_it_cannot_be_asked_what_runs_is_said_and_left_to_the_watch(rollout: Rollout) -> None:
    rollout.policy = replace(rollout.policy, running_version=rollout.asks_live())
    rollout.tool.behave(asked="exit 3")
    result = await rollout.run(rollout.deploy(probe=False))
    assert result == RunResult(status=RunStatus.SUCCEEDED, detail="what runs now: cannot tell: exit 3")


async def test_a_runbook_that_runs_nothing_brings_nothing_back(rollout: Rollout) -> None:
    rollout.policy = replace(rollout.policy, running_version=rollout.asks_live())
    step = Step(name="ask", action=Wait(until=rollout.asks_live(equals="img:v2")), timeout=timedelta(seconds=30))
    assert (await rollout.run(step)).status is RunStatus.SUCCEEDED


# What is left


async def test_what_a_command_leaves_behind_is_said(rollout: Rollout) -> None:
    await rollout.run(rollout.sh("sleep 1000 & echo $!"))
    pid = rollout.journal.last().output
    assert rollout.journal.last().detail == f"exit 0; left behind and ended: process {pid}"


async def test_output_is_kept_without_secrets(rollout: Rollout, tmp_path: Path) -> None:
    (tmp_path / "fly.token").write_text("fo1_secret")
    rollout.policy = replace(rollout.policy, credentials={"FLY_API_TOKEN": SecretRef(file=str(tmp_path / "fly.token"))})
    env: dict[str, EnvironmentValue] = {"TOKEN": CredentialRef("FLY_API_TOKEN"), "TO": "${target.artifact}", "INCIDENT": "${incident.id}"}
    lines: list[str] = []
    script = "echo $TOKEN to $TO in $INCIDENT; printf '\\033[31m%s' $TOKEN >&2; test -z $FLY_API_TOKEN"
    await rollout.run(rollout.sh(script, action=Run(argv=("sh", "-c", script), env=env)), on_line=lines.append)
    assert lines == [f"[redacted] to img:v1 in {rollout.incident}"]
    assert (rollout.journal.last().status, rollout.journal.last().output) == (
        SUCCEEDED,
        f"[redacted] to img:v1 in {rollout.incident}\n[redacted]",
    )


async def test_a_credential_that_is_not_there_fails_the_step_before_it_starts(rollout: Rollout) -> None:
    step = rollout.sh("true", action=Run(argv=("true",), env={"TOKEN": CredentialRef("FLY_API_TOKEN")}))
    assert (await rollout.run(step)).status is RunStatus.FAILED
    assert (rollout.journal.last().status, rollout.journal.last().started_at) == (FAILED, None)
    assert "is not a credential of api" in rollout.journal.last().detail


# Several steps


async def test_steps_run_in_order_and_each_once(rollout: Rollout, tmp_path: Path) -> None:
    steps = [rollout.sh(f"echo {number} >> order") for number in range(3)]
    assert (await rollout.run(*steps)).status is RunStatus.SUCCEEDED
    assert (await rollout.run(*steps)).status is RunStatus.SUCCEEDED
    assert (tmp_path / "order").read_text().split() == ["0", "1", "2"]


@pytest.mark.parametrize("asked", ["", "exit 1"])  # failed, uncertain
async def test_a_step_that_may_fail_is_passed_over_and_said(rollout: Rollout, asked: str) -> None:
    rollout.tool.behave(before="exit 0", asked=asked)
    steps = (rollout.deploy(name="nice to have", on_failure=OnFailure.CONTINUE), rollout.sh("true"))
    for _ in range(2):  # also when the run is taken up again
        result = await rollout.run(*steps)
        assert result.status is RunStatus.SUCCEEDED
        assert result.detail.startswith("nice to have: ")
    assert len(await rollout.journal.of_incident(rollout.incident)) == 2


async def test_a_second_plan_of_the_incident_has_numbers_of_its_own(rollout: Rollout) -> None:
    await rollout.run(rollout.sh("true"), rollout.sh("exit 1"))
    assert (await rollout.run(rollout.sh("true"), first_index=2)).status is RunStatus.SUCCEEDED
    assert [attempt.id for attempt in await rollout.journal.of_incident(rollout.incident)] == [
        rollout.attempt(0, 1),
        rollout.attempt(1, 1),
        rollout.attempt(2, 1),
    ]


async def test_a_budget_that_is_used_up_is_said_once_and_stops_nothing(rollout: Rollout) -> None:
    result = await rollout.run(rollout.sh("true"), rollout.sh("true"), budget=timedelta(microseconds=1))
    assert result.status is RunStatus.SUCCEEDED
    assert len(rollout.told("over_budget")) == 1


# Stopping


async def test_a_pause_holds_before_the_next_step_and_the_run_goes_on_later(rollout: Rollout) -> None:
    steps = (rollout.sh("echo a >> order"), rollout.sh("echo b >> order"))
    paused = await rollout.run(*steps, gate=gates(Gate.GO, Gate.GO, Gate.HOLD))
    assert (paused.status, paused.step, paused.reason) == (RunStatus.PAUSED, "echo b >> order", Reason.PAUSED)
    assert rollout.journal.statuses() == [SUCCEEDED]
    assert (await rollout.run(*steps)).status is RunStatus.SUCCEEDED
    assert rollout.journal.statuses() == [SUCCEEDED, SUCCEEDED]


async def test_an_abort_holds_before_a_retry_as_well(rollout: Rollout) -> None:
    rollout.tool.behave(before="exit 1")
    result = await rollout.run(rollout.deploy(idempotent=True, retries=5), gate=gates(Gate.GO, Gate.GO, Gate.STOP))
    assert (result.status, result.reason) == (RunStatus.ABORTED, Reason.ABORTED)
    assert rollout.journal.statuses() == [FAILED]


async def test_an_abort_ends_a_step_that_is_interruptible(rollout: Rollout, tmp_path: Path) -> None:
    interrupt = asyncio.Event()
    step = rollout.sh("touch runs; sleep 60", interruptible=True)
    async with asyncio.TaskGroup() as group:
        gate = gates(Gate.GO, Gate.GO, Gate.STOP)
        running = group.create_task(rollout.run(step, rollout.sh("touch later"), gate=gate, interrupt=interrupt))
        await eventually((tmp_path / "runs").exists)
        interrupt.set()
    assert running.result().status is RunStatus.ABORTED
    assert rollout.journal.statuses() == [AttemptStatus.INTERRUPTED]


async def test_an_abort_lets_any_other_step_finish(rollout: Rollout, tmp_path: Path) -> None:
    interrupt = asyncio.Event()
    step = rollout.sh("touch runs; until test -e finish; do :; done")
    async with asyncio.TaskGroup() as group:
        gate = gates(Gate.GO, Gate.GO, Gate.STOP)
        running = group.create_task(rollout.run(step, rollout.sh("touch later"), gate=gate, interrupt=interrupt))
        await eventually((tmp_path / "runs").exists)
        interrupt.set()
        (tmp_path / "finish").touch()
    assert running.result().status is RunStatus.ABORTED
    assert rollout.journal.statuses() == [SUCCEEDED]
    assert not (tmp_path / "later").exists()


async def test_a_stop_said_while_the_running_version_is_looked_at_counts(rollout: Rollout) -> None:
    gate = gates()

    async def compare_and_set() -> None:
        gate._answers.append(Gate.STOP)

    assert (await rollout.run(rollout.deploy(), gate=gate, compare_and_set=compare_and_set)).status is RunStatus.ABORTED
    assert rollout.journal.written == []


# Compare-and-set


async def test_what_is_not_as_decided_is_refused_before_anything_runs(rollout: Rollout) -> None:
    async def changed() -> Refusal:
        return Refusal(Reason.RUNNING_VERSION_CHANGED, "running is img:v3")

    result = await rollout.run(rollout.deploy(), compare_and_set=changed)
    assert result == RunResult(status=RunStatus.REFUSED, step="deploy", reason=Reason.RUNNING_VERSION_CHANGED, detail="running is img:v3")
    assert rollout.journal.written == []


async def test_it_is_asked_once_and_later_commands_see_the_target_running(rollout: Rollout) -> None:
    asked = []

    async def as_decided() -> None:
        asked.append(rollout.tool.live)

    rollout.policy = replace(rollout.policy, running_version=rollout.asks_live())
    steps = (rollout.deploy(), rollout.sh("true"), rollout.sh("true"))
    assert (await rollout.run(*steps, compare_and_set=as_decided)).status is RunStatus.SUCCEEDED
    assert asked == ["img:v2"]


@pytest.mark.parametrize(
    ("asked", "idempotent", "status"),
    [
        ("", False, RunStatus.REFUSED),
        ("", True, RunStatus.REFUSED),
        ("exit 1", False, RunStatus.REFUSED),
        ("exit 1", True, RunStatus.SUCCEEDED),
    ],
)
async def test_somebody_deploys_between_two_steps(rollout: Rollout, asked: str, *, idempotent: bool, status: RunStatus) -> None:
    async def as_decided() -> None: ...

    rollout.policy = replace(rollout.policy, running_version=rollout.asks_live())
    rollout.tool.behave(asked=asked)
    steps = (rollout.sh("echo img:v3 > live"), rollout.sh("touch later", idempotent=idempotent))
    result = await rollout.run(*steps, compare_and_set=as_decided)
    assert (result.status, result.step) == (status, None if status is RunStatus.SUCCEEDED else "touch later")


class Stalled(SystemClock):
    """The machine stands still for 3 s each time that `stall` is called."""

    stood = 0.0

    def stall(self) -> None:
        self.stood += 3.0

    def monotonic(self) -> float:
        return super().monotonic() + self.stood


@pytest.fixture
def stalled(rollout: Rollout, monkeypatch: pytest.MonkeyPatch) -> list[Callable[[], None]]:
    """The machine stands still after each of the first writes of an intent, and what is in the list happens meanwhile: one for each."""
    meanwhile: list[Callable[[], None]] = []
    clock = rollout.clock = Stalled()
    intend = rollout.journal.intend

    async def slowly(attempt: Attempt) -> None:
        await intend(attempt)
        if meanwhile:
            meanwhile.pop(0)()
            clock.stall()

    monkeypatch.setattr(rollout.journal, "intend", slowly)
    return meanwhile


def unless_live(rollout: Rollout, version: str) -> Callable[[], Awaitable[Refusal | None]]:
    async def compare() -> Refusal | None:
        if rollout.tool.live == version:
            return None
        return Refusal(Reason.RUNNING_VERSION_CHANGED, f"running is {rollout.tool.live}")

    return compare


async def test_a_look_that_is_old_when_the_command_could_start_is_repeated(rollout: Rollout, stalled: list[Callable[[], None]]) -> None:
    """Somebody has deployed the target by hand while the machine stood still."""
    stalled.append(partial(setattr, rollout.tool, "live", "img:v1"))
    result = await rollout.run(rollout.deploy(), compare_and_set=unless_live(rollout, "img:v2"))
    assert (result.status, result.reason) == (RunStatus.REFUSED, Reason.RUNNING_VERSION_CHANGED)
    assert rollout.journal.statuses() == [AttemptStatus.NOT_STARTED]
    assert rollout.journal.last().detail == "running is img:v1"
    assert rollout.tool.effects() == []


async def test_what_stood_still_goes_on_when_nothing_has_changed(rollout: Rollout, stalled: list[Callable[[], None]]) -> None:
    asked = []

    async def as_decided() -> None:
        asked.append(rollout.tool.live)

    stalled.append(lambda: None)
    assert (await rollout.run(rollout.deploy(), compare_and_set=as_decided)).status is RunStatus.SUCCEEDED
    assert asked == ["img:v2", "img:v2"]
    assert rollout.journal.statuses() == [SUCCEEDED]


async def test_a_look_that_takes_long_itself_does_not_go_on_for_ever(rollout: Rollout) -> None:
    clock = rollout.clock = Stalled()

    async def as_decided() -> None:
        clock.stall()

    assert (await rollout.run(rollout.deploy(), compare_and_set=as_decided)).status is RunStatus.SUCCEEDED


@pytest.mark.parametrize("idempotent", [True, False])
async def test_a_pause_that_was_said_meanwhile_holds_and_the_step_is_not_lost(
    rollout: Rollout, stalled: list[Callable[[], None]], *, idempotent: bool
) -> None:
    gate = gates()
    stalled.append(lambda: gate._answers.append(Gate.HOLD))
    compare = unless_live(rollout, "img:v2")
    assert (await rollout.run(rollout.deploy(idempotent=idempotent), gate=gate, compare_and_set=compare)).status is RunStatus.PAUSED
    assert rollout.tool.effects() == []
    result = await rollout.run(rollout.deploy(idempotent=idempotent), compare_and_set=compare)
    assert result.status is RunStatus.SUCCEEDED
    assert [rollout.journal.statuses(), rollout.journal.last().number] == [[AttemptStatus.NOT_STARTED, SUCCEEDED], 2]


async def test_later_commands_are_looked_at_again_too(rollout: Rollout, stalled: list[Callable[[], None]]) -> None:
    """Both may run then, what is rolled back and its target; a third is somebody else's."""
    rollout.policy = replace(rollout.policy, running_version=rollout.asks_live())
    stalled += [lambda: None, partial(setattr, rollout.tool, "live", "img:v3")]
    result = await rollout.run(rollout.deploy(), rollout.sh("touch later"), compare_and_set=unless_live(rollout, "img:v2"))
    assert (result.status, result.step) == (RunStatus.REFUSED, "touch later")
    assert rollout.journal.statuses() == [SUCCEEDED, AttemptStatus.NOT_STARTED]


# Cut off


async def cut_off(rollout: Rollout, step: Step, started: Path) -> None:
    """As far as the journal can tell, the daemon died while the step ran."""
    async with asyncio.TaskGroup() as group:
        running = group.create_task(rollout.run(step))
        await eventually(started.exists)
        running.cancel()
    assert running.cancelled()
    assert rollout.journal.statuses() == [AttemptStatus.STARTED]


@pytest.mark.parametrize("idempotent", [True, False])
async def test_after_a_restart_a_step_that_is_done_is_not_done_again(rollout: Rollout, tmp_path: Path, *, idempotent: bool) -> None:
    rollout.tool.behave(after="touch started; sleep 60")
    step = rollout.deploy(idempotent=idempotent)
    await cut_off(rollout, step, tmp_path / "started")
    assert (await rollout.run(step)).status is RunStatus.SUCCEEDED
    assert rollout.journal.statuses() == [SUCCEEDED]
    assert rollout.journal.last().detail == "cut off; img:v1, wanted img:v1"
    assert len(rollout.tool.effects()) == 1


async def test_after_a_restart_an_idempotent_step_that_is_not_done_gets_one_new_attempt(rollout: Rollout, tmp_path: Path) -> None:
    step = rollout.deploy(idempotent=True)
    rollout.tool.behave(before="touch started; sleep 60")
    await cut_off(rollout, step, tmp_path / "started")
    rollout.tool.behave()
    assert (await rollout.run(step)).status is RunStatus.SUCCEEDED
    assert rollout.journal.statuses() == [UNCERTAIN, SUCCEEDED]
    assert rollout.tool.effects() == [(rollout.attempt(0, 2), "img:v1")]


@pytest.mark.parametrize("how", [{"idempotent": False}, {"idempotent": True, "probe": False}])
async def test_after_a_restart_nothing_is_repeated_blindly(rollout: Rollout, tmp_path: Path, how: dict[str, bool]) -> None:
    step = rollout.deploy(idempotent=how["idempotent"], probe=how.get("probe", True))
    rollout.tool.behave(before="touch started; sleep 60")
    await cut_off(rollout, step, tmp_path / "started")
    rollout.tool.behave()
    for _ in range(2):
        result = await rollout.run(step)
        assert (result.status, result.reason) == (RunStatus.UNCERTAIN, Reason.STEP_UNCERTAIN)
        assert rollout.journal.statuses() == [UNCERTAIN]
    assert rollout.tool.effects() == []


async def test_the_running_version_speaks_for_the_first_command_only(rollout: Rollout, tmp_path: Path) -> None:
    rollout.policy = replace(rollout.policy, running_version=rollout.asks_live())
    step = rollout.deploy(probe=False, idempotent=True)
    rollout.tool.behave(after="touch started; sleep 60")
    await cut_off(rollout, step, tmp_path / "started")
    (tmp_path / "started").unlink()
    later = rollout.sh("touch started; sleep 60", idempotent=True)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(rollout.run(step, later))
        await eventually((tmp_path / "started").exists)
        running.cancel()
    assert rollout.journal.statuses() == [SUCCEEDED, AttemptStatus.STARTED]
    assert (await rollout.run(step, later)).detail == (
        f"nobody knows whether it happened: attempt {rollout.attempt(1, 1)} ran `sh -c 'touch started; sleep 60'` "
        "(cut off; the step has no probe); look at the service itself, for no probe asks about this"
    )
    assert rollout.journal.statuses() == [SUCCEEDED, UNCERTAIN]


async def test_an_interrupted_step_is_observed_when_the_run_goes_on(rollout: Rollout, tmp_path: Path) -> None:
    interrupt = asyncio.Event()
    step = rollout.deploy(interruptible=True)
    rollout.tool.behave(after="touch started; sleep 60")
    async with asyncio.TaskGroup() as group:
        running = group.create_task(rollout.run(step, interrupt=interrupt))
        await eventually((tmp_path / "started").exists)
        interrupt.set()
    assert running.result().status is RunStatus.PAUSED
    assert (await rollout.run(step)).status is RunStatus.SUCCEEDED
    assert len(rollout.tool.effects()) == 1


@pytest.mark.parametrize("failpoint", ["attempt.after_exit", "rollback.after_last_step"])
async def test_cut_off_after_the_exit_the_step_is_not_done_again(rollout: Rollout, monkeypatch: pytest.MonkeyPatch, failpoint: str) -> None:
    monkeypatch.setenv("ROLLBACKD_FAILPOINT", f"{failpoint}:raise")
    with pytest.raises(FailpointError):
        await rollout.run(rollout.deploy())
    monkeypatch.delenv("ROLLBACKD_FAILPOINT")
    assert (await rollout.run(rollout.deploy())).status is RunStatus.SUCCEEDED
    assert len(rollout.tool.effects()) == 1


@pytest.mark.parametrize(
    ("write", "effects", "then"),
    [
        (AttemptStatus.INTENDED, 0, [SUCCEEDED]),  # nothing was started: the first attempt is still to come
        (AttemptStatus.STARTED, 0, [UNCERTAIN, SUCCEEDED]),
        (SUCCEEDED, 1, [SUCCEEDED]),
    ],
)
async def test_a_journal_that_cannot_be_written_stops_the_run(
    rollout: Rollout, write: AttemptStatus, effects: int, then: list[AttemptStatus]
) -> None:
    rollout.journal.fail[write] = TemporaryError("the disk is full")
    if write is AttemptStatus.STARTED:
        rollout.tool.behave(before="sleep 60")
    with pytest.raises(TemporaryError):
        await rollout.run(rollout.deploy(idempotent=True))
    assert len(rollout.tool.effects()) == effects
    rollout.journal.fail.clear()
    rollout.tool.behave()
    assert (await rollout.run(rollout.deploy(idempotent=True))).status is RunStatus.SUCCEEDED
    assert rollout.journal.statuses() == then
    assert len(rollout.tool.effects()) == 1


async def test_an_outcome_that_is_known_is_written_down_also_when_the_run_is_cancelled(rollout: Rollout) -> None:
    writing, written = asyncio.Event(), asyncio.Event()
    write = rollout.journal.ended

    async def slow(attempt: object) -> None:
        writing.set()
        await written.wait()
        await write(attempt)  # type: ignore[arg-type]

    rollout.journal.ended = slow  # type: ignore[method-assign]
    async with asyncio.TaskGroup() as group:
        running = group.create_task(rollout.run(rollout.deploy()))
        await writing.wait()
        running.cancel()
        for _ in range(10):  # turns of the loop
            await asyncio.sleep(0)
        assert not running.done()
        written.set()
    assert running.cancelled()
    assert rollout.journal.statuses() == [SUCCEEDED]


async def test_a_store_that_does_not_answer_does_not_hold_the_run_for_ever(rollout: Rollout, monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(attempt: object) -> None:
        await asyncio.Event().wait()

    rollout.journal.ended = never  # type: ignore[method-assign]
    monkeypatch.setattr("rollbackd.action.journal._PATIENCE", SHORT)
    with pytest.raises(TemporaryError, match="the store did not answer"):
        await rollout.run(rollout.deploy())


async def test_who_is_asked_is_told_what_was_run_what_was_seen_and_what_to_run(rollout: Rollout) -> None:
    rollout.tool.behave(asked="echo 'fly: no route to host' >&2; exit 3")
    result = await rollout.run(rollout.deploy())
    assert result.detail == (
        f"nobody knows whether it happened: attempt {rollout.attempt(0, 1)} ran `./tool deploy img:v1` "
        "(exit 0; cannot tell: exit 3 fly: no route to host); to find out run `./tool live` and look for img:v1"
    )


@pytest.mark.parametrize(
    ("ask", "advice"),
    [
        (HttpAsk(url="https://api.example.com/version"), "get https://api.example.com/version"),
        (PromqlAsk(query="sum(up)"), "ask Prometheus for sum(up)"),
        (RunAsk(argv=("fly", "status", "--app", "${service.name}")), "run `fly status --app api`"),
    ],
)
def test_whatever_could_have_told_is_named(rollout: Rollout, ask: HttpAsk | PromqlAsk | RunAsk, advice: str) -> None:
    told = how_to_find_out(Probe(ask=ask), rollout.plan(rollout.sh("true")), rollout.policy)
    assert told == f"to find out {advice} and look for v1 or img:v1"


async def test_remains_that_cannot_be_ended_go_to_a_person_and_the_attempt_has_an_outcome(
    rollout: Rollout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rollout.tool.behave(before="touch started; sleep 60")
    await cut_off(rollout, rollout.deploy(idempotent=True), tmp_path / "started")

    async def undying(*_: object, mark: str) -> tuple[int, ...]:
        raise UncertainError(f"process 7 of {mark} does not die")

    monkeypatch.setattr(rollout.commands, "end_remains", undying)
    result = await rollout.run(rollout.deploy(idempotent=True))
    assert (result.status, result.detail) == (RunStatus.UNCERTAIN, f"process 7 of {rollout.attempt(0, 1)} does not die")
    assert rollout.journal.statuses() == [UNCERTAIN]
    assert rollout.tool.effects() == []


async def test_a_run_that_does_not_go_on_leaves_nothing_running_and_nothing_open(rollout: Rollout, tmp_path: Path) -> None:
    rollout.tool.behave(before="touch started; sleep 60")
    await cut_off(rollout, rollout.deploy(), tmp_path / "started")
    mark = {"ROLLBACKD_ATTEMPT": rollout.attempt(0, 1)}
    orphan = subprocess.Popen(["sleep", "1000"], env=mark, start_new_session=True)  # noqa: ASYNC220 - a spawn, as short as any
    await rollout.runner().leave(rollout.incident, "release v1 is marked bad")
    assert await asyncio.to_thread(orphan.wait) == -signal.SIGKILL
    assert rollout.journal.statuses() == [UNCERTAIN]
    assert rollout.journal.last().detail == "cut off, and not observed: release v1 is marked bad"
    await rollout.runner().leave(rollout.incident, "said again")
    assert rollout.journal.last().detail == "cut off, and not observed: release v1 is marked bad"


# Waiting and verifying


def line(name: str, script: str) -> Probe:
    return Probe(name=name, ask=RunAsk(argv=("sh", "-c", script)), equals="yes")


async def test_a_wait_asks_until_it_holds_and_reports_what_is_new(rollout: Rollout, tmp_path: Path) -> None:
    step = Step(name="healthy", action=Wait(until=line("site", "echo >> asked; cat answer")), timeout=timedelta(seconds=30))
    (tmp_path / "answer").write_text("no")
    (tmp_path / "asked").touch()
    async with asyncio.TaskGroup() as group:
        running = group.create_task(rollout.run(step))
        await eventually(lambda: len((tmp_path / "asked").read_text()) > 2)
        (tmp_path / "new").write_text("yes")
        (tmp_path / "new").rename(tmp_path / "answer")  # at once: somebody may be reading it
    assert running.result().status is RunStatus.SUCCEEDED
    assert rollout.told("check") == ["site: no, wanted yes", "site: yes, wanted yes"]
    assert [attempt.status for attempt in rollout.journal.written] == [AttemptStatus.INTENDED, AttemptStatus.STARTED, SUCCEEDED]
    assert (rollout.journal.last().argv, rollout.journal.last().output) == ((), "site: yes, wanted yes")


async def test_each_line_of_a_checklist_has_to_hold_once_and_is_reported_by_itself(rollout: Rollout) -> None:
    rollout.measures._value = 0.002
    once = line("log-in", "if test -e seen; then echo no; else touch seen; echo yes; fi")
    later = line("orders", "if test -e asked; then echo yes; else touch asked; echo no; fi")
    rate = Probe(name="error rate", ask=PromqlAsk(query="rate"), satisfies=Condition.parse("< 0.005"))
    step = Step(name="checks", action=Verify(checks=(rate, once, later)), timeout=timedelta(seconds=30))
    assert (await rollout.run(step)).status is RunStatus.SUCCEEDED
    assert rollout.journal.last().detail == "3 of 3 hold"
    assert rollout.journal.last().output.splitlines() == [
        "error rate: 0.002, wanted < 0.005",
        "log-in: yes, wanted yes",
        "orders: yes, wanted yes",
    ]
    assert rollout.measures.asked == ["rate"]


async def test_a_line_that_fails_or_cannot_be_told_is_no_success(rollout: Rollout) -> None:
    checks = (line("log-in", "echo yes"), line("orders", "echo no"), line("payments", "exit 1"))
    step = Step(name="checks", action=Verify(checks=checks), timeout=SHORT)
    result = await rollout.run(step)
    assert (result.status, result.detail) == (RunStatus.FAILED, "orders: no, wanted yes; payments: cannot tell: exit 1")
    assert rollout.journal.statuses() == [AttemptStatus.TIMED_OUT]
    held = {report.facts["check"]: report.facts["held"] for report in rollout.reports if report.kind == "check"}
    assert held == {"log-in": True, "orders": False, "payments": None}


async def test_a_question_that_hangs_does_not_outlast_its_step(rollout: Rollout) -> None:
    hanging = replace(line("site", "sleep 1000"), timeout=timedelta(hours=1))
    result = await rollout.run(Step(name="healthy", action=Wait(until=hanging), timeout=SHORT))
    assert result.detail == "site: cannot tell: timed out (killed by SIGTERM)"


async def test_a_wait_is_interrupted_and_taken_up_again(rollout: Rollout, tmp_path: Path) -> None:
    interrupt = asyncio.Event()
    step = Step(name="healthy", action=Wait(until=line("site", "cat answer")), timeout=timedelta(seconds=30))
    async with asyncio.TaskGroup() as group:
        running = group.create_task(rollout.run(step, interrupt=interrupt))
        await eventually(lambda: bool(rollout.told("check")))
        interrupt.set()
    assert running.result().status is RunStatus.PAUSED
    (tmp_path / "answer").write_text("yes")
    assert (await rollout.run(step)).status is RunStatus.SUCCEEDED
    assert rollout.journal.statuses() == [AttemptStatus.INTERRUPTED, SUCCEEDED]
