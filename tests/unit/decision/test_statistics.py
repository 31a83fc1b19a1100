"""Against values that were computed by hand, and against the definition."""

import itertools
from collections.abc import Sequence
from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollbackd.decision.statistics import binomial_p, proportion_p, rank_p


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ((3, 4, 1, 4), 0.2428571428571429),  # the lady who tasted tea (Fisher 1935): 17/70
        ((8, 10, 1, 6), (9 * 21 + 7) / 8008),
        ((9, 10, 2, 9_000), (55 * 8_999 + 11) / comb(9_010, 10)),
        ((100, 1_000, 100, 1_000), 1.0),
        ((0, 10, 0, 10), 1.0),
        ((10, 10, 0, 0), 1.0),
        ((50_000, 1_000_000, 100, 1_000_000), 0.0),
    ],
)
def test_two_proportions(counts: tuple[int, int, int, int], expected: float) -> None:
    assert proportion_p(*counts) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("counts", [(2, 1, 0, 1), (-1, 1, 0, 1), (0, 1, 3, 2)])
def test_what_are_no_counts_is_refused(counts: tuple[int, int, int, int]) -> None:
    with pytest.raises(ValueError, match="no counts"):
        proportion_p(*counts)


@given(st.integers(0, 12), st.integers(1, 12), st.integers(0, 12), st.integers(1, 12))
def test_the_exact_test_is_the_share_of_all_ways_to_deal_the_bad_ones(bad: int, good: int, bad_before: int, good_before: int) -> None:
    total, before, all_bad = bad + good, bad_before + good_before, bad + bad_before
    if bad * (total + before) <= all_bad * total:
        assert proportion_p(bad, total, bad_before, before) == 1.0
        return
    ways = sum(comb(all_bad, k) * comb(good + good_before, total - k) for k in range(bad, min(total, all_bad) + 1))
    assert proportion_p(bad, total, bad_before, before) == pytest.approx(ways / comb(total + before, total))


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ((1, 1), 0.005),
        ((2, 2), 0.005**2),
        ((1, 2), 1 - 0.995**2),
        ((0, 10), 1.0),
        ((5, 1_000), 1.0),  # not more than its share
        ((3, 10), sum(comb(10, k) * 0.005**k * 0.995 ** (10 - k) for k in range(3, 11))),
    ],
)
def test_one_proportion(counts: tuple[int, int], expected: float) -> None:
    assert binomial_p(*counts, 0.005) == pytest.approx(expected, rel=1e-6)


def test_a_rate_that_allows_none_is_broken_by_one() -> None:
    assert (binomial_p(1, 1_000, 0.0), binomial_p(0, 1_000, 0.0), binomial_p(1_000, 1_000, 1.0)) == (0.0, 1.0, 1.0)


def test_busy_services_take_no_longer() -> None:
    """Half a billion failing requests: a sum over all of them would stop the daemon for the better part of an hour."""
    assert binomial_p(450_000_000, 1_000_000_000, 0.005) == 0.0
    assert proportion_p(450_000_000, 1_000_000_000, 400_000_000, 1_000_000_000) == 0.0


@given(st.integers(1, 500), st.integers(2, 30))
def test_more_requests_at_the_same_ratios_never_weaken_it(scale: int, factor: int) -> None:
    assert proportion_p(3 * scale * factor, 10 * scale * factor, scale * factor, 10 * scale * factor) <= proportion_p(
        3 * scale, 10 * scale, scale, 10 * scale
    )


@pytest.mark.parametrize(
    ("after", "before", "expected"),
    [
        ([9, 8], [1, 2, 3, 4], 1 / 15),
        ([9, 3.5], [1, 2, 3, 4], 3 / 15),
        ([4], [1, 2, 3, 4], 2 / 5),  # equal is not above
        ([], [1], 1.0),
        ([1], [], 1.0),
        (range(20, 30), range(20), 6.03e-06),  # U = 200, mean 100, variance 10 * 20 * 31 / 12: z = 4.377
        ([5] * 10, [5] * 10, 1.0),
    ],
)
def test_ranks(after: Sequence[float], before: Sequence[float], expected: float) -> None:
    assert rank_p(list(after), list(before)) == pytest.approx(expected, rel=0.02)


@given(st.lists(st.integers(0, 30), min_size=1, max_size=4), st.lists(st.integers(0, 30), min_size=1, max_size=5))
def test_few_values_never_claim_more_than_all_ways_to_deal_them(after: list[int], before: list[int]) -> None:
    """Of all ways to choose which values are the later ones, at least so many look as bad."""
    pooled, claimed = after + before, rank_p(after, before)
    dealt = list(itertools.combinations(range(len(pooled)), len(after)))
    as_bad = sum(
        rank_p([pooled[i] for i in chosen], [pooled[i] for i in range(len(pooled)) if i not in chosen]) <= claimed for chosen in dealt
    )
    assert as_bad / len(dealt) <= claimed + 1e-9
