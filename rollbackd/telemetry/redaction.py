"""Takes secrets and control characters out of text that leaves the process: logs, journal, reports, Sentry (I11, I13).

Whoever reads a secret registers it, once, in one set for the whole process: a secret leaks through what nobody thought of, so
every way out asks the same set.
"""

import json
import re
import threading
from collections.abc import Mapping
from typing import Final, final
from urllib.parse import quote

REDACTED: Final = "[redacted]"

_LEAST: Final = 4
"""Shorter values are not searched for: they would blank half of every line, and are placeholders rather than secrets."""

_LEAST_LINE: Final = 16
"""A line of a secret of several lines (a PEM key) is searched for by itself from this length on."""

ESCAPE_SEQUENCES: Final = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)|[ -/]*[0-~])")
"""One that does not end hides nothing: only its begin goes, and what follows is shown."""

_CONTROLS: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]"
)
_SURROGATES: Final = re.compile("[\ud800-\udfff]")


class Redactor:
    """A set of secrets, and the one pattern that finds them all."""

    def __init__(self) -> None:
        self._registering = threading.Lock()
        self._forms: frozenset[str] = frozenset()
        self._pattern: re.Pattern[str] | None = None

    def register(self, value: str) -> None:
        """From any thread."""
        forms = {form for form in _forms(value) if len(form) >= _LEAST}
        if forms <= self._forms:
            return
        with self._registering:
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
    """`text` without control and invisible characters, terminal escapes and marks that turn the direction of writing.

    Newlines and tabs stay.
    """
    if text.isprintable():
        return text
    return _SURROGATES.sub("\ufffd", _CONTROLS.sub("", ESCAPE_SEQUENCES.sub("", text)))


def one_line(text: str) -> str:
    """As `strip_controls`, with every run of white space as one blank: it cannot look like a line of its own."""
    return " ".join(strip_controls(text).split())


def harmless(text: str, *, lines: bool = False) -> str:
    """`text` as it may leave the process: without secrets, also one that control characters split; one line unless `lines`."""
    return redact((strip_controls if lines else one_line)(redact(text)))


def harmless_data(value: object) -> object:
    """Plain data as it may leave the process: every text in it is harmless, the names of its fields too."""
    match value:
        case str():
            return harmless(value, lines=True)
        case Mapping():
            return {harmless(str(name)): harmless_data(each) for name, each in value.items()}
        case list() | tuple():
            return [harmless_data(each) for each in value]
        case _:
            return value


def _forms(value: str) -> set[str]:
    """The ways in which a secret is found in text: as it is, line by line, URL-quoted, JSON-escaped."""
    whole = value.strip()
    lines = {line.strip() for line in whole.splitlines() if len(line.strip()) >= _LEAST_LINE}
    return {whole, quote(whole, safe=""), json.dumps(whole)[1:-1], json.dumps(whole, ensure_ascii=False)[1:-1]} | lines
