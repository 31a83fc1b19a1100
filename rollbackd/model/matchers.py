"""Alertmanager's matcher syntax: `service="api"`, `env!="dev"`, `zone=~"eu-.*"`, `team!~"a|b"`, and lists in braces.

The same grammar says which service an alert belongs to (`match`) and which series are a service's (`selector`).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from rollbackd.model.regex import compile_regex

_SPACE: Final = r"[\t\n\f\r ]*"
_MATCHER: Final = re.compile(
    rf"{_SPACE}(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*){_SPACE}(?P<operator>=~|!=|!~|=){_SPACE}"
    rf'(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<bare>(?:[^"\\]|\\.)*?\\?)){_SPACE}',
    re.DOTALL,
)
_COMMA_OR_QUOTED: Final = re.compile(r',|\\[^,]?|"(?:[^"\\]|\\,*[^,])*"?', re.DOTALL)
_ESCAPED: Final = re.compile(r'\\([n"\\])')  # a backslash before anything else is a backslash
_ESCAPES: Final = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


class MatchOperator(StrEnum):
    EQUAL = "="
    NOT_EQUAL = "!="
    REGEX = "=~"
    NOT_REGEX = "!~"

    @property
    def is_regex(self) -> bool:
        return self in {MatchOperator.REGEX, MatchOperator.NOT_REGEX}


@dataclass(frozen=True, slots=True)
class Matcher:
    """One matcher; a label that is absent matches as the empty string, and a regex must match the whole value."""

    name: str
    operator: MatchOperator
    value: str

    def __post_init__(self) -> None:
        if self.operator.is_regex:
            compile_regex(self.value)

    def matches(self, labels: Mapping[str, str]) -> bool:
        value = labels.get(self.name, "")
        match self.operator:
            case MatchOperator.EQUAL:
                return value == self.value
            case MatchOperator.NOT_EQUAL:
                return value != self.value
            case MatchOperator.REGEX:
                return compile_regex(self.value).fullmatch(value) is not None
            case MatchOperator.NOT_REGEX:
                return compile_regex(self.value).fullmatch(value) is None

    def __str__(self) -> str:
        """As Alertmanager and PromQL read it."""
        return f'{self.name}{self.operator}"{self.value.translate(_ESCAPES)}"'


def parse_matchers(text: str) -> tuple[Matcher, ...]:
    """The matchers of one text: a single one, or several between commas, with or without braces around them.

    Raises:
        ValueError: with the part that is not a matcher.
    """
    return tuple(_parse(piece) for piece in _pieces(text.removeprefix("{").removesuffix("}")))


def _pieces(text: str) -> list[str]:
    """`text` at its commas outside quotes; one comma may stand at the end."""
    commas = [found.start() for found in _COMMA_OR_QUOTED.finditer(text) if found[0] == ","]
    pieces = [text[start:end] for start, end in zip([0, *(comma + 1 for comma in commas)], [*commas, len(text)], strict=True)]
    return pieces if pieces[-1].strip() else pieces[:-1]


def _parse(piece: str) -> Matcher:
    found = _MATCHER.fullmatch(piece)
    if found is None:
        raise ValueError(f"""{piece.strip()!r} is not a matcher: write label="value" (or != =~ !~), with \\" for a quote in the value""")
    value = found["bare"] if found["quoted"] is None else found["quoted"]
    return Matcher(found["name"], MatchOperator(found["operator"]), _ESCAPED.sub(_unescape, value))


def _unescape(escape: re.Match[str]) -> str:
    return "\n" if escape[1] == "n" else escape[1]
