from dataclasses import replace
from datetime import UTC, datetime
from itertools import product

import pytest

from rollbackd.model.incident import EXIT_CODES, SEVERITIES, Event, Incident, Outcome, Phase, Severity, TransitionError, next_phase
from rollbackd.model.policy import Mode

TABLE = """
              propose   withdraw  escalate   act           approve       rolled_back  close   reopen
deciding      proposed  -         escalated  rolling_back  -             -            closed  -
proposed      -         deciding  escalated  rolling_back  rolling_back  -            closed  -
escalated     -         -         -          rolling_back  rolling_back  -            closed  -
rolling_back  -         deciding  escalated  -             -             watching     closed  -
watching      -         -         -          rolling_back  -             -            closed  -
closed        -         -         -          -             -             -            -       deciding
"""
"""The whole product (phase, event), drawn by hand; a dash is refused."""


def expected() -> dict[tuple[Phase, Event], Phase | None]:
    head, *rows = (line.split() for line in TABLE.strip().splitlines())
    return {
        (Phase(phase), Event(event)): None if to == "-" else Phase(to)
        for phase, *cells in rows
        for event, to in zip(head, cells, strict=True)
    }


INCIDENT = Incident(
    id="i1",
    service="api",
    trigger="HighErrorRate",
    phase=Phase.DECIDING,
    mode=Mode.AUTO,
    snapshot="sha256:0",
    opened_at=datetime(2026, 1, 31, tzinfo=UTC),
)


def test_the_drawing_holds_the_whole_product() -> None:
    assert set(expected()) == set(product(Phase, Event))


@pytest.mark.parametrize(("phase", "event"), list(product(Phase, Event)))
def test_each_event_in_each_phase(phase: Phase, event: Event) -> None:
    to = expected()[phase, event]
    if to is None:
        with pytest.raises(TransitionError, match=f"{phase} cannot {event}"):
            next_phase(phase, event)
    else:
        assert next_phase(phase, event) is to


def test_every_phase_can_be_reached_and_ends() -> None:
    moves = {(phase, to) for (phase, _), to in expected().items() if to is not None}
    reached = {Phase.DECIDING}
    while more := {to for phase, to in moves if phase in reached} - reached:
        reached |= more
    assert reached == set(Phase)
    assert all((phase, Phase.CLOSED) in moves for phase in Phase if phase is not Phase.CLOSED)


def test_a_move_leaves_the_incident_as_it_was_and_keeps_what_it_does_not_name() -> None:
    after = INCIDENT.after(Event.ACT, target="v1")
    assert (after.phase, after.target) == (Phase.ROLLING_BACK, "v1")
    assert replace(after, phase=Phase.DECIDING, target=None) == INCIDENT


def test_a_refused_move_says_so() -> None:
    with pytest.raises(TransitionError, match="an incident that is deciding cannot reopen"):
        INCIDENT.after(Event.REOPEN)


NOTHING_WAS_RUN = {Outcome.HELD, Outcome.STOOD_DOWN, Outcome.OBSERVED, Outcome.REJECTED, Outcome.EXPIRED, Outcome.ESCALATED}


@pytest.mark.parametrize("outcome", Outcome)
def test_every_outcome_has_an_exit_code_and_a_severity(outcome: Outcome) -> None:
    assert EXIT_CODES[outcome] in {0, 3, 4, 5, 8}
    assert SEVERITIES[outcome] in Severity


def test_only_what_went_well_exits_with_zero() -> None:
    assert {outcome for outcome, code in EXIT_CODES.items() if code == 0} == {Outcome.RECOVERED, Outcome.STOOD_DOWN}


def test_what_went_wrong_after_something_was_run_is_critical() -> None:
    critical = {outcome for outcome, severity in SEVERITIES.items() if severity is Severity.CRITICAL}
    assert critical == {Outcome.FAILED, Outcome.WORSE, Outcome.NO_EFFECT, Outcome.UNVERIFIED}
    assert not critical & NOTHING_WAS_RUN
