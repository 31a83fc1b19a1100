"""Killed at every failpoint and at every trip to the store: no write on the way of an incident is without a crash test."""

import ast
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

import rollbackd
from rollbackd.failpoints import FAILPOINTS
from rollbackd.model.message import Topic
from rollbackd.store.database import Database
from tests.faults import test_crash
from tests.simulation import scene
from tests.simulation.world import World

# What a task was given is never awaited when the task is killed before its first turn.
pytestmark = pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")

SOURCE = Path(rollbackd.__file__).parent
EVERY_COMMIT = 11
"""Of so many trips one is killed at; the nightly run takes them all."""

OFF_THE_WAY = frozenset(
    {
        "Alerts.append",  # with failpoints of its own
        "Audit.append",
        "Changes.record",
        "Outbox.give_up",
        "Pauses.clear",
        "Pauses.forget_ended",
        "Pauses.set",
        "Snapshots.put",
        "Store.ping",
        "purge",
    }
)
"""Writes that no step of an incident rests on: what a person or a program asks for, and what is only kept tidy."""


def ends_well(world: World, *, died: bool) -> None:
    """I1 I2 I5 I9 I10 whatever was cut off: one rollback, each attempt once, and an end that is told."""
    if died:
        scene.go_on(world)
    world.promises.all_ended()
    (incident,) = world.promises.incidents()
    assert incident["outcome"] == "recovered", incident
    assert world.production.live("shop") == "r0"
    ends = {one.id for one in world.told if one.topic is Topic.CLOSED}
    assert len(ends) == 1, "people hear of the end, under one id"
    assert len([effect for effect in world.production.effects if effect.by != "ci"]) in {1, 2}


@pytest.mark.parametrize("service", ["shop", "pay"])
@pytest.mark.parametrize("failpoint", sorted(FAILPOINTS))
@pytest.mark.parametrize("while_its_child_runs", [False, True])
def test_killed_at_every_failpoint(failpoint: str, service: str, *, while_its_child_runs: bool) -> None:
    with World() as world:
        if while_its_child_runs:
            world.children_get_away, world.starts_again_after = True, 0.1
        world.crash_at(failpoint)
        scene.go(world, service)
        assert world.deaths == 1, f"nothing comes by {failpoint}"
        scene.go_on(world, service)
        world.promises.all_ended()


def killed_at(trip: int, *, committed: bool) -> bool:
    """Whether it came so far."""
    with World(seed=trip) as world:
        world.crash_after(trip, committed=committed)
        scene.go(world)
        died = world.life is None
        ends_well(world, died=died)
        return died


@pytest.mark.parametrize("committed", [False, True])
def test_killed_at_some_trips_to_the_store(*, committed: bool) -> None:
    trip = 1
    while killed_at(trip, committed=committed):
        trip += EVERY_COMMIT


@pytest.mark.nightly
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("committed", [False, True])
def test_killed_at_every_trip_to_the_store(*, committed: bool) -> None:
    trip = 1
    while killed_at(trip, committed=committed):
        trip += 1


def test_every_failpoint_is_in_the_code_and_in_the_crash_tests() -> None:
    reached = [_literal(call) for tree in _trees(SOURCE) for call in _calls(tree, "reach")]
    killed = getattr(test_crash.test_rows_1_to_7_killed_at_every_write_and_boundary, "pytestmark", ())

    assert set(reached) == FAILPOINTS
    assert [mark.args for mark in killed] == [("failpoint", sorted(FAILPOINTS))], "a process is killed at each of them as well"


def test_every_write_of_the_store_is_on_the_way_that_is_killed_at_every_trip() -> None:
    with _written() as written, World() as world:
        scene.go(world)
        ends_well(world, died=False)

    writes = {name for tree in _trees(SOURCE / "store") for name in _writers(tree)}
    assert writes >= OFF_THE_WAY
    assert written >= writes - OFF_THE_WAY, "kill it at this write as well: lead the scene over it, or say why nothing rests on it"


@contextmanager
def _written() -> Iterator[set[str]]:
    """The functions of the store that write while the block lasts."""
    found: set[str] = set()
    real = Database.write

    async def write(self: Database, query: Any, **more: Any) -> Any:
        frame = sys._getframe(1)
        while frame.f_code.co_name == "execute" and frame.f_back is not None:
            frame = frame.f_back
        found.add(frame.f_code.co_qualname)
        return await real(self, query, **more)

    with patch.object(Database, "write", write):
        yield found


def _trees(directory: Path) -> Iterator[ast.Module]:
    for path in sorted(directory.rglob("*.py")):
        if path.name != "failpoints.py":
            yield ast.parse(path.read_text())


def _calls(tree: ast.AST, *names: str) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
            if name in names:
                yield node


def _literal(call: ast.Call) -> str:
    (argument,) = call.args
    assert isinstance(argument, ast.Constant)
    return str(argument.value)


def _writers(tree: ast.Module) -> Iterator[str]:
    """Functions that call `write`, `execute` or `append` of the database."""
    scopes: list[ast.Module | ast.ClassDef] = [tree, *(node for node in tree.body if isinstance(node, ast.ClassDef))]
    for scope in scopes:
        prefix = f"{scope.name}." if isinstance(scope, ast.ClassDef) else ""
        for function in scope.body:
            if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            for call in _calls(function, "write", "execute", "append"):
                owner = ast.unparse(call.func).rpartition(".")[0]
                if owner in {"self._database", "database"}:
                    yield f"{prefix}{function.name}"
