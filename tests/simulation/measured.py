"""Prometheus as the daemon asks it: answers that follow what runs, and every way in which they can be no answer (I3)."""

import asyncio
import re
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from enum import Enum
from typing import TYPE_CHECKING, Final

from rollbackd.clock import Clock
from rollbackd.errors import TemporaryError
from rollbackd.prometheus.answer import AlertRule, Answer, Series

if TYPE_CHECKING:
    from tests.simulation.world import World

_SERVICE: Final = re.compile(r'service="([^"]+)"')
_WINDOW: Final = re.compile(r"\[(\d+)s\]")
_REQUESTS_A_SECOND: Final = 20.0
_TIMEOUT: Final = 5.0
SCRAPE_SECONDS: Final = 60


class Mood(Enum):
    WELL = "well"
    DOWN = "down"
    HANGS = "hangs"
    WARNS = "warns"
    NAN = "nan"
    EMPTY = "empty"
    STALE = "stale"  # the newest sample is four minutes old
    TWO = "two"  # series where one was meant


class Measured:
    """Of the world: its mood outlives a daemon, and so does what it says of the past."""

    def __init__(self) -> None:
        self.moods: list[tuple[float, Mood]] = [(float("-inf"), Mood.WELL)]

    @property
    def mood(self) -> Mood:
        return self.moods[-1][1]

    def be(self, mood: Mood, *, at: float) -> None:
        self.moods.append((at, mood))

    def was_well(self, *, start: float, end: float) -> bool:
        """At some moment between."""
        later = [at for at, _ in self.moods[1:]] + [float("inf")]
        return any(mood is Mood.WELL and since <= end and until >= start for (since, mood), until in zip(self.moods, later, strict=True))


class Server:
    """In the place of `PrometheusClient`, for one life of the daemon."""

    def __init__(self, world: "World", clock: Clock) -> None:
        self.clock = clock
        self._world = world

    async def query(self, expr: str, *, at: datetime) -> Answer:
        return await self._answer(expr, [at], "vector")

    async def query_range(self, expr: str, *, start: datetime, end: datetime, step: timedelta) -> Answer:
        return await self._answer(expr, [start + k * step for k in range((end - start) // step + 1)], "matrix")

    async def alert_rules(self) -> tuple[AlertRule, ...]:
        await self._wait()
        return ()

    async def warm_up(self) -> None: ...

    async def close(self) -> None: ...

    async def _wait(self) -> None:
        await asyncio.sleep(self._world.chance.choice((0.005, 0.02, 0.4)))
        match self._world.measured.mood:
            case Mood.DOWN:
                raise TemporaryError("Prometheus server main: connection refused")
            case Mood.HANGS:
                await asyncio.sleep(_TIMEOUT)
                raise TemporaryError("Prometheus server main did not answer within 5 s")

    async def _answer(self, expr: str, at: Sequence[datetime], kind: str) -> Answer:
        await self._wait()
        mood = self._world.measured.mood
        series = [] if mood is Mood.EMPTY else self._series(expr, at, mood)
        if mood is Mood.TWO and series and expr.startswith("sum("):
            series = [Series({"instance": name}, series[0].samples) for name in ("a", "b")]
        return Answer(
            result_type=kind,
            series=tuple(series),
            warnings=("a remote read failed",) if mood is Mood.WARNS else (),
            clock_offset=timedelta(seconds=self._world.server_is_ahead),
        )

    def _series(self, expr: str, at: Sequence[datetime], mood: Mood) -> list[Series]:
        if expr.startswith("ALERTS{"):
            return [Series(labels, ((at[0].timestamp(), "1"),)) for labels in self._world.firing.values()]
        service = _SERVICE.search(expr)
        if service is None:
            return []
        value = self._value(expr, service[1], mood)
        stamps = [moment.timestamp() for moment in at]
        to_true = self._world.true_time(at[0]) - stamps[0]
        samples = ((stamp, value(stamp + to_true)) for stamp in stamps)
        return [Series({}, tuple((stamp, text) for stamp, text in samples if text is not None))]

    def _value(self, expr: str, service: str, mood: Mood) -> Callable[[float], str | None]:
        window = float(found[1]) if (found := _WINDOW.search(expr)) else 1.0
        now = self._world.now
        old = 240.0 if mood is Mood.STALE else 0.0
        if expr.startswith("max(timestamp("):

            def newest(moment: float) -> str | None:
                seen = min(moment, now) - old
                return None if moment - seen > 300 else repr(self._world.server_stamp(seen // SCRAPE_SECONDS * SCRAPE_SECONDS))

            return newest
        if expr.startswith("max(count_over_time("):
            samples = str(int(window / SCRAPE_SECONDS))
            return lambda moment: samples if moment <= now + SCRAPE_SECONDS else None
        if expr.startswith("count("):
            return lambda _moment: "0"
        if mood is Mood.NAN:
            return lambda _moment: "NaN"
        if "5.." in expr:
            ratio, requests = self._world.production.ratio, _REQUESTS_A_SECOND * window
            return lambda moment: repr(requests * ratio(service, start=moment - window, end=moment))
        all_of_them = repr(_REQUESTS_A_SECOND * window)
        return lambda _moment: all_of_them
