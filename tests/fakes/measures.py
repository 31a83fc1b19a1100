"""What the room `prometheus` measures, as a test has it."""

from datetime import datetime

from rollbackd.errors import RollbackdError
from rollbackd.model.measurement import Reading
from rollbackd.model.policy import ServicePolicy
from rollbackd.model.reason import Reason


class FixedMeasures:
    """The same answer to every query; it keeps what was asked."""

    def __init__(self, *, value: float | None = None, labels: frozenset[str] | RollbackdError = frozenset()) -> None:
        self.asked: list[str] = []
        self._value = value
        self._labels = labels

    async def value(self, policy: ServicePolicy, query: str, *, now: datetime) -> Reading:
        self.asked.append(query)
        return Reading(at=now, value=self._value, reason=Reason.NO_SERIES if self._value is None else None)

    async def label_values(self, policy: ServicePolicy, query: str, label: str, *, now: datetime) -> frozenset[str]:
        self.asked.append(query)
        if isinstance(self._labels, RollbackdError):
            raise self._labels
        return self._labels
