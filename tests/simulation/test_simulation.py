"""The promises, whatever happens in whichever order: I1 to I5, I7 to I10 and I15 after each thing that happens."""

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.simulation import scene
from tests.simulation.machine import Machine
from tests.simulation.production import Effect
from tests.simulation.world import World

# What a task was given is never awaited when the task is killed before its first turn.
pytestmark = pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")


def whatever_happens(examples: int, *, steps: int, anew: bool) -> None:
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            derandomize=not anew,
            deadline=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.timeout(1800)  # a failure is shrunk, which takes longer than everything else
def test_every_promise_holds_whatever_happens() -> None:
    whatever_happens(12, steps=40, anew=False)


@pytest.mark.nightly
@pytest.mark.timeout(7200)
def test_every_promise_holds_whatever_happens_all_night() -> None:
    whatever_happens(200, steps=60, anew=True)


def test_a_run_replays_to_the_last_moment() -> None:
    def run() -> tuple[float, list[Effect], list[object]]:
        with World(seed=7) as world:
            world.crash_after(40, committed=True)
            scene.go(world)
            scene.go_on(world)
            return world.now, world.production.effects, [dict(incident) for incident in world.promises.incidents()]

    assert run() == run()
