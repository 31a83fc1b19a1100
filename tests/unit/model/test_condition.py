import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollbackd.model.condition import Condition


@pytest.mark.parametrize(
    ("text", "comparison", "number", "relative"),
    [
        ("> 0.01", ">", 0.01, False),
        (">0.01", ">", 0.01, False),
        (" <=  500 ", "<=", 500.0, False),
        (">= 1e3", ">=", 1000.0, False),
        ("< 2.5E-2", "<", 0.025, False),
        ("> 3x", ">", 3.0, True),
        ("< 1.5x", "<", 1.5, True),
    ],
)
def test_the_forms_of_the_config(text: str, comparison: str, number: float, *, relative: bool) -> None:
    assert Condition.parse(text) == Condition(comparison, number, relative=relative)


@pytest.mark.parametrize("text", ["", "0.01", "= 1", "== 1", "!= 1", "=> 1", "> -1", "> 1 x", "> 1%", "> nan", "> inf", "> 1e999", "> 1 2"])
def test_anything_else_is_refused_with_the_forms(text: str) -> None:
    with pytest.raises(ValueError, match=r"write '> 0\.01'"):
        Condition.parse(text)


def test_a_value_at_the_limit_is_breached_only_by_a_closed_comparison() -> None:
    assert not Condition.parse("> 1").holds(1.0)
    assert Condition.parse(">= 1").holds(1.0)
    assert not Condition.parse("< 1").holds(1.0)
    assert Condition.parse("<= 1").holds(1.0)


def test_a_relative_limit_is_a_multiple_of_the_baseline() -> None:
    condition = Condition.parse("> 3x")
    assert condition.limit(baseline=50.0) == 150.0
    assert condition.holds(151.0, baseline=50.0)
    assert not condition.holds(150.0, baseline=50.0)


def test_at_least_keeps_three_times_almost_nothing_from_being_a_breach() -> None:
    condition = Condition.parse("> 3x")
    assert condition.limit(baseline=1.0, at_least=100.0) == 100.0
    assert not condition.holds(90.0, baseline=1.0, at_least=100.0)
    assert condition.holds(301.0, baseline=100.0, at_least=100.0)


def test_a_relative_condition_without_a_baseline_is_not_answered() -> None:
    with pytest.raises(ValueError, match="needs a baseline"):
        Condition.parse("> 3x").holds(1.0)


@pytest.mark.parametrize("text", ["> 1", ">= 1"])
def test_upward_is_where_more_is_worse(text: str) -> None:
    assert Condition.parse(text).upward
    assert not Condition.parse(text.replace(">", "<")).upward


@settings(deadline=None)
@given(
    st.builds(
        Condition,
        st.sampled_from([">", ">=", "<", "<="]),
        st.floats(min_value=0, max_value=1e12).map(lambda number: float(f"{number:g}")),
        st.booleans(),
    )
)
def test_its_text_reads_back(condition: Condition) -> None:
    assert Condition.parse(str(condition)) == condition
