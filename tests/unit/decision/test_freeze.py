"""Freeze windows on the clock of their zone, also on the days on which that clock jumps."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rollbackd.decision.freeze import rule, stretch
from rollbackd.model import cron
from rollbackd.model.decision import CheckVerdict
from rollbackd.model.policy import FreezeWindow

HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
SECOND = timedelta(seconds=1)
BERLIN = "Europe/Berlin"
SPRING, AUTUMN = date(2026, 3, 29), date(2026, 10, 25)  # at 01:00 UTC: from 02:00 to 03:00, and from 03:00 back to 02:00


def window(text: str, duration: timedelta, tz: str = BERLIN) -> FreezeWindow:
    return FreezeWindow(cron=text, duration=duration, tz=tz)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def is_frozen(at: datetime, *windows: FreezeWindow) -> bool:
    return stretch(windows, at) is not None


def frozen_minutes(day: date, *windows: FreezeWindow) -> list[str]:
    """In UTC, on this day of the UTC calendar: `from-to` of each stretch, to the minute."""
    midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
    states = [is_frozen(midnight + minute * MINUTE, *windows) for minute in range(24 * 60)]
    edges = [minute for minute, (was, now) in enumerate(zip([False, *states], [*states, False], strict=True)) if was is not now]
    return [f"{begin // 60:02}:{begin % 60:02}-{end // 60:02}:{end % 60:02}" for begin, end in zip(edges[::2], edges[1::2], strict=True)]


class TestOrdinaryDays:
    WEEKEND = window("0 18 * * fri", 62 * HOUR)  # Friday evening to Monday, 8 o'clock

    @pytest.mark.parametrize(
        ("at", "frozen"),
        [
            ("2026-01-30 16:59:59.999999", False),
            ("2026-01-30 17:00", True),
            ("2026-01-31 03:00", True),
            ("2026-02-02 06:59:59.999999", True),
            ("2026-02-02 07:00", False),
            ("2026-02-04 12:00", False),
        ],
    )
    def test_from_its_start_to_just_before_its_end(self, at: str, frozen: bool) -> None:  # noqa: FBT001
        assert is_frozen(utc(at), self.WEEKEND) is frozen

    def test_over_midnight_the_end_of_a_month_and_of_a_year(self) -> None:
        night = window("30 23 * * *", 2 * HOUR, "UTC")
        assert frozen_minutes(date(2026, 3, 1), night) == ["00:00-01:30", "23:30-24:00"]
        assert is_frozen(utc("2027-01-01 01:29"), night)

    def test_the_zone_decides_which_day_it_is(self) -> None:
        """In Auckland it is Saturday already."""
        assert is_frozen(utc("2026-01-30 12:00"), window("0 0 * * sat", 12 * HOUR, "Pacific/Auckland"))
        assert not is_frozen(utc("2026-01-30 12:00"), window("0 0 * * sat", 12 * HOUR, "UTC"))

    def test_a_long_one_that_began_months_ago_stands(self) -> None:
        season = window("0 0 1 11 *", 70 * 24 * HOUR, "UTC")
        assert is_frozen(utc("2027-01-09 23:59"), season)
        assert not is_frozen(utc("2027-01-10 00:00"), season)

    def test_of_several_any_one_is_enough(self) -> None:
        lunch, tea = window("0 12 * * *", HOUR, "UTC"), window("0 16 * * *", HOUR, "UTC")
        assert frozen_minutes(date(2026, 2, 4), lunch, tea) == ["12:00-13:00", "16:00-17:00"]


class TestTheDayWithoutAnHour:
    """Berlin on 29 March: 02:00 to 03:00 is not shown."""

    @pytest.mark.parametrize(
        ("text", "duration", "expected"),
        [
            ("30 1 29 3 *", HOUR, ["00:30-01:30"]),  # an hour is an hour, also over the jump
            ("0 3 * * *", HOUR, ["01:00-02:00"]),
            ("30 2 * * *", HOUR, ["01:00-02:00"]),  # never shown: from the jump on, and not lost
            ("15,45 2 * * *", 30 * MINUTE, ["01:00-01:30"]),
            ("0 * * * *", 20 * MINUTE, [f"{hour:02}:00-{hour:02}:20" for hour in range(24)]),
        ],
    )
    def test_windows(self, text: str, duration: timedelta, expected: list[str]) -> None:
        assert frozen_minutes(SPRING, window(text, duration)) == expected


class TestTheDayWithAnHourTwice:
    """Berlin on 25 October: 02:00 to 03:00 is shown twice."""

    @pytest.mark.parametrize(
        ("text", "duration", "expected"),
        [
            ("30 2 * * *", 15 * MINUTE, ["00:30-00:45", "01:30-01:45"]),  # whenever the clock shows it
            ("30 2 * * *", HOUR, ["00:30-02:30"]),
            ("0 2 * * *", 2 * HOUR, ["00:00-03:00"]),
            ("0 3 * * *", HOUR, ["02:00-03:00"]),
            ("59 1 * * *", 2 * MINUTE, ["00:00-00:01"]),
        ],
    )
    def test_windows(self, text: str, duration: timedelta, expected: list[str]) -> None:
        assert frozen_minutes(AUTUMN, window(text, duration)) == expected

    def test_a_night_that_began_before_lasts_an_hour_of_the_clock_less(self) -> None:
        night = window("0 22 * * sat", 8 * HOUR)
        assert is_frozen(utc("2026-10-25 03:59"), night)  # 04:59 on that clock
        assert not is_frozen(utc("2026-10-25 04:00"), night)


def test_a_zone_that_leaves_out_a_whole_day() -> None:
    """Samoa had no 30 December 2011: what was to begin there begins with the 31st."""
    noon = window("0 12 * * *", 2 * HOUR, "Pacific/Apia")
    assert is_frozen(utc("2011-12-30 10:00"), noon)
    assert is_frozen(utc("2011-12-30 11:59"), noon)
    assert not is_frozen(utc("2011-12-30 12:00"), noon)


class TestWhenItLetsGo:
    def test_at_the_end_of_the_last_of_those_that_overlap_or_touch(self) -> None:
        day, night = window("0 9 * * *", 9 * HOUR, "UTC"), window("30 17 * * fri", 3 * HOUR, "UTC")
        weekend = window("30 20 * * fri", 2 * HOUR, "UTC")
        friday, thursday = utc("2026-01-30 10:00"), utc("2026-01-29 10:00")
        assert [found.until for found in (stretch((day, night, weekend), friday),) if found] == [utc("2026-01-30 22:30")]
        assert [found.until for found in (stretch((day, night, weekend), thursday),) if found] == [utc("2026-01-29 18:00")]

    def test_one_without_end_says_so_in_bounded_time(self) -> None:
        found = stretch((window("* * * * *", HOUR, "UTC"),), utc("2026-01-30 10:00"))
        assert found is not None
        assert not found.ends
        assert found.until > utc("2026-01-30 12:00")


class TestTheLine:
    NOW = utc("2026-01-31 03:00")

    def test_of_one_that_stands(self) -> None:
        ruling = rule((window("0 18 * * fri", 62 * HOUR), window("0 2 * * *", 2 * HOUR, "UTC")), self.NOW)
        assert ruling.verdict is CheckVerdict.FAILED
        assert ruling.value == "frozen by '0 18 * * fri' (Europe/Berlin) since 2026-01-30 17:00:00 UTC"
        assert ruling.limit == "2 d 14 h from each start; lets go at 2026-02-02 07:00:00 UTC"

    def test_of_one_without_end(self) -> None:
        ruling = rule((window("0 * * * *", HOUR, "UTC"),), self.NOW)
        assert ruling.limit is not None
        assert "lets go after 2026-02-04 " in ruling.limit

    def test_outside(self) -> None:
        ruling = rule((window("0 9 * * 1-5", 8 * HOUR), window("0 2 * * sun", HOUR, "UTC")), self.NOW)
        assert ruling.verdict is CheckVerdict.PASSED
        assert ruling.value == "outside every freeze window"
        assert ruling.limit == "'0 9 * * 1-5' (Europe/Berlin) for 8 h; '0 2 * * sun' (UTC) for 1 h"

    def test_without_any(self) -> None:
        assert rule((), self.NOW).verdict is CheckVerdict.NOT_APPLICABLE

    @pytest.mark.parametrize(
        "unreadable", [window("61 * * * *", HOUR), window("0 0 * * *", HOUR, "Mars/Olympus"), window("0 0 31 2 *", HOUR)]
    )
    def test_one_that_cannot_be_read_is_not_one_that_does_not_stand(self, unreadable: FreezeWindow) -> None:
        ruling = rule((window("0 9 * * 1-5", 8 * HOUR), unreadable), self.NOW)
        assert ruling.verdict is CheckVerdict.UNKNOWN
        assert ruling.value.startswith("a freeze window cannot be read: ")


# The same, minute by minute

ZONES = (BERLIN, "America/New_York", "Australia/Lord_Howe", "America/Santiago", "Asia/Kolkata", "UTC")
JUMPS = {  # in UTC; some at midnight, some by half an hour
    BERLIN: ("2026-03-29 01:00", "2026-10-25 01:00"),
    "America/New_York": ("2026-03-08 07:00", "2026-11-01 06:00"),
    "Australia/Lord_Howe": ("2026-10-03 15:30", "2026-04-04 15:00"),
    "America/Santiago": ("2026-09-06 04:00", "2026-04-05 03:00"),
}


def begins(text: str, zone: ZoneInfo, minute: datetime) -> bool:
    """Whether the clock shows a time that is meant in this minute, or has just jumped over one."""
    meant = cron.parse(text)
    shown = minute.astimezone(zone).replace(tzinfo=None)
    passed = (minute - MINUTE).astimezone(zone).replace(tzinfo=None) + MINUTE
    steps = [passed + step * MINUTE for step in range((shown - passed) // MINUTE)] if shown > passed else []
    return any(meant.has_day(each.date()) and each.hour in meant.hours and each.minute in meant.minutes for each in [*steps, shown])


@st.composite
def moments(draw: st.DrawFn) -> tuple[str, datetime]:
    """Mostly about when a clock jumps."""
    tz = draw(st.sampled_from(ZONES))
    around = utc(draw(st.sampled_from(JUMPS.get(tz, ("2026-02-28 23:00", "2028-02-29 01:00")))))
    return tz, around + draw(st.integers(-200, 1600)) * MINUTE + draw(st.sampled_from([timedelta(0), 59 * SECOND]))


def fields(low: int, high: int, *usual: str) -> st.SearchStrategy[str]:
    return st.sampled_from(usual) | st.lists(st.integers(low, high), min_size=1, max_size=3).map(lambda values: ",".join(map(str, values)))


@settings(max_examples=150, deadline=None)
@given(
    moments(),
    st.builds(
        "{} {} {} * {}".format,
        fields(0, 59, "0", "*/20", "*"),
        fields(0, 3, "*", "2", "23", "0", "*/6"),
        fields(1, 28, "*", "*", "25", "29", "1-8"),
        fields(0, 7, "*", "*", "sun", "sat-sun"),
    ),
    st.integers(1, 1500),
)
@example((BERLIN, utc("2026-03-29 01:10")), "30 2 * * *", 11)
@example(("America/Santiago", utc("2026-04-05 03:30")), "15 23 * * *", 20)
def test_a_minute_is_frozen_when_one_of_those_before_it_began_a_window(moment: tuple[str, datetime], text: str, minutes: int) -> None:
    tz, at = moment
    minute = at.replace(second=0)
    zone = ZoneInfo(tz)
    expected = any(begins(text, zone, minute - passed * MINUTE) for passed in range(minutes))
    assert is_frozen(at, window(text, minutes * MINUTE, tz)) is expected


@settings(max_examples=60, deadline=None)
@given(
    moments(),
    st.lists(
        st.tuples(st.sampled_from(["0 * * * *", "30 1-3 * * *", "0 2 * * sun", "15 22 * * *"]), st.integers(1, 300)), min_size=1, max_size=3
    ),
)
def test_it_lets_go_when_it_says_and_not_before(moment: tuple[str, datetime], told: list[tuple[str, int]]) -> None:
    tz, at = moment
    windows = tuple(window(text, minutes * MINUTE, tz) for text, minutes in told)
    found = stretch(windows, at)
    if found is None:
        return
    assert found.began <= at < found.until
    assert is_frozen(found.until - SECOND, *windows)
    assert is_frozen(found.until, *windows) is not found.ends
    last = min(found.until - at, 24 * HOUR)
    assert all(is_frozen(at + minute * MINUTE, *windows) for minute in range(0, int(last / MINUTE), 53))
