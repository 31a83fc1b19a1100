"""Is the later worse than the earlier by more than chance? One-sided, exact where it is short to be exact.

Each answers the probability of a difference at least as large if nothing had changed, for samples that are independent of each other.
"""

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Final

SIGNIFICANT: Final = 0.01
"""Below this, chance is no explanation. One look in a hundred may still mislead; that is why relevance is asked as well."""

_FEW: Final = 8
"""Up to here the normal approximation of the rank sum is too coarse for a limit of 0.01."""


def proportion_p(bad: int, total: int, bad_before: int, total_before: int) -> float:
    """Fisher's exact test: `bad` of `total` against `bad_before` of `total_before` (R. A. Fisher, 1922).

    Exact at any size, so that 9 of 10 against 2 of 9,000 is as well founded as a comparison of thousands. Raises ValueError for counts
    that are none.
    """
    if not (0 <= bad <= total and 0 <= bad_before <= total_before):
        raise ValueError(f"no counts: {bad} of {total} against {bad_before} of {total_before}")
    all_bad, everything = bad + bad_before, total + total_before
    if bad * everything <= all_bad * total:
        return 1.0  # not more than its share
    chance = 0.0
    first = _log_hypergeometric(bad, total, all_bad, everything)
    for more in range(bad, min(total, all_bad) + 1):  # beyond the mode each term is smaller than the one before
        term = math.exp(_log_hypergeometric(more, total, all_bad, everything))
        chance += term
        if term <= chance * 1e-12:  # also where the first one is too small for a float: a million more add nothing
            break
    return min(chance, 1.0) if first > -700 else 0.0


def binomial_p(bad: int, total: int, rate: float) -> float:
    """The chance of at least `bad` of `total` where each is bad at `rate` by itself; exact."""
    if not 0 <= bad <= total:
        raise ValueError(f"no counts: {bad} of {total}")
    if bad <= rate * total or not bad:
        return 1.0
    if rate <= 0:
        return 0.0
    chance = 0.0
    for count in range(bad, total + 1):
        term = math.exp(_log_comb(total, count) + count * math.log(rate) + (total - count) * math.log1p(-rate))
        chance += term
        if term <= chance * 1e-12:
            break
    return min(chance, 1.0)


def rank_p(after: Sequence[float], before: Sequence[float]) -> float:
    """Whether the values of `after` lie above those of `before`; 1.0 where one of them is empty.

    Few values: the exact chance that all of `after` are among the largest, with as many of `before` above the least of them as there
    are (the precedence test; L. S. Nelson, 1963). More: the rank sum of Mann and Whitney (1947) with its correction for ties. Values
    that are equal count as not worse.
    """
    few, many = len(after), len(before)
    if not few or not many:
        return 1.0
    if few < _FEW:
        least = min(after)
        above = sum(value >= least for value in before)
        return math.comb(few + above, few) / math.comb(few + many, few)
    return _rank_sum_p(after, before)


def _rank_sum_p(after: Sequence[float], before: Sequence[float]) -> float:
    n, m = len(after), len(before)
    ranked = sorted([(value, True) for value in after] + [(value, False) for value in before])
    rank_sum = ties = 0.0
    at = 0
    while at < len(ranked):
        end = at
        while end < len(ranked) and ranked[end][0] == ranked[at][0]:
            end += 1
        rank_sum += (at + 1 + end) / 2 * sum(is_after for _, is_after in ranked[at:end])
        ties += (end - at) ** 3 - (end - at)
        at = end
    u = rank_sum - n * (n + 1) / 2
    both = n + m
    variance = n * m / 12 * (both + 1 - ties / (both * (both - 1)))
    if variance <= 0:
        return 1.0  # all the same
    return 1 - NormalDist().cdf((u - n * m / 2 - 0.5) / math.sqrt(variance))


def _log_hypergeometric(bad: int, total: int, all_bad: int, everything: int) -> float:
    """The logarithm of the chance that exactly `bad` of the `all_bad` fall among `total` of `everything`."""
    return _log_comb(all_bad, bad) + _log_comb(everything - all_bad, total - bad) - _log_comb(everything, total)


def _log_comb(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
