from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollbackd.model.matchers import Matcher, MatchOperator
from rollbackd.prometheus import promql

MINUTE = timedelta(minutes=1)


def equal(name: str, value: str) -> Matcher:
    return Matcher(name, MatchOperator.EQUAL, value)


def test_both_macros_are_filled_in() -> None:
    query = 'rate(x{$selector}[$window]) / rate(y{$selector,code=~"5.."}[$window])'
    rendered = promql.render(query, (equal("service", "api"), equal("env", "staging")), timedelta(seconds=90))
    assert rendered == 'rate(x{service="api",env="staging"}[90s]) / rate(y{service="api",env="staging",code=~"5.."}[90s])'


@pytest.mark.parametrize("text", ['{a=~"x$"}', "$selectors", "$windowed", "$window_s", "${selector}", "$1", "$$", "$"])
def test_any_other_dollar_is_left_alone(text: str) -> None:
    assert promql.render(text, (equal("service", "api"),), MINUTE) == text


def test_what_was_filled_in_is_not_searched_for_macros() -> None:
    assert promql.render("x{$selector}", (equal("a", "$window"),), MINUTE) == 'x{a="$window"}'


@pytest.mark.parametrize(
    ("value", "literal"),
    [
        ('"} or vector(1) #', r'"\"} or vector(1) #"'),
        ("back\\slash", r'"back\\slash"'),
        ("line\nbreak", r'"line\nbreak"'),
        ("\\1\\g<0>", r'"\\1\\g<0>"'),
        ("ünï", '"ünï"'),
    ],
)
def test_a_value_stays_one_literal(value: str, literal: str) -> None:
    assert promql.render("x{$selector}", (equal("a", value),), MINUTE) == f"x{{a={literal}}}"
    assert promql.firing(value) == f'ALERTS{{alertname={literal},alertstate="firing"}}'


@pytest.mark.parametrize(
    ("span", "text"),
    [
        (timedelta(seconds=90), "90s"),
        (timedelta(minutes=1), "60s"),
        (timedelta(milliseconds=1500), "1500ms"),
        (timedelta(milliseconds=200), "200ms"),
        (timedelta(days=1), "86400s"),
    ],
)
def test_a_duration_is_whole_seconds_or_milliseconds(span: timedelta, text: str) -> None:
    assert promql.duration(span) == text


def test_what_rollbackd_asks_of_raw_samples() -> None:
    assert promql.newest("x{a='b'}") == "max(timestamp(x{a='b'}))"
    assert promql.coverage("x", MINUTE) == "max(count_over_time(x[60s]))"
    assert promql.births("x", timedelta(seconds=15)) == "count(x unless x offset 30s) or 0 * count(x)"


@given(st.text())
def test_a_literal_ends_where_it_should(value: str) -> None:
    """Whatever a value holds, only its own last quote is not escaped."""
    body = promql.firing(value).removeprefix('ALERTS{alertname="').removesuffix('",alertstate="firing"}')
    unescaped = body.replace("\\\\", "").replace('\\"', "")
    assert '"' not in unescaped
    assert "\n" not in body
