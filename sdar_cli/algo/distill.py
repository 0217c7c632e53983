"""The gated distillation term: gate x objective, summed, with metrics that add up over micro-batches.

L_SDAR of the paper (section 2.3; Algorithm 1) is ``loss_sum / sum(weights)`` over the whole batch; the caller divides
by that sum once and multiplies by the coefficient, so that any split into micro-batches gives the same gradient.

Metrics are sums over unmasked tokens, not weighted except the last two:

    tokens           number of tokens                     gap_sum, gap_abs_sum   sums of Delta and |Delta|, nats
    gap_negative     tokens with Delta < 0                gate_sum               sum of the gate
    gap_above        tokens with Delta > 0.02             gate_active            tokens with a gate above 1/2
    loss_sum         weighted sum of the token losses     weight_sum             sum of the weights
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from sdar_cli.algo.batch import TokenBatch, check_shape, gap, hide
from sdar_cli.algo.gates import Gate
from sdar_cli.algo.objectives import Objective
from sdar_cli.algo.registry import GATE, OBJECTIVE

GAP_THRESHOLD = 0.02  # nats; tokens that the teacher endorses by more than noise

# metric of a step: (numerator, denominator) among the sums
RATIOS = {
    "gap_mean": ("gap_sum", "tokens"),
    "gap_abs_mean": ("gap_abs_sum", "tokens"),
    "gate_mean": ("gate_sum", "tokens"),
    "gate_active_ratio": ("gate_active", "tokens"),
    "gate_active_ratio_at_threshold": ("gap_above", "tokens"),
    "negative_gap_ratio": ("gap_negative", "tokens"),
    "distill_loss": ("loss_sum", "weight_sum"),
}


def distillation(
    batch: TokenBatch, *, gate: Gate | str, objective: Objective | str, beta: float, weights: Tensor
) -> tuple[Tensor, dict[str, Tensor]]:
    """(loss_sum, metrics): the un-normalised sum of weights * loss, 0-dim with gradient, and the sums listed above.

    ``gate`` and ``objective`` are functions or registered names; ``beta`` >= 0 is the gate's sharpness; ``weights``
    (R, T) come from ``aggregate.token_weights``.  The gate's value is detached here too, whatever function made it
    (Proposition 5 gives the gradient one would get otherwise).  Metrics are 0-dim float64 tensors without gradient.
    Raises ValueError for a wrong shape or a missing field, ConfigError for an unknown name.
    """
    gate_function = GATE.bind(gate) if isinstance(gate, str) else gate
    loss_function = OBJECTIVE.bind(objective) if isinstance(objective, str) else objective
    shape = tuple(batch.mask.shape)
    check_shape("weights", weights, shape)
    gate_RT = gate_function(batch, beta).detach()
    check_shape("the gate's result", gate_RT, shape)
    loss_RT = loss_function(batch, gate_RT)
    check_shape("the objective's result", loss_RT, shape)
    weighted_RT = hide(weights, batch.mask) * loss_RT
    return weighted_RT.sum(), _sums(batch, gate_RT, weighted_RT.detach(), weights)


def combine(metrics: Iterable[dict[str, Tensor]]) -> dict[str, float]:
    """The metrics of a step from those of its micro-batches (paper, section 3.2).

    ``gap_mean``, ``gap_abs_mean`` in nats; ``gate_mean``; ``gate_active_ratio``, the share of tokens with a gate
    above 1/2; ``gate_active_ratio_at_threshold``, the share with a gap above 0.02 nats; ``negative_gap_ratio``;
    ``distill_loss``, the weighted mean loss before the coefficient.  All 0.0 when there was no token.
    """
    parts = list(metrics)
    return {name: _ratio(parts, top, bottom) for name, (top, bottom) in RATIOS.items()}


def _sums(batch: TokenBatch, gate_RT: Tensor, weighted_RT: Tensor, weights: Tensor) -> dict[str, Tensor]:
    gap_RT = gap(batch)
    per_token = {
        "tokens": torch.ones_like(gap_RT),
        "gap_sum": gap_RT,
        "gap_abs_sum": gap_RT.abs(),
        "gap_negative": gap_RT < 0,
        "gap_above": gap_RT > GAP_THRESHOLD,
        "gate_sum": gate_RT,
        "gate_active": gate_RT > 0.5,
        "loss_sum": weighted_RT,
        "weight_sum": weights,
    }
    return {name: hide(value, batch.mask).sum(dtype=torch.float64) for name, value in per_token.items()}


def _ratio(parts: list[dict[str, Tensor]], top: str, bottom: str) -> float:
    denominator = sum(float(part[bottom]) for part in parts)
    return sum(float(part[top]) for part in parts) / denominator if denominator else 0.0
