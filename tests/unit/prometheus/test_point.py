from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollbackd.model.policy import Reduce
from rollbackd.model.reason import Reason
from rollbackd.prometheus.answer import Answer, Series
from rollbackd.prometheus.point import Point, at_once, at_steps, counts, instant, number, value

NOW = datetime(2026, 1, 31, 12, 0, 0, 123_456, UTC)
STEP = timedelta(seconds=15)


def point(*texts: str, **labelled: str) -> Point:
    return [
        *((frozenset({("i", str(i))}) if i else frozenset(), text) for i, text in enumerate(texts)),
        *((frozenset({("zone", zone)}), text) for zone, text in labelled.items()),
    ]


@pytest.mark.parametrize(
    ("text", "expected"), [("0", 0.0), ("0.013", 0.013), ("1e-09", 1e-9), ("1e+29", 1e29), ("-3", -3.0), ("1795448256.223", 1795448256.223)]
)
def test_the_forms_of_the_api_are_numbers(text: str, expected: float) -> None:
    assert number(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        *("NaN", "nan", "+Inf", "-Inf", "Inf", "inf", "1e999", "-1e999"),
        *("1_0", " 1", "1 ", " nan ", "", "1,5", "0x10", "١٢", "1.", ".5", "1\n", "1e"),
    ],
)
def test_everything_else_is_none(text: str) -> None:
    assert number(text) is None


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_finite_number_is_read_back(given_value: float) -> None:
    assert number(repr(given_value)) == given_value


@given(st.text())
def test_no_text_is_read_more_generously_than_float(text: str) -> None:
    parsed = number(text)
    assert parsed is None or parsed == float(text)


def test_one_series_is_its_number() -> None:
    assert value(point("0.02"), None) == 0.02


def test_no_series_several_series_and_no_number_are_reasons() -> None:
    assert value(point(), None) is Reason.NO_SERIES
    assert value(point("1", "2"), None) is Reason.SEVERAL_SERIES
    assert value(point("NaN"), None) is Reason.NOT_A_NUMBER
    assert value(point("1", "NaN"), Reduce.MAX) is Reason.NOT_A_NUMBER
    assert value(point("1e308", "1e308"), Reduce.SUM) is Reason.NOT_A_NUMBER


def test_the_same_series_twice_is_no_number() -> None:
    assert value([*point("1"), *point("1")], Reduce.SUM) is Reason.NOT_A_NUMBER


@pytest.mark.parametrize(("reduce", "expected"), [(Reduce.MAX, 5.0), (Reduce.MIN, 1.0), (Reduce.SUM, 8.0)])
def test_several_series_are_reduced_when_the_indicator_says_how(reduce: Reduce, expected: float) -> None:
    assert value(point("2", "1", "5"), reduce) == expected


def test_counts_of_one_series_need_no_common_labels() -> None:
    assert counts(point(a="3"), point("100"), None) == (3.0, 100.0)


def test_a_missing_numerator_is_no_bad_events_and_a_missing_denominator_is_unknown() -> None:
    assert counts(point(), point("100"), None) == (0.0, 100.0)
    assert counts(point("3"), point(), None) is Reason.NO_SERIES


@pytest.mark.parametrize(("bad", "total"), [(point("1", "2"), point("9")), (point("1"), point("9", "8"))])
def test_several_series_on_either_side_are_unknown(bad: Point, total: Point) -> None:
    assert counts(bad, total, None) is Reason.SEVERAL_SERIES


@pytest.mark.parametrize("text", ["NaN", "-1", "+Inf", "1_0"])
def test_a_count_is_a_number_and_not_negative(text: str) -> None:
    assert counts(point(text), point("9"), None) is Reason.NOT_A_NUMBER
    assert counts(point("0"), point(text), None) is Reason.NOT_A_NUMBER


def test_reduced_counts() -> None:
    bad, total = point(a="1", b="9"), point(a="100", b="90", c="50", idle="0")
    assert counts(bad, total, Reduce.SUM) == (10.0, 240.0)
    assert counts(bad, total, Reduce.MAX) == (9.0, 90.0)
    assert counts(bad, total, Reduce.MIN) == (0.0, 50.0)  # c has no bad events; idle has no ratio
    assert counts(point(), point(idle="0"), Reduce.MAX) == (0.0, 0.0)


def test_bad_events_of_a_series_without_a_total_are_no_ratio() -> None:
    assert counts(point(other="1"), point(a="100"), Reduce.MAX) is Reason.NO_SERIES


def test_counts_that_add_up_to_infinity_are_no_number() -> None:
    assert counts(point(), point(a="1e308", b="1e308"), Reduce.SUM) is Reason.NOT_A_NUMBER


@pytest.mark.parametrize("text", ["NaN", "1e300", "-1e300", ""])
def test_an_instant_is_a_moment_or_none(text: str) -> None:
    assert instant(point("1795448256.25")) == datetime(2026, 11, 23, 15, 37, 36, 250_000, UTC)
    assert instant(point(text)) is None
    assert instant(point()) is None


def test_a_step_is_found_again_though_prometheus_cuts_microseconds() -> None:
    steps = (NOW - STEP, NOW)
    cut = tuple(at.replace(microsecond=123_000).timestamp() for at in steps)
    answer = Answer(
        result_type="matrix",
        series=(
            Series({"zone": "a"}, ((cut[0], "1"), (cut[1], "2"))),
            Series({"zone": "b"}, ((cut[1], "3"), (cut[1] + STEP.total_seconds(), "4"))),
        ),
    )
    assert [list(each) for each in at_steps(answer, steps, STEP)] == [point(a="1"), point(a="2", b="3")]


def test_the_one_moment_of_an_instant_query() -> None:
    answer = Answer(result_type="vector", series=(Series({"zone": "a"}, ((NOW.timestamp(), "1"),)), Series({}, ((NOW.timestamp(), "2"),))))
    assert at_once(answer) == [*point(a="1"), *point("2")]
