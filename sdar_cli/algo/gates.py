"""Gates: how much each token's distillation term counts (paper, section 2.3; compared in section 3.4).

A gate maps (batch, beta) to a weight (R, T) that carries no gradient.  Values at masked positions are finite and
never read.  The gap Delta_t and the entropy h_t are raw nats: not normalised, not shifted, not thresholded, unless the
run asks for entropies as a share of log |V| (``algo.gate_entropy``).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from sdar_cli.algo.batch import TokenBatch, gap

Gate = Callable[[TokenBatch, float], Tensor]


def gap_gate(batch: TokenBatch, beta: float) -> Tensor:
    """sigmoid(beta * Delta_t), (R, T): the paper's gate, above 1/2 where the teacher endorses the token.

    Its slope in Delta lies in (0, beta / 4] (Proposition 3).
    """
    return torch.sigmoid(beta * gap(batch))


def entropy_gate(batch: TokenBatch, beta: float) -> Tensor:
    """sigmoid(beta * h_t), (R, T).  Entropy is never negative, so this gate lies in [1/2, 1): it never suppresses."""
    return torch.sigmoid(beta * _entropy(batch))


def soft_or_gate(batch: TokenBatch, beta: float) -> Tensor:
    """sigmoid(beta * (1 - (1 - h_t)(1 - Delta_t))), (R, T).

    An OR only for h and Delta in [0, 1]; ``algo.gate_entropy = log-vocab`` gives such an h.  The slope in Delta has the
    sign of 1 - h: where the student's entropy exceeds 1 nat, endorsement by the teacher LOWERS the gate.
    """
    return torch.sigmoid(beta * (1 - (1 - _entropy(batch)) * (1 - gap(batch))))


def no_gate(batch: TokenBatch, beta: float) -> Tensor:
    """Weight 1 for every token, (R, T); ``beta`` has no effect."""
    return torch.ones_like(batch.student)


def _entropy(batch: TokenBatch) -> Tensor:
    return batch.visible("entropy").detach()


GATES: dict[str, Gate] = {
    "gap": gap_gate,
    "entropy": entropy_gate,
    "soft-or": soft_or_gate,
    "none": no_gate,
}
