from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollbackd.settings.durations import LONGEST, format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("500ms", timedelta(milliseconds=500)),
        ("5s", timedelta(seconds=5)),
        ("2m", timedelta(minutes=2)),
        ("1h", timedelta(hours=1)),
        ("90d", timedelta(days=90)),
        ("0s", timedelta()),
    ],
)
def test_the_forms(text: str, duration: timedelta) -> None:
    assert parse_duration(text) == duration
    assert format_duration(duration) == text


@pytest.mark.parametrize("text", ["", "5", "s", "5 s", " 5s", "-5s", "1.5h", "1h30m", "5S", "5w", "5sec", "1e3s", "\u0665s", "0x5s"])
def test_anything_else_is_refused_with_the_forms(text: str) -> None:
    with pytest.raises(ValueError, match="such as 500ms, 5s, 2m, 1h or 90d"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["3651d", "999999999d", "999999999h"])
def test_longer_than_any_clock_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="at most 3650d"):
        parse_duration(text)


@settings(deadline=None)
@given(st.integers(min_value=0, max_value=LONGEST // timedelta(milliseconds=1)).map(lambda number: timedelta(milliseconds=number)))
def test_its_text_reads_back(duration: timedelta) -> None:
    text = format_duration(duration)
    if len(text) <= 11:  # a number of milliseconds with more than nine digits is not a form of the config
        assert parse_duration(text) == duration
