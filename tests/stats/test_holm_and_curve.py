"""Holm's correction and the area under a success curve."""

from __future__ import annotations

import pytest

from sdar_cli.stats import early_speed, holm


def test_holm_as_statsmodels_has_it() -> None:
    """0.005 x 5, 0.01 x 4, 0.03 x 3, then 0.04 x 2 = 0.08 raised to 0.09, 0.5."""
    assert holm([0.01, 0.04, 0.03, 0.005, 0.5]) == pytest.approx([0.04, 0.09, 0.09, 0.025, 0.5])


def test_holm_limits() -> None:
    assert holm([]) == []
    assert holm([0.03]) == [0.03]
    assert holm([0.6, 0.7]) == [1.0, 1.0]


def test_early_speed_by_hand() -> None:
    """0 to 4: 4 x (0.1 + 0.3) / 2 = 0.8; 4 to 6: 2 x (0.3 + 0.5) / 2 = 0.8; 1.6 / 6."""
    assert early_speed([0, 4, 6], [0.1, 0.3, 0.5]) == pytest.approx(1.6 / 6)
    assert early_speed([0, 4, 6], [0.1, 0.3, 0.5], 4) == pytest.approx(0.2)
    # at 5 the line is at 0.4: 0.8 + (0.3 + 0.4) / 2 over 5
    assert early_speed([0, 4, 6], [0.1, 0.3, 0.5], 5) == pytest.approx(1.15 / 5)


def test_early_speed_sees_what_the_end_does_not() -> None:
    assert early_speed([0, 6, 12], [0.1, 0.5, 0.5]) > early_speed([0, 6, 12], [0.1, 0.2, 0.5])
    assert early_speed([3, 9], [0.4, 0.4]) == pytest.approx(0.4)


@pytest.mark.parametrize("steps, until", [([0], None), ([0, 0], None), ([0, 6], 7), ([0, 6], 0)])
def test_early_speed_refuses(steps: list[int], until: float | None) -> None:
    with pytest.raises(ValueError, match="curve"):
        early_speed(steps, [0.5] * len(steps), until)
