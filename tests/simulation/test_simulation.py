"""The promises, whatever happens in whichever order: I1 to I5, I7 to I10 and I15 after each thing that happens."""

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.simulation.machine import Machine

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


def test_every_promise_holds_whatever_happens() -> None:
    whatever_happens(40, steps=40, anew=False)


@pytest.mark.nightly
@pytest.mark.timeout(7200)
def test_every_promise_holds_whatever_happens_all_night() -> None:
    whatever_happens(2000, steps=80, anew=True)
