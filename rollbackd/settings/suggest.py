"""What to say of a name that is not known: the one that it looks like, or those that there are."""

from collections.abc import Collection
from difflib import get_close_matches
from typing import Final

_LISTED_AT_MOST: Final = 30


def near(name: str, known: Collection[str]) -> str | None:
    """The known name that `name` is probably a misspelling of."""
    return next(iter(get_close_matches(name, known, n=1)), None)


def unknown(name: str, known: Collection[str]) -> str:
    meant = near(name, known)
    if meant:
        return f"did you mean {meant!r}?"
    if not known:
        return "there is none"
    return f"there is {', '.join(sorted(known))}" if len(known) <= _LISTED_AT_MOST else f"there are {len(known)}, none like it"
