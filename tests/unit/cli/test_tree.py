from dataclasses import replace
from datetime import datetime
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from rollbackd.cli.tree import elapsed, render, sparkline
from rollbackd.model.decision import Action
from rollbackd.model.incident import Incident, Outcome, Phase
from rollbackd.model.reason import Reason
from rollbackd.web import views
from tests.unit.web.samples import ATTEMPTS, BLAMED, HELD, HOSTILE, LOOKS, TIMELINE, after, incident, recovered


def drawn(one: Incident, now: datetime, **parts: Any) -> str:
    """As a terminal of 80 columns shows it, without its colours."""
    record = views.record(one, **{"decision": None, "attempts": (), "looks": (), "timeline": TIMELINE} | parts)
    out = StringIO()
    Console(file=out, width=80, force_terminal=True, no_color=True, color_system=None, markup=False, highlight=False).print(
        render(record, now)
    )
    return out.getvalue()


def test_a_recovered_incident_shows_each_phase_with_its_time_and_its_numbers() -> None:
    shown = drawn(recovered(), after(999), decision=BLAMED, attempts=ATTEMPTS, looks=LOOKS)
    assert [line.rstrip() for line in shown.splitlines()] == [
        "checkout  recovered  20260131-120000-7f3a",
        "Rolled back from v2 to v1, and the service recovered: the release is to blame.",
        "├── ✘ alert      HighErrorRate since 11:59:48 UTC  delivered after 12s",
        "├── ✔ decision   roll back  v2 → v1  0.4s",
        "│   ├── ✔ HighErrorRate  0.31 now  limit > 0.01",
        "│   ├── ✔ release        v2 began 5 min ago",
        "│   └── ✔ 2 more checks passed",
        "├── ✔ rollback   v2 → v1  12s",
        "│   ├── ✔ deploy the target image  succeeded (try 2)  5.6s",
        "│   └── ✔ healthy again            succeeded  6.6s",
        "├── ✔ watch      5 looks  4m 00s",
        "│   ├── ✔ error_rate       0.0011  target < 0.005  █ ▂▁▁  met",
        "│   └── ✔ HighErrorRate    0.0011  limit > 0.01  █ ▂▁▁  healthy",
        "└── ✔ outcome    recovered  4m 13s after the alert came",
    ]


def test_a_held_incident_says_which_check_decided() -> None:
    held = incident(phase=Phase.CLOSED, outcome=Outcome.HELD, decision=Action.HOLD, reason=Reason.COOLDOWN, decided_at=after(0.4))
    shown = drawn(held, after(5), decision=HELD)
    assert "! decision   hold  cooldown" in shown
    assert "✘ cooldown         decided: the last rollback ended 12 min ago" in shown
    assert "rollback   " not in shown


def test_a_running_rollback_counts_up_to_now() -> None:
    running = recovered(phase=Phase.ROLLING_BACK, outcome=None, rollback_ended_at=None, closed_at=None)
    shown = drawn(running, after(65), decision=BLAMED, attempts=ATTEMPTS[:1])
    assert "▶ rollback   v2 → v1  1m 04s" in shown
    assert "✘ deploy the target image  failed: exit 3" in shown


def test_a_watch_says_that_it_waits_for_its_first_look() -> None:
    watching = recovered(phase=Phase.WATCHING, outcome=None, closed_at=None)
    assert "▶ watch      waiting for the first look  7.0s" in drawn(watching, after(20), decision=BLAMED)


@pytest.mark.parametrize("phase", [Phase.PROPOSED, Phase.ESCALATED])
def test_a_person_who_is_needed_is_told_the_command(phase: Phase) -> None:
    asked = recovered(phase=phase, outcome=None, rollback_started_at=None, rollback_ended_at=None, closed_at=None, proposed_at=after(1))
    shown = drawn(replace(asked, escalated_at=after(1)), after(61), decision=HELD)
    assert f"! {phase}" in shown
    assert "waiting for a person  1m 00s" in shown
    assert "rollbackd approve 20260131-120000-7f3a" in shown


def test_without_a_plan_there_is_nothing_to_approve() -> None:
    asked = incident(phase=Phase.ESCALATED, escalated_at=after(1))
    assert "rollbackd approve" not in drawn(asked, after(61))


def test_an_incident_that_is_being_judged_says_so() -> None:
    assert "▶ decision   measuring  2.0s" in drawn(incident(), after(2))


def test_a_rollback_by_hand_says_who_asked_and_why() -> None:
    by_hand = recovered(
        trigger=None, alertname=None, starts_at=None, delivered_at=None, requested_by="oncall", request_reason="log-in broken"
    )
    assert "✔ by hand    oncall: log-in broken" in drawn(by_hand, after(999))


def test_every_line_fits_80_columns_and_nothing_hostile_gets_through() -> None:
    hostile = recovered(service=HOSTILE, alertname=HOSTILE, suspect=HOSTILE, request_reason=HOSTILE)
    attempts = tuple(replace(attempt, step_name=HOSTILE, detail=HOSTILE) for attempt in ATTEMPTS)
    checks = tuple(replace(check, name=HOSTILE, value=HOSTILE, limit=HOSTILE) for check in HELD.checks)
    shown = drawn(hostile, after(999), decision=replace(HELD, checks=checks), attempts=attempts, looks=LOOKS)
    assert "\x1b[31m" not in shown
    assert "\u202e" not in shown
    assert "\x07" not in shown
    assert not any(line.startswith("forged") for line in shown.splitlines())
    assert "[bold]bold[/bold]" in shown  # as text: markup is not read
    assert all(len(line) <= 80 for line in shown.splitlines())


@pytest.mark.parametrize(
    ("seconds", "text"), [(-1, "0.0s"), (0.44, "0.4s"), (12.4, "12s"), (59.6, "1m 00s"), (185, "3m 05s"), (3725, "1h 02m")]
)
def test_elapsed_has_two_units_at_most(seconds: float, text: str) -> None:
    assert elapsed(seconds) == text


@pytest.mark.parametrize(
    ("values", "limit", "bars"),
    [
        ((), 1.0, ""),
        ((1.0,), 1.0, ""),
        ((1.0, None, 2.0), 0.0, "▅ █"),
        ((0.0, 0.0), 0.0, "▁▁"),
        ((0.0, 0.5, 1.0), 1.0, "▁▅█"),
        ((4.8, 4.1), 500.0, "▁▁"),
        ((-1.0, 1.0), 0.0, "▁█"),
    ],
)
def test_a_sparkline_runs_from_zero_to_the_limit_or_over_it(values: tuple[float | None, ...], limit: float, bars: str) -> None:
    assert sparkline(values, limit) == bars
