"""What to do next about a step, over every journal that can be."""

from datetime import timedelta
from itertools import product

import pytest

from rollbackd.action.recovery import OUTCOME_UNKNOWN, NextMove, Observed, next_move
from rollbackd.clock import parse_rfc3339
from rollbackd.model.attempt import Attempt, AttemptStatus
from rollbackd.model.runbook import Probe, PromqlAsk, Run, Step, Verify, Wait

ASK = Probe(ask=PromqlAsk(query="up"))
ACTIONS: tuple[Run | Wait | Verify, ...] = (Run(argv=("deploy",)), Wait(until=ASK), Verify(checks=(ASK,)))
JOURNALS = [journal for length in range(4) for journal in product(AttemptStatus, repeat=length)]
STEPS = [
    Step(name="any", action=action, timeout=timedelta(seconds=1), idempotent=idempotent, retries=retries)
    for action, idempotent, retries in product(ACTIONS, (False, True), (0, 1, 2))
]


def attempts(*statuses: AttemptStatus) -> list[Attempt]:
    at = parse_rfc3339("2026-01-01T00:00:00Z")
    return [
        Attempt(
            id=f"i-0-{number}",
            incident_id="i",
            step_index=0,
            step_name="any",
            number=number,
            argv=(),
            status=status,
            intended_at=at,
        )
        for number, status in enumerate(statuses, 1)
    ]


@pytest.mark.parametrize("step", STEPS, ids=lambda step: f"{type(step.action).__name__}-{step.idempotent}-{step.retries}")
def test_over_every_journal_and_every_answer(step: Step) -> None:
    is_command = isinstance(step.action, Run)
    for journal, observed in product(JOURNALS, Observed):
        move = next_move(step, attempts(*journal), observed)
        ran = [status for status in journal if status is not AttemptStatus.NOT_STARTED]
        last = ran[-1] if ran else None
        lost = sum(status in OUTCOME_UNKNOWN for status in ran)
        failed = sum(status in {AttemptStatus.FAILED, AttemptStatus.TIMED_OUT} for status in ran)
        where = (journal, observed, move)

        # What was not started counts as no attempt.
        assert (move is NextMove.RUN) >= (not ran), where
        # A step that is done is never done again, and done is only what was seen to succeed (I15).
        assert (move is NextMove.DONE) == (
            last is AttemptStatus.SUCCEEDED or (is_command and last in OUTCOME_UNKNOWN and observed is Observed.DONE)
        ), where
        # A command is repeated only if it says that it may be; an unknown outcome only once it was seen not to be one (I10).
        if move is NextMove.RUN and ran and is_command:
            assert step.idempotent, where
            assert failed <= step.retries or last in OUTCOME_UNKNOWN, where
            assert last not in OUTCOME_UNKNOWN or (observed is Observed.NOT_DONE and lost == 1), where
        # Only a failure that is known as one ends in giving up, only an unknown outcome in a question.
        assert (move is NextMove.GIVE_UP) <= (last in {AttemptStatus.FAILED, AttemptStatus.TIMED_OUT}), where
        assert (move in {NextMove.ASK_A_PERSON, NextMove.OBSERVE}) <= (is_command and last in OUTCOME_UNKNOWN), where
        # Asked once is asked: the answer leads on.
        assert (move is NextMove.OBSERVE) <= (observed is Observed.NOT_ASKED), where


@pytest.mark.parametrize("step", [step for step in STEPS if isinstance(step.action, Run)])
def test_however_attempts_end_there_is_a_bounded_number_of_them(step: Step) -> None:
    """The worst world: every attempt fails or is lost, and was never done."""

    def most_attempts(journal: tuple[AttemptStatus, ...]) -> int:
        move = next_move(step, attempts(*journal), Observed.NOT_DONE)
        if move is not NextMove.RUN:
            return len(journal)
        return max(most_attempts((*journal, status)) for status in (AttemptStatus.FAILED, AttemptStatus.UNCERTAIN))

    assert most_attempts(()) == (2 + step.retries if step.idempotent else 1)
