"""A Prometheus as it would have answered at the time of a virtual clock: asked in few wide ranges, told only up to now.

A look asks the same questions as the one before, a little later. So the first time a question is asked, it is asked for every look
that may follow, in one range query; what is given out of that ends at the virtual clock's now. A step of a range query depends only on
samples up to that step, so the slice is what Prometheus would have said then: nothing in it is from the future.
"""

import asyncio
import re
from bisect import bisect_left, bisect_right
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from math import lcm
from typing import Final

from rollbackd.errors import PermanentError, TemporaryError
from rollbackd.prometheus.answer import Answer, Series
from rollbackd.prometheus.client import MAX_POINTS
from rollbackd.prometheus.measurer import Server

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)  # Prometheus counts in these
_TEXT: Final = re.compile(r"""  "(?:[^"\\]|\\.)*"  |  '(?:[^'\\]|\\.)*'  |  `[^`]*`  """, re.VERBOSE | re.DOTALL)
_FUTURE_OFFSET: Final = re.compile(r"\boffset\s*-", re.IGNORECASE)
_AT: Final = re.compile(r"@\s*(?P<seconds>[+-]?\d+(?:\.\d*)?(?:e[+-]?\d+)?)?", re.IGNORECASE)


class VirtualClock:
    """Stands still until it is set, or somebody sleeps."""

    def __init__(self, instant: datetime) -> None:
        self.instant = instant

    def now(self) -> datetime:
        return self.instant

    def monotonic(self) -> float:
        return self.instant.timestamp()

    async def sleep(self, duration: timedelta) -> None:
        self.instant += duration


@dataclass(frozen=True, slots=True)
class _Window:
    """What Prometheus said at every step from `first` to `last`, both in milliseconds."""

    first: int
    last: int
    answer: Answer


@dataclass(slots=True)
class _Held:
    """What is known of one expression on one grid. `one_by_one`: a wide range said what may not be true of every look in it."""

    windows: list[_Window] = field(default_factory=list)
    one_by_one: bool = False
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    def covering(self, first: int, last: int) -> _Window | None:
        return next((window for window in self.windows if window.first <= first and last <= window.last), None)

    def keep(self, window: _Window) -> None:
        self.windows = [one for one in self.windows if not (window.first <= one.first and one.last <= window.last)] + [window]


class History:
    """In the place of a client, for one alert. Looks are expected at `clock.now()` and every `every` after it, at most up to `until`;
    one at another time is answered all the same. `slots` bounds how many questions are under way at one server.
    """

    def __init__(self, server: Server, clock: VirtualClock, *, every: timedelta, until: datetime, slots: asyncio.Semaphore) -> None:
        self.clock = clock
        self._server = server
        self._every = every // _MILLISECOND
        self._until = _milliseconds(until)
        self._slots = slots
        self._held: dict[tuple[str, int, int], _Held] = {}

    async def query(self, expr: str, *, at: datetime) -> Answer:
        """Raises as the client does. A moment after now has no answer."""
        moment = _milliseconds(at)
        steps = await self._told(expr, moment, moment, self._every, exactly=lambda: self._server.query(expr, at=at))
        return replace(steps, result_type="vector")

    async def query_range(self, expr: str, *, start: datetime, end: datetime, step: timedelta) -> Answer:
        """Raises as the client does. Steps after now have no answer."""
        first, every = _milliseconds(start), step // _MILLISECOND
        seen = min(end, self.clock.now())
        last = first + (_milliseconds(seen) - first) // every * every
        return await self._told(
            expr, first, last, every, exactly=lambda: self._server.query_range(expr, start=start, end=_instant(last), step=step)
        )

    async def _told(self, expr: str, first: int, last: int, step: int, *, exactly: Callable[[], Awaitable[Answer]]) -> Answer:
        now = _milliseconds(self.clock.now())
        if last > now or last < first:
            return Answer(result_type="matrix", series=())
        depends_on_range = _depends_on_range(expr, now)
        held = self._held.setdefault((expr, step, first % step), _Held())
        async with held.lock:
            window = held.covering(first, last)
            if window is None and not held.one_by_one and not depends_on_range:
                window = await self._fetch(held, expr, first, last, step, ahead=self._ahead(now, step))
            if window is None:
                async with self._slots:
                    return await exactly()
        return _between(window.answer, first, last)

    def _ahead(self, now: int, step: int) -> int:
        """How far later looks will ask beyond this one on the same grid: 0 when none of them lies on it."""
        apart = lcm(step, self._every)
        return max(self._until - now, 0) // apart * apart

    async def _fetch(self, held: _Held, expr: str, first: int, last: int, step: int, *, ahead: int) -> _Window | None:
        """One window that holds what is asked, what will be, and the windows that it touches.

        None where only the exact question is sure to be answered as it was then: the wide one failed, or came with a warning, perhaps
        for what lies in the future of this look.
        """
        last_wanted = min(last + ahead, first + (MAX_POINTS - 1) * step)
        touched = [one for one in held.windows if one.first <= last_wanted + step and first <= one.last + step]
        begin = min([first, *(one.first for one in touched)])
        end = max([last, last_wanted, *(one.last for one in touched)])
        if (end - begin) // step >= MAX_POINTS:
            begin, end = first, max(last, last_wanted)
        is_exact = (begin, end) == (first, last)
        try:
            async with self._slots:
                answer = await self._server.query_range(expr, start=_instant(begin), end=_instant(end), step=step * _MILLISECOND)
        except (TemporaryError, PermanentError):
            if is_exact:
                raise
            held.one_by_one = True
            return None
        window = _Window(begin, end, answer)
        if not answer.warnings:
            held.keep(window)
        elif not is_exact:
            held.one_by_one = True
            return None
        return window


def _depends_on_range(expr: str, now: int) -> bool:
    """Whether a step depends on where its range begins or ends: then each look must ask for exactly its own.

    Raises PermanentError for an expression that reads what lies ahead of its own time: then it would see the future.
    """
    code = _TEXT.sub('""', expr)
    if _FUTURE_OFFSET.search(code):
        raise PermanentError("a negative offset reads the future, which a backtest may not see: write it without one")
    fixed = [found["seconds"] for found in _AT.finditer(code)]
    if any(float(seconds) * 1000 > now for seconds in fixed if seconds):
        raise PermanentError("the time after @ is in the future of this alert, which a backtest may not see")
    return None in fixed


def _between(answer: Answer, first: int, last: int) -> Answer:
    """The steps from `first` to `last`; a series without one of them is not there."""
    begin, end = (first - 0.5) / 1000, (last + 0.5) / 1000
    series = []
    for one in answer.series:
        samples = one.samples[bisect_left(one.samples, (begin, "")) : bisect_right(one.samples, (end, ""))]
        if samples:
            series.append(Series(one.labels, samples))
    return replace(answer, series=tuple(series))


def _milliseconds(instant: datetime) -> int:
    return (instant - _EPOCH) // _MILLISECOND


def _instant(milliseconds: int) -> datetime:
    return _EPOCH + milliseconds * _MILLISECOND
