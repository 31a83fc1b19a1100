"""What has not come back in time keeps the watchdog from being fed; what has is forgotten (I9)."""

from dataclasses import replace
from datetime import timedelta

import pytest

from rollbackd.errors import TemporaryError
from rollbackd.flow.progress import SOON, Progress, longest_visit
from rollbackd.model.incident import Phase
from rollbackd.model.runbook import Run, Runbook, RunbookKind, Step
from tests.unit.flow.conftest import POLICY, SetClock

MINUTE = timedelta(minutes=1)


def test_what_is_under_way_may_take_its_time(clock: SetClock) -> None:
    progress = Progress(clock)
    with progress.within(MINUTE, "a look"):
        clock.instant += MINUTE
        progress.check()


def test_what_has_not_come_back_is_named(clock: SetClock) -> None:
    progress = Progress(clock)
    with progress.within(MINUTE, "a look"), progress.within(MINUTE, "a write"), progress.within(10 * MINUTE, "a step"):
        clock.instant += 2 * MINUTE
        with pytest.raises(TemporaryError, match=r"^has not come back: a look, a write$"):
            progress.check()
    progress.check()


def test_what_has_failed_is_no_longer_under_way(clock: SetClock) -> None:
    progress = Progress(clock)
    with pytest.raises(ZeroDivisionError), progress.within(MINUTE, "a look"):
        raise ZeroDivisionError
    clock.instant += 2 * MINUTE
    progress.check()


def test_a_visit_may_last_as_long_as_all_that_the_config_grants() -> None:
    step = Step(name="deploy", action=Run(argv=("deploy",)), timeout=10 * MINUTE, retries=2)
    runbook = Runbook(name="quick", kind=RunbookKind.QUICK, budget=MINUTE, steps=(step, step))
    policy = replace(POLICY, runbook=runbook, recheck_every=MINUTE, give_up_after=60 * MINUTE)
    assert longest_visit(Phase.ROLLING_BACK, policy) > 2 * 3 * step.timeout
    assert longest_visit(Phase.ROLLING_BACK, replace(policy, runbook=None)) >= SOON
    assert longest_visit(Phase.WATCHING, policy) > policy.watch.duration
    assert longest_visit(Phase.DECIDING, policy) == 61 * MINUTE
