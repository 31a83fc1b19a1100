import pytest

from rollbackd.prometheus.histogram import find_quantile, largest_bound

INNER = "sum by (le) (rate(http_request_duration_seconds_bucket{$selector}[$window]))"


def test_the_quantile_stands_between_what_is_done_with_it() -> None:
    found = find_quantile(f"1000 * histogram_quantile(0.95, {INNER}) + 5")
    assert found is not None
    assert found.buckets == "http_request_duration_seconds_bucket{$selector}"
    assert found.at_most(2.5) == "1000 * vector(2.5) + 5"


def test_brackets_in_quotes_are_no_brackets() -> None:
    found = find_quantile(r'max(histogram_quantile(0.5, x_bucket{path="a)\")",code!~"(4..)}"})) * 1e3')
    assert found is not None
    assert found.buckets == r'x_bucket{path="a)\")",code!~"(4..)}"}'
    assert found.at_most(1e-05) == "max(vector(1e-05)) * 1e3"


@pytest.mark.parametrize(
    "query",
    [
        "avg(up{$selector})",
        "histogram_quantile(0.9, rate(native{$selector}[1m]))",  # a native histogram has no le
        "histogram_quantile(0.9, a_bucket) / histogram_quantile(0.5, a_bucket)",
        "my_histogram_quantile(0.9, a_bucket)",
    ],
)
def test_of_anything_else_nothing_is_said(query: str) -> None:
    assert find_quantile(query) is None


def test_the_bucket_without_a_bound_does_not_count() -> None:
    assert largest_bound({"0.1", "+Inf", "2.5", "1e1"}) == 10
    assert largest_bound({"+Inf"}) is None
    assert largest_bound({"nonsense", ""}) is None
