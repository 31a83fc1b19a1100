"""A number over time in one line: `0.1% | -3m 30% | -1m 30%..5% | +2m 0.1%`. Times are seconds from the alert."""

import math
import re
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

NUMBER: Final[Mapping[str, float]] = {"": 1}
SHARE: Final[Mapping[str, float]] = {"%": 0.01}
RATE: Final[Mapping[str, float]] = {"/s": 1, "/m": 1 / 60, "/h": 1 / 3600}
TIME: Final[Mapping[str, float]] = {"ms": 0.001, "s": 1}

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_OFFSET: Final = re.compile(r"(?P<sign>[+-])(?P<parts>(\d+[smhd])+)")
_VALUE: Final = re.compile(r"(?P<number>\d+(\.\d+)?|NaN|[+-]Inf)(?P<unit>[a-z%/]*)")


def parse_offset(text: object) -> float:
    """Seconds before (-) or after the alert. Raises ValueError with what to write."""
    found = _OFFSET.fullmatch(str(text))
    if str(text) == "0":
        return 0.0
    if found is None:
        raise ValueError(f"{text!r} is no time: write 0, or a sign and a duration from the alert, such as -3m, -1h30m or +15s")
    seconds = sum(int(number) * _UNITS[unit] for number, unit in re.findall(r"(\d+)([smhd])", found["parts"]))
    return float(-seconds if found["sign"] == "-" else seconds)


@dataclass(frozen=True, slots=True)
class Timeline:
    """From `starts[k]` on it is `firsts[k]`, and goes in a line to `lasts[k]` up to the next start."""

    starts: tuple[float, ...]
    firsts: tuple[float, ...]
    lasts: tuple[float, ...]

    def at(self, moment: float) -> float:
        k = bisect_right(self.starts, moment) - 1
        first, last = self.firsts[k], self.lasts[k]
        if first == last or k + 1 == len(self.starts):
            return first
        return first + (last - first) * (moment - self.starts[k]) / (self.starts[k + 1] - self.starts[k])


def parse(text: object, units: Mapping[str, float]) -> Timeline:
    """Raises ValueError with what to write."""
    starts, firsts, lasts = [], [], []
    segments = str(text).split("|")
    if ".." in segments[0] or ".." in segments[-1]:
        raise ValueError(f"{text!r}: what rises or falls does so between two times")
    for k, segment in enumerate(segments):
        words = segment.split()
        if len(words) != (1 if k == 0 else 2):
            raise ValueError(f"{segment.strip()!r}: write a value first, then `| TIME VALUE` for each time at which it changes")
        first, _, last = words[-1].partition("..")
        starts.append(-math.inf if k == 0 else parse_offset(words[0]))
        firsts.append(_value(first, units))
        lasts.append(_value(last, units) if last else firsts[-1])
    if starts != sorted(set(starts)):
        raise ValueError(f"{text!r}: each time is later than the one before it")
    return Timeline(tuple(starts), tuple(firsts), tuple(lasts))


def _value(text: str, units: Mapping[str, float]) -> float:
    found = _VALUE.fullmatch(text)
    if found is None or found["unit"] not in units or (units is not NUMBER and not found["number"][-1].isdigit()):
        raise ValueError(f"{text!r}: write a number" + (f" and {' or '.join(units)}" if units is not NUMBER else ""))
    return float(found["number"]) * units[found["unit"]]
