import json
from dataclasses import replace

import pytest

from rollbackd.errors import RefusedError
from rollbackd.flow.by_hand import Wish
from rollbackd.model.incident import Phase
from rollbackd.model.runbook import RunbookKind
from tests.unit.cli.conftest import Run
from tests.unit.web.samples import NOW, PLAN, incident, recovered
from tests.unit.web.world import World, keep

ID = "20260131-120000-7f3a"
BY = "operator-person"
PLAN_TEXT = """\
checkout: v2 → v1 (shop:v1)
runbook checkout-quick (quick), plan d1gest
1. deploy the target image (at most 300 s)
   deploy --image shop:v1
2. healthy again (at most 120 s)
   until GET http://127.0.0.1:1/healthz answers 200
3. technical checks (at most 120 s)
   error rate: errors{$selector} is < 0.005
   database answers: psql -c 'select 1' exits with 0
   version: running-version equals v1
"""


async def test_plan_shows_exactly_what_would_run(world: World, rollbackd: Run) -> None:
    result = await rollbackd("plan", "checkout", "--to", "v1")
    assert (result.exit_code, result.stdout) == (0, PLAN_TEXT)
    assert world.operator.asked == [("plan", "checkout", "v1", None)]
    assert json.loads((await rollbackd("plan", "checkout", "--json")).stdout)["digest"] == "d1gest"


async def test_without_a_terminal_and_without_yes_nothing_is_asked_or_run(world: World, rollbackd: Run) -> None:
    result = await rollbackd("rollback", "checkout", "--reason", "x", typed="y\n")
    assert result.exit_code == 2
    assert "--yes" in result.stderr
    assert world.operator.asked == []


async def test_with_yes_it_runs_the_target_that_was_planned_and_waits_for_the_outcome(world: World, rollbackd: Run) -> None:
    world.operator.incident = await keep(world.store, recovered())
    result = await rollbackd("rollback", "checkout", "--reason", "log-in broken", "--reason-code", "critical-function", "--yes", "--json")
    assert (result.exit_code, json.loads(result.stdout.splitlines()[-1])["outcome"]) == (0, "recovered")
    assert world.operator.asked == [
        ("plan", "checkout", None, None),
        ("rollback", "checkout", Wish(reason="log-in broken", to="v1", plan="d1gest", reason_code="critical-function"), BY),
    ]


async def test_no_wait_says_which_incident_it_is(world: World, rollbackd: Run) -> None:
    world.operator.incident = await keep(world.store, incident())
    result = await rollbackd("rollback", "checkout", "--reason", "x", "--yes", "--no-wait", "--while-paused", "--to", "v1")
    assert (result.exit_code, result.stdout) == (0, f"{ID}\n")
    assert world.operator.asked[-1] == ("rollback", "checkout", Wish(reason="x", to="v1", plan="d1gest", while_paused=True), BY)
    result = await rollbackd("rollback", "checkout", "--reason", "x", "--yes", "--no-wait", "--json")
    assert json.loads(result.stdout)["id"] == ID


async def test_a_rollback_that_needs_a_person_ends_with_8_instead_of_waiting_for_one(world: World, rollbackd: Run) -> None:
    world.operator.incident = await keep(world.store, recovered(phase=Phase.ESCALATED, outcome=None, closed_at=None, escalated_at=NOW))
    assert (await rollbackd("rollback", "checkout", "--reason", "x", "--yes")).exit_code == 8


async def test_a_guard_refuses_with_3(world: World, rollbackd: Run) -> None:
    world.operator.raises = RefusedError("checkout is paused (maintenance): resume first", reason="paused")
    result = await rollbackd("rollback", "checkout", "--reason", "x", "--yes")
    assert (result.exit_code, result.stderr) == (3, "rollbackd: checkout is paused (maintenance): resume first\n")


@pytest.mark.parametrize(("typed", "exit_code", "asked"), [("y\n", 0, 2), ("n\n", 130, 1), ("", 130, 1)])
async def test_on_a_terminal_it_shows_the_plan_and_asks(
    world: World, rollbackd: Run, monkeypatch: pytest.MonkeyPatch, *, typed: str, exit_code: int, asked: int
) -> None:
    world.operator.incident = await keep(world.store, incident())
    monkeypatch.setattr("rollbackd.cli.rollback.asks_on_terminal", lambda: True)
    result = await rollbackd("rollback", "checkout", "--reason", "x", "--no-wait", typed=typed)
    assert result.exit_code == exit_code
    assert result.stderr.startswith(PLAN_TEXT + "Roll back? [y/N]: ")
    assert len(world.operator.asked) == asked


# Another runbook

DATA = replace(PLAN, runbook="data-restore", kind=RunbookKind.DATA, destroys=("database shop",), confirm="shop")
RUN = ("run", "data-restore", "--service", "checkout", "--reason", "x", "--no-wait")


async def test_another_runbook_is_planned_and_run(world: World, rollbackd: Run) -> None:
    world.operator.incident = await keep(world.store, incident())
    result = await rollbackd("run", "restart", "--service", "checkout", "--reason", "x", "--yes", "--no-wait")
    assert (result.exit_code, result.stdout) == (0, f"{ID}\n")
    assert world.operator.asked == [
        ("plan", "checkout", None, "restart"),
        ("run", "checkout", "restart", Wish(reason="x", to="v1", plan="d1gest"), BY),
    ]


async def test_without_a_terminal_yes_is_not_enough_to_destroy(world: World, rollbackd: Run) -> None:
    world.operator.planned = DATA
    result = await rollbackd(*RUN, "--yes")
    assert (result.exit_code, "--confirm" in result.stderr) == (2, True)
    result = await rollbackd(*RUN)
    assert (result.exit_code, "no terminal" in result.stderr) == (2, True)
    assert [asked[0] for asked in world.operator.asked] == ["plan"]


async def test_what_is_confirmed_goes_to_the_daemon(world: World, rollbackd: Run) -> None:
    world.operator.planned = DATA
    world.operator.incident = await keep(world.store, incident())
    assert (await rollbackd(*RUN, "--confirm", "shop")).exit_code == 0
    assert world.operator.asked[-1][3] == Wish(reason="x", to="v1", plan="d1gest", confirm="shop")


@pytest.mark.parametrize(("typed", "exit_code", "asked"), [("shop\n", 0, 2), ("shopp\n", 130, 1), ("", 130, 1)])
async def test_on_a_terminal_it_shows_what_is_destroyed_and_has_it_typed(
    world: World, rollbackd: Run, monkeypatch: pytest.MonkeyPatch, *, typed: str, exit_code: int, asked: int
) -> None:
    world.operator.planned = DATA
    world.operator.incident = await keep(world.store, incident())
    monkeypatch.setattr("rollbackd.cli.rollback.asks_on_terminal", lambda: True)
    result = await rollbackd(*RUN, "--yes", typed=typed)
    assert result.exit_code == exit_code
    assert "DESTROYS database shop" in result.stderr
    assert "Type shop to have it destroyed" in result.stderr
    assert len(world.operator.asked) == asked


async def test_a_step_is_ticked(world: World, rollbackd: Run) -> None:
    world.operator.incident = await keep(world.store, incident())
    assert (await rollbackd("tick", ID, "log-in works")).exit_code == 0
    assert world.operator.asked == [("tick", ID, "log-in works", BY)]
