"""Memory and descriptors of the daemon over its lives, and whether they grow."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

from rollbackd.clock import SystemClock
from tests.soak.town import Town

WARM_UP: Final = timedelta(minutes=3)
"""Until the caches of a new process, and the arenas of its allocator, are filled: incidents of every outcome have to have been there."""
_EVERY_SECONDS: Final = 0.5


@dataclass(frozen=True, slots=True)
class Sample:
    seconds: float
    resident_mb: float
    descriptors: int


@dataclass(frozen=True, slots=True)
class Trend:
    """`per_hour` is the slope that all lives have in common, each with a level of its own; `seconds` is what it was measured over."""

    least: float
    most: float
    per_hour: float
    seconds: float


class Vitals:
    def __init__(self, town: Town) -> None:
        self._town = town
        self._lives: dict[int, list[Sample]] = {}
        self._clock = SystemClock()

    async def watch(self) -> None:
        while True:
            process = self._town.process
            if process is not None and process.returncode is None:
                with suppress(OSError, StopIteration):
                    self._lives.setdefault(process.pid, []).append(self._sample(process.pid))
            await asyncio.sleep(_EVERY_SECONDS)

    def memory(self) -> Trend | None:
        return _trend([[(one.seconds, one.resident_mb) for one in life] for life in self._grown_up()])

    def descriptors(self) -> Trend | None:
        return _trend([[(one.seconds, float(one.descriptors)) for one in life] for life in self._grown_up()])

    def _sample(self, pid: int) -> Sample:
        resident = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS:"))
        descriptors = len(list(Path(f"/proc/{pid}/fd").iterdir()))
        return Sample(self._clock.monotonic(), int(resident.split()[1]) * 1024 / 1e6, descriptors)

    def _grown_up(self) -> list[list[Sample]]:
        lives = [[one for one in life if one.seconds - life[0].seconds > WARM_UP.total_seconds()] for life in self._lives.values()]
        return [life for life in lives if len(life) > 1]


def _trend(lives: Sequence[Sequence[tuple[float, float]]]) -> Trend | None:
    """Least squares with one slope and a constant for each life. None: no life was long enough."""
    if not lives:
        return None
    above = below = 0.0
    for life in lives:
        middle_x = sum(x for x, _ in life) / len(life)
        middle_y = sum(y for _, y in life) / len(life)
        above += sum((x - middle_x) * (y - middle_y) for x, y in life)
        below += sum((x - middle_x) ** 2 for x, _ in life)
    values = [y for life in lives for _, y in life]
    return Trend(min(values), max(values), 3600 * above / below, sum(life[-1][0] - life[0][0] for life in lives))
