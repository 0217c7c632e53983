"""TokenBatch: everything a gate, an objective or an advantage rule may look at.

Shapes: R rows (a row is one turn, or one whole transcript), T response tokens.  Log-probabilities and entropies
are in nats and belong to the response token that was sampled.  What lies under the mask may be anything, NaN and
infinities included: it is replaced before the first arithmetic, so it reaches neither a value nor a gradient.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


def check_shape(name: str, value: Tensor, shape: tuple[int, ...]) -> None:
    """Raises ValueError, naming both shapes, unless ``value`` has ``shape``."""
    if tuple(value.shape) != shape:
        raise ValueError(f"{name} has shape {tuple(value.shape)}, expected {shape}")


def hide(values: Tensor, mask: Tensor) -> Tensor:
    """``values`` (R, T) with 0 where ``mask`` (R, T) is False.  A selection, not a product: 0 * NaN never happens."""
    return torch.where(mask, values, 0.0)


@dataclass(frozen=True, eq=False)
class Head:
    """A next-token distribution that was not computed yet: softmax((hidden weight^T + bias) / temperature).

    hidden (R, T, H) are the last hidden states at the positions that predict the response tokens; weight (V, H) and
    bias (V,) are the output layer's.  The logits, (R, T, V), would be the largest tensor of a training step; what needs
    them takes them in pieces (``divergence.py``).
    """

    hidden: Tensor
    weight: Tensor
    bias: Tensor | None = None
    temperature: float = 1.0


@dataclass(frozen=True, kw_only=True, eq=False)
class TokenBatch:
    """One micro-batch of response tokens (paper, section 2.1: y_t, s_t, s_t+; the mask m_t is of section 2.2).

    student        (R, T)  log pi_theta(y_t | s_t), the only field that carries gradient
    mask           (R, T)  bool, True on response tokens; a row without any is a filler
    turn_ids       (R,) or (R, T)  long, counted within the trajectory; per token where a row holds several turns
    trajectory_ids, group_ids   (R,)  long; a trajectory id belongs to one group only
    teacher        (R, T)  log pi_T(y_t | s_t+) of the SAME tokens under the skill prompt
    old            (R, T)  log-probs under the sampling policy; None = the current policy
    reference      (R, T)  log-probs under the frozen initial model
    entropy        (R, T)  entropy of the student's next-token distribution, raw nats (h_t)
    advantage      (R,) or (R, T)
    success        (R,)  bool, whether the row's trajectory reached its goal
    views          (V, R, T)  log-probs of the same tokens under each context of the teacher, ``teacher`` among them
    student_head, teacher_head   the two distributions themselves, for the full-vocabulary objectives

    Raises ValueError when a shape or dtype is wrong.
    """

    student: Tensor
    mask: Tensor
    turn_ids: Tensor
    trajectory_ids: Tensor
    group_ids: Tensor
    teacher: Tensor | None = None
    old: Tensor | None = None
    reference: Tensor | None = None
    entropy: Tensor | None = None
    advantage: Tensor | None = None
    success: Tensor | None = None
    views: Tensor | None = None
    student_head: Head | None = None
    teacher_head: Head | None = None

    def __post_init__(self) -> None:
        if self.student.dim() != 2 or not self.student.is_floating_point():
            raise ValueError(f"student must be a float (R, T) tensor, got {_describe(self.student)}")
        rows, tokens = self.student.shape
        check_shape("mask", self.mask, (rows, tokens))
        if self.mask.dtype != torch.bool:
            raise ValueError(f"mask must be bool, got {self.mask.dtype}; convert a 0/1 mask with .bool()")
        for name in ("teacher", "old", "reference", "entropy"):
            value = getattr(self, name)
            if value is not None:
                check_shape(name, value, (rows, tokens))
        for name in ("turn_ids", "trajectory_ids", "group_ids"):
            ids = getattr(self, name)
            check_shape(name, ids, (rows, tokens) if name == "turn_ids" and ids.dim() == 2 else (rows,))
            if ids.dtype != torch.long:
                raise ValueError(f"{name} must be long, got {ids.dtype}")
        if self.success is not None:
            check_shape("success", self.success, (rows,))
        if self.views is not None:
            check_shape("views", self.views, (len(self.views), rows, tokens))
        for name in ("student_head", "teacher_head"):
            head = getattr(self, name)
            if head is not None:
                check_shape(f"{name}.hidden", head.hidden, (rows, tokens, head.weight.shape[-1]))
        if self.advantage is not None and self.advantage.dim() != 1:
            check_shape("a per-token advantage", self.advantage, (rows, tokens))
        elif self.advantage is not None:
            check_shape("a per-row advantage", self.advantage, (rows,))

    @property
    def turns(self) -> Tensor:
        """The turn of every token, (R, T), whichever way ``turn_ids`` were given."""
        ids = self.turn_ids
        return ids if ids.dim() == 2 else ids[:, None].expand(self.mask.shape)

    def visible(self, name: str) -> Tensor:
        """The (R, T) field ``name`` with 0 at masked positions.  Raises ValueError where this batch has none."""
        value: Tensor | None = getattr(self, name)
        if value is None:
            raise ValueError(f"this batch has no {name} values, but the chosen gate or objective needs them")
        return hide(value, self.mask)


def normalised_entropy(entropy: Tensor, vocabulary: int) -> Tensor:
    """``entropy`` in nats as a share of its maximum log |V|: in [0, 1], as an OR of probabilities would want it."""
    if vocabulary < 2:
        raise ValueError(f"a vocabulary of {vocabulary} has no entropy to normalise by")
    return entropy / math.log(vocabulary)


def gap(batch: TokenBatch) -> Tensor:
    """Delta_t = log pi_T(y_t | s_t+) - log pi_theta(y_t | s_t), in nats; (R, T), detached, 0 at masked positions.

    Positive: the teacher likes the sampled token more than the student does.  It is the one-sample estimate of
    -KL(student || teacher) (paper, section 2.2, OPSD optimization).  Raises ValueError without teacher log-probs.
    """
    return (batch.visible("teacher") - batch.visible("student")).detach()


def _describe(value: Tensor) -> str:
    return f"{value.dtype} with shape {tuple(value.shape)}"
