"""Jobs at intervals: the one file that knows APScheduler. Nothing is stored; whoever needs a job asks for it again after a start.

Left to itself APScheduler 3 skips a job that is over a second late, cancels running coroutines at shutdown without a word, keeps the
errors of jobs to itself, and waits for as long as the wall clock was set back.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Final, Self

from apscheduler.events import EVENT_JOB_ERROR, JobExecutionEvent
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.interval import IntervalTrigger

from rollbackd.clock import Clock, SystemClock, wall_clock

Job = Callable[[], Awaitable[object]]
OnError = Callable[[str, BaseException], None]

GRACE: Final = timedelta(seconds=10)
_LAST_WORDS: Final = timedelta(seconds=1)


class Schedule:
    """A job that is late runs late, a run that is still going on is not joined by a second, and several missed runs become one.

    `on_error` is called with the job's name and what it raised, which APScheduler has logged by then; the job keeps its interval. On
    leaving, nothing new starts and running jobs have `grace` to end; one that does not is cancelled, and reported like an error.
    """

    def __init__(self, *, on_error: OnError, grace: timedelta = GRACE, clock: Clock | None = None) -> None:
        self._on_error = on_error
        self._clock = clock or SystemClock()
        self._grace = grace
        self._running: set[asyncio.Task[object]] = set()
        self._scheduler = AsyncIOScheduler(timezone=UTC, job_defaults={"misfire_grace_time": None, "coalesce": True, "max_instances": 1})
        self._scheduler.add_listener(self._failed, EVENT_JOB_ERROR)

    async def __aenter__(self) -> Self:
        self._scheduler.start()
        return self

    async def __aexit__(self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None) -> None:
        self._scheduler.remove_all_jobs()
        try:
            await asyncio.sleep(0)  # what was submitted in this turn of the loop begins, and counts as running
            if self._running:
                await asyncio.wait(self._running, timeout=self._grace.total_seconds())
        finally:
            late = tuple(self._running)
            self._scheduler.shutdown(wait=False)  # cancels what still runs
        if late:
            await asyncio.wait(late, timeout=_LAST_WORDS.total_seconds())
        await asyncio.sleep(0)  # the scheduler shuts down, and reports what was cancelled, in the next turn of the loop

    def every(self, name: str, interval: timedelta, job: Job, *, first_at: datetime | None = None) -> None:
        """Run `job` at `first_at` by the clock (else after one interval) and then at every interval. A job of the same name is replaced.

        A `first_at` that has passed means at once.
        """
        if interval <= timedelta(0):
            raise ValueError(f"job {name!r}: the interval {interval} is not longer than nothing")

        async def run() -> None:
            task = asyncio.current_task()
            if task is None:
                raise AssertionError("a job runs in a task")
            self._running.add(task)
            try:
                await job()
            finally:
                self._running.discard(task)

        first = {} if first_at is None else {"next_run_time": wall_clock() + (first_at - self._clock.now())}
        trigger = IntervalTrigger(seconds=interval.total_seconds(), timezone=UTC)
        self._scheduler.add_job(run, trigger, id=name, name=name, replace_existing=True, **first)

    def cancel(self, name: str) -> None:
        """No further run of this job; one that is going on ends by itself. Nothing happens when there is no such job."""
        if self._scheduler.get_job(name) is not None:
            self._scheduler.remove_job(name)

    def catch_up(self) -> None:
        """Every job is due now: for when the wall clock was set."""
        for job in self._scheduler.get_jobs():
            job.modify(next_run_time=wall_clock())

    def _failed(self, event: JobExecutionEvent) -> None:
        self._on_error(event.job_id, event.exception)
