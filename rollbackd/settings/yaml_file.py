"""Reads the plain part of YAML 1.2 and remembers every position.

No anchors, aliases or tags (an alias bomb is a small file that becomes a huge value), no duplicate keys, one document, bounded size and
depth. What is refused is reported and left out, so that the rest of the file is still checked.
"""

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
)
from ruamel.yaml.reader import ReaderError

from rollbackd.settings.document import Document, Mark
from rollbackd.settings.problems import Level, Problem, Problems

SIZE_LIMIT: Final = 1024 * 1024
DEPTH_LIMIT: Final = 24

_INTEGER: Final = re.compile(r"[-+]?[0-9]{1,18}|0o[0-7]{1,18}|0x[0-9a-fA-F]{1,15}")
_FLOAT: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_EMPTY: Final = frozenset(["", "~", "null", "Null", "NULL"])
_WORDS: Final[dict[str, bool | float]] = {
    **dict.fromkeys(["true", "True", "TRUE"], True),
    **dict.fromkeys(["false", "False", "FALSE"], False),
    **dict.fromkeys([".nan", ".NaN", ".NAN"], float("nan")),
    **{sign + word: float(sign + "inf") for sign in ("", "+", "-") for word in (".inf", ".Inf", ".INF")},
}
_UNUSABLE: Final = re.compile("[\0\ud800-\udfff]")
_OMITTED: Final = object()


class _UnreadableError(Exception):
    """Nothing more can be read from this file."""

    def __init__(self, message: str, line: int = 1, col: int = 1) -> None:
        super().__init__(message)
        self.message = message
        self.line = line
        self.col = col


def read(file: Path, problems: Problems) -> Document | None:
    """The file's values, or None when it cannot be read at all; what is wrong goes to `problems`."""
    try:
        text = _text(file)
        problems.update(_of_its_mode(file))
        return _parse(file, text, problems)
    except _UnreadableError as e:
        problems.add(Problem(file, e.line, e.col, e.message))
        return None


def _text(file: Path) -> str:
    try:
        if not file.is_file():
            raise _UnreadableError("not a file" if file.exists() else "there is no such file")
        with file.open("rb") as stream:
            raw = stream.read(SIZE_LIMIT + 1)
    except OSError as e:
        raise _UnreadableError(f"cannot be read: {e.strerror}") from e
    if len(raw) > SIZE_LIMIT:
        raise _UnreadableError(f"larger than {SIZE_LIMIT // 1024} KiB: split it with include")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as e:
        raise _UnreadableError("not UTF-8: save it as UTF-8", raw.count(b"\n", 0, e.start) + 1) from e


def _of_its_mode(file: Path) -> Iterator[Problem]:
    """Whoever may write it decides what is run, and with which credentials."""
    status = file.stat()
    if status.st_mode & stat.S_IWOTH:
        yield Problem(file, 1, 1, "anybody on this machine may change it: chmod o-w it")
    if status.st_uid not in {0, os.geteuid()}:
        yield Problem(
            file, 1, 1, f"belongs to user {status.st_uid}, who may change it, and is neither root nor who runs this", Level.WARNING
        )


def _parse(file: Path, text: str, problems: Problems) -> Document:
    try:
        return _Builder(file, YAML(typ="safe", pure=True).parse(text), problems).document()
    except MarkedYAMLError as e:
        mark = e.problem_mark or e.context_mark
        what = ", ".join(" ".join(str(part).split()) for part in (e.problem, e.context) if part)
        raise _UnreadableError(f"not YAML: {what}", mark.line + 1, mark.column + 1) from e
    except ReaderError as e:
        line, col = text.count("\n", 0, e.position) + 1, e.position - text.rfind("\n", 0, e.position)
        raise _UnreadableError("a control character: take it out, or write it escaped in double quotes", line, col) from e
    except (YAMLError, ValueError, OverflowError) as e:
        raise _UnreadableError(f"not YAML: {' '.join(str(e).split())}") from e


class _Builder:
    """Builds values and marks from the parser's events."""

    def __init__(self, file: Path, events: Iterator[Any], problems: Problems) -> None:
        self._file = file
        self._events = events
        self._problems = problems

    def document(self) -> Document:
        next(self._events)  # the stream's start
        start = next(self._events)
        if not isinstance(start, DocumentStartEvent):
            raise _UnreadableError("the file is empty")
        if start.version or start.tags:
            self._refuse(start, "take the line that begins with % out: the file is read as YAML 1.2")
        value, mark = self._value(next(self._events), None, DEPTH_LIMIT)
        next(self._events)  # the document's end
        more = next(self._events)
        if isinstance(more, DocumentStartEvent):
            self._refuse(more, "a second document: a config file holds one")
        return Document(self._file, None if value is _OMITTED else value, mark)

    def _value(self, event: Any, key_at: tuple[int, int] | None, depth: int) -> tuple[Any, Mark]:
        at = _position(event)
        if depth == 0:
            raise _UnreadableError(f"more than {DEPTH_LIMIT} levels deep", *at)
        mark = Mark(at, key_at or at)
        if isinstance(event, AliasEvent):
            self._refuse(event, "aliases (*) are not read: use templates for what services share")
            return _OMITTED, mark
        if event.anchor:
            self._refuse(event, "anchors (&) are not read: use templates for what services share")
        if event.ctag is not None:
            self._refuse(event, "tags (!) are not read: put a text in quotes instead")
        if isinstance(event, ScalarEvent):
            mark.text = event.value
            return self._scalar(event, mark), mark
        return self._mapping(mark, depth) if isinstance(event, MappingStartEvent) else self._sequence(mark, depth), mark

    def _mapping(self, mark: Mark, depth: int) -> dict[str, Any]:
        values: dict[str, Any] = {}
        while not isinstance(key := next(self._events), MappingEndEvent):
            name, key_mark = self._value(key, None, depth - 1)
            value, value_mark = self._value(next(self._events), key_mark.value_at, depth - 1)
            if not isinstance(name, str):
                self._refuse(key, "a key is a text: put it in quotes")
            elif name in mark.entries:
                self._refuse(key, f"duplicate key {name!r}: it is already in line {mark.entries[name].key_at[0]}")
            else:
                mark.entries[name] = value_mark
                if value is not _OMITTED:
                    values[name] = value
        return values

    def _sequence(self, mark: Mark, depth: int) -> list[Any]:
        values: list[Any] = []
        while not isinstance(item := next(self._events), SequenceEndEvent):
            value, item_mark = self._value(item, None, depth - 1)
            if value is not _OMITTED:
                values.append(value)
                mark.items.append(item_mark)
        return values

    def _scalar(self, event: ScalarEvent, mark: Mark) -> Any:
        """By the core schema of YAML 1.2: `on`, `off`, `yes`, `no` and dates are texts."""
        text: str = event.value
        if _UNUSABLE.search(text):
            self._refuse(event, "a text holds neither NUL nor half a character (\\ud800 to \\udfff): take it out")
        if event.style is not None:
            return text
        if text in _EMPTY:
            self._problems.add(Problem(self._file, *mark.key_at, "nothing stands here: give it a value, {} for none, or take it out"))
            return _OMITTED
        if text in _WORDS:
            return _WORDS[text]
        if _INTEGER.fullmatch(text):
            return int(text, 0 if text.startswith(("0o", "0x")) else 10)
        return float(text) if _FLOAT.fullmatch(text) else text

    def _refuse(self, event: Event, message: str) -> None:
        self._problems.add(Problem(self._file, *_position(event), message))


def _position(event: Event) -> tuple[int, int]:
    return event.start_mark.line + 1, event.start_mark.column + 1
