"""The catalogue and the tests agree: no row without a test or a reason, no test of a row that there is not."""

import ast
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.faults.catalogue import Catalogue, rows_of
from tests.faults.measured import Measured
from tests.faults.page import Ran, written

CATALOGUE = Catalogue.read()
TESTS = Path(__file__).parents[1]


def named() -> Iterator[tuple[str, bool]]:
    """Every test, and whether it runs on every commit."""
    for path in sorted(TESTS.rglob("test_*.py")):
        tree = ast.parse(path.read_text())
        is_nightly = any("nightly" in ast.unparse(node) for node in tree.body if isinstance(node, ast.Assign))
        for node in tree.body:
            match node:
                case ast.ClassDef():
                    inner = [one for one in node.body if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)]
                    for one in inner:
                        yield f"{path}::{node.name}::{one.name}", not (is_nightly or marked(node) or marked(one))
                case ast.FunctionDef() | ast.AsyncFunctionDef():
                    yield f"{path}::{node.name}", not (is_nightly or marked(node))


def marked(node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return any("nightly" in ast.unparse(decorator) for decorator in node.decorator_list)


TESTED = {row for test, _ in named() for row in rows_of(test)}
ON_EVERY_COMMIT = {row for test, every_commit in named() if every_commit for row in rows_of(test)}


def test_every_row_has_a_test_or_a_reason_why_not() -> None:
    silent = [row.number for row in CATALOGUE.rows.values() if row.number not in TESTED and not row.not_here]
    assert not silent, "name a test after it, or say in catalogue.toml why it is not here"


def test_a_row_with_tests_gives_no_reason_why_not() -> None:
    assert not [number for number in TESTED if CATALOGUE.rows[number].not_here]


def test_every_test_is_about_a_row_that_there_is() -> None:
    assert not TESTED - set(CATALOGUE.rows), "catalogue.toml does not have it"


def test_what_must_run_on_every_commit_is_not_left_to_the_night() -> None:
    assert not {row.number for row in CATALOGUE.rows.values() if row.every_commit} - ON_EVERY_COMMIT


def test_every_row_says_what_it_proves() -> None:
    for row in CATALOGUE.rows.values():
        assert row.promises
        assert set(row.promises) <= set(CATALOGUE.promises)
        assert row.not_here or (row.injected and row.holds)


@pytest.mark.parametrize(
    ("test", "rows"),
    [
        ("tests/faults/test_crash.py::test_rows_1_to_7_killed[a::b]", {1, 2, 3, 4, 5, 6, 7}),
        ("tests/faults/test_alerts.py::TestRow37::test_an_incident", {37}),
        ("tests/flow/test_x.py::test_row_61_refused[row_3]", {61}),
        ("tests/flow/test_x.py::TestRows41And42::test_x", {41, 42}),
        ("tests/unit/test_x.py::test_a_row_5", set()),
    ],
)
def test_a_name_says_which_row(test: str, rows: set[int]) -> None:
    assert rows_of(test) == rows


class TestPage:
    def test_says_what_was_seen(self) -> None:
        rows = {number: replace(CATALOGUE.rows[number], fault=f"fault {number}") for number in (1, 2, 3, 4, 11)}
        ran = [
            ("t::test_row_1", Ran(frozenset({1}), nightly=False, outcome="passed")),
            ("t::test_row_1_at_night", Ran(frozenset({1}), nightly=True, outcome="passed")),
            ("t::test_row_2", Ran(frozenset({2}), nightly=False, outcome="failed")),
            ("t::test_row_3", Ran(frozenset({3}), nightly=True, outcome="skipped", why="Skipped: no root")),
        ]
        page = written(replace(CATALOGUE, rows=rows), ran, [], when="today.")

        assert "Of 4 rows 1 held, 1 did not hold, 1 could not run here, 1 not run; 1 more have a reason" in page
        lines = {line.split(" | ")[0]: line for line in page.splitlines() if line.startswith("| ")}
        assert lines["| 1"].endswith("| 2/2, 1 nightly |")
        assert "**did not hold**" in lines["| 2"]
        assert "**could not run here**" in lines["| 3"]
        assert "**not run**" in lines["| 4"]
        assert "replicas" in lines["| 11"]
        assert "- `t::test_row_3`: no root" in page
        assert "- `t::test_row_2`" in page

    def test_has_the_figures_with_the_command_that_made_them(self) -> None:
        figures = Measured(
            title="Kills", command="make kills", at="2026-01-31T12:00:00Z", machine={"cores": 2, "python": "3.11"}, figures=[["lost", "0"]]
        )
        page = written(CATALOGUE, [], [figures], when="today.")

        assert "`make kills`, on 2026-01-31, 2 cores, Python 3.11." in page
        assert "| lost | 0 |" in page
