"""When did the breach begin?"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from rollbackd.decision.judge import Judged
from rollbackd.model.measurement import Verdict

BRIDGED_STEPS: Final = 2


@dataclass(frozen=True, slots=True)
class Onset:
    """`at` is the first step of the last run of breached steps, bridging up to two that are unknown or in the dead band.

    Steps that were not measured may hide the truth: it lies between `earliest` (each of them was breached) and `latest` (none was).
    Blame needs one suspect for the whole of that span, so missing data never makes a release guilty (I3). None: before the look-back.
    """

    at: datetime | None
    earliest: datetime | None
    latest: datetime | None


def find_onset(steps: Iterable[Judged]) -> Onset:
    """`steps` newest first, the newest one breached, back to the end of the look-back."""
    steps = tuple(steps)
    return Onset(
        at=_began(steps, unmeasured=Verdict.UNKNOWN),
        earliest=_began(steps, unmeasured=Verdict.BREACHED),
        latest=_began(steps, unmeasured=Verdict.HEALTHY),
    )


def _began(steps: Iterable[Judged], *, unmeasured: Verdict) -> datetime | None:
    """The first step of the newest run of breached ones, when a step that was not measured counts as `unmeasured`."""
    began: datetime | None = None
    bridged = 0
    for step in steps:
        match step.verdict if step.measured else unmeasured:
            case Verdict.BREACHED:
                began, bridged = step.at, 0
            case Verdict.HEALTHY:
                return began
            case Verdict.UNKNOWN:
                bridged += 1
                if bridged > BRIDGED_STEPS:
                    return began
    return None
