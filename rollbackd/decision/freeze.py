"""Freeze windows: one begins whenever its cron expression comes on the clock of its time zone, and lasts for its duration.

That clock jumps twice a year. A time that it shows twice begins two windows; one that it skips begins its window at the jump: a freeze
is rather too long than lost.
"""

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from itertools import count
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from rollbackd.decision.record import Ruling, clock_time, span
from rollbackd.model import cron
from rollbackd.model.decision import CheckVerdict
from rollbackd.model.policy import FreezeWindow

_DAY: Final = timedelta(days=1)
_MINUTE: Final = timedelta(minutes=1)
_MOST_IN_A_ROW: Final = 100  # windows that follow each other without a gap and are looked at: one that never ends has no end to tell


@dataclass(frozen=True, slots=True)
class Stretch:
    """Frozen time, over the windows that overlap or touch. `window` is the one that stood and would last longest when it was asked.

    `until` is when the last one ends, or, if not `ends`, a moment at which it is still frozen.
    """

    window: FreezeWindow
    began: datetime
    until: datetime
    ends: bool


def rule(windows: tuple[FreezeWindow, ...], now: datetime) -> Ruling:
    """A window that cannot be read, by a version that knows less or without its time zone, holds like one that stands (I3)."""
    if not windows:
        return Ruling(CheckVerdict.NOT_APPLICABLE, "no freeze window is configured")
    try:
        frozen = stretch(windows, now)
    except (ValueError, OSError, ZoneInfoNotFoundError) as e:
        return Ruling(CheckVerdict.UNKNOWN, f"a freeze window cannot be read: {e}", "lets go when the config is mended")
    if frozen is None:
        limit = "; ".join(f"{_named(window)} for {span(window.duration)}" for window in windows)
        return Ruling.of(against=False, value="outside every freeze window", limit=limit)
    lets_go = f"lets go {'at' if frozen.ends else 'after'} {clock_time(frozen.until)}"
    return Ruling.of(
        against=True,
        value=f"frozen by {_named(frozen.window)} since {clock_time(frozen.began)}",
        limit=f"{span(frozen.window.duration)} from each start; {lets_go}",
    )


def stretch(windows: tuple[FreezeWindow, ...], now: datetime) -> Stretch | None:
    """The frozen time around `now`; None: it is not frozen. Raises ValueError or ZoneInfoNotFoundError for what cannot be read."""
    standing = _longest(windows, now)
    if standing is None:
        return None
    window, began = standing
    until = began + window.duration
    for _ in range(_MOST_IN_A_ROW):
        following = _longest(windows, until)
        if following is None:
            return Stretch(window, began, until, ends=True)
        until = following[1] + following[0].duration
    return Stretch(window, began, until, ends=False)


def _longest(windows: tuple[FreezeWindow, ...], at: datetime) -> tuple[FreezeWindow, datetime] | None:
    """Of the windows that stand at this moment the one that ends last, with its start."""
    standing = [(window, began) for window in windows if (began := _began(window, at)) is not None]
    return max(standing, key=lambda one: one[1] + one[0].duration, default=None)


def _began(window: FreezeWindow, at: datetime) -> datetime | None:
    """The last start whose window stands at this moment.

    Two days are asked together: a clock that is set back at midnight shows the end of a day again after the next one has begun.
    """
    zone = ZoneInfo(window.tz)
    earliest = (at - window.duration).astimezone(zone).date() - _DAY
    day = at.astimezone(zone).date() + _DAY
    while day >= earliest:
        both = (_starts_on(window.cron, zone, day), _starts_on(window.cron, zone, day - _DAY))
        last = max((starts[passed - 1] for starts in both if (passed := bisect_right(starts, at))), default=None)
        if last is not None:
            return last if at - last < window.duration else None
        day -= _DAY
    return None


@lru_cache(maxsize=256)
def _starts_on(text: str, zone: ZoneInfo, day: date) -> tuple[datetime, ...]:
    """When the clock of the zone shows the times that are meant on this day of its calendar."""
    schedule = cron.parse(text)
    if not schedule.has_day(day):
        return ()
    shown = (datetime.combine(day, time(hour, minute)) for hour in schedule.hours for minute in schedule.minutes)
    return tuple(sorted({instant for each in shown for instant in _instants(each, zone)}))


def _instants(shown: datetime, zone: ZoneInfo) -> Iterator[datetime]:
    first, second = (shown.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    if first <= second:
        yield first
        yield second  # the same one, but for a clock that is set back over it
    else:  # never shown: the clock jumps over it, between the two
        yield next(
            instant
            for passed in count()
            if (instant := second + passed * _MINUTE).astimezone(zone).replace(tzinfo=None) > shown
        )  # fmt: skip


def _named(window: FreezeWindow) -> str:
    return f"'{window.cron}' ({window.tz})"
