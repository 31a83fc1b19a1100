"""One step for several items, what is taken back after a failure, and what waits for a person."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from rollbackd.action.plan import steps_of
from rollbackd.action.rollout import Gate, RunStatus
from rollbackd.model.attempt import AttemptStatus
from rollbackd.model.reason import Reason
from rollbackd.model.runbook import Manual, OnFailure, Probe, Run, RunAsk, Runbook, RunbookKind, Step, Undo
from tests.fakes.processes import eventually
from tests.fakes.rollout import Rollout

SUCCEEDED, FAILED = AttemptStatus.SUCCEEDED, AttemptStatus.FAILED


@pytest.fixture
def rollout(tmp_path: Path) -> Rollout:
    rollout = Rollout(tmp_path)
    rollout.policy = replace(rollout.policy, vars={"hosts": ("h1", "h2", "h3", "h4"), "none": ()})
    return rollout


def said(rollout: Rollout, tmp_path: Path) -> list[str]:
    log = tmp_path / "said"
    return log.read_text().split() if log.exists() else []


def each(script: str, **how: object) -> Step:
    """`script` gets the item as $1."""
    argv = ("sh", "-c", script, "sh", "${item}")
    step = Step(name="each", action=Run(argv=argv), timeout=timedelta(seconds=10), for_each="hosts")
    return replace(step, **how)  # type: ignore[arg-type]


def undone_by(step: Step, script: str, *, idempotent: bool = False) -> Step:
    undo = Undo(action=Run(argv=("sh", "-c", script)), timeout=timedelta(seconds=10), idempotent=idempotent)
    return replace(step, undo=undo)


# For each


async def test_each_item_is_a_step_of_the_plan(rollout: Rollout, tmp_path: Path) -> None:
    plan = rollout.plan(each("echo $1 >>said"), rollout.sh("echo end >>said"))
    assert [step.name for step in plan.steps] == ["each [h1]", "each [h2]", "each [h3]", "each [h4]", "echo end >>said"]
    assert (await rollout.run(each("echo $1 >>said"), rollout.sh("echo end >>said"))).status is RunStatus.SUCCEEDED
    assert said(rollout, tmp_path) == ["h1", "h2", "h3", "h4", "end"]
    assert [attempt.id for attempt in await rollout.journal.of_incident(rollout.incident)] == [
        rollout.attempt(step, 1) for step in range(5)
    ]


async def test_no_further_one_begins_after_the_first_failure(rollout: Rollout, tmp_path: Path) -> None:
    result = await rollout.run(each("echo $1 >>said; test $1 != h2"), rollout.sh("echo end >>said"))
    assert (result.status, result.step, result.reason, result.detail) == (RunStatus.FAILED, "each [h2]", Reason.STEP_FAILED, "exit 1")
    assert said(rollout, tmp_path) == ["h1", "h2"]


async def test_as_many_may_fail_as_the_runbook_says_and_it_has_failed_all_the_same(rollout: Rollout, tmp_path: Path) -> None:
    result = await rollout.run(each("echo $1 >>said; test $1 = h4", stop_after_failures=3))
    assert (result.status, result.detail) == (RunStatus.FAILED, "each [h1]: exit 1; each [h2]: exit 1; each [h3]: exit 1")
    assert said(rollout, tmp_path) == ["h1", "h2", "h3"]
    result = await rollout.run(each("echo $1 >>said; test $1 != h1", stop_after_failures=2), first_index=20)
    assert result.status is RunStatus.FAILED
    assert said(rollout, tmp_path)[3:] == ["h1", "h2", "h3", "h4"]


async def test_where_each_may_fail_the_runbook_goes_on(rollout: Rollout) -> None:
    result = await rollout.run(each("test $1 != h2", on_failure=OnFailure.CONTINUE), rollout.sh("true"))
    assert (result.status, result.detail) == (RunStatus.SUCCEEDED, "each [h2]: exit 1")


async def test_a_few_at_a_time(rollout: Rollout, tmp_path: Path) -> None:
    """Each waits until another one runs as well: one by one they would never end."""
    script = (
        "touch in.$1; while [ $(ls in.* | wc -l) -lt 2 ]; do sleep 0.01; done; ls in.* | wc -l >>said; sleep 0.05; rm in.$1; touch in.x$1"
    )
    assert (await rollout.run(each(script, max_parallel=2))).status is RunStatus.SUCCEEDED


async def test_one_that_runs_is_not_cut_off_by_another_that_fails(rollout: Rollout, tmp_path: Path) -> None:
    script = "test $1 != h1 || exit 1; sleep 0.3; echo $1 >>said"
    result = await rollout.run(each(script, max_parallel=2))
    assert (result.status, result.detail) == (RunStatus.FAILED, "exit 1")
    assert said(rollout, tmp_path) == ["h2"]


async def test_after_a_crash_only_what_is_left_is_done(rollout: Rollout, tmp_path: Path) -> None:
    steps = (each("echo $1 >>said; test $1 != h3 || test -e again", probe=None),)
    await rollout.run(*steps, gate=Holds(after=2))
    assert said(rollout, tmp_path) == ["h1", "h2"]
    (tmp_path / "again").touch()
    assert (await rollout.run(*steps)).status is RunStatus.SUCCEEDED
    assert said(rollout, tmp_path) == ["h1", "h2", "h3", "h4"]


async def test_several_that_nobody_knows_of_go_to_a_person(rollout: Rollout) -> None:
    cannot_tell = Probe(ask=RunAsk(argv=("false",)), equals="x")
    result = await rollout.run(each("true", probe=cannot_tell, max_parallel=2))
    assert (result.status, result.reason) == (RunStatus.UNCERTAIN, Reason.STEP_UNCERTAIN)
    assert result.detail.count("nobody knows whether it happened") == 2


def test_a_list_may_be_empty_or_one_text(rollout: Rollout) -> None:
    book = Runbook(name="x", kind=RunbookKind.QUICK, budget=timedelta(minutes=1), steps=(each("true"),))
    assert list(steps_of(replace(rollout.policy, vars={"hosts": ()}), book)) == []
    assert [item for _, item in steps_of(replace(rollout.policy, vars={"hosts": "h1"}), book)] == ["h1"]


class Holds:
    """Says go for a number of commands, then holds. Asked twice for each."""

    def __init__(self, *, after: int) -> None:
        self._left = 2 * after

    async def __call__(self) -> Gate:
        self._left -= 1
        return Gate.GO if self._left >= 0 else Gate.HOLD


# Taken back


async def test_what_was_done_is_taken_back_in_reverse(rollout: Rollout, tmp_path: Path) -> None:
    steps = (
        undone_by(rollout.sh("echo page-on >>said"), "echo page-off >>said"),
        rollout.sh("echo nothing-to-undo >>said"),
        undone_by(rollout.sh("echo stop >>said"), "echo start >>said"),
        undone_by(rollout.sh("echo half >>said; exit 1", name="restore"), "echo whole >>said"),
        undone_by(rollout.sh("echo never >>said"), "echo never-undone >>said"),
    )
    result = await rollout.run(*steps)
    assert (result.status, result.step) == (RunStatus.FAILED, "restore")
    assert said(rollout, tmp_path) == ["page-on", "nothing-to-undo", "stop", "half", "whole", "start", "page-off"]
    assert result.detail == "exit 1; undo: restore: done; undo: echo stop >>said: done; undo: echo page-on >>said: done"
    assert [attempt.step_index for attempt in await rollout.journal.of_incident(rollout.incident)] == [0, 1, 2, 3, 6, 7, 9]


async def test_what_cannot_be_taken_back_is_said_and_the_rest_is(rollout: Rollout, tmp_path: Path) -> None:
    steps = (
        undone_by(rollout.sh("true", name="a"), "echo a >>said"),
        undone_by(rollout.sh("true", name="b"), "exit 4"),
        rollout.sh("exit 1", name="c"),
    )
    result = await rollout.run(*steps)
    assert result.detail == "exit 1; undo: b: exit 4; undo: a: done"
    assert said(rollout, tmp_path) == ["a"]


async def test_a_failure_that_may_be_none_is_not_taken_back(rollout: Rollout, tmp_path: Path) -> None:
    """A person is asked first."""
    cannot_tell = Probe(ask=RunAsk(argv=("false",)), equals="x")
    steps = (undone_by(rollout.sh("true"), "echo undone >>said"), replace(rollout.sh("true"), probe=cannot_tell))
    assert (await rollout.run(*steps)).status is RunStatus.UNCERTAIN
    assert said(rollout, tmp_path) == []


async def test_after_a_crash_the_taking_back_goes_on(rollout: Rollout, tmp_path: Path) -> None:
    steps = (
        undone_by(rollout.sh("true", name="a"), "echo a >>said"),
        undone_by(rollout.sh("true", name="b"), "echo b >>said"),
        rollout.sh("exit 1", name="c"),
    )
    result = await rollout.run(*steps, gate=Holds(after=4))
    assert (result.status, said(rollout, tmp_path)) == (RunStatus.PAUSED, ["b"])
    result = await rollout.run(*steps)
    assert (result.status, result.detail) == (RunStatus.FAILED, "exit 1; undo: b: done; undo: a: done")
    assert said(rollout, tmp_path) == ["b", "a"]


async def test_an_abort_stops_the_taking_back(rollout: Rollout, tmp_path: Path) -> None:
    steps = (undone_by(rollout.sh("true", name="a"), "echo a >>said"), rollout.sh("exit 1", name="c"))
    asked = iter([Gate.GO] * 4)

    async def gate() -> Gate:
        return next(asked, Gate.STOP)

    result = await rollout.run(*steps, gate=gate)
    assert (result.status, result.detail) == (RunStatus.FAILED, "exit 1; undo: a: aborted")
    assert said(rollout, tmp_path) == []


# A person


def manual(text: str = "look at ${service.name}", **how: object) -> Step:
    return replace(Step(name="look", action=Manual(text=text), timeout=timedelta(seconds=10)), **how)  # type: ignore[arg-type]


async def test_a_line_waits_for_a_person(rollout: Rollout, tmp_path: Path) -> None:
    ticks: dict[int, str] = {}

    async def ticked(index: int) -> str | None:
        return ticks.get(index)

    running = asyncio.create_task(rollout.run(rollout.sh("true"), manual(), rollout.sh("echo on >>said"), ticked=ticked))  # noqa: TID251 - a person beside it
    await eventually(lambda: bool(rollout.told("person_needed")))
    assert rollout.told("person_needed") == [f"look: look at api (then rollbackd tick {rollout.incident} 2)"]
    assert said(rollout, tmp_path) == []
    ticks[1] = "oncall"
    assert (await running).status is RunStatus.SUCCEEDED
    attempts = await rollout.journal.of_incident(rollout.incident)
    assert (attempts[1].status, attempts[1].detail) == (SUCCEEDED, "ticked by oncall")
    assert said(rollout, tmp_path) == ["on"]


async def test_nobody_ticks_it(rollout: Rollout) -> None:
    result = await rollout.run(manual(timeout=timedelta(milliseconds=50)))
    assert result.status is RunStatus.FAILED
    assert result.detail == f"nobody has ticked it within 50ms: rollbackd tick {rollout.incident} 1"


async def test_an_abort_ends_the_wait(rollout: Rollout) -> None:
    interrupt = asyncio.Event()

    async def gate() -> Gate:
        return Gate.STOP if interrupt.is_set() else Gate.GO

    running = asyncio.create_task(rollout.run(manual(), interrupt=interrupt, gate=gate))  # noqa: TID251 - a person beside it
    await eventually(lambda: bool(rollout.told("person_needed")))
    interrupt.set()
    assert (await running).status is RunStatus.ABORTED
    assert rollout.journal.last().detail == "not ticked yet"


async def test_what_was_ticked_before_a_crash_is_not_asked_again(rollout: Rollout) -> None:
    async def ticked(_index: int) -> str | None:
        return "oncall"

    assert (await rollout.run(manual(), ticked=ticked)).status is RunStatus.SUCCEEDED
    assert (await rollout.run(manual())).status is RunStatus.SUCCEEDED
    assert rollout.journal.statuses() == [SUCCEEDED]
