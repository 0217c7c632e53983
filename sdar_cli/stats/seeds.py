"""Method against method: one number per training seed.  Means, t intervals, Welch's test and its power.

A seed is the unit here, because a method is what is run again with another seed; tasks only make each seed's number
less noisy.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sdar_cli.stats.types import Difference, Interval


def mean_sd(values: Sequence[float]) -> tuple[float, float]:
    """Mean and sample standard deviation (0 for a single value).  Raises ValueError for none."""
    if not values:
        raise ValueError("no values")
    mean = sum(values) / len(values)
    if len(values) == 1:
        return mean, 0.0
    return mean, math.sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - 1))


def t_interval(values: Sequence[float], level: float = 0.95) -> Interval:
    """Mean over seeds with its t interval; one seed bounds nothing.  Raises ValueError for none."""
    from scipy import stats

    mean, sd = mean_sd(values)
    if len(values) == 1:
        return Interval(mean, -math.inf, math.inf)
    if _all_equal(values):
        return Interval(mean, mean, mean)
    low, high = stats.t.interval(level, len(values) - 1, loc=mean, scale=sd / math.sqrt(len(values)))
    return Interval(mean, float(low), float(high))


def welch(first: Sequence[float], second: Sequence[float], level: float = 0.95) -> Difference:
    """Welch's t test of two methods' seeds, without assuming equal spreads.

    Where no seed differs from another of its arm there is no spread to measure by: p is then 0 or 1.
    Raises ValueError for an arm of fewer than two seeds.
    """
    from scipy import stats

    if min(len(first), len(second)) < 2:
        raise ValueError("Welch's test needs two seeds in each arm")
    estimate = mean_sd(second)[0] - mean_sd(first)[0]
    if _all_equal(first) and _all_equal(second):
        return no_spread(estimate)
    with _agreeing_seeds():
        return _difference(estimate, stats.ttest_ind(second, first, equal_var=False), level)


def seed_by_seed(first: Sequence[float], second: Sequence[float], level: float = 0.95) -> Difference:
    """The paired t test of two methods run with the same seeds, given in the same order.

    A seed chooses the training tasks, their order and the first draws, for both methods alike: its luck is common to a
    pair, and falls out of the differences.  Where nothing is common it only has fewer degrees of freedom than Welch's.
    Raises ValueError for unequal numbers of seeds and for fewer than two.
    """
    from scipy import stats

    if len(first) != len(second) or len(first) < 2:
        raise ValueError("a test seed by seed needs the same two seeds or more in both arms")
    gains = [after - before for before, after in zip(first, second, strict=True)]
    mean = mean_sd(gains)[0]
    if _all_equal(gains):
        return no_spread(mean)
    with _agreeing_seeds():
        return _difference(mean, stats.ttest_rel(second, first), level)


def no_spread(estimate: float) -> Difference:
    """The difference where nothing varies: it is what it is, and p is 1 for none and 0 for any."""
    return Difference(estimate, estimate, estimate, float(estimate == 0))


def _all_equal(values: Sequence[float]) -> bool:
    return min(values) == max(values)


def _difference(estimate: float, found: Any, level: float) -> Difference:
    """What scipy found, with the estimate as the seeds' means give it."""
    interval = found.confidence_interval(level)
    return Difference(estimate, float(interval.low), float(interval.high), float(found.pvalue), float(found.df))


@contextmanager
def _agreeing_seeds() -> Iterator[None]:
    """Silences scipy's doubt about values that are all equal: seeds of one success rate are no numerical accident."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Precision loss occurred in moment calculation", RuntimeWarning)
        yield


def t_quantile(q: float, df: float) -> float:
    """Quantile of the t distribution, of the normal one for infinite ``df``."""
    from scipy.special import ndtri, stdtrit

    return float(ndtri(q)) if math.isinf(df) else float(stdtrit(df, q))


@dataclass(frozen=True)
class SeedsNeeded:
    """Seeds per arm that show ``gain`` with the wanted power: at the observed spread, and at a cautious one.

    The cautious spread is the upper end of the one-sided 80 % interval of the standard deviation: that of three seeds
    may well be half of the truth.
    """

    gain: float
    power: float
    sd: float
    seeds: int
    cautious_sd: float
    cautious_seeds: int


def seeds_needed(
    arms: Sequence[Sequence[float]], gain: float = 0.05, power: float = 0.8, level: float = 0.95
) -> SeedsNeeded:
    """Seeds per arm for Welch's test to find ``gain``, from the pooled spread within the arms.

    Raises ValueError if no arm has two seeds.
    """
    from scipy.special import chdtri

    df = sum(len(values) - 1 for values in arms)
    if df < 1:
        raise ValueError("the spread over seeds needs an arm of two seeds")
    squares = sum(mean_sd(values)[1] ** 2 * (len(values) - 1) for values in arms if len(values) > 1)
    sd = math.sqrt(squares / df)
    cautious = math.sqrt(squares / float(chdtri(df, 0.8)))
    counts = [_smallest(gain / spread if spread else math.inf, power, level) for spread in (sd, cautious)]
    return SeedsNeeded(gain, power, sd, counts[0], cautious, counts[1])


def _smallest(effect: float, power: float, level: float) -> int:
    """Smallest group size at which the t test of two equal groups finds ``effect`` standard deviations."""
    if math.isinf(effect):
        return 2
    below, above = 1, 2
    while t_power(effect, above, level) < power:
        below, above = above, above * 2
    while above - below > 1:
        middle = (below + above) // 2
        below, above = (below, middle) if t_power(effect, middle, level) >= power else (middle, above)
    return above


def t_power(effect: float, seeds: int, level: float = 0.95) -> float:
    """Power of the two-sided t test with ``seeds`` per arm; ``effect`` in standard deviations.

    The other tail is left out: it matters only where the power is near the level.
    """
    from scipy.special import nctdtr

    df = 2 * seeds - 2
    return 1.0 - float(nctdtr(df, effect * math.sqrt(seeds / 2), t_quantile(0.5 + level / 2, df)))
