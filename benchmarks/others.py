"""How much of the machine went to what is not ours: a comparison on a busy machine is not worth much, whoever wins it."""

import os
import time
from pathlib import Path
from typing import Final

WORTH_A_WORD: Final = 0.1
"""Cores; from here on the results say it."""

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_BUSY: Final = (0, 1, 2, 5, 6, 7)  # user, nice, system, irq, softirq, steal: places in the first line of /proc/stat


class Others:
    """Counts from when it is made."""

    def __init__(self) -> None:
        self._began = time.monotonic(), _others()

    def cores(self) -> float:
        """On the average since then. Ours are this process and those that have ended of all that came of it."""
        now, then = (time.monotonic(), _others()), self._began
        return max((now[1] - then[1]) / (now[0] - then[0]), 0.0)


def _others() -> float:
    """Seconds of processor time since the machine was started, without ours."""
    fields = Path("/proc/stat").read_text(encoding="ascii").split(maxsplit=11)[1:]
    return sum(int(fields[place]) for place in _BUSY) / _TICKS - sum(os.times()[:4])
