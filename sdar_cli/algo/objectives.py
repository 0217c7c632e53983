"""Distillation objectives: the per-token loss that a gate weighs.  All are minimised.

An objective maps (batch, weight (R, T)) to a per-token loss (R, T) in nats that is exactly 0 at masked positions.
The teacher never receives gradient.  The first four look at the sampled token; the last three at the whole
vocabulary, which needs the batch's heads.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable

import torch
from torch import Tensor

from sdar_cli.algo.batch import TokenBatch, gap, hide
from sdar_cli.algo.divergence import Kind, divergence

Objective = Callable[[TokenBatch, Tensor], Tensor]

MAX_LOG_INVERSE = 20.0  # bound on -d inside exp, as released for Skill-SD
MAX_LOG_RATIO = 10.0  # bound on log(pi_theta / pi_old), same place


def surrogate(batch: TokenBatch, weight: Tensor) -> Tensor:
    """w_t * (log pi_T(y_t) - log pi_theta(y_t)), (R, T): the SDAR loss (paper, section 2.3; Algorithm 1).

    Its gradient is -w_t * grad log pi_theta(y_t) (Proposition 2): every sampled token is pushed UP, by its weight.
    The gap acts through the gate alone; with a constant weight the expected on-policy gradient is zero.
    """
    return hide(weight, batch.mask) * (batch.visible("teacher").detach() - batch.visible("student"))


def signed(batch: TokenBatch, weight: Tensor) -> Tensor:
    """-sg(w_t * Delta_t) * log pi_theta(y_t), (R, T): raises tokens the teacher prefers and lowers the others.

    With weight 1 this is the sampled policy gradient of KL(student || teacher).  The value itself is no divergence.
    """
    return -(hide(weight, batch.mask) * gap(batch)).detach() * batch.visible("student")


def k1(batch: TokenBatch, weight: Tensor) -> Tensor:
    """w_t * (log pi_theta(y_t) - log pi_T(y_t)), (R, T): the k1 estimate of KL(student || teacher) (Algorithms 3, 5).

    Its value estimates the divergence; its plain derivative does not: +w_t * grad log pi_theta(y_t), which with a
    constant weight is zero in expectation.  The surrogate is its negation.  ``signed`` has the derivative one wants.
    """
    return hide(weight, batch.mask) * (batch.visible("student") - batch.visible("teacher").detach())


def k3(batch: TokenBatch, weight: Tensor) -> Tensor:
    """w_t * rho * (exp(-d) - 1 + d), d = log pi_theta - log pi_T, (R, T): the Skill-SD loss (Algorithm 4).

    rho = pi_theta / pi_old corrects for the sampling policy; rho and d both carry gradient, which makes the gradient
    unbiased for KL(student || teacher) while no bound is reached.  Without old log-probs rho is 1 in value.
    """
    student = batch.visible("student")
    old = student.detach() if batch.old is None else batch.visible("old")
    d = student - batch.visible("teacher").detach()
    ratio = torch.exp((student - old).clamp(max=MAX_LOG_RATIO))
    divergence = torch.expm1((-d).clamp(max=MAX_LOG_INVERSE)) + d
    return hide(weight, batch.mask) * ratio * divergence


def reverse_kl(batch: TokenBatch, weight: Tensor) -> Tensor:
    """w_t * KL(student || teacher) at the state of token t, over the whole vocabulary, (R, T): mode-seeking, exact."""
    return _full(batch, weight, "reverse-kl")


def forward_kl(batch: TokenBatch, weight: Tensor) -> Tensor:
    """w_t * KL(teacher || student) at the state of token t, over the whole vocabulary, (R, T): mode-covering."""
    return _full(batch, weight, "forward-kl")


def jsd(batch: TokenBatch, weight: Tensor) -> Tensor:
    """w_t * the Jensen-Shannon divergence at the state of token t, (R, T), at most log 2; symmetric."""
    return _full(batch, weight, "jsd")


def needs_heads(objective: Objective) -> bool:
    """Whether the objective reads the whole vocabulary; a guest's is marked: ``function.full_vocabulary = True``."""
    return inspect.unwrap(objective) in FULL_VOCABULARY or bool(getattr(objective, "full_vocabulary", False))


def _full(batch: TokenBatch, weight: Tensor, kind: Kind) -> Tensor:
    if batch.student_head is None or batch.teacher_head is None:
        raise ValueError(f"the objective {kind} needs the heads of student and teacher, and this batch has none")
    return hide(weight, batch.mask) * divergence(batch.student_head, batch.teacher_head, batch.mask, kind)


OBJECTIVES: dict[str, Objective] = {
    "surrogate": surrogate,
    "signed": signed,
    "k1": k1,
    "k3": k3,
    "reverse-kl": reverse_kl,
    "forward-kl": forward_kl,
    "jsd": jsd,
}
FULL_VOCABULARY = (reverse_kl, forward_kl, jsd)
