"""What to do next about one step, from what the journal says of its attempts. Pure; the same rules in a run and after a restart.

An attempt without a known outcome is observed, never blindly repeated (I10).
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Final

from rollbackd.model.attempt import Attempt, AttemptStatus
from rollbackd.model.runbook import Step


class Observed(StrEnum):
    """What the world said when it was asked whether the step is done."""

    NOT_ASKED = "not_asked"
    DONE = "done"
    NOT_DONE = "not_done"
    CANNOT_TELL = "cannot_tell"

    @classmethod
    def of(cls, held: bool | None) -> "Observed":  # noqa: FBT001 - an answer, not a switch
        return cls.CANNOT_TELL if held is None else cls.DONE if held else cls.NOT_DONE


class NextMove(StrEnum):
    RUN = "run"  # a new attempt
    OBSERVE = "observe"  # ask whether it is done, then ask here again
    DONE = "done"
    GIVE_UP = "give_up"  # it failed, and may not be tried again
    ASK_A_PERSON = "ask_a_person"  # nobody knows whether it happened


OUTCOME_UNKNOWN: Final = frozenset({
    AttemptStatus.INTENDED,
    AttemptStatus.STARTED,
    AttemptStatus.INTERRUPTED,
    AttemptStatus.UNCERTAIN,
})  # fmt: skip


def next_move(step: Step, attempts: Sequence[Attempt], observed: Observed = Observed.NOT_ASKED) -> NextMove:
    """`attempts` are those of this step, oldest first; `observed` is about the last of them."""
    attempts = tried(attempts)
    if not attempts:
        return NextMove.RUN
    last = attempts[-1].status
    if last is AttemptStatus.SUCCEEDED:
        return NextMove.DONE
    if last not in OUTCOME_UNKNOWN:
        return _after_failure(step, attempts)
    return _after_unknown(step, attempts, observed) if step.acts else NextMove.RUN


def tried(attempts: Sequence[Attempt]) -> list[Attempt]:
    """Those that may have changed something."""
    return [attempt for attempt in attempts if attempt.status is not AttemptStatus.NOT_STARTED]


def _after_failure(step: Step, attempts: Sequence[Attempt]) -> NextMove:
    failures = sum(attempt.status not in OUTCOME_UNKNOWN for attempt in attempts)
    return NextMove.RUN if (step.idempotent or not step.acts) and failures <= step.retries else NextMove.GIVE_UP


def _after_unknown(step: Step, attempts: Sequence[Attempt], observed: Observed) -> NextMove:
    match observed:
        case Observed.NOT_ASKED:
            return NextMove.OBSERVE
        case Observed.DONE:
            return NextMove.DONE
        case Observed.NOT_DONE if step.idempotent and _once(attempts):
            return NextMove.RUN
    return NextMove.ASK_A_PERSON


def _once(attempts: Sequence[Attempt]) -> bool:
    """One new attempt after a lost one, not one per crash: a step that takes the daemon down each time goes to a person."""
    return sum(attempt.status in OUTCOME_UNKNOWN for attempt in attempts) == 1
