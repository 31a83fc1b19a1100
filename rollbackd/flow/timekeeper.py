"""Keeps rollbackd's own time: whoever sets the wall clock frees no cooldown, no budget, no pause and no proposal (I7, I8).

`SystemClock.now` does not jump with the wall clock. This follows it as soon as nothing any more counts from before the jump, keeps
what a restart needs to go on in the same time, and says that the clock was set.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, Self

import structlog

from rollbackd.clock import STEP, SystemClock, boot_id, rfc3339
from rollbackd.decision.record import span
from rollbackd.errors import RollbackdError
from rollbackd.model.policy import ServicePolicy
from rollbackd.store.store import Store
from rollbackd.telemetry.metrics import Metrics
from rollbackd.watch.schedule import Schedule

_log: Final = structlog.get_logger("clock")
_LOOK_EVERY: Final = timedelta(seconds=1)
_BUDGET: Final = timedelta(days=1)
_WORTH_KEEPING: Final = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Kept:
    """When the machine booted, by rollbackd's own time. It holds for this one boot, so that no power cut can spoil it."""

    boot: str
    booted_at: datetime

    @classmethod
    def read(cls, path: Path) -> Self | None:
        try:
            boot, booted_at = path.read_text(encoding="utf-8").split()
            return cls(boot, datetime.fromisoformat(booted_at))
        except (OSError, ValueError):
            return None

    def write(self, path: Path) -> None:
        draft = path.with_name(f"{path.name}.new")
        draft.write_text(f"{self.boot} {self.booted_at.isoformat()}\n", encoding="utf-8")
        draft.chmod(0o600)
        draft.replace(path)


class Timekeeper:
    def __init__(self, clock: SystemClock, store: Store, schedule: Schedule, metrics: Metrics) -> None:
        self._clock = clock
        self._store = store
        self._schedule = schedule
        self._metrics = metrics
        self._path = store.directory / "clock"
        self._boot = boot_id()
        self._kept: Kept | None = None
        self._set_at: datetime | None = None  # by own time; None while the wall clock is followed

    @property
    def ahead(self) -> timedelta:
        """How far the wall clock was set ahead of own time."""
        return self._clock.ahead()

    async def take_over(self) -> None:
        """Go on in the time of the process before. After another boot only the wall clock knows how long ago that was, but a rollback
        that lies ahead of it has happened all the same.
        """
        kept = Kept.read(self._path)
        if kept is not None and kept.boot == self._boot:
            self._clock.booted_at = kept.booted_at
        else:
            newest = await self._store.incidents.newest_rollback()
            self._clock.booted_at += max((newest or self._clock.now()) - self._clock.now(), timedelta(0))

    async def run(self, services: Mapping[str, ServicePolicy]) -> None:
        """For ever. `services` are those of the config in use, whenever they are asked for."""
        while True:
            try:
                await self.look(max((policy.cooldown for policy in services.values()), default=timedelta(0)))
            except RollbackdError as e:
                _log.warning("clock_not_looked_at", error=str(e))
            await self._clock.sleep(_LOOK_EVERY)

    async def look(self, longest_cooldown: timedelta) -> None:
        """Say what happened to the wall clock since the last look, and follow it where nothing counts from before."""
        ahead = self.ahead
        self._metrics.clock_ahead(ahead.total_seconds())
        if not ahead:
            if self._set_at is not None:
                _log.info("clock_right_again")
                self._turned()
            self._set_at = None
        elif self._set_at is None:
            self._set_at = self._clock.now()
            _log.warning(
                "clock_was_set",
                ahead_seconds=ahead.total_seconds(),
                own_time=rfc3339(self._set_at),
                consequence="rollbackd goes on in its own time until no cooldown, budget, pause or open incident counts from before",
            )
            self._turned()
        if ahead and self._set_at and not await self._counts(self._set_at, ahead, longest_cooldown):
            await self._store.pauses.forget_ended(self._clock.now())
            self._clock.follow()
            self._metrics.clock_ahead(0.0)
            self._set_at = None
            _log.warning("clock_followed", by_seconds=ahead.total_seconds(), own_time=rfc3339(self._clock.now()))
        self._keep()

    async def _counts(self, set_at: datetime, ahead: timedelta, longest_cooldown: timedelta) -> bool:
        """Whether anything would be freed, or held once more, by following: asked in either time."""
        now = self._clock.now()
        if await self._store.pauses.all(now) or any(one.opened_at <= set_at for one in await self._store.incidents.open_ones()):
            return True
        return any(
            [
                await self._store.incidents.was_rolled_back(started_since=at - _BUDGET, ended_since=at - longest_cooldown, until=at)
                for at in (now, now + ahead)
            ]
        )

    def _turned(self) -> None:
        self._schedule.catch_up()

    def _keep(self) -> None:
        booted_at = self._clock.booted_at
        if self._kept is not None and abs(self._kept.booted_at - booted_at) < _WORTH_KEEPING:
            return
        self._kept = Kept(self._boot, booted_at)
        try:
            self._kept.write(self._path)
        except OSError as e:
            _log.warning("clock_not_kept", error=str(e), consequence=f"after a restart a step of the clock over {span(STEP)} is not known")
