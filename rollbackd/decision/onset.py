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
    """`steps` newest first, the newest one breached, back to the end of the look-back; no more of them is taken than it needs."""
    runs = [_Run(Verdict.UNKNOWN), _Run(Verdict.BREACHED), _Run(Verdict.HEALTHY)]
    going = list(runs)
    for step in steps:
        going = [run for run in going if run.goes_on(step)]
        if not going:
            break
    at, earliest, latest = (None if run in going else run.began for run in runs)
    return Onset(at=at, earliest=earliest, latest=latest)


@dataclass(slots=True, eq=False)
class _Run:
    """The newest run of breached steps, when one that was not measured counts as `unmeasured`. One that never ends has no begin."""

    unmeasured: Verdict
    began: datetime | None = None
    bridged: int = 0

    def goes_on(self, step: Judged) -> bool:
        match step.verdict if step.measured else self.unmeasured:
            case Verdict.BREACHED:
                self.began, self.bridged = step.at, 0
                return True
            case Verdict.HEALTHY:
                return False
            case Verdict.UNKNOWN:
                self.bridged += 1
                return self.bridged <= BRIDGED_STEPS
