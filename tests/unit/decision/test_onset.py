import pytest

from rollbackd.decision.judge import judge_steps
from rollbackd.decision.onset import Onset, find_onset
from rollbackd.model.reason import Reason
from tests.unit.decision.builders import NOW, STEP, error_trigger, evidence_for


def onset(story: str, *, looked_back: int | None = None) -> Onset:
    trigger = error_trigger()
    back = (looked_back or 40) * STEP
    return find_onset(judge_steps(trigger, evidence_for(trigger, story), baseline=None, now=NOW, back=back))


@pytest.mark.parametrize(
    ("story", "steps_ago"),
    [
        ("B1", 0),
        ("B9", 8),
        ("B4 H1 B9", 8),
        ("B4 U2 B3", 8),
        ("B4 D2 B3", 8),
        ("B4 U1 D1 B3", 8),
        ("B1 U2 B1 D2 B3", 8),  # each gap by itself
        ("B4 U3 B3", 2),
        ("B4 D3 B3", 2),
        ("B4 D1 U1 D1 B3", 2),
        ("B4 N2 B3", 8),  # a newborn counter that looks healthy is not measured
        ("U2 B3", 2),
    ],
)
def test_the_first_step_of_the_last_run_of_breached_steps(story: str, steps_ago: int) -> None:
    assert onset(story).at == NOW - steps_ago * STEP


@pytest.mark.parametrize(
    ("story", "earliest", "latest"),
    [
        ("B9", 8, 8),
        ("B4 U1 B3", 7, 2),
        ("B4 U3 B3", 9, 2),
        ("U4 B3", 6, 2),  # it may have begun in the gap
        ("B4 D3 B3", 2, 2),  # the dead band is measured: it was no breach
        ("B4 D2 B3", 8, 8),
        ("B2 D2 U1 B3", 7, 2),
        ("B2 D3 U1 B3", 3, 2),
    ],
)
def test_what_was_not_measured_leaves_a_span_in_which_it_began(story: str, earliest: int, latest: int) -> None:
    found = onset(story)
    assert (found.earliest, found.latest) == (NOW - earliest * STEP, NOW - latest * STEP)


def test_breached_throughout_is_older_than_the_look_back() -> None:
    assert onset("B41") == Onset(at=None, earliest=None, latest=None)


def test_not_measured_to_the_end_of_the_look_back_may_be_older() -> None:
    assert onset("U40 B3") == Onset(at=NOW - 2 * STEP, earliest=None, latest=NOW - 2 * STEP)


def test_a_breach_before_the_look_back_does_not_count() -> None:
    assert onset("B1 H1 B5", looked_back=4).at is None
    assert onset("H1 B4", looked_back=4).at == NOW - 3 * STEP


def test_a_step_that_is_left_out_is_not_measured() -> None:
    trigger = error_trigger()
    steps = judge_steps(trigger, evidence_for(trigger, "B3"), baseline=None, now=NOW, back=300 * STEP)
    assert [step.reason for step in tuple(steps)[-2:]] == [Reason.NO_SERIES, Reason.NO_SERIES]
