"""Wilson intervals against published or hand-computed numbers."""

from __future__ import annotations

import pytest

from sdar_cli.stats import wilson


@pytest.mark.parametrize(
    "successes, trials, low, high",
    [
        # Newcombe, Statistics in Medicine 17 (1998), table I, method 3 (score interval without correction).
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
        # z = 1.96: (8/10): centre (0.8 + 0.19207) / 1.38415 = 0.71674, half 0.22665.
        (8, 10, 0.4902, 0.9433),
        (10, 10, 0.7225, 1.0),
    ],
)
def test_wilson(successes: int, trials: int, low: float, high: float) -> None:
    assert wilson(successes, trials) == pytest.approx((low, high), abs=5e-5)


def test_wilson_is_symmetric_and_stays_inside() -> None:
    for trials in (1, 7, 66):
        for won in range(trials + 1):
            low, high = wilson(won, trials)
            assert 0.0 <= low <= won / trials <= high <= 1.0
            other = wilson(trials - won, trials)
            assert (1 - high, 1 - low) == pytest.approx(other, abs=1e-12)


def test_wilson_of_nothing_says_nothing() -> None:
    assert wilson(0, 0) == (0.0, 1.0)
