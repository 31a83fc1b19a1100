"""What rollbackd itself would have done by then, as far as guards ask for it, when past alerts are judged in the order of time. Pure."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from rollbackd.model.decision import History

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
