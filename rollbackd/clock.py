"""Time, in one place: instants are aware UTC datetimes, durations are timedeltas.

The wall clock says when something happened (and is compared with Prometheus, which has no other); the monotonic clock says how
long a wait is. Nothing else in rollbackd reads a clock, so a test and the backtest can set the time.
"""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    def now(self) -> datetime:
        """The wall clock, aware, in UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds on a clock that no one can set."""
        ...

    async def sleep(self, duration: timedelta) -> None: ...


class SystemClock:
    def now(self) -> datetime:
        return datetime.now(UTC)  # noqa: TID251 - this is the one place that reads the wall clock

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, duration: timedelta) -> None:
        await asyncio.sleep(max(duration.total_seconds(), 0.0))


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
