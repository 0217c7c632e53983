"""Sampler and trainer disagree: the truncated importance ratio between them, and how large the disagreement is.

An engine that samples with kernels or a precision of its own gives a token another log-prob than the trainer does
under the same weights.  The policy gradient is then off-policy from the start.  A truncated ratio corrects for it
(truncated importance sampling, https://fengyao.notion.site/off-policy-rl; Espeholt et al. 2018 for the truncation).

Shapes: R rows, T response tokens.  A sampler's log-prob that is NaN is unknown: such a token has a ratio of 1 and is in
no metric.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Correction = Literal["token", "sequence-mask", "off"]
MAX_LOG_RATIO = 20.0


def sampler_gap(old: Tensor, sampler: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """(old - sampler, nats, 0 where it is not known; where it is known), (R, T) each, without gradient.

    old: the trainer's log-probs under the weights that sampled.  mask: bool, True on the policy's tokens.
    """
    known = mask & torch.isfinite(sampler)
    return torch.where(known, old - sampler, 0.0).detach(), known


def truncated_ratio(
    old: Tensor, sampler: Tensor, mask: Tensor, turns: Tensor, correction: Correction, cap: float
) -> Tensor:
    """The factor of every token's policy loss, (R, T), without gradient; 1 where nothing is known.

    ``token``: min(pi_old / pi_sampler, cap).  ``sequence-mask``: 1 for every token of a turn whose geometric mean of
    that ratio lies in [1 / cap, cap], else 0.  ``off``: 1.

    turns: (R, T) long, the turn of each token.  Raises ValueError for another correction.
    """
    if correction == "off":
        return torch.ones_like(old, requires_grad=False)
    gap, known = sampler_gap(old, sampler, mask)
    if correction == "token":
        return gap.clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO).exp().clamp(max=cap)
    if correction != "sequence-mask":
        raise ValueError(f"correction must be 'token', 'sequence-mask' or 'off', got {correction!r}")
    place = torch.where(mask, turns, 0)
    size = int(place.max()) + 1 if place.numel() else 1
    total = gap.new_zeros(len(gap), size).scatter_add(1, place, gap)
    count = gap.new_zeros(len(gap), size).scatter_add(1, place, known.to(gap.dtype))
    mean = (total / count.clamp(min=1)).gather(1, place)
    kept = mean.abs() <= torch.log(torch.tensor(cap, dtype=gap.dtype, device=gap.device))
    return torch.where(mask, kept.to(gap.dtype), 1.0)


def mismatch_metrics(gap: Tensor, cap: float) -> dict[str, float]:
    """Of a step's gaps old - sampler of all known tokens, (N,), nats; {} without any.

    ``sampler_gap_mean``, ``sampler_gap_abs`` (mean |gap|) and ``sampler_gap_max`` (largest |gap|), nats;
    ``sampler_kl``, the k3 estimate of KL(sampler || trainer); ``sampler_ratio_mean``, ``_min``, ``_max`` of exp(gap)
    before truncation; ``sampler_clipped``, the share of ratios above ``cap``; ``sampler_ess``, the effective sample
    size as a share of N: mean(ratio)^2 / mean(ratio^2).
    """
    if not len(gap):
        return {}
    values = gap.double()
    ratio = values.clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO).exp()
    return {
        "sampler_gap_mean": float(values.mean()),
        "sampler_gap_abs": float(values.abs().mean()),
        "sampler_gap_max": float(values.abs().max()),
        "sampler_kl": float((ratio - 1 - values).mean()),
        "sampler_ratio_mean": float(ratio.mean()),
        "sampler_ratio_min": float(ratio.min()),
        "sampler_ratio_max": float(ratio.max()),
        "sampler_clipped": float((ratio > cap).double().mean()),
        "sampler_ess": float(ratio.mean() ** 2 / (ratio**2).mean()),
    }
