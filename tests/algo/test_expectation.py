"""Expected gradients, summed exactly over a vocabulary of five tokens: row v is "token v was sampled"."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sdar_cli.algo.batch import TokenBatch
from sdar_cli.algo.gates import GATES
from sdar_cli.algo.objectives import OBJECTIVES, k3

from .material import close, gradient, tensor

LOGITS = [0.4, -1.1, 0.9, 0.0, -0.3]
TEACHER = tensor([1.2, -0.2, 0.1, -1.5, 0.3]).log_softmax(0)
OLD = tensor([0.1, -0.9, 1.1, 0.2, -0.6]).log_softmax(0)


def _every_token(logits: Tensor, old: Tensor | None = None) -> TokenBatch:
    """A batch (5, 1) holding each token of the vocabulary once."""
    ids = torch.arange(5)
    return TokenBatch(
        student=logits.log_softmax(0)[:, None],
        teacher=TEACHER[:, None],
        old=None if old is None else old[:, None],
        mask=torch.ones(5, 1, dtype=torch.bool),
        turn_ids=ids,
        trajectory_ids=ids,
        group_ids=ids,
    )


def _expected_gradient(loss: Tensor, sampler: Tensor, logits: Tensor) -> Tensor:
    return gradient(sampler.exp().detach() * loss[:, 0], logits)


def _reverse_kl_gradient(logits: Tensor) -> Tensor:
    student = logits.log_softmax(0)
    return gradient((student.exp() * (student - TEACHER)).sum(), logits)


@pytest.mark.parametrize("constant", [0.5, 1.0])
def test_the_surrogate_with_a_constant_weight_has_no_expected_gradient(constant: float) -> None:
    logits = tensor(LOGITS).requires_grad_()
    batch = _every_token(logits)
    loss = OBJECTIVES["surrogate"](batch, torch.full((5, 1), constant).double())
    close(_expected_gradient(loss, batch.student[:, 0], logits), torch.zeros(5), atol=1e-12)


def test_the_gap_gate_gives_the_surrogate_an_expected_gradient_towards_the_teacher() -> None:
    logits = tensor(LOGITS).requires_grad_()
    batch = _every_token(logits)
    loss = OBJECTIVES["surrogate"](batch, GATES["gap"](batch, 5.0))
    step = -_expected_gradient(loss, batch.student[:, 0], logits)
    assert torch.dot(step, _reverse_kl_gradient(logits)) < -1e-3


@pytest.mark.parametrize("objective", ["signed", "k3"])
def test_on_policy_gradient_is_that_of_the_reverse_kl(objective: str) -> None:
    logits = tensor(LOGITS).requires_grad_()
    batch = _every_token(logits)
    loss = OBJECTIVES[objective](batch, GATES["none"](batch, 0.0))
    close(_expected_gradient(loss, batch.student[:, 0], logits), _reverse_kl_gradient(logits), atol=1e-12)


def test_k3_corrects_for_the_sampling_policy() -> None:
    logits = tensor(LOGITS).requires_grad_()
    batch = _every_token(logits, OLD)
    loss = k3(batch, GATES["none"](batch, 0.0))
    close(_expected_gradient(loss, OLD, logits), _reverse_kl_gradient(logits), atol=1e-12)
    student = logits.log_softmax(0)
    # the value is an estimate of the divergence, too
    close((OLD.exp() * loss[:, 0]).sum(), (student.exp() * (student - TEACHER)).sum(), atol=1e-12)
