"""One look of the watch: what each objective and each trigger measured, and whether it was good enough."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from rollbackd.model.measurement import Verdict
from rollbackd.model.reason import Reason


class ObjectiveVerdict(StrEnum):
    MET = "met"
    MISSED = "missed"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectiveLook:
    """`limit` is the objective's target as the config writes it, such as `< 0.005`."""

    name: str
    indicator: str
    verdict: ObjectiveVerdict
    value: float | None
    limit: str
    reason: Reason | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TriggerLook:
    name: str
    indicator: str
    verdict: Verdict
    value: float | None
    limit: str
    clear: bool | None  # whether the `clear` condition holds; None: unknown
    reason: Reason | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    at: datetime
    objectives: tuple[ObjectiveLook, ...]
    triggers: tuple[TriggerLook, ...]
