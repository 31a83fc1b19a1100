"""Rows 50-56 and 59 of the fault catalogue, and 4-6 as far as the journal knows of them: a command does its worst.

The same with a daemon that is really killed stands with the whole daemon; the effects log of `Tool` is the oracle in both.
"""

import asyncio
import subprocess
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from rollbackd.action import plan
from rollbackd.action.kin import Kin, Process
from rollbackd.action.output import KEEP
from rollbackd.action.rollout import Refusal, RunStatus
from rollbackd.errors import RefusedError
from rollbackd.failpoints import FailpointError
from rollbackd.model.attempt import AttemptStatus
from rollbackd.model.reason import Reason
from rollbackd.model.release import Mark
from rollbackd.model.runbook import OnFailure, Runbook, RunbookKind
from tests.fakes.processes import children, eventually, open_files
from tests.fakes.rollout import CURRENT, TARGET, Rollout

SHORT = timedelta(milliseconds=200)
SUCCEEDED, FAILED, UNCERTAIN = AttemptStatus.SUCCEEDED, AttemptStatus.FAILED, AttemptStatus.UNCERTAIN


@pytest.fixture
async def rollout(tmp_path: Path) -> AsyncIterator[Rollout]:
    """Whatever its commands do: no file stays open, and no child is left, dead or alive."""
    before = open_files(), children()
    yield Rollout(tmp_path)
    assert (open_files(), children()) == before


async def die_at(rollout: Rollout, monkeypatch: pytest.MonkeyPatch, failpoint: str) -> None:
    """What the journal holds of a run that ends here is what it holds of a daemon that is killed here."""
    monkeypatch.setenv("ROLLBACKD_FAILPOINT", f"{failpoint}:raise")
    with pytest.raises(FailpointError):
        await rollout.run(rollout.deploy(idempotent=True))
    monkeypatch.delenv("ROLLBACKD_FAILPOINT")


async def test_row_4_intended_and_never_started_is_observed_and_tried_once_under_a_new_id(rollout: Rollout) -> None:
    write = rollout.journal.intend

    async def then_die(attempt: object) -> None:
        await write(attempt)  # type: ignore[arg-type]
        raise FailpointError("attempt.after_intent")

    rollout.journal.intend = then_die  # type: ignore[method-assign]
    with pytest.raises(FailpointError):
        await rollout.run(rollout.deploy(idempotent=True))
    rollout.journal.intend = write  # type: ignore[method-assign]
    assert rollout.tool.effects() == []
    assert (await rollout.run(rollout.deploy(idempotent=True))).status is RunStatus.SUCCEEDED
    assert rollout.journal.statuses() == [UNCERTAIN, SUCCEEDED]
    assert rollout.tool.effects() == [(rollout.attempt(0, 2), "img:v1")]


async def test_row_5_what_a_dead_daemon_left_running_is_ended_before_anything_is_observed(rollout: Rollout, tmp_path: Path) -> None:
    """Its grandchild would deploy a moment after the probe has said that nothing is deployed."""
    rollout.tool.behave(before="touch runs; until test -e go; do :; done")
    async with asyncio.TaskGroup() as group:
        running = group.create_task(rollout.run(rollout.deploy(idempotent=True)))
        await eventually((tmp_path / "runs").exists)
        running.cancel()
    cut_off = rollout.journal.last()
    env = {"ROLLBACKD_ATTEMPT": cut_off.id}
    orphan = subprocess.Popen(["sleep", "1000"], env=env, start_new_session=True)  # noqa: ASYNC220 - a spawn, as short as any
    rollout.tool.behave(asked=f"if kill -0 {orphan.pid} 2>/dev/null && ! grep -q '^State:.Z' /proc/{orphan.pid}/status; then exit 1; fi")
    result = await rollout.run(rollout.deploy(idempotent=True))
    await asyncio.to_thread(orphan.wait)
    assert result.status is RunStatus.SUCCEEDED
    assert rollout.tool.effects() == [(rollout.attempt(0, 2), "img:v1")]


async def test_row_6_exited_and_not_written_down_is_observed_and_not_done_again(rollout: Rollout, monkeypatch: pytest.MonkeyPatch) -> None:
    await die_at(rollout, monkeypatch, "attempt.after_exit")
    assert (await rollout.run(rollout.deploy(idempotent=True))).status is RunStatus.SUCCEEDED
    assert rollout.journal.statuses() == [SUCCEEDED]
    assert rollout.tool.effects() == [(rollout.attempt(0, 1), "img:v1")]


async def test_row_50_a_child_that_ignores_term_is_killed_and_the_run_has_failed(rollout: Rollout) -> None:
    rollout.tool.behave(before="trap '' TERM; sleep 60 & wait; sleep 60")
    result = await rollout.run(rollout.deploy(timeout=SHORT))
    assert result.status is RunStatus.FAILED
    assert (rollout.journal.last().status, rollout.journal.last().signal) == (AttemptStatus.TIMED_OUT, "SIGKILL")


@pytest.mark.parametrize(
    "leave", ["sleep 1000 & echo $! > pid", "setsid sh -c 'echo $$ > pid; exec sleep 1000' & until test -s pid; do :; done"]
)
async def test_row_51_a_grandchild_that_keeps_the_pipe_does_not_hang_the_daemon(rollout: Rollout, tmp_path: Path, leave: str) -> None:
    rollout.tool.behave(after=leave)
    assert (await rollout.run(rollout.deploy())).status is RunStatus.SUCCEEDED
    pid = int((tmp_path / "pid").read_text())
    assert f"left behind and ended: process {pid}" in rollout.journal.last().detail
    left = Process.read(pid)
    assert left is None or left.dead


@pytest.mark.parametrize(
    "flood", ["head -c 1000000000 /dev/zero", "head -c 100000000 /dev/zero | tr '\\0' '\\377'", "yes | head -c 100000000"]
)
async def test_row_52_a_flood_of_output_is_cut(rollout: Rollout, flood: str) -> None:
    rollout.tool.behave(before=flood)
    assert (await rollout.run(rollout.deploy())).status is RunStatus.SUCCEEDED
    assert len(rollout.journal.last().output) <= 2 * KEEP + 100
    assert "bytes left out" in rollout.journal.last().output


@pytest.mark.parametrize(
    ("before", "status", "says"),
    [
        ("exit 0", FAILED, "exit 0; img:v2, wanted img:v1"),  # exit 0 and the version unchanged
        ("exit 1", FAILED, "exit 1; img:v2, wanted img:v1"),
        ("exit 126", FAILED, "exit 126; "),
        ("exit 127", FAILED, "exit 127; "),
        ("kill -SEGV $$", FAILED, "killed by SIGSEGV; "),
    ],
)
async def test_row_53_only_what_is_seen_is_success(rollout: Rollout, before: str, status: AttemptStatus, says: str) -> None:
    rollout.tool.behave(before=before)
    result = await rollout.run(rollout.deploy())
    assert (result.status, result.reason) == (RunStatus.FAILED, Reason.STEP_FAILED)
    assert rollout.journal.last().status is status
    assert rollout.journal.last().detail.startswith(says)


@pytest.mark.parametrize(("mode", "says"), [(None, "no such command"), (0o644, "may not be executed")])
async def test_row_53_a_tool_that_is_missing_or_not_executable(rollout: Rollout, mode: int | None, says: str) -> None:
    if mode is None:
        rollout.tool.program.unlink()
    else:
        rollout.tool.program.chmod(mode)
    assert (await rollout.run(rollout.deploy(probe=False))).status is RunStatus.FAILED
    assert says in rollout.journal.last().detail
    assert rollout.journal.last().process is None


@pytest.mark.parametrize(
    ("before", "after", "status"),
    [("", "trap 'exit 0' TERM; sleep 60 & wait", SUCCEEDED), ("trap 'exit 0' TERM; sleep 60 & wait", "", AttemptStatus.TIMED_OUT)],
)
async def test_row_54_a_timeout_at_the_moment_of_completion_is_decided_by_observation(
    rollout: Rollout, before: str, after: str, status: AttemptStatus
) -> None:
    """Exit 0, and the deadline passed: with the effect, and without."""
    rollout.tool.behave(before=before, after=after)
    await rollout.run(rollout.deploy(timeout=timedelta(seconds=1)))
    assert (rollout.journal.last().status, rollout.journal.last().exit_code) == (status, 0)


async def test_row_54_a_process_that_has_ended_has_not_timed_out(rollout: Rollout) -> None:
    write = rollout.journal.started

    async def slow(attempt: object) -> None:
        """The journal takes longer than the process and its deadline."""
        await write(attempt)  # type: ignore[arg-type]
        identity = rollout.journal.last().process
        await eventually(lambda: not Kin(identity, None).alive())

    rollout.journal.started = slow  # type: ignore[method-assign]
    await rollout.run(rollout.sh("exit 0", timeout=timedelta(milliseconds=1)))
    assert (rollout.journal.last().status, rollout.journal.last().detail) == (SUCCEEDED, "exit 0")


@pytest.mark.parametrize(
    "target",
    [
        replace(TARGET, mark=Mark.BAD),
        replace(TARGET, artifact=CURRENT.artifact),
        replace(TARGET, service="another"),
        replace(TARGET, artifact="--config=/tmp/x"),
    ],
)
def test_row_55_a_target_that_may_not_be_never_becomes_a_command(rollout: Rollout, target: object) -> None:
    runbook = Runbook(name="quick", kind=RunbookKind.QUICK, budget=SHORT, steps=(rollout.deploy(),))
    with pytest.raises(RefusedError) as refused:
        plan.make(rollout.policy, runbook, current=CURRENT, target=target)  # type: ignore[arg-type]
    assert refused.value.reason == Reason.BAD_TARGET


async def test_row_56_somebody_deploys_between_the_decision_and_the_first_step(rollout: Rollout) -> None:
    async def compare_and_set() -> Refusal | None:
        changed = rollout.tool.live != CURRENT.artifact
        return Refusal(Reason.RUNNING_VERSION_CHANGED, f"running is {rollout.tool.live}") if changed else None

    rollout.tool.live = "img:v3"
    result = await rollout.run(rollout.deploy(), compare_and_set=compare_and_set)
    assert (result.status, result.reason) == (RunStatus.REFUSED, Reason.RUNNING_VERSION_CHANGED)
    assert rollout.tool.effects() == []
    assert rollout.tool.live == "img:v3"


async def test_row_56_somebody_deploys_while_the_daemon_is_down(rollout: Rollout, monkeypatch: pytest.MonkeyPatch) -> None:
    """The step is idempotent and seen not to be done; all the same, what the person has deployed meanwhile stays."""

    async def compare_and_set() -> None: ...

    rollout.policy = replace(rollout.policy, running_version=rollout.asks_live())
    await die_at(rollout, monkeypatch, "attempt.after_exit")
    rollout.tool.live = "img:v3"
    result = await rollout.run(rollout.deploy(idempotent=True), compare_and_set=compare_and_set)
    assert (result.status, result.reason) == (RunStatus.REFUSED, Reason.RUNNING_VERSION_CHANGED)
    assert rollout.tool.live == "img:v3"


async def test_row_58_an_effect_after_an_error_is_observed_and_not_repeated(rollout: Rollout) -> None:
    rollout.tool.behave(after="echo 'Error: 502 Bad Gateway' >&2; exit 1")
    assert (await rollout.run(rollout.deploy(idempotent=True, retries=3))).status is RunStatus.SUCCEEDED
    assert rollout.tool.effects() == [(rollout.attempt(0, 1), "img:v1")]


@pytest.mark.parametrize("place", range(4))
@pytest.mark.parametrize("on_failure", OnFailure)
async def test_row_59_a_failure_at_any_step(rollout: Rollout, tmp_path: Path, place: int, on_failure: OnFailure) -> None:
    steps = [rollout.sh(f"echo {number} >> done", name=str(number)) for number in range(4)]
    steps[place] = rollout.sh(f"echo {place} >> done; exit 1", name=str(place), on_failure=on_failure)
    result = await rollout.run(*steps)
    stopped = on_failure is OnFailure.STOP
    assert (result.status, result.step) == ((RunStatus.FAILED, str(place)) if stopped else (RunStatus.SUCCEEDED, None))
    assert (tmp_path / "done").read_text().split() == [str(number) for number in range(place + 1 if stopped else 4)]
    attempts = await rollout.journal.of_incident(rollout.incident)
    assert [attempt.status for attempt in attempts if attempt.step_index == place] == [FAILED]
    assert all(attempt.status.ended for attempt in attempts)
