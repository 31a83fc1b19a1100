"""What Prometheus said of one indicator of one service: readings at steps, and counts pooled over a window.

A reading without a value is unknown and says why (I3). Whether a value is a breach is the trigger's to say, not the measurement's.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import pairwise
from operator import attrgetter

from rollbackd.model.reason import Reason


class Verdict(StrEnum):
    """What a measurement says; always with a reason and its evidence."""

    BREACHED = "breached"
    HEALTHY = "healthy"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Reading:
    """The indicator at one step. `value` is None exactly when `reason` is set: unknown, and why.

    `bad` and `total` are the counts over the indicator's window that ends here, extrapolated as Prometheus gives them; a value indicator
    has its traffic in `total`, if its config says how to count it. What was asked may be known where what went wrong is not.
    """

    at: datetime
    value: float | None
    reason: Reason | None = None
    sample_at: datetime | None = None  # the newest raw sample behind it
    bad: float | None = None
    total: float | None = None
    newborn: bool = False  # a series of bad events is too young to have an increase: a value that looks healthy proves nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class PooledCounts:
    """Counts over one window that ends now: `bad` of `total` events; a value indicator pools `total` (its traffic) only.

    A count that is None is unknown; `reason` says why.
    """

    window: timedelta
    query: str
    bad: float | None = None
    total: float | None = None
    reason: Reason | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class IndicatorEvidence:
    """Everything that was measured of one indicator in one look.

    `readings` lie at now - k * step, oldest first, the last one at the time of the look. An empty tuple means that the range could
    not be measured at all; `reason` and `detail` say why, and every verdict from it is unknown. With readings, `detail` may say more of why
    the last one has no value.
    """

    indicator: str
    query: str
    step: timedelta
    readings: tuple[Reading, ...]
    pooled: PooledCounts | None = None
    newest_sample_at: datetime | None = None
    reason: Reason | None = None
    detail: str = ""

    def __post_init__(self) -> None:
        """Whoever reads them goes by their order, so it does not depend on whoever measured."""
        if any(earlier.at > later.at for earlier, later in pairwise(self.readings)):
            object.__setattr__(self, "readings", tuple(sorted(self.readings, key=attrgetter("at"))))

    @property
    def last(self) -> Reading | None:
        return self.readings[-1] if self.readings else None
