"""The two-level bootstrap: its standard error against its closed form, pairing, symmetry, repeatability."""

from __future__ import annotations

import numpy as np
import pytest

from sdar_cli.stats import two_level, welch
from sdar_cli.stats.twolevel import bootstrap

RNG = np.random.default_rng(0)
FIRST = (RNG.random((3, 40)) < np.array([[0.2], [0.4], [0.6]])).astype(float)
SECOND = (RNG.random((4, 40)) < np.array([[0.5], [0.6], [0.6], [0.9]])).astype(float)


def test_no_difference_between_tasks_leaves_welch() -> None:
    """Where all tasks of a seed agree, tasks add nothing; the error is Welch's, thanks to the widening."""
    first, second = np.repeat([[0.4], [0.5], [0.8]], 30, axis=1), np.repeat([[0.6], [0.9], [0.7]], 30, axis=1)
    found, exact = two_level(first, second, draws=20_000), welch([0.4, 0.5, 0.8], [0.6, 0.9, 0.7])
    assert found.estimate == pytest.approx(exact.estimate)
    assert found.df == pytest.approx(exact.df, rel=0.05)
    assert (found.low, found.high) == pytest.approx((exact.low, exact.high), abs=0.01)
    assert found.p == pytest.approx(exact.p, abs=0.01)


def test_seeds_that_agree_leave_the_paired_tasks() -> None:
    """Equal rows: the error is that of the mean of task differences, sqrt(var / T), with normal quantiles."""
    first, second = np.tile(FIRST[0], (3, 1)), np.tile(SECOND[0], (3, 1))
    found = two_level(first, second, draws=20_000)
    error = (SECOND[0] - FIRST[0]).std() / np.sqrt(40)
    assert found.df > 1e6
    assert (found.high - found.low) / 2 == pytest.approx(1.959964 * error, rel=0.04)


def test_variance_is_the_closed_form() -> None:
    """Var = E over seeds of the task variance + variance over seeds of the mean (law of total variance)."""
    drawn = bootstrap(FIRST, SECOND, 30_000, np.random.default_rng(1))
    difference_T = SECOND.mean(0) - FIRST.mean(0)
    total = difference_T.var() / 40
    for arm in (FIRST, SECOND):
        deviation_ST = arm - arm.mean(0)
        seeds = len(arm)
        total += arm.mean(1).var(ddof=1) / seeds  # of the means over tasks
        # drawing tasks within drawn seeds: the task variance of the deviation, averaged over draws of seeds
        spread = np.cov(deviation_ST.T, bias=True) / (seeds - 1)
        total += (np.trace(spread) / 40 - spread.mean()) / 40
    assert drawn.var() == pytest.approx(total, rel=0.04)


def test_symmetry_and_repeatability() -> None:
    one, other = two_level(FIRST, SECOND), two_level(SECOND, FIRST)
    assert one.estimate == -other.estimate
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low), abs=0.01)
    assert two_level(FIRST, SECOND) == one
    assert two_level(FIRST, SECOND, seed=1) != one


def test_tasks_are_paired() -> None:
    """A second arm that follows the tasks of the first is known more closely than one whose tasks are shuffled."""
    hard = np.linspace(0, 1, 40) < 0.5
    first = np.tile(hard, (3, 1)).astype(float)
    second = first.copy()
    second[:, :4] = 0
    shuffled = second[:, RNG.permutation(40)]
    assert two_level(first, second).p < 0.1 < two_level(first, shuffled).p


def test_refuses_what_it_cannot_judge() -> None:
    with pytest.raises(ValueError, match="3 seeds in each arm"):
        two_level(FIRST[:2], SECOND)
    with pytest.raises(ValueError, match="over the same tasks"):
        two_level(FIRST[:, :39], SECOND)
