"""What else had happened by then, as far as guards ask for it, when past alerts are judged in the order of time. Pure."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from rollbackd.backtest.past import PastReleases
from rollbackd.model.decision import History, Trip
from rollbackd.model.release import Release

ROLLBACK_TAKES: Final = timedelta(minutes=1)
"""How long a rollback is taken to run: what it would have needed, no history says."""

_DAY, _HOUR = timedelta(days=1), timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class _Rollback:
    service: str
    started_at: datetime

    @property
    def ended_at(self) -> datetime:
        return self.started_at + ROLLBACK_TAKES


class Ledger:
    """The rollbacks that would have been run. The samples are those of a world in which none was: what it changed, nobody knows."""

    def __init__(self) -> None:
        self._rollbacks: list[_Rollback] = []

    def roll_back(self, service: str, at: datetime) -> None:
        self._rollbacks.append(_Rollback(service, at))

    def history(self, service: str, now: datetime) -> History:
        """As the store would tell it; nobody acknowledges anything."""
        own = [one for one in self._rollbacks if one.service == service]
        return History(
            last_rollback_completed_at=max((one.ended_at for one in own if one.ended_at <= now), default=None),
            rollbacks_of_service_last_day=sum(one.started_at > now - _DAY for one in own),
            rollbacks_of_fleet_last_hour=sum(one.started_at > now - _HOUR for one in self._rollbacks),
            step_running=any(one.started_at <= now < one.ended_at for one in own),
        )


class Fired:
    """Every alert of a service, `(at, service)`."""

    def __init__(self, alerts: Iterable[tuple[datetime, str]], releases: PastReleases) -> None:
        self._alerts = sorted(alerts)
        self._times = [at for at, _ in self._alerts]
        self._releases = releases

    def trips(self, since: datetime, now: datetime) -> tuple[Trip, ...]:
        """Those that had fired by now, with the newest release that their service had when they did."""
        fired = self._alerts[bisect_left(self._times, since) : bisect_right(self._times, now)]
        return tuple(Trip(service=service, at=at, release=self._release(service, at, now)) for at, service in fired)

    def _release(self, service: str, at: datetime, now: datetime) -> Release | None:
        return next((one for one in self._releases.of_service(service, now).releases if one.started_at <= at), None)
