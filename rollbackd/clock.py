"""Time, in one place: instants are aware UTC datetimes, durations are timedeltas.

`now` says when something happened, and is compared with Prometheus, which has no other; `monotonic` says how long a wait is. Nothing else
in rollbackd reads a clock, so a test and the backtest can set the time.
"""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Protocol

STEP: Final = timedelta(seconds=5)
"""The wall clock may be set by so much without a word: what it is compared with is not more exact than that."""


class Clock(Protocol):
    def now(self) -> datetime:
        """What time it is, aware, in UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds on a clock that no one can set."""
        ...

    async def sleep(self, duration: timedelta) -> None: ...


class SystemClock:
    """The wall clock, until somebody sets it: then `now` goes on as if nobody had, until it is told to `follow` (I7).

    In between it counts from the boot of the machine, by the clock that goes on while the machine is suspended. `booted_at` is when that
    was by `now`; it is all that has to be kept for `now` to go on so after a restart of the process.
    """

    def __init__(self) -> None:
        self.booted_at = wall_clock() - _since_boot()

    def now(self) -> datetime:
        wall = wall_clock()
        own = self.booted_at + _since_boot()
        if abs(wall - own) > STEP:
            return own
        self.booted_at += wall - own
        return wall

    def ahead(self) -> timedelta:
        """How far the wall clock is ahead of `now`: nothing, unless it was set. The least of three looks: one may be held up between
        the two clocks.
        """
        offsets = (wall_clock() - self.now() for _ in range(3))
        least = min(offsets, key=abs)
        return least if abs(least) > STEP else timedelta(0)

    def follow(self) -> None:
        """From here on `now` is the wall clock again."""
        self.booted_at = wall_clock() - _since_boot()

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, duration: timedelta) -> None:
        await asyncio.sleep(max(duration.total_seconds(), 0.0))


def wall_clock() -> datetime:
    """As the machine has it. Only for what is no business of rollbackd's own: everything else asks a `Clock`."""
    return datetime.now(UTC)  # noqa: TID251 - this is the one place that reads the wall clock


def boot_id() -> str:
    """Another one after each boot of the machine."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def _since_boot() -> timedelta:
    return timedelta(seconds=time.clock_gettime(time.CLOCK_BOOTTIME))


def rfc3339(instant: datetime) -> str:
    """`2026-01-31T12:00:00.250Z`: UTC, milliseconds, as every file, route and log line of rollbackd writes an instant."""
    return instant.astimezone(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def parse_rfc3339(text: str) -> datetime:
    """An instant from RFC 3339 text, in UTC; nanoseconds (as Alertmanager writes them) are cut to microseconds.

    Raises:
        ValueError: not RFC 3339, or without a time zone.
    """
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text[:100]!r} is not a time: write 2026-01-31T12:00:00Z") from None
    if instant.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone: write 2026-01-31T12:00:00Z")
    return instant.astimezone(UTC)
