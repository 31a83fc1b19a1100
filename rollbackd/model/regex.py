"""Regular expressions that mean the same here as in Alertmanager and Prometheus, which read them with Go's RE2 engine.

Python's engine takes more than RE2 (look-around, back-references, possessive repeats) and reads some of it in another way. What the
two do not share is refused when the config is read, so that a matcher never selects other alerts here than the author tested there.
"""

import re
from functools import lru_cache
from typing import Final

_TOKEN: Final = re.compile(
    r"""
      (?P<escape>\\(?:x[0-9A-Fa-f]{2}|.|$))
    | (?P<set>\[\^?+\]?+(?:\\.|[^\]\\])*\])
    | (?P<group>\(\?(?:P<\w+>|[a-zA-Z-]*[:)]|.?))
    | (?P<repeat>(?:[*+?]|\{\d*,?\d*\})[?+]?)
    | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_ESCAPE: Final = re.compile(r"\\(?:[AbBdDsSwWafnrtv]|x[0-9A-Fa-f]{2}|[^0-9A-Za-z\x80-\U0010ffff])", re.DOTALL)
_SET_ESCAPE: Final = re.compile(r"\\(?:[dDsSwWafnrtv]|x[0-9A-Fa-f]{2}|[^0-9A-Za-z\x80-\U0010ffff])", re.DOTALL)
_GROUP: Final = re.compile(r"\(\?(?:P<[A-Za-z_][A-Za-z0-9_]*>|:|(?=[ims-]+:)[ims]*(?:-[ims]+)?:)")
_FLAGS: Final = re.compile(r"\(\?[ims]+\)")
_REPEAT: Final = re.compile(r"(?:[*+?]|\{(?:\d{1,3}|1000)(?:,(?:\d{1,3}|1000)?)?\})\??")
_SET_OPERATION: Final = re.compile(r"\[|--|&&|\|\||~~")


@lru_cache(maxsize=8192)
def compile_regex(text: str) -> re.Pattern[str]:
    """The compiled expression, to be used with `fullmatch`.

    Raises:
        ValueError: with the part that cannot be used and what to write instead.
    """
    multiline = any("m" in found[0] for found in re.finditer(r"\(\?[a-z-]*[:)]", text))
    parts = [_checked(found, text, multiline=multiline) for found in _TOKEN.finditer(text)]
    try:
        return re.compile("".join(parts), re.ASCII)
    except (re.error, OverflowError, RecursionError) as e:
        raise ValueError(f"{text!r} is not a regular expression: {e}") from e


def _checked(found: re.Match[str], text: str, *, multiline: bool) -> str:
    """The token as Python's engine has to read it."""
    part = found[0]
    match found.lastgroup:
        case "escape" if not _ESCAPE.fullmatch(part):
            raise ValueError(f"{text!r}: {part} is not understood: use letters, sets such as [0-9], and \\d \\w \\s \\b")
        case "set":
            _check_set(part, text)
        case "group" if not _GROUP.fullmatch(part) and not (found.start() == 0 and _FLAGS.fullmatch(part)):
            raise ValueError(f"{text!r}: {part} is not understood: groups are (…) and (?:…), and flags such as (?i) stand at the start")
        case "repeat" if not _REPEAT.fullmatch(part):
            raise ValueError(f"{text!r}: {part} is not understood: repeat with * + ? {{2}} {{2,}} {{2,5}}, up to 1000 times")
        case "other" if part == "[":
            raise ValueError(f"{text!r} is not a regular expression: a set of characters has no end, write [a-z] or \\[")
        case "other" if part == "$" and not multiline:
            return r"\Z"  # Python's $ also matches before a last newline
    return part


def _check_set(part: str, text: str) -> None:
    inside = part[1:-1].removeprefix("^").removeprefix("]")
    if any(not _SET_ESCAPE.fullmatch(escape) for escape in re.findall(r"\\(?:x[0-9A-Fa-f]{2}|.)", inside, re.DOTALL)):
        raise ValueError(f"{text!r}: an escape in {part} is not understood: use \\d \\w \\s or the characters themselves")
    if _SET_OPERATION.search(re.sub(r"\\.", "", inside, flags=re.DOTALL)):
        raise ValueError(f"{text!r}: write {part} without [ -- && || ~~ (put a backslash before a [, ranges instead of [:alpha:])")
