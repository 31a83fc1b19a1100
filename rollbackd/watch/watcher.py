"""Runs the watch of one incident: look, store the look, judge, until an outcome is named.

Nothing but the looks is kept: called again after a restart, with the looks that were stored, a watch goes on with the time that
remains. It ends in bounded time whatever the wall clock does (I9).
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta

from rollbackd.clock import Clock
from rollbackd.model.incident import Incident
from rollbackd.model.look import Look
from rollbackd.model.policy import ServicePolicy
from rollbackd.watch.look import Looker, first_look_at
from rollbackd.watch.outcome import Ended, judge
from rollbackd.watch.schedule import Schedule


class Watcher:
    def __init__(self, schedule: Schedule, looker: Looker, clock: Clock) -> None:
        self._schedule = schedule
        self._looker = looker
        self._clock = clock

    async def watch(
        self,
        incident: Incident,
        policy: ServicePolicy,
        *,
        looks: Sequence[Look],
        on_look: Callable[[Look], Awaitable[None]],
        alerts_since: Callable[[], Awaitable[int]],
        release_started_at: datetime | None,
    ) -> Ended:
        """Look every `interval` for `duration`, at least once, and name the outcome.

        `looks` are those of this watch that were made before a restart. `on_look` stores a look before anything rests on it.
        `alerts_since` counts the alerts of the service that began to fire after the rollback. `release_started_at` is when the
        suspect release began; None where there is no suspect. What `on_look` and `alerts_since` raise ends the watch.
        """
        if incident.rollback_started_at is None or incident.rollback_ended_at is None:
            raise ValueError(f"incident {incident.id} was not rolled back: there is nothing to watch")
        made = list(looks)
        begin = first_look_at(policy, incident.rollback_ended_at)
        now = _undisturbed(self._clock)
        before = await self._looker.before(policy, rollback_started_at=incident.rollback_started_at, release_started_at=release_started_at)
        async with self._ticking(f"watch {incident.id}", policy.watch.interval, begin) as tick:
            while True:
                await tick()
                look = await self._looker.look(policy, now=self._clock.now(), since=incident.rollback_ended_at, baselines=before.baselines)
                await on_look(look)
                made.append(look)
                ended = judge(
                    made,
                    policy=policy,
                    trigger=incident.trigger,
                    decision_value=incident.decision_value,
                    watch_started_at=begin,
                    now=now(),
                    met_before=before.met,
                    usual=before.usual,
                    alerts_since=await alerts_since(),
                )
                if ended is not None:
                    return ended

    @asynccontextmanager
    async def _ticking(self, name: str, interval: timedelta, begin: datetime) -> AsyncIterator[Callable[[], Awaitable[None]]]:
        """What is yielded waits for the next tick of the schedule; a tick that comes while a look is going on is the next one.

        The schedule goes by the wall clock: should someone set that back, two intervals without a tick are one.
        """
        due = asyncio.Event()
        patience = max(begin - self._clock.now(), timedelta(0)) + 2 * interval

        async def ring() -> None:
            due.set()

        async def tick() -> None:
            nonlocal patience
            with suppress(TimeoutError):
                async with asyncio.timeout(patience.total_seconds()):
                    await due.wait()
            patience = 2 * interval
            due.clear()

        self._schedule.every(name, interval, ring, first_at=max(begin, self._clock.now()))
        try:
            yield tick
        finally:
            self._schedule.cancel(name)


def _undisturbed(clock: Clock) -> Callable[[], datetime]:
    """The wall clock as it would be if nobody set it from here on."""
    since = clock.monotonic()
    then = clock.now()
    return lambda: then + timedelta(seconds=clock.monotonic() - since)
