"""Text as Markdown that cannot be markup: escaped in a sentence, in a code span, or in a fence longer than what it holds (I11). Pure.

Everything is made harmless first, so that escaping never splits a secret that redaction would have found.
"""

import re
from typing import Final

from markupsafe import Markup

from rollbackd.telemetry.redaction import harmless

NOTHING: Final = Markup("-")

_MEANINGFUL: Final = re.compile(r"[\\`*\[\]|~$]|<(?=[A-Za-z/!?])|&(?=[#\w])|(?<![^\W_])_|_(?![^\W_])")
"""What could begin or end markup within a line; `a_b` and `< 5` cannot, and stay readable."""

_AUTOLINK: Final = re.compile(r"(?i):(?=//)|(?<=\bwww)\.")
_BLOCK_START: Final = re.compile(r"^(\d{0,9})(>|[-+=#.)](?=[-+=#\s]|$))")
_TICKS: Final = re.compile("`+")


def prose(text: str) -> Markup:
    """One line in which nothing is a link, emphasis, HTML or the begin of a block."""
    escaped = _AUTOLINK.sub(r"\\\g<0>", _MEANINGFUL.sub(r"\\\g<0>", harmless(text)))
    return Markup(_BLOCK_START.sub(r"\1\\\2", escaped)) or NOTHING  # noqa: S704 - this is the escaping


def code(text: str) -> Markup:
    """A code span: for names, versions, commands and queries."""
    line = harmless(text)
    if not line:
        return NOTHING
    ticks = "`" * (_longest_run(line) + 1)
    padding = " " if line.startswith("`") or line.endswith("`") else ""
    return Markup(f"{ticks}{padding}{line}{padding}{ticks}")  # noqa: S704


def fence(text: str) -> Markup:
    """A block of code, with its lines as they are."""
    block = harmless_block(text)
    ticks = "`" * max(_longest_run(block) + 1, 3)
    return Markup(f"{ticks}\n{block}\n{ticks}")  # noqa: S704


def cell(markup: Markup) -> Markup:
    """A code span for a table: there a bar would end the cell, also within code."""
    return Markup(str(markup).replace("|", "\\|"))  # noqa: S704


def harmless_block(text: str) -> str:
    return harmless(text, lines=True).strip("\n")


def _longest_run(text: str) -> int:
    return max((len(run) for run in _TICKS.findall(text)), default=0)
