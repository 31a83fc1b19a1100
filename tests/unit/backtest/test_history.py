import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollbackd.backtest.history import History, VirtualClock
from rollbackd.clock import SystemClock
from rollbackd.errors import PermanentError, TemporaryError
from rollbackd.prometheus.answer import Answer, Series
from rollbackd.prometheus.client import MAX_POINTS, PrometheusClient
from rollbackd.settings.effective import PrometheusServer
from tests.fakes.prometheus import FakePrometheus

AT = datetime(2026, 1, 31, 12, tzinfo=UTC)
SECOND, MINUTE, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(days=1)
STEP = 15 * SECOND


@dataclass
class Evaluator:
    """Evaluates at any millisecond: each expression is its own series of values, with a gap now and then. Keeps what it was asked."""

    clock: SystemClock = field(default_factory=SystemClock)
    asked: list[tuple[str, float, float]] = field(default_factory=list)
    warn_after: datetime | None = None
    fail_after: datetime | None = None

    async def query(self, expr: str, *, at: datetime) -> Answer:
        answer = await self.query_range(expr, start=at, end=at, step=SECOND)
        return Answer(result_type="vector", series=answer.series, warnings=answer.warnings)

    async def query_range(self, expr: str, *, start: datetime, end: datetime, step: timedelta) -> Answer:
        self.asked.append((expr, start.timestamp(), end.timestamp()))
        if (end - start) // step >= MAX_POINTS:
            raise PermanentError("too many steps")
        if self.fail_after is not None and end > self.fail_after:
            raise TemporaryError("fails")
        start = start.replace(microsecond=start.microsecond // 1000 * 1000)
        moments = [start + k * step for k in range((end - start) // step + 1)]
        series = []
        for name in ("a", "b"):
            samples = tuple((at.timestamp(), f"{hash((expr, name, at))}") for at in moments if hash((expr, name, at, "gap")) % 4)
            if samples:
                series.append(Series({"name": name}, samples))
        is_doubtful = self.warn_after is not None and end > self.warn_after
        return Answer(result_type="matrix", series=tuple(series), warnings=("partial",) if is_doubtful else ())


def history(
    server: Evaluator | PrometheusClient, clock: VirtualClock, *, every: timedelta = STEP, until: datetime = AT + 10 * MINUTE
) -> History:
    return History(server, clock, every=every, until=until, slots=asyncio.Semaphore(8))


Ask = Callable[[History | Evaluator, datetime], Awaitable[Answer]]


def back(expr: str, span: timedelta, *, ago: timedelta = timedelta(), step: timedelta = STEP) -> Ask:
    """The steps of the last `span`, as the measurer asks for them; `ago` moves all of it back."""

    def ask(server: History | Evaluator, now: datetime) -> Awaitable[Answer]:
        end = now - ago
        return server.query_range(expr, start=end - span // step * step, end=end, step=step)

    return ask


def once(expr: str, *, ago: timedelta = timedelta()) -> Ask:
    return lambda server, now: server.query(expr, at=now - ago)


async def at_each_look(questions: list[Ask], *, server: Evaluator, looks: list[datetime], every: timedelta = STEP) -> None:
    """What history says is, at each look, exactly what the server says to that look alone, and nothing in it lies ahead."""
    clock = VirtualClock(AT)
    past = history(server, clock, every=every)
    alone = Evaluator(warn_after=server.warn_after, fail_after=server.fail_after)
    for now in looks:
        clock.instant = now
        answers = await asyncio.gather(*(ask(past, now) for ask in questions))
        for ask, answer in zip(questions, answers, strict=True):
            assert answer == await ask(alone, now)
            assert all(moment <= now.timestamp() for series in answer.series for moment, _ in series.samples)


spans = st.integers(0, 300).map(lambda seconds: seconds * SECOND)
questions = st.one_of(
    st.builds(
        back, st.sampled_from("xyz"), spans, ago=st.sampled_from([timedelta(), MINUTE, DAY]), step=st.sampled_from([STEP, 7 * SECOND])
    ),
    st.builds(once, st.sampled_from("xyz"), ago=st.sampled_from([timedelta(), MINUTE, DAY])),
)
moments = st.none() | st.integers(-60, 700).map(lambda seconds: AT + seconds * SECOND)


@settings(deadline=None, max_examples=50)  # looks are many
@given(
    asked=st.lists(questions, min_size=1, max_size=5),
    every=st.sampled_from([5, 7, 10, 15, 20, 30, 45]),
    skipped=st.sets(st.integers(0, 40)),
    warn_after=moments,
    aside=st.floats(0, 600, allow_nan=False),
)
def test_no_sample_from_the_future_and_none_other_than_at_the_time(
    asked: list[Ask], every: int, skipped: set[int], warn_after: datetime | None, aside: float
) -> None:
    looks = [AT + k * every * SECOND for k in range(600 // every + 1) if k not in skipped]
    looks = sorted([*looks, AT + aside * SECOND])  # one that nobody expected
    server = Evaluator(warn_after=warn_after)
    asyncio.run(at_each_look(asked, server=server, looks=looks, every=every * SECOND))


LOOKS = [AT + k * STEP for k in range(41)]


async def test_a_question_is_asked_once_for_all_looks() -> None:
    server = Evaluator()
    await at_each_look([back("x", 3 * MINUTE), once("y")], server=server, looks=LOOKS)
    end = (AT + 10 * MINUTE).timestamp()
    assert server.asked == [("x", (AT - 3 * MINUTE).timestamp(), end), ("y", AT.timestamp(), end)]


async def test_two_who_ask_the_same_at_once_ask_once() -> None:
    server = Evaluator()
    await at_each_look([back("x", MINUTE), back("x", MINUTE), once("y"), once("y")], server=server, looks=LOOKS)
    assert len(server.asked) == 2


async def test_a_longer_look_back_widens_what_is_held() -> None:
    server = Evaluator()
    await at_each_look([back("x", MINUTE)], server=server, looks=LOOKS[:1])
    clock = VirtualClock(AT)
    past = history(server, clock)
    for span in (MINUTE, 3 * MINUTE, 2 * MINUTE):
        assert await back("x", span)(past, AT) == await back("x", span)(Evaluator(), AT)
    assert [(start, end) for _, start, end in server.asked[1:]] == [
        ((AT - MINUTE).timestamp(), (AT + 10 * MINUTE).timestamp()),
        ((AT - 3 * MINUTE).timestamp(), (AT + 10 * MINUTE).timestamp()),
    ]


async def test_a_day_ago_is_held_apart() -> None:
    server = Evaluator()
    await at_each_look([back("x", MINUTE), back("x", MINUTE, ago=DAY)], server=server, looks=LOOKS)
    assert [(end - start) for _, start, end in server.asked] == [11 * 60, 11 * 60]


async def test_where_looks_lie_on_other_steps_each_grid_is_asked_for() -> None:
    server = Evaluator()
    looks = [AT + k * 10 * SECOND for k in range(61)]
    await at_each_look([back("x", 3 * MINUTE)], server=server, looks=looks, every=10 * SECOND)
    assert len(server.asked) == 3  # looks every 10 s meet the steps of 15 s in three places


@pytest.mark.parametrize("server", [Evaluator(warn_after=AT), Evaluator(fail_after=AT)])
async def test_what_may_not_be_true_of_this_look_is_asked_again_for_it_alone(server: Evaluator) -> None:
    past = history(server, VirtualClock(AT))
    answer = await back("x", MINUTE)(past, AT)
    assert answer.warnings == ()
    assert answer == await back("x", MINUTE)(Evaluator(), AT)


async def test_what_is_true_of_this_look_is_told() -> None:
    past = history(Evaluator(warn_after=AT - MINUTE), VirtualClock(AT))
    assert (await back("x", MINUTE)(past, AT)).warnings == ("partial",)
    past = history(Evaluator(fail_after=AT - MINUTE), VirtualClock(AT))
    with pytest.raises(TemporaryError, match="fails"):
        await back("x", MINUTE)(past, AT)


async def test_steps_after_now_have_no_answer() -> None:
    past = history(Evaluator(), VirtualClock(AT))
    answer = await past.query_range("x", start=AT - MINUTE, end=AT + MINUTE, step=STEP)
    assert answer == await Evaluator().query_range("x", start=AT - MINUTE, end=AT, step=STEP)
    assert (await past.query("x", at=AT + SECOND)).series == ()
    assert (await past.query_range("x", start=AT + SECOND, end=AT + MINUTE, step=STEP)).series == ()


async def test_what_depends_on_the_end_of_its_range_is_asked_at_each_look() -> None:
    server = Evaluator()
    await at_each_look([back("x @ end()", MINUTE)], server=server, looks=LOOKS[:3])
    assert [end for _, _, end in server.asked] == [now.timestamp() for now in LOOKS[:3]]


@pytest.mark.parametrize("expr", ["x offset -5m", "x OFFSET  - 5m", f"x @ {AT.timestamp() + 1}", f"x @{AT.timestamp() + 1} + y @ end()"])
async def test_what_reads_the_future_is_refused(expr: str) -> None:
    server = Evaluator()
    with pytest.raises(PermanentError, match="a backtest may not see"):
        await once(expr)(history(server, VirtualClock(AT)), AT)
    assert server.asked == []


@pytest.mark.parametrize("expr", ['x{mail="a@b offset -5m"}', "x{a='@ end()'}", "x offset 5m", f"x @ {AT.timestamp()}", "x - offset"])
async def test_what_only_looks_like_it_is_not(expr: str) -> None:
    server = Evaluator()
    await at_each_look([back(expr, MINUTE)], server=server, looks=LOOKS)
    assert len(server.asked) == 1


async def test_a_range_is_never_wider_than_prometheus_gives() -> None:
    server = Evaluator()
    clock = VirtualClock(AT)
    past = history(server, clock)
    whole = (MAX_POINTS - 1) * STEP
    for now in (AT, AT + STEP):
        clock.instant = now
        assert await back("x", whole)(past, now) == await back("x", whole)(Evaluator(), now)
    with pytest.raises(PermanentError, match="too many steps"):
        await back("x", whole + STEP)(past, AT + STEP)


async def test_a_real_client_stands_behind_it() -> None:
    async with FakePrometheus() as fake:
        fake.answer("x", lambda at: at.timestamp())
        client = PrometheusClient(PrometheusServer(name="main", url=fake.url), SystemClock())
        clock = VirtualClock(AT)
        past = history(client, clock)
        for now in LOOKS:
            clock.instant = now
            answer = await once("x")(past, now)
            assert (answer.result_type, answer.series) == ("vector", (Series({}, ((now.timestamp(), str(now.timestamp())),)),))
        assert len(fake.asked) == 1
        await client.close()


async def test_a_virtual_clock_goes_on_only_when_somebody_sleeps() -> None:
    clock = VirtualClock(AT)
    await clock.sleep(MINUTE)
    assert (clock.now(), clock.monotonic()) == (AT + MINUTE, (AT + MINUTE).timestamp())
