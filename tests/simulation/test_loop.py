"""The loop that everything here stands on: its time is nobody's but the test's, and a run of the same chance is the same."""

import asyncio
from collections.abc import Iterator
from random import Random

import pytest

from tests.simulation.loop import BusyError, StuckError, VirtualLoop


@pytest.fixture
def loop() -> Iterator[VirtualLoop]:
    made = VirtualLoop(now=0.0, chance=Random(1))
    yield made
    made.close()


def test_a_day_of_waiting_is_over_at_once(loop: VirtualLoop) -> None:
    async def wait() -> str:
        try:
            async with asyncio.timeout(86_400):
                await asyncio.Event().wait()
        except TimeoutError:
            return "over"
        return "rung"

    assert loop.run_until_complete(wait()) == "over"
    assert loop.time() == pytest.approx(86_400)


def test_time_stands_while_anything_is_ready(loop: VirtualLoop) -> None:
    async def turn() -> float:
        for _ in range(1000):
            await asyncio.sleep(0)
        return loop.time()

    assert loop.run_until_complete(turn()) == 0.0


def test_who_waits_for_nothing_is_told(loop: VirtualLoop) -> None:
    with pytest.raises(StuckError):
        loop.run_until_complete(loop.create_future())


def test_who_never_waits_is_told(loop: VirtualLoop) -> None:
    async def spin() -> None:
        while True:  # noqa: ASYNC110 - just this
            await asyncio.sleep(0)

    with pytest.raises(BusyError):
        loop.run_until_complete(spin())


def test_the_same_chance_gives_the_same_order() -> None:
    def order(seed: int) -> list[int]:
        loop = VirtualLoop(now=0.0, chance=Random(seed))
        done: list[int] = []

        async def work(number: int) -> None:
            await asyncio.to_thread(done.append, number)

        async def all_of_it() -> None:
            await asyncio.gather(*(work(number) for number in range(20)))

        try:
            loop.run_until_complete(all_of_it())
        finally:
            loop.close()
        return done

    assert order(1) == order(1)
    assert order(1) != order(2)
    assert sorted(order(1)) == list(range(20))


def test_what_the_dead_asked_for_is_not_done(loop: VirtualLoop) -> None:
    done: list[int] = []

    async def ask() -> None:
        await asyncio.to_thread(done.append, 1)

    task = loop.create_task(ask())
    loop.dead = True
    loop.call_later(10, loop.stop)
    loop.run_forever()
    assert not done
    assert not task.done()
    task.cancel()
    loop.run_until_complete(asyncio.gather(task, return_exceptions=True))
