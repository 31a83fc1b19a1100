"""Puts data on stdout: JSON when asked for, tables on a terminal, plain lines (tabs between the fields) everywhere else.

Text from outside loses its control and bidi characters, and nothing in it is ever read as markup (I11).
"""

import sys
from collections.abc import Iterable, Sequence

import click
import orjson
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from rollbackd.telemetry.redaction import harmless_data, one_line, strip_controls

GAP = 2  # between two columns
LEAST_WIDTH = 24  # of a sentence in a table: in less it is a column of syllables
GOOD, BAD, WARN, BUSY, QUIET = "green", "red", "yellow", "blue", "dim"

STYLES = {
    **dict.fromkeys(("recovered", "stood_down", "passed", "succeeded", "met", "healthy", "live", "ready"), GOOD),
    **dict.fromkeys(
        ("failed", "worse", "no_effect", "unverified", "missed", "breached", "timed_out", "uncertain", "bad", "not_ready"), BAD
    ),
    **dict.fromkeys(
        ("escalated", "proposed", "expired", "improved", "aborted", "unknown", "interrupted", "suspect", "paused", "escalate"), WARN
    ),
    **dict.fromkeys(("deciding", "rolling_back", "watching", "started", "intended", "rolling", "roll_back"), BUSY),
    "not_started": WARN,
    "not_applicable": QUIET,
}
"""The colour of a code; what is not here has none. A word always stands beside the colour."""


def on_terminal() -> bool:
    return sys.stdout.isatty()


def terminal() -> Console:
    return Console(markup=False, highlight=False, emoji=False)


def emit_json(value: object) -> None:
    """One document, pretty on a terminal, one line otherwise."""
    click.echo(orjson.dumps(harmless_data(value), option=orjson.OPT_INDENT_2 if on_terminal() else 0).decode())


def emit_text(text: str) -> None:
    """Text of several lines from outside, such as a report or a step's output."""
    click.echo(strip_controls(text).rstrip("\n"))


def emit_rows(columns: Sequence[str], rows: Iterable[Sequence[str | None]], *, empty: str) -> None:
    """A table on a terminal, with `empty` where it has no rows; elsewhere one line a row, without a heading."""
    listed = [[one_line(cell) if cell else "" for cell in row] for row in rows]
    if not on_terminal():
        for row in listed:
            click.echo("\t".join(row))
    elif listed:
        console = terminal()
        console.print(table(columns, listed, foldable=_foldable(columns, listed, console.width)))
    else:
        click.echo(empty)


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, foldable: int = 1) -> Table:
    """The last `foldable` columns are folded where the terminal is narrow; the others are names and numbers, which stay whole."""
    made = Table(box=None, padding=(0, GAP, 0, 0), header_style="bold")
    for left, column in zip(range(len(columns), 0, -1), columns, strict=True):
        made.add_column(column, no_wrap=left > foldable, overflow="fold")
    for row in rows:
        made.add_row(*(Text(words(cell), STYLES.get(cell, "")) if cell else Text("—", QUIET) for cell in row))
    return made


def _foldable(columns: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> int:
    """The last column; on a terminal too narrow for the others beside it all but the first: what names the row is typed again."""
    widths = [max(cell_len(words(cell)) for cell in column) + GAP for column in zip(columns, *rows, strict=True)]
    is_narrow = width - sum(widths[:-1]) < min(widths[-1], LEAST_WIDTH)
    return len(columns) - 1 if is_narrow else 1


def to_the_second(instant: str) -> str:
    """`2026-01-31T12:00:00Z`, from the daemon's milliseconds."""
    return f"{instant[:19]}Z"


def words(code: str) -> str:
    """`roll_back` → `roll back`, where it is one of rollbackd's own codes."""
    return code.replace("_", " ") if code in STYLES else code
