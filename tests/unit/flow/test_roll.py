"""The last check before the first step, and what becomes of the incident and of the register however a run ends."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from rollbackd.action.rollout import Gate, RunResult, RunStatus
from rollbackd.flow import plans
from rollbackd.flow.bell import Bell
from rollbackd.flow.emergency import Emergency
from rollbackd.flow.move import Move
from rollbackd.flow.roll import Roll
from rollbackd.flow.runs import Runs
from rollbackd.model.attempt import Attempt, AttemptStatus
from rollbackd.model.decision import RunningVersion
from rollbackd.model.incident import Event, Incident, Outcome, Phase
from rollbackd.model.plan import Plan
from rollbackd.model.policy import ServicePolicy
from rollbackd.model.reason import Reason
from rollbackd.model.release import Mark, Release, ReleaseKind, ReleaseStatus
from rollbackd.model.runbook import Probe, Run, RunAsk, Runbook, RunbookKind, Step
from rollbackd.releases.register import Register
from rollbackd.releases.sources import Refreshed
from rollbackd.store.store import Store
from tests.unit.flow.conftest import NOW, POLICY, Stage, eventually

MINUTE = timedelta(minutes=1)
STEP = Step(name="deploy", action=Run(argv=("deploy", "${target.artifact}")), timeout=timedelta(milliseconds=10))
RUNBOOK = Runbook(name="quick", kind=RunbookKind.QUICK, budget=MINUTE, steps=(STEP,))
ROLLING = replace(POLICY, runbook=RUNBOOK)
V1 = Release(service="api", version="v1", artifact="image:1", started_at=NOW - 60 * MINUTE, live_at=NOW - 60 * MINUTE)
V2 = replace(V1, version="v2", artifact="image:2", started_at=NOW - MINUTE, live_at=NOW - MINUTE)
NO_PROBE = RunningVersion()


def answered(*answers: str) -> RunningVersion:
    return RunningVersion(answers=frozenset(answers), reason=None)


class ScriptedRunner:
    """Asks what the real one asks, at the same places, and has one step that ends as the test says."""

    def __init__(self, store: Store, ends: AttemptStatus) -> None:
        self._store = store
        self._ends = ends
        self.ran = False
        self.left: list[str] = []
        self.goes_on = asyncio.Event()
        self.goes_on.set()

    async def leave(self, incident_id: str, why: str) -> None:
        self.left.append(f"{incident_id}: {why}")

    async def run(
        self,
        incident_id: str,
        _policy: ServicePolicy,
        _plan: Plan,
        *,
        gate: Callable[[], Awaitable[Gate]],
        compare_and_set: Callable[[], Awaitable[Any]],
        interrupt: asyncio.Event,
        first_index: int,
        report: object,
        ticked: object,
    ) -> RunResult:
        if (asked := await gate()) is not Gate.GO:
            return RunResult(status=RunStatus.ABORTED if asked is Gate.STOP else RunStatus.PAUSED, step="deploy", detail=str(asked))
        refusal = await compare_and_set()
        if refusal is not None:
            return RunResult(status=RunStatus.REFUSED, step="deploy", reason=refusal.reason, detail=refusal.detail)
        self.ran = True
        attempt = Attempt(
            id=f"{incident_id}-{first_index}-1",
            incident_id=incident_id,
            step_index=first_index,
            step_name="deploy",
            number=1,
            argv=("deploy",),
            status=AttemptStatus.INTENDED,
            intended_at=NOW,
        )
        await self._store.attempts.intend(attempt)
        waiting = (asyncio.ensure_future(each.wait()) for each in (self.goes_on, interrupt))  # noqa: TID251 - a test
        _, late = await asyncio.wait(tuple(waiting), return_when=asyncio.FIRST_COMPLETED)
        for task in late:
            task.cancel()
        await self._store.attempts.ended(replace(attempt, status=self._ends))
        status = {
            AttemptStatus.SUCCEEDED: RunStatus.SUCCEEDED,
            AttemptStatus.FAILED: RunStatus.FAILED,
            AttemptStatus.UNCERTAIN: RunStatus.UNCERTAIN,
        }[self._ends]
        return RunResult(status=status, step="deploy", detail="exit 0")


class Given:
    """What the probe answers, and what the release source has to say."""

    def __init__(self, running: RunningVersion, problem: str) -> None:
        self._running = running
        self._problem = problem

    async def running_version(self, _policy: ServicePolicy) -> RunningVersion:
        return self._running

    async def refresh(self, _policy: ServicePolicy) -> Refreshed:
        return Refreshed(problem=self._problem)


class Scene:
    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.store = stage.store
        self.register = Register(stage.store.releases, stage.clock)
        self.bell = Bell()
        self.incident: Incident | None = None

    async def begin(self, *releases: Release, **changes: Any) -> Incident:
        for release in releases or (V1, V2):
            await self.store.releases.record(release)
        self.incident = await self.stage.open(
            **{
                "phase": Phase.ROLLING_BACK,
                "suspect": "v2",
                "target": "v1",
                "target_artifact": "image:1",
                "plan": plans.make(ROLLING, suspect=V2, target=V1).digest,
                "rollback_started_at": NOW,
                "acknowledged_by": "oncall",
                **changes,
            }
        )
        return self.incident

    def roll(self, ends: AttemptStatus = AttemptStatus.SUCCEEDED, *, running: RunningVersion = NO_PROBE, problem: str = "") -> Roll:
        self.runner = ScriptedRunner(self.store, ends)
        given: Any = Given(running, problem)
        runner: Any = self.runner
        self.runs = Runs(store=self.store, runner=runner, bell=self.bell, clock=self.stage.clock)
        emergency = Emergency(store=self.store, register=self.register, runs=self.runs)
        return Roll(
            store=self.store,
            register=self.register,
            sources=given,
            collector=given,
            runs=self.runs,
            emergency=emergency,
            clock=self.stage.clock,
        )

    async def ended(self, ends: AttemptStatus = AttemptStatus.SUCCEEDED, *, running: RunningVersion = NO_PROBE, problem: str = "") -> Move:
        assert self.incident is not None
        return await self.roll(ends, running=running, problem=problem).rolling_back(self.incident, ROLLING)

    async def rollbacks(self) -> list[ReleaseStatus]:
        return [one.status for one in await self.store.releases.of_service("api") if one.kind is ReleaseKind.ROLLBACK]


@pytest.fixture
def scene(stage: Stage) -> Scene:
    return Scene(stage)


@pytest.mark.parametrize(
    ("ends", "event", "outcome", "recorded"),
    [
        (AttemptStatus.SUCCEEDED, Event.ROLLED_BACK, None, ReleaseStatus.LIVE),
        (AttemptStatus.FAILED, Event.CLOSE, Outcome.FAILED, ReleaseStatus.FAILED),
        (AttemptStatus.UNCERTAIN, Event.ESCALATE, None, ReleaseStatus.FAILED),
    ],
)
async def test_however_a_run_ends_the_cooldown_counts_from_there(
    scene: Scene, ends: AttemptStatus, event: Event, outcome: Outcome | None, recorded: ReleaseStatus
) -> None:
    await scene.begin()
    move = await scene.ended(ends)
    assert (move.event, move.incident.outcome) == (event, outcome)
    assert move.incident.rollback_ended_at == NOW
    assert move.incident.acknowledged_by is None, "nobody can have taken note of an end that was still ahead"
    assert await scene.rollbacks() == [recorded]
    assert {one.version: one.mark for one in await scene.store.releases.of_service("api")} == {"v1": Mark.NONE, "v2": Mark.SUSPECT}


COMPARED: dict[str, tuple[RunningVersion, dict[str, Any], Reason | None]] = {
    "the suspect everywhere": (answered("image:2"), {}, None),
    "by its version": (answered("v2"), {}, None),
    "the target already": (answered("image:1"), {}, Reason.RUNNING_VERSION_CHANGED),
    "something else": (answered("image:3"), {}, Reason.RUNNING_VERSION_CHANGED),
    "the suspect and something else": (answered("image:2", "image:3"), {}, Reason.RUNNING_VERSION_CHANGED),
    "the suspect and the target: somebody else is rolling back": (answered("image:2", "image:1"), {}, Reason.RUNNING_VERSION_CHANGED),
    "the suspect and the target, as a rollback of this incident left them": (answered("image:2", "image:1"), {"first_step": 1}, None),
    "the target alone, as a rollback of this incident left it": (
        answered("image:1"),
        {"first_step": 1},
        Reason.RUNNING_VERSION_CHANGED,
    ),
    "no answer": (RunningVersion(reason=Reason.RUNNING_VERSION_UNKNOWN, detail="exit 1"), {}, Reason.RUNNING_VERSION_UNKNOWN),
}


@pytest.mark.parametrize(("running", "changes", "refused"), COMPARED.values(), ids=COMPARED)
async def test_row_56_what_runs_is_compared_right_before_the_first_step(
    scene: Scene, running: RunningVersion, changes: dict[str, Any], refused: Reason | None
) -> None:
    await scene.begin(**changes)
    move = await scene.ended(running=running)
    assert scene.runner.ran is (refused is None)
    if refused is not None:
        assert (move.event, move.incident.reason) == (Event.ESCALATE, refused)


RECORDED: dict[str, tuple[Release | None, Reason | None]] = {
    "nothing since": (None, None),
    "a newer release": (replace(V2, version="v3", artifact="image:3", started_at=NOW), Reason.RUNNING_VERSION_CHANGED),
    "a newer one that is rolling": (
        replace(V2, version="v3", artifact="image:3", started_at=NOW, status=ReleaseStatus.ROLLING),
        Reason.RUNNING_VERSION_CHANGED,
    ),
    "a newer one that failed, and runs nowhere": (
        replace(V2, version="v3", artifact="image:3", started_at=NOW, status=ReleaseStatus.FAILED),
        None,
    ),
    "the same artifact again": (replace(V2, version="v3", started_at=NOW), None),
    "our own rollback, which is only beginning": (
        replace(V1, started_at=NOW, status=ReleaseStatus.ROLLING, kind=ReleaseKind.ROLLBACK, source="rollbackd"),
        None,
    ),
}


@pytest.mark.parametrize(("newer", "refused"), RECORDED.values(), ids=RECORDED)
async def test_row_56_without_a_probe_the_register_is_compared(scene: Scene, newer: Release | None, refused: Reason | None) -> None:
    await scene.begin(V1, V2, *([newer] if newer else []))
    move = await scene.ended()
    assert scene.runner.ran is (refused is None)
    if refused is not None:
        assert (move.event, move.incident.reason) == (Event.ESCALATE, refused)


async def test_without_a_probe_a_register_that_may_be_out_of_date_says_nothing(scene: Scene) -> None:
    await scene.begin()
    move = await scene.ended(problem="fly timed out")
    assert (scene.runner.ran, move.incident.reason, move.incident.detail) == (
        False,
        Reason.RUNNING_VERSION_UNKNOWN,
        "deploy: fly timed out",
    )


class TestRefusedBeforeTheFirstStep:
    async def test_nothing_was_run_and_so_nothing_cools_down_or_counts(self, scene: Scene) -> None:
        await scene.begin()
        move = await scene.ended(running=answered("image:3"))
        assert (move.incident.rollback_started_at, move.incident.rollback_ended_at) == (None, None)
        assert await scene.rollbacks() == []
        assert {one.mark for one in await scene.store.releases.of_service("api")} == {Mark.NONE}

    async def test_the_plan_is_no_longer_the_one_that_was_decided_on(self, scene: Scene) -> None:
        await scene.begin(plan="another")
        assert (await scene.ended()).incident.reason is Reason.OUTDATED_PLAN
        assert scene.runner.left == ["i1: the plan is no longer the one that was decided on"], "it may have been cut off in the middle"

    async def test_who_is_asked_is_told_what_to_run(self, scene: Scene) -> None:
        await scene.begin()
        assert scene.incident is not None
        policy = replace(ROLLING, running_version=Probe(ask=RunAsk(argv=("fly", "status"))))
        unknown = RunningVersion(reason=Reason.RUNNING_VERSION_UNKNOWN, detail="cannot tell: exit 1")
        move = await scene.roll(running=unknown).rolling_back(scene.incident, policy)
        assert move.incident.detail == "deploy: cannot tell: exit 1; to find out run `fly status` and look for v1 or image:1"

    async def test_the_target_is_gone(self, scene: Scene) -> None:
        await scene.begin(V2)
        assert (await scene.ended()).incident.reason is Reason.NO_SAFE_TARGET

    @pytest.mark.parametrize("version", ["v1", "v0"])
    async def test_row_55_the_target_was_marked_bad_meanwhile_under_whatever_version(self, scene: Scene, version: str) -> None:
        await scene.begin(V1, V2, replace(V1, version="v0", started_at=NOW - 70 * MINUTE))
        await scene.register.mark("api", version, Mark.BAD, reason="it leaks")
        move = await scene.ended()
        assert (scene.runner.ran, move.event, move.incident.reason) == (False, Event.ESCALATE, Reason.BAD_TARGET)


class TestAbort:
    async def test_it_is_heard_while_a_step_runs(self, scene: Scene) -> None:
        incident = await scene.begin()
        roll = scene.roll()
        scene.runner.goes_on.clear()
        async with asyncio.TaskGroup() as tasks:
            going_on = tasks.create_task(roll.rolling_back(incident, ROLLING))
            await eventually(lambda: _is(scene.runner.ran))
            await scene.store.incidents.save(incident, replace(incident, abort_reason="I take over"))
            scene.bell.ring(incident.id)
        move = going_on.result()
        assert (move.event, move.incident.outcome, move.incident.detail) == (Event.CLOSE, Outcome.ABORTED, "I take over")
        assert move.incident.revision == incident.revision + 1, "the word is about the incident as the person left it"

    async def test_a_step_of_which_nobody_knows_still_goes_to_a_person(self, scene: Scene) -> None:
        await scene.begin()
        assert scene.incident is not None
        roll = scene.roll(AttemptStatus.UNCERTAIN)
        scene.runner.goes_on.clear()
        async with asyncio.TaskGroup() as tasks:
            going_on = tasks.create_task(roll.rolling_back(scene.incident, ROLLING))
            await eventually(lambda: _is(scene.runner.ran))
            await scene.store.incidents.save(scene.incident, replace(scene.incident, abort_reason="I take over"))
            scene.bell.ring("i1")
        assert going_on.result().event is Event.ESCALATE


class TestStopping:
    async def test_a_step_that_runs_is_waited_for_and_nothing_begins_any_more(self, scene: Scene) -> None:
        incident = await scene.begin()
        roll = scene.roll()
        scene.runner.goes_on.clear()
        async with asyncio.TaskGroup() as tasks:
            going_on = tasks.create_task(roll.rolling_back(incident, ROLLING))
            await eventually(lambda: _is(scene.runner.ran))
            await scene.runs.stop(grace=timedelta(seconds=10))
            assert (await scene.store.attempts.of_incident("i1"))[0].status.ended
        assert going_on.result().event is Event.ROLLED_BACK

        scene.runner.ran = False
        assert (await roll.rolling_back(incident, ROLLING)).event is None
        assert not scene.runner.ran

    async def test_it_is_not_waited_for_without_end(self, scene: Scene) -> None:
        scene.roll()
        with scene.runs._counted(plans.make(ROLLING, suspect=V2, target=V1)):
            await scene.runs.stop(grace=timedelta(milliseconds=10))

    async def test_with_nothing_going_on_it_is_at_once(self, scene: Scene) -> None:
        async with asyncio.timeout(5):
            scene.roll()
            await scene.runs.stop(grace=timedelta(hours=1))


async def _is(value: bool) -> bool:  # noqa: FBT001 - an answer, not a switch
    return value
