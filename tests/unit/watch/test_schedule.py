import asyncio
import logging
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from rollbackd.watch.schedule import Schedule

SOON = timedelta(milliseconds=10)
NEVER = timedelta(days=1)


class Errors:
    def __init__(self) -> None:
        self.seen: list[tuple[str, BaseException]] = []
        self.came = asyncio.Event()

    def __call__(self, name: str, error: BaseException) -> None:
        self.seen.append((name, error))
        self.came.set()


@pytest.fixture
def errors() -> Errors:
    return Errors()


@pytest.fixture
async def schedule(errors: Errors) -> AsyncIterator[Schedule]:
    async with Schedule(on_error=errors) as schedule:
        yield schedule


def long_ago() -> datetime:
    return datetime.now(UTC) - timedelta(minutes=5, seconds=30)  # noqa: TID251 - APScheduler reads the real clock


async def test_a_job_runs_again_and_again(schedule: Schedule) -> None:
    runs: asyncio.Queue[int] = asyncio.Queue()

    async def job() -> None:
        runs.put_nowait(1)

    schedule.every("job", SOON, job)

    assert [await runs.get() for _ in range(3)] == [1, 1, 1]


async def test_a_job_that_is_very_late_runs_all_the_same_once(schedule: Schedule) -> None:
    runs: asyncio.Queue[int] = asyncio.Queue()

    async def job() -> None:
        runs.put_nowait(1)

    schedule.every("job", timedelta(minutes=1), job, first_at=long_ago())

    async with asyncio.timeout(10):  # skipped, it would run at the next full minute
        assert await runs.get() == 1
    await asyncio.sleep(0)
    assert runs.empty()


async def test_a_run_that_still_goes_on_is_not_joined_by_a_second(schedule: Schedule) -> None:
    at_once = 0
    most = 0
    skipped = asyncio.Event()
    logging.getLogger("apscheduler.scheduler").addFilter(note := Skipped(skipped))

    async def job() -> None:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await skipped.wait()
        at_once -= 1

    try:
        schedule.every("job", SOON, job)
        await skipped.wait()
    finally:
        logging.getLogger("apscheduler.scheduler").removeFilter(note)

    assert most == 1


class Skipped(logging.Filter):
    def __init__(self, event: asyncio.Event) -> None:
        super().__init__()
        self._event = event

    def filter(self, record: logging.LogRecord) -> bool:
        if "maximum number of running" in record.msg:
            self._event.set()
        return True


async def test_what_a_job_raises_reaches_the_handler_and_the_job_goes_on(schedule: Schedule, errors: Errors) -> None:
    runs: asyncio.Queue[int] = asyncio.Queue()

    async def job() -> None:
        runs.put_nowait(1)
        raise ValueError("boom")

    schedule.every("failing", SOON, job)
    await runs.get()
    await runs.get()
    await errors.came.wait()

    name, error = errors.seen[0]
    assert name == "failing"
    assert isinstance(error, ValueError)


async def test_a_cancelled_job_does_not_run_again(schedule: Schedule) -> None:
    ran = asyncio.Event()

    async def job() -> None:
        ran.set()

    async def other() -> None:
        ran.set()

    schedule.every("job", SOON, job)
    schedule.cancel("job")
    schedule.cancel("job")
    schedule.cancel("never was")
    schedule.every("other", SOON, other)

    await ran.wait()
    assert schedule._scheduler.get_job("job") is None


async def test_a_job_of_the_same_name_is_replaced(schedule: Schedule) -> None:
    async def first() -> None:
        raise AssertionError("replaced before it ran")

    second = asyncio.Event()

    async def replacement() -> None:
        second.set()

    schedule.every("job", NEVER, first)
    schedule.every("job", SOON, replacement)

    await second.wait()


async def test_an_interval_of_nothing_is_refused(schedule: Schedule) -> None:
    async def job() -> None: ...

    with pytest.raises(ValueError, match="not longer than nothing"):
        schedule.every("job", timedelta(0), job)


async def test_leaving_waits_for_a_job_that_runs(errors: Errors) -> None:
    began, go_on = asyncio.Event(), asyncio.Event()
    ended = False

    async def job() -> None:
        nonlocal ended
        began.set()
        await go_on.wait()
        ended = True

    async with Schedule(on_error=errors) as schedule:
        schedule.every("job", SOON, job)
        await began.wait()
        asyncio.get_running_loop().call_soon(go_on.set)

    assert ended
    assert errors.seen == []


async def test_a_job_that_outlives_the_grace_is_cancelled_and_reported(errors: Errors) -> None:
    began = asyncio.Event()
    cancelled = False

    async def job() -> None:
        nonlocal cancelled
        began.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled = True
            raise

    async with Schedule(on_error=errors, grace=SOON) as schedule:
        schedule.every("stubborn", SOON, job)
        await began.wait()

    assert cancelled
    [(name, error)] = errors.seen
    assert name == "stubborn"
    assert isinstance(error, asyncio.CancelledError)


async def test_after_leaving_nothing_is_left_of_it(errors: Errors) -> None:
    async def job() -> None: ...

    before = asyncio.all_tasks()
    async with Schedule(on_error=errors) as schedule:
        schedule.every("job", SOON, job)

    assert asyncio.all_tasks() == before
    assert not schedule._scheduler.running
