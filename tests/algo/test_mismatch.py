"""The truncated ratio and the metrics of the gap, against values computed by hand."""

from __future__ import annotations

import math

import pytest
import torch

from sdar_cli.algo.mismatch import mismatch_metrics, sampler_gap, truncated_ratio

LN2 = math.log(2.0)
OLD = torch.tensor([[-1.0, -2.0, -3.0, -9.0]])
SAMPLER = torch.tensor([[-1.0 - LN2 / 2, -2.0 + LN2, -3.0 - 2 * LN2, 5.0]])
MASK = torch.tensor([[True, True, True, False]])
TURNS = torch.tensor([[0, 0, 1, -1]])


def ratio(correction: str, cap: float = 2.0, sampler: torch.Tensor = SAMPLER) -> list[float]:
    return truncated_ratio(OLD, sampler, MASK, TURNS, correction, cap)[0].tolist()


def test_the_ratio_is_trainer_over_sampler_and_cut_above() -> None:
    """sqrt(2), 1/2, 4 cut to 2, and 1 on a token of the environment."""
    assert ratio("token") == pytest.approx([math.sqrt(2), 0.5, 2.0, 1.0])
    assert ratio("token", cap=8.0) == pytest.approx([math.sqrt(2), 0.5, 4.0, 1.0])


def test_a_turn_is_kept_or_left_out_as_a_whole() -> None:
    """Turn 0: mean of +ln2/2 and -ln2 is -ln2/4, kept.  Turn 1: 2 ln2, beyond a cap of 2 and within one of 4.1."""
    assert ratio("sequence-mask") == [1.0, 1.0, 0.0, 1.0]
    assert ratio("sequence-mask", cap=4.1) == [1.0, 1.0, 1.0, 1.0]
    low = torch.tensor([[-1.0 + 2 * LN2, -2.0 + 2 * LN2, -3.0, 0.0]])
    assert ratio("sequence-mask", sampler=low) == [0.0, 0.0, 1.0, 1.0]


def test_off_changes_nothing() -> None:
    assert ratio("off") == [1.0] * 4


def test_what_is_not_known_counts_as_equal() -> None:
    sampler = torch.tensor([[math.nan, -2.0 + LN2, -math.inf, 0.0]])
    assert ratio("token", sampler=sampler) == pytest.approx([1.0, 0.5, 1.0, 1.0])
    gap, known = sampler_gap(OLD, sampler, MASK)
    assert known.tolist() == [[False, True, False, False]] and gap[0].tolist() == pytest.approx([0, -LN2, 0, 0])


def test_no_gradient_passes() -> None:
    old = OLD.clone().requires_grad_()
    assert not truncated_ratio(old, SAMPLER, MASK, TURNS, "token", 2.0).requires_grad


def test_a_gap_beyond_measure_stays_finite() -> None:
    found = truncated_ratio(torch.tensor([[0.0]]), torch.tensor([[-1e30]]), MASK[:, :1], TURNS[:, :1], "token", 2.0)
    assert found.tolist() == [[2.0]]


def test_an_unknown_correction_is_refused() -> None:
    with pytest.raises(ValueError, match="sequence-mask"):
        ratio("tokens")


def test_the_metrics() -> None:
    """Gaps ln2, -ln2, 2 ln2: ratios 2, 1/2, 4, of which one is above 2.5."""
    found = mismatch_metrics(torch.tensor([LN2, -LN2, 2 * LN2]), 2.5)
    assert found == pytest.approx(
        {
            "sampler_gap_mean": 2 * LN2 / 3,
            "sampler_gap_abs": 4 * LN2 / 3,
            "sampler_gap_max": 2 * LN2,
            "sampler_kl": (1 - LN2 + LN2 - 0.5 + 3 - 2 * LN2) / 3,
            "sampler_ratio_mean": 6.5 / 3,
            "sampler_ratio_min": 0.5,
            "sampler_ratio_max": 4.0,
            "sampler_clipped": 1 / 3,
            "sampler_ess": (6.5 / 3) ** 2 / (20.25 / 3),
        }
    )
    assert mismatch_metrics(torch.tensor([]), 2.0) == {}
    same = mismatch_metrics(torch.zeros(5), 2.0)
    assert same["sampler_kl"] == 0 and same["sampler_ess"] == 1
