"""`now` does not jump with the wall clock, and does not lose its way either (I7)."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from rollbackd import clock
from rollbackd.clock import STEP, SystemClock, parse_rfc3339, rfc3339
from tests.fakes.machine import Machine, machine

__all__ = ["machine"]
DAY = timedelta(days=1)
SECOND = timedelta(seconds=1)


@pytest.mark.parametrize("jump", [DAY, -DAY, STEP + SECOND, -STEP - SECOND])
def test_goes_on_when_the_wall_clock_is_set(machine: Machine, jump: timedelta) -> None:
    own = SystemClock()
    machine.ahead = jump
    assert own.now() == machine.true
    assert own.ahead() == jump
    machine.passed += DAY  # asleep, say
    assert own.now() == machine.true
    assert own.ahead() == jump


def test_is_the_wall_clock_until_somebody_sets_it(machine: Machine) -> None:
    """It may drift, and be corrected: many small steps are no jump, however far they lead."""
    own = SystemClock()
    for _ in range(100):
        machine.passed += SECOND
        machine.ahead += STEP
        assert own.now() == machine.true + machine.ahead
        assert own.ahead() == timedelta(0)


def test_follows_when_it_is_told_to(machine: Machine) -> None:
    own = SystemClock()
    machine.ahead = DAY
    own.follow()
    assert own.now() == machine.true + DAY
    assert own.ahead() == timedelta(0)
    machine.ahead = timedelta(0)
    assert own.ahead() == -DAY


def test_is_right_again_when_the_wall_clock_is(machine: Machine) -> None:
    own = SystemClock()
    machine.ahead = DAY
    own.now()
    machine.ahead = SECOND
    assert own.ahead() == timedelta(0)
    assert own.now() == machine.true + SECOND


def test_a_look_that_was_held_up_between_the_two_clocks_is_no_jump(monkeypatch: pytest.MonkeyPatch, machine: Machine) -> None:
    own = SystemClock()
    held_up = iter([DAY, timedelta(0), timedelta(0)])

    def wall() -> datetime:
        shown = machine.true
        machine.passed += next(held_up, timedelta(0))
        return shown

    monkeypatch.setattr(clock, "wall_clock", wall)
    assert own.ahead() == timedelta(0)


def test_the_real_clocks_agree() -> None:
    own = SystemClock()
    assert abs(own.now() - clock.wall_clock()) < STEP
    assert own.ahead() == timedelta(0)
    assert own.monotonic() <= own.monotonic()


@pytest.mark.parametrize("text", ["2026-01-31T12:00:00Z", "2026-01-31T14:00:00.000000999+02:00"])
def test_an_instant_is_read_in_utc(text: str) -> None:
    assert parse_rfc3339(text) == datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "said"), [("tomorrow", "is not a time"), ("2026-01-31T12:00:00", "has no time zone"), ("", "is not a time")]
)
def test_what_is_no_instant_is_refused(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_rfc3339(text)


def test_an_instant_is_written_in_utc_to_the_millisecond() -> None:
    east = timezone(timedelta(hours=2))
    assert rfc3339(datetime(2026, 1, 31, 14, 0, 0, 250_999, tzinfo=east)) == "2026-01-31T12:00:00.250Z"
