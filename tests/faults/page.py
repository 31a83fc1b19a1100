"""A pytest plugin: `--faults-page=docs/faults.md` runs every test that is about a row of the catalogue, wherever it lives.

The page that it writes says what this run has seen, and nothing else.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Final

import pytest

from rollbackd.clock import SystemClock, rfc3339
from tests.faults.catalogue import Catalogue, Row, rows_of
from tests.faults.measured import DIRECTORY, Measured, machine

_HERE: Final = Path(__file__).parent
_INTRODUCTION: Final = """\
# What goes wrong, and what holds

Written by `make faults`, which runs every test that is about a row below; the next run replaces it. {when}

**{summary}**

A row is proven by the tests that have its number in their names. *n/m* are tests that passed of those that ran; "nightly" are tests
that `make faults` runs and a commit does not.

| # | what goes wrong | how it is caused | what {held} | promises | tests |
|---:|---|---|---|---|---|
"""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--faults-page", type=Path, metavar="FILE", help="run the catalogue of faults, and write what held to this page")


def pytest_configure(config: pytest.Config) -> None:
    if page := config.getoption("--faults-page"):
        config.pluginmanager.register(Page(page))


@dataclass(slots=True)
class Ran:
    """One test, in the worst of its outcomes."""

    rows: frozenset[int]
    nightly: bool
    outcome: str = "not run"
    why: str = ""


@dataclass(slots=True, eq=False)
class Page:
    """With several workers each of them leaves out what is about no row, and the one that hears of them all writes."""

    path: Path
    ran: dict[str, Ran] = field(default_factory=dict)
    clock: SystemClock = field(default_factory=SystemClock)
    began: float = 0.0

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        others = [item for item in items if not rows_of(item.nodeid) and _HERE not in item.path.parents]
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if item not in set(others)]

    def pytest_sessionstart(self) -> None:
        self.began = self.clock.monotonic()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        test = self.ran.setdefault(report.nodeid, Ran(rows_of(report.nodeid), "nightly" in report.keywords))
        if report.failed or (report.skipped and test.outcome != "failed") or test.outcome == "not run":
            test.outcome = report.outcome
            test.why = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if hasattr(session.config, "workerinput"):
            return
        took = timedelta(seconds=round(self.clock.monotonic() - self.began))
        at = rfc3339(self.clock.now())[:10]
        when = f"This is of {at}, {machine()['cores']} cores, Python {machine()['python']}, and took {took}."
        measured = [Measured.read(path) for path in sorted(DIRECTORY.glob("*.json"))]
        self.path.write_text(written(Catalogue.read(), list(self.ran.items()), measured, when=when), encoding="utf-8")


def written(catalogue: Catalogue, ran: Sequence[tuple[str, Ran]], measured: Sequence[Measured], *, when: str) -> str:
    by_row = {row.number: [(test, one) for test, one in ran if row.number in one.rows] for row in catalogue.rows.values()}
    stands = {number: _stands(catalogue.rows[number], [one for _, one in tests]) for number, tests in by_row.items()}
    lines = [_line(catalogue.rows[number], [one for _, one in tests], stands[number]) for number, tests in by_row.items()]
    held = "held" if set(stands.values()) <= {"held", "not here"} else "must hold"
    return "\n".join([
        _INTRODUCTION.format(when=when, summary=_summary(stands), held=held).rstrip(),
        *lines,
        "",
        *_notes(ran),
        "## The promises\n",
        *(f"- **{name}** {text}" for name, text in catalogue.promises.items()),
        "",
        *(line for one in measured for line in _figures(one)),
    ]) + "\n"  # fmt: skip


def _stands(row: Row, ran: Sequence[Ran]) -> str:
    outcomes = Counter(one.outcome for one in ran)
    if not ran:
        return "not here" if row.not_here else "not run"
    if outcomes["failed"]:
        return "did not hold"
    return "held" if outcomes["passed"] else "could not run here"


def _summary(stands: Mapping[int, str]) -> str:
    counts = Counter(stands.values())
    counted = [f"{counts[word]} {word}" for word in ("held", "did not hold", "could not run here", "not run") if counts[word]]
    return (
        f"Of {sum(counts.values()) - counts['not here']} rows {', '.join(counted)}; {counts['not here']} more have a reason not to be here."
    )


def _line(row: Row, ran: Sequence[Ran], stands: str) -> str:
    holds = {"held": row.holds, "not here": f"*{row.not_here}*"}.get(stands, f"**{stands}**: {row.holds}")
    return f"| {row.number} | {row.fault} | {row.injected} | {holds} | {' '.join(row.promises)} | {_tests(ran)} |"


def _tests(ran: Sequence[Ran]) -> str:
    if not ran:
        return "none"
    passed, skipped = (sum(one.outcome == outcome for one in ran) for outcome in ("passed", "skipped"))
    nightly = sum(one.nightly for one in ran)
    notes = [f"{skipped} skipped" if skipped else "", "nightly" if nightly == len(ran) else f"{nightly} nightly" if nightly else ""]
    return ", ".join(filter(None, [f"{passed}/{len(ran) - skipped}", *notes]))


def _notes(ran: Sequence[tuple[str, Ran]]) -> Iterator[str]:
    """The tests that did not pass, by name."""
    for title, outcome in (("Did not hold", "failed"), ("Could not run here", "skipped")):
        found = [(test, one) for test, one in ran if one.outcome == outcome]
        if found:
            yield f"## {title}\n"
            yield from (f"- `{test}`" + (f": {one.why.removeprefix('Skipped: ')}" if one.why else "") for test, one in found)
            yield ""


def _figures(one: Measured) -> Iterator[str]:
    yield f"## {one.title}\n"
    yield f"`{one.command}`, on {one.at[:10]}, {one.machine['cores']} cores, Python {one.machine['python']}.\n"
    yield from ("| | |", "|---|---|")
    yield from (f"| {what} | {value} |" for what, value in one.figures)
    yield ""
