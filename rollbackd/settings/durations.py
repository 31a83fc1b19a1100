"""Durations as the config, the API and the command line write them: `500ms 5s 2m 1h 90d`."""

import re
from datetime import timedelta
from typing import Final

PATTERN: Final = r"\d{1,9}(ms|s|m|h|d)"
LONGEST: Final = timedelta(days=3650)
_SYNTAX: Final = re.compile(PATTERN, re.ASCII)
_UNITS: Final = {
    "ms": timedelta(milliseconds=1),
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
}


def parse_duration(text: str) -> timedelta:
    """Raises ValueError with the accepted forms when `text` is none of them."""
    found = _SYNTAX.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is not a duration: write a whole number and a unit, such as 500ms, 5s, 2m, 1h or 90d")
    unit = found[1]
    duration = int(text.removesuffix(unit)) * _UNITS[unit]
    if duration > LONGEST:
        raise ValueError(f"{text!r} is too long: at most {LONGEST.days}d")
    return duration


def format_duration(duration: timedelta) -> str:
    """The shortest of the forms above that says exactly `duration`, to the millisecond."""
    unit = next((unit for unit in ("d", "h", "m", "s") if duration and not duration % _UNITS[unit]), "ms" if duration else "s")
    return f"{duration // _UNITS[unit]}{unit}"
