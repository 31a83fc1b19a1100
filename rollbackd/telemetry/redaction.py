"""Takes secrets and control characters out of text that leaves the process: logs, journal, reports, Sentry (I11, I13).

Whoever reads a secret registers it, once, in one set for the whole process: a secret leaks through what nobody thought of, so
every way out asks the same set.
"""

import json
import re
from typing import Final, final
from urllib.parse import quote

REDACTED: Final = "[redacted]"

_LEAST: Final = 4
"""Shorter values are not searched for: they would blank half of every line, and are placeholders rather than secrets."""

_LEAST_LINE: Final = 16
"""A line of a secret of several lines (a PEM key) is searched for by itself from this length on."""

_ESCAPE_SEQUENCES: Final = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\^_])")
_CONTROLS: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")
_SURROGATES: Final = re.compile("[\ud800-\udfff]")


class Redactor:
    """A set of secrets, and the one pattern that finds them all."""

    def __init__(self) -> None:
        self._forms: set[str] = set()
        self._pattern: re.Pattern[str] | None = None

    def register(self, value: str) -> None:
        forms = {form for form in _forms(value) if len(form) >= _LEAST}
        if forms <= self._forms:
            return
        self._forms |= forms
        longest_first = sorted(self._forms, key=len, reverse=True)
        self._pattern = re.compile("|".join(re.escape(form) for form in longest_first))

    def redact(self, text: str) -> str:
        return text if self._pattern is None else self._pattern.sub(REDACTED, text)


_REDACTOR: Final = Redactor()


@final
class Secret:
    """A secret value that shows itself only when asked: `repr`, `str` and an f-string of it are harmless."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value
        _REDACTOR.register(value)

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return REDACTED


def register_secret(value: str) -> Secret:
    """From now on `value` is taken out of everything that leaves the process."""
    return Secret(value)


def redact(text: str) -> str:
    """`text` without any registered secret, also where it stands URL-quoted or JSON-escaped."""
    return _REDACTOR.redact(text)


def strip_controls(text: str) -> str:
    """`text` without control characters, terminal escapes and marks that turn the direction of writing; newlines and tabs stay."""
    return _SURROGATES.sub("\ufffd", _CONTROLS.sub("", _ESCAPE_SEQUENCES.sub("", text)))


def one_line(text: str) -> str:
    """As `strip_controls`, with every run of white space as one blank: it cannot look like a line of its own."""
    return " ".join(strip_controls(text).split())


def harmless(text: str, *, lines: bool = False) -> str:
    """`text` as it may leave the process: without secrets, also one that control characters split; one line unless `lines`."""
    return redact((strip_controls if lines else one_line)(redact(text)))


def _forms(value: str) -> set[str]:
    """The ways in which a secret is found in text: as it is, line by line, URL-quoted, JSON-escaped."""
    whole = value.strip()
    lines = {line.strip() for line in whole.splitlines() if len(line.strip()) >= _LEAST_LINE}
    return {whole, quote(whole, safe=""), json.dumps(whole)[1:-1], json.dumps(whole, ensure_ascii=False)[1:-1]} | lines
