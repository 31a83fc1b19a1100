"""`${dotted.name}` in a config: which names there are, and the ones that are known when the config is read filled in.

A filled value is taken literally wherever it stands: in a regex it is escaped, and none begins with `-`, so that it is never read as an
option. What a rollback fills in (`${target.artifact}` and the like) stays as it is until the plan is made.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Final

from rollbackd.settings.suggest import unknown

AT_ROLLBACK: Final = frozenset({"target.version", "target.artifact", "current.version", "current.artifact", "incident.id"})
_SYNTAX: Final = re.compile(r"\$\{([^${}]*)(\}?)")
_REGEX_SIGNS: Final = re.compile(r"[\\.+*?()|\[\]{}^$]")

Values = Mapping[str, str | tuple[str, ...]]


def names(text: str) -> list[str]:
    """The names of the placeholders in `text`, in their order."""
    return [found[1] for found in _SYNTAX.finditer(text)]


def complaints(text: str, known: Collection[str], *, lists: Collection[str] = ()) -> Iterator[str]:
    """What is wrong with each placeholder of `text` that is not known here, or whose value is a list."""
    for found in _SYNTAX.finditer(text):
        name = found[1]
        if not found[2]:
            yield f"{found[0]!r} has no end: write ${{{name}}}, in a matcher between double quotes"
        elif name in lists:
            yield f"${{{name}}} is a list: only for_each takes one"
        elif name not in known:
            yield f"unknown placeholder ${{{name}}}: {unknown(name, known)}"


def fill(text: str, values: Values, *, regex: bool = False) -> str:
    """`text` with the known placeholders filled in and the others left alone."""

    def value_of(found: re.Match[str]) -> str:
        value = values.get(found[1])
        if not isinstance(value, str):
            return found[0]
        return _REGEX_SIGNS.sub(r"\\\g<0>", value) if regex else value

    return _SYNTAX.sub(value_of, text)
