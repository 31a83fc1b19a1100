"""Look by look it says what would have been said to somebody who came anew, and reads less for it."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollbackd.backtest.history import VirtualClock
from rollbackd.backtest.remembering import Remembering
from rollbackd.errors import TemporaryError
from rollbackd.model.policy import Indicator, ServicePolicy
from rollbackd.prometheus.answer import Answer, Series
from rollbackd.prometheus.measurer import Measurer
from tests.fakes.policies import error_rate, response_time_p95, service

AT = datetime(2026, 1, 31, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
STEP = timedelta(seconds=15)
POLICY = service("api")
STEPS_BACK = 20


class Past:
    """Answers each step by itself. `gaps` are the steps (from AT) without raw samples, `failing` those that cannot be read."""

    def __init__(self, gaps: frozenset[int] = frozenset(), failing: frozenset[int] = frozenset()) -> None:
        self.clock = VirtualClock(AT)
        self.gaps = gaps
        self.failing = failing
        self.steps_read = 0

    async def query(self, expr: str, *, at: datetime) -> Answer:
        answer = await self.query_range(expr, start=at, end=at, step=STEP)
        return replace(answer, result_type="vector")

    async def query_range(self, expr: str, *, start: datetime, end: datetime, step: timedelta) -> Answer:
        moments = [start + k * step for k in range((end - start) // step + 1)]
        if any(self._step(at) in self.failing for at in moments):
            raise TemporaryError("a block is missing")
        self.steps_read += len(moments)
        samples = tuple((at.timestamp(), text) for at in moments if (text := self._text(expr, at)) is not None)
        return Answer(result_type="matrix", series=(Series({}, samples),) if samples else ())

    def _text(self, expr: str, at: datetime) -> str | None:
        step = self._step(at)
        if step in self.gaps:
            return None
        if expr.startswith("max(timestamp"):
            return f"{at.timestamp() - step % 3:.3f}"
        if expr.startswith("max(count_over_time"):
            return str(step % 5)
        return f"{600 + step % 7}" if "5.." not in expr else f"{step % 11}"

    @staticmethod
    def _step(at: datetime) -> int:
        return round((at - AT) / STEP)


async def both(past: Past, indicator: Indicator, looks: list[int], *, growing: bool, policy: ServicePolicy = POLICY) -> int:
    """How many steps were read by the one who remembers; at each look it says what the other one says."""
    remembering, anew, read = Remembering({"main": past}), Measurer({"main": past}, check_clock=False), 0
    for look in looks:
        now, lookback = AT + look * STEP, (STEPS_BACK + (look if growing else 0)) * STEP
        past.steps_read = 0
        told = await remembering.evidence(policy, indicator, now=now, lookback=lookback, pool_window=2 * MINUTE)
        read += past.steps_read
        assert told == await anew.evidence(policy, indicator, now=now, lookback=lookback, pool_window=2 * MINUTE)
    return read


GAPS = st.frozensets(st.integers(-STEPS_BACK - 5, 30), max_size=12)


@given(GAPS, st.frozensets(st.integers(-STEPS_BACK, 30), max_size=1), st.lists(st.integers(0, 30), min_size=2, max_size=12), st.booleans())
async def test_it_says_the_same_wherever_there_are_gaps(
    gaps: frozenset[int],
    failing: frozenset[int],
    looks: list[int],
    growing: bool,  # noqa: FBT001
) -> None:
    await both(Past(gaps, failing), error_rate(), looks, growing=growing)


@pytest.mark.parametrize("growing", [True, False])
@pytest.mark.parametrize("indicator", [error_rate(), response_time_p95()])
async def test_of_the_look_before_it_reads_nothing_again(indicator: Indicator, growing: bool) -> None:  # noqa: FBT001
    asked = 5 if indicator.is_ratio else 4
    pooled = 2 if indicator.is_ratio else 1
    assert await both(Past(), indicator, list(range(8)), growing=growing) == asked * (STEPS_BACK + 1 + 7) + 8 * pooled


async def test_a_query_that_asks_where_its_range_begins_is_asked_whole() -> None:
    indicator = replace(error_rate(), bad="sum(rate(errors{$selector}[$window] @ start()))")
    assert await both(Past(), indicator, [0, 1], growing=False) == 2 * (5 * (STEPS_BACK + 1) + 2)


async def test_one_who_asks_about_other_series_gets_those() -> None:
    past = Past()
    remembering = Remembering({"main": past})
    other: Mapping[str, ServicePolicy] = {name: service(name) for name in ("api", "web")}
    told = [await remembering.evidence(one, error_rate(), now=AT, lookback=5 * MINUTE) for one in other.values()]
    assert [f'service="{name}"' in one.query for name, one in zip(other, told, strict=True)] == [True, True]
