from datetime import UTC, date, datetime, timedelta
from itertools import product

import pytest
from apscheduler.triggers.cron import CronTrigger
from hypothesis import given
from hypothesis import strategies as st

from rollbackd.model import cron

MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
WEEK = [date(2026, 2, 2) + timedelta(days=day) for day in range(7)]  # Monday to Sunday


def comes(text: str, moment: datetime) -> bool:
    parsed = cron.parse(text)
    return parsed.has_day(moment.date()) and moment.hour in parsed.hours and moment.minute in parsed.minutes


@pytest.mark.parametrize(
    ("weekdays", "expected"),
    [
        ("0", "sun"),
        ("7", "sun"),
        ("1", "mon"),
        ("5", "fri"),
        ("fri", "fri"),
        ("FRI", "fri"),
        ("1-5", "mon tue wed thu fri"),
        ("mon-fri", "mon tue wed thu fri"),
        ("5-7", "fri sat sun"),
        ("fri-sun", "fri sat sun"),
        ("sun-tue", "mon tue sun"),
        ("6,0", "sat sun"),
        ("0-7", " ".join(WEEKDAYS)),
        ("*", " ".join(WEEKDAYS)),
        ("*/2", "tue thu sat sun"),
        ("1-5/2", "mon wed fri"),
    ],
)
def test_days_of_the_week_count_from_sunday_as_cron_does(weekdays: str, expected: str) -> None:
    """APScheduler, which is installed as well, counts from Monday: `0` there is another day."""
    parsed = cron.parse(f"0 0 * * {weekdays}")
    assert [name for name, day in zip(WEEKDAYS, WEEK, strict=True) if parsed.has_day(day)] == expected.split()


@pytest.mark.parametrize(
    ("text", "minutes", "hours"),
    [
        ("0 18 * * *", [0], [18]),
        ("*/15 9-17/4 * * *", [0, 15, 30, 45], [9, 13, 17]),
        ("5,10-12,59 0,23 * * *", [5, 10, 11, 12, 59], [0, 23]),
        ("10-12,11 */12 * * *", [10, 11, 12], [0, 12]),
        ("  0\t6   * * * ", [0], [6]),
    ],
)
def test_lists_ranges_and_steps(text: str, minutes: list[int], hours: list[int]) -> None:
    parsed = cron.parse(text)
    assert (list(parsed.minutes), list(parsed.hours)) == (minutes, hours)


def days(text: str, month: int = 5) -> list[int]:
    """May 2026: it begins on a Friday."""
    return [day for day in range(1, 32) if cron.parse(text).has_day(date(2026, month, day))]


def test_either_day_is_enough_where_both_are_named() -> None:
    assert days("0 0 13 * fri") == [1, 8, 13, 15, 22, 29]
    assert days("0 0 13 * *") == [13]
    assert days("0 0 * * fri") == [1, 8, 15, 22, 29]
    assert days("0 0 */7 * fri") == [1, 8, 15, 22, 29], "a field that begins with * restricts, but names nothing: both have to hold"
    assert days("0 0 */2 * fri") == [1, 15, 29]
    assert days("0 0 1-7 * */5") == [1, 3], "the first Friday and the first Sunday: 0 and 5"
    assert days("0 0 13 jun fri") == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("0 18 * *", "write five fields, '0 18 * * fri'"),
        ("0 18 * * fri 2026", "write five fields, '0 18 * * fri'"),
        ("@daily", "write five fields, '0 18 * * fri'"),
        ("60 * * * *", "'60': the minute is 0 to 59"),
        ("0 24 * * *", "'24': the hour is 0 to 23"),
        ("0 0 0 * *", "'0': the day of the month is 1 to 31"),
        ("0 0 * 13 *", "'13': the month is 1 to 12 or a name such as jan"),
        ("0 0 * foo *", "'foo': the month is 1 to 12 or a name such as jan"),
        ("0 0 * * 8", "'8': the day of the week is 0 to 6 or a name such as sun"),
        ("0 0 * * jan", "'jan': the day of the week is 0 to 6 or a name such as sun"),
        ("mon 0 * * *", "'mon': the minute is 0 to 59"),
        ("22-3 * * * *", "'22-3' runs backwards: write it as two ranges, with a comma between them"),
        ("0 0 * * sat-mon", "'sat-mon' runs backwards: write it as two ranges, with a comma between them"),
        ("5/15 * * * *", "'5/15': a step follows '*' or a range: write 5-59/15"),
        ("*/0 * * * *", "'*/0': a step of the minute is 1 to 60"),
        ("*/61 * * * *", "'*/61': a step of the minute is 1 to 60"),
        ("1, * * * *", "'' is no minute: write 0-59, '*', lists, ranges or steps such as '*/2'"),
        ("1-2-3 * * * *", "'1-2-3' is no minute: write 0-59, '*', lists, ranges or steps such as '*/2'"),
        ("-1 * * * *", "'-1' is no minute: write 0-59, '*', lists, ranges or steps such as '*/2'"),
        ("0 0 L * *", "'L' is no day of the month: write 1-31, '*', lists, ranges or steps such as '*/2'"),
        ("0 0 * * fri#2", "'fri#2' is no day of the week: write 0-6, '*', lists, ranges or steps such as '*/2'"),
        ("٣ * * * *", "'٣' is no minute: write 0-59, '*', lists, ranges or steps such as '*/2'"),
    ],
)
def test_what_cannot_be_read_is_refused_with_what_to_write(text: str, problem: str) -> None:
    with pytest.raises(ValueError) as refused:
        cron.parse(text)
    assert str(refused.value) == f"{text!r}: {problem}"


@pytest.mark.parametrize("text", ["0 0 31 2 *", "0 0 30-31 feb *", "0 0 31 2,4,6,9,11 *", "0 0 31 feb */2"])
def test_what_never_comes_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="never comes: none of its months has such a day"):
        cron.parse(text)


@pytest.mark.parametrize("text", ["0 0 29 2 *", "0 0 31 2,3 *", "0 0 31 2 fri", "0 0 */31 2 *"])
def test_what_comes_seldom_is_not(text: str) -> None:
    assert any(cron.parse(text).has_day(date(2024, 1, 1) + timedelta(days=day)) for day in range(5 * 366))


@st.composite
def part(draw: st.DrawFn, low: int, high: int) -> str:
    """The witness refuses a step that is longer than its range."""
    begin, end = sorted((draw(st.integers(low, high)), draw(st.integers(low, high))))
    plain = draw(st.sampled_from([str(begin), f"{begin}-{end}", "*"]))
    span = {str(begin): 0, "*": high - low}.get(plain, end - begin)
    return f"{plain}/{draw(st.integers(1, span))}" if span and draw(st.booleans()) else plain


def field(low: int, high: int) -> st.SearchStrategy[str]:
    return st.lists(part(low, high), min_size=1, max_size=3).map(",".join)


NAMED_WEEKDAYS = st.lists(st.sampled_from([*WEEKDAYS[:5], "mon-fri", "tue-thu", "sat,sun"]), min_size=1, max_size=3).map(",".join)
NAMED_MONTHS = field(1, 12) | st.sampled_from(["jan-mar", "jun,dec", "apr-oct"])


@given(
    field(0, 59),
    field(0, 23),
    st.one_of(st.tuples(field(1, 28), st.just("*")), st.tuples(st.just("*"), NAMED_WEEKDAYS)),
    NAMED_MONTHS,
    st.integers(0, 3 * 365 * 24 * 60).map(lambda minutes: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=minutes)),
)
def test_agrees_with_another_reading_of_cron_where_both_mean_the_same(
    minute: str, hour: str, day_fields: tuple[str, str], month: str, moment: datetime
) -> None:
    """With one of the two day fields left open, and weekdays by name, APScheduler's own parser is a witness."""
    day, weekday = day_fields
    witness = CronTrigger(minute=minute, hour=hour, day=day, month=month, day_of_week=weekday, timezone="UTC")
    fires = witness.get_next_fire_time(None, moment)
    text = f"{minute} {hour} {day} {month} {weekday}"
    assert comes(text, fires)
    assert comes(text, moment) is (fires == moment)


def test_every_minute_of_a_day_is_told_apart() -> None:
    start = datetime(2026, 3, 4, tzinfo=UTC)
    meant = [
        (hour, minute) for hour, minute in product(range(24), range(60)) if comes("30 2,14 * * *", start.replace(hour=hour, minute=minute))
    ]
    assert meant == [(2, 30), (14, 30)]
