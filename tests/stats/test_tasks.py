"""Two checkpoints on one panel: McNemar's exact test, its form for repeated plays, the paired interval."""

from __future__ import annotations

import math
from itertools import product

import pytest

from sdar_cli.stats import mcnemar, paired, sign_flip, tasks_needed


def test_mcnemar_by_hand() -> None:
    """1 against 5 of 6: (1 + 6) / 64 in each tail, 14/64."""
    assert mcnemar(1, 5) == mcnemar(5, 1) == pytest.approx(14 / 64)
    assert mcnemar(0, 0) == 1.0
    assert mcnemar(4, 4) == 1.0
    assert mcnemar(0, 6) == pytest.approx(2 / 64)


def test_mcnemar_as_statsmodels_has_it() -> None:
    assert mcnemar(3, 11) == pytest.approx(0.057373046875, abs=1e-14)
    assert mcnemar(30, 20) == pytest.approx(0.20263875106454066, abs=1e-12)


def test_sign_flip_is_mcnemar_for_single_plays() -> None:
    for better, worse in ((1, 5), (3, 11), (20, 30), (7, 7)):
        differences = [1] * better + [-1] * worse + [0] * 9
        assert sign_flip(differences) == pytest.approx(mcnemar(better, worse), abs=1e-12)


def test_sign_flip_by_enumeration() -> None:
    differences = [3, -1, 2, 0, 2, -2, 1]
    sums = [sum(s * d for s, d in zip(signs, differences, strict=True)) for signs in product((-1, 1), repeat=7)]
    as_far = sum(abs(total) >= 5 for total in sums) / len(sums)
    assert sign_flip(differences) == pytest.approx(as_far)
    assert sign_flip([0, 0]) == 1.0


def test_paired_by_hand() -> None:
    """10 tasks, 4 better, 1 worse.  Bonett and Price: shares 5/12 and 2/12, mean 3/12, variance 7/12 - 9/144 =
    0.520833, error sqrt(0.520833 / 12) = 0.208333, half 0.408326."""
    first = [0, 0, 0, 0, 1, 1, 1, 0, 0, 1]
    second = [1, 1, 1, 1, 0, 1, 1, 0, 0, 1]
    found = paired(first, second)
    assert (found.better, found.worse, found.tasks) == (4, 1, 10)
    assert found.estimate == pytest.approx(0.3)
    assert found.p == pytest.approx(2 * 6 / 32)
    assert (found.low, found.high) == pytest.approx((0.25 - 0.408326, 0.25 + 0.408326), abs=1e-5)


def test_paired_is_antisymmetric() -> None:
    first, second = [2, 0, 1, 3, 0, 1], [3, 1, 1, 0, 2, 2]
    one, other = paired(first, second, 3), paired(second, first, 3)
    assert (one.estimate, one.low, one.high) == pytest.approx((-other.estimate, -other.high, -other.low))
    assert one.p == pytest.approx(other.p)


def test_repeats_that_agree_change_nothing_but_the_scale() -> None:
    first, second = [0, 0, 1, 1, 0], [1, 1, 1, 0, 1]
    once, twice = paired(first, second), paired([2 * v for v in first], [2 * v for v in second], 2)
    assert (once.estimate, once.low, once.high, once.p) == pytest.approx(
        (twice.estimate, twice.low, twice.high, twice.p)
    )


def test_equal_checkpoints() -> None:
    found = paired([1, 0, 1], [1, 0, 1])
    assert (found.estimate, found.p) == (0.0, 1.0)
    assert found.low == -found.high < 0
    with pytest.raises(ValueError, match="the same tasks"):
        paired([1], [1, 0])
    with pytest.raises(ValueError, match="the same tasks"):
        paired([], [])


def test_tasks_needed() -> None:
    """Connor: ((1.959964 sqrt(0.3) + 0.841621 sqrt(0.3 - 0.0025)) / 0.05)^2 = (1.532572 / 0.05)^2 = 939.5."""
    assert tasks_needed(0.3) == 940
    assert tasks_needed(0.04) is None
    assert tasks_needed(0.3, 0.1) == math.ceil(((1.959964 * 0.3**0.5 + 0.841621 * 0.29**0.5) / 0.1) ** 2)
