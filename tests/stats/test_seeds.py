"""Means over seeds, t intervals, Welch's test and its power: by hand, in the limit, and against other libraries."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest
from places import ROOT

from sdar_cli.stats import mean_sd, seed_by_seed, seeds_needed, t_interval, t_power, welch

A, B = [0.47, 0.455, 0.576], [0.61, 0.52, 0.66, 0.55]


def test_mean_and_sample_deviation() -> None:
    """2, 4, 4, 4, 5, 5, 7, 9: mean 5, squares sum to 32, divided by 7 and not by 8."""
    assert mean_sd([2, 4, 4, 4, 5, 5, 7, 9]) == pytest.approx((5.0, math.sqrt(32 / 7)))
    assert mean_sd([0.25]) == (0.25, 0.0)
    with pytest.raises(ValueError, match="no values"):
        mean_sd([])


def test_t_interval_by_hand() -> None:
    """0.4, 0.5, 0.6: mean 0.5, sd 0.1, t(2) = 4.30265, half 4.30265 * 0.1 / sqrt(3) = 0.24841."""
    found = t_interval([0.4, 0.5, 0.6])
    assert (found.estimate, found.low, found.high) == pytest.approx((0.5, 0.25159, 0.74841), abs=1e-5)
    of_scipy = (0.4856281459674643, 0.6843718540325356)
    found = t_interval(B)
    assert (found.low, found.high) == pytest.approx(of_scipy, abs=1e-12)


def test_one_seed_bounds_nothing() -> None:
    found = t_interval([0.5])
    assert (found.estimate, found.low, found.high) == (0.5, -math.inf, math.inf)
    with pytest.raises(ValueError, match="two seeds in each arm"):
        welch([0.5], B)
    with pytest.raises(ValueError, match="two seeds"):
        seeds_needed([[0.5], [0.4]])


def test_welch_as_scipy_has_it() -> None:
    found = welch(A, B)
    assert found.estimate == pytest.approx(0.585 - 1.501 / 3)
    assert found.p == pytest.approx(0.15569780363848518, abs=1e-12)
    assert found.df == pytest.approx(4.2981974507705205, abs=1e-12)
    assert (found.low, found.high) == pytest.approx((-0.048399565831166114, 0.21773289916449945), abs=1e-12)


def test_seed_by_seed_by_hand() -> None:
    """Differences 0.1, 0.2, 0.3: mean 0.2, sd 0.1, t = 0.2 / (0.1 / sqrt(3)) = 3.4641 with 2 degrees of freedom."""
    found = seed_by_seed([0.1, 0.5, 0.3], [0.2, 0.7, 0.6])
    half = 4.30265 * 0.1 / math.sqrt(3)
    assert (found.estimate, found.low, found.high) == pytest.approx((0.2, 0.2 - half, 0.2 + half), abs=1e-5)
    assert found.df == pytest.approx(2)
    assert found.p == pytest.approx(1 - 3.4641016 / math.sqrt(2 + 3.4641016**2), abs=1e-7)  # of t with 2 degrees
    with pytest.raises(ValueError, match="the same two seeds"):
        seed_by_seed([0.1, 0.2], [0.1, 0.2, 0.3])


def test_welch_is_antisymmetric() -> None:
    one, other = welch(A, B), welch(B, A)
    assert (one.estimate, one.low, one.high) == pytest.approx((-other.estimate, -other.high, -other.low))
    assert (one.p, one.df) == pytest.approx((other.p, other.df))


def test_interval_and_p_agree() -> None:
    """At the level 1 - p, zero is on the edge."""
    p = welch(A, B).p
    assert welch(A, B, level=1 - p).low == pytest.approx(0.0, abs=1e-9)


def test_welch_without_any_spread() -> None:
    assert welch([0.5, 0.5], [0.5, 0.5]).p == 1.0
    found = welch([0.5, 0.5], [0.75, 0.75])
    assert (found.low, found.high, found.p) == (0.25, 0.25, 0.0)
    assert found.df == math.inf


def test_rounding_of_a_mean_is_no_spread() -> None:
    """The mean of three times 0.1 is not 0.1 in floating point; the seeds agree all the same."""
    assert sum([0.1] * 3) / 3 != 0.1
    found = welch([0.1] * 3, [0.7] * 3)
    assert (found.p, found.df, found.low) == (0.0, math.inf, found.high)
    found = seed_by_seed([0.1] * 3, [0.1] * 3)
    assert (found.estimate, found.p) == (0.0, 1.0)
    found_mean = t_interval([0.1] * 3)
    assert found_mean.low == found_mean.high == found_mean.estimate


@pytest.mark.filterwarnings("error")
def test_one_arm_whose_seeds_agree_is_judged_by_the_other() -> None:
    """0.5 twice, and 0.6, 0.8: difference 0.2, error sqrt(0.02 / 2) = 0.1, t = 2 with 1 degree of freedom."""
    found = welch([0.5, 0.5], [0.6, 0.8])
    assert (found.estimate, found.df) == pytest.approx((0.2, 1.0))
    assert found.p == pytest.approx(1 - 2 / math.pi * math.atan(2))  # of Cauchy's distribution
    assert found.high - found.low == pytest.approx(2 * 0.1 * math.tan(math.pi * 0.475))


def test_importing_the_statistics_does_not_load_scipy() -> None:
    code = "import sys, sdar_cli.stats; sys.exit('scipy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


@pytest.mark.parametrize(
    "effect, seeds, power",
    [(1.0, 10, 0.5620066465861491), (0.5, 10, 0.18509565629116606), (0.8, 10, 0.395069212113640)],
)
def test_power_as_statsmodels_has_it(effect: float, seeds: int, power: float) -> None:
    """statsmodels adds the other tail: 2e-3 at most here."""
    assert t_power(effect, seeds) == pytest.approx(power, abs=2e-3)


@pytest.mark.parametrize("effect, seeds", [(1.0, 17), (0.5, 64), (0.8, 26)])  # 16.71, 63.77, 25.52 by statsmodels
def test_seeds_needed(effect: float, seeds: int) -> None:
    """Two seeds d apart have sd d / sqrt(2): a spread of 0.05 / effect needs d = 0.0707 / effect."""
    apart = 0.05 / effect * math.sqrt(2)
    needed = seeds_needed([[0.5, 0.5 + apart], [0.1, 0.1 + apart], [0.7]])
    assert needed.sd == pytest.approx(0.05 / effect)
    assert needed.seeds == seeds
    # two degrees of freedom: sd * sqrt(2 / chi2(2) at 0.2), that quantile being -2 ln 0.8 = 0.446287
    assert needed.cautious_sd == pytest.approx(needed.sd * math.sqrt(2 / 0.4462871))
    assert needed.cautious_seeds > needed.seeds


def test_no_spread_needs_two_seeds() -> None:
    assert seeds_needed([[0.5, 0.5]]).seeds == 2
