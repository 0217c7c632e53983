"""The policy-gradient loss and the KL to the reference model, per token (paper, section 2.2; Algorithm 2).

These functions know no mask: multiply or select afterwards, and keep padded log-probabilities finite.
"""

from __future__ import annotations

import torch
from torch import Tensor

KL_BOUND = 10.0
MAX_LOG_RATIO = 20.0  # far beyond where KL_BOUND cuts, and keeps exp finite so that its gradient is 0 and not NaN


def clipped_policy_loss(
    student: Tensor, old: Tensor, advantage: Tensor, clip_eps: float, dual_clip: float | None
) -> Tensor:
    """max(-A r, -A clip(r, 1 - eps, 1 + eps)), r = pi_theta / pi_old; (R, T), minimised.

    ``student`` and ``old`` are (R, T) log-probs, ``advantage`` is (R,) or (R, T).  ``dual_clip`` c > 1 + eps bounds
    the loss by -A c where A < 0 (Algorithm 2); None leaves it out.
    """
    advantage_RT = advantage[:, None] if advantage.dim() == 1 else advantage
    ratio = torch.exp(student - old)
    loss = torch.maximum(-advantage_RT * ratio, -advantage_RT * ratio.clamp(1 - clip_eps, 1 + clip_eps))
    if dual_clip is None:
        return loss
    return torch.where(advantage_RT < 0, torch.minimum(loss, -advantage_RT * dual_clip), loss)


def kl_k3(student: Tensor, reference: Tensor) -> Tensor:
    """exp(q) - q - 1, q = log pi_ref - log pi_theta, at most 10; (R, T), nats, never negative.

    A one-sample estimate of KL(student || reference) in value; no importance correction, as released
    (whose lower bound of -10 is never reached).
    Gradient flows to ``student`` only, and is 0 where the clamp is active.
    """
    q = (reference.detach() - student).clamp(max=MAX_LOG_RATIO)
    return (torch.expm1(q) - q).clamp(max=KL_BOUND)
