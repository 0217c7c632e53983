"""The propositions of the paper's appendix, and gradients against finite differences."""

from __future__ import annotations

import math

import pytest
import torch

from sdar_cli.algo.aggregate import token_weights
from sdar_cli.algo.batch import TokenBatch, gap
from sdar_cli.algo.distill import distillation
from sdar_cli.algo.gates import GATES, gap_gate, soft_or_gate
from sdar_cli.algo.objectives import OBJECTIVES, surrogate
from sdar_cli.algo.policy import clipped_policy_loss, kl_k3

from .material import close, gradient, load, one_row, random_fields, tensor

ALGO = load("sdar_cli.algo")


def _batch(seed: int) -> TokenBatch:
    fields = random_fields(seed)
    fields["student"].requires_grad_()
    return TokenBatch(**fields)


@pytest.mark.parametrize("agg", ["token", "turn", "trajectory"])
@pytest.mark.parametrize("gate", list(GATES))
def test_1_and_2_weighted_likelihood_of_the_students_own_tokens(gate: str, agg: str) -> None:
    batch = _batch(3)
    weights = token_weights(batch.mask, agg, batch.trajectory_ids)  # type: ignore[arg-type]
    loss, _ = distillation(batch, gate=gate, objective="surrogate", beta=5.0, weights=weights)
    g = GATES[gate](batch, 5.0)
    close(gradient(loss / weights.sum(), batch.student), -weights * g / weights.sum(), atol=1e-12)
    constant = (weights * g * batch.visible("teacher")).sum()
    close(loss, constant - (weights * g * batch.visible("student")).sum(), atol=1e-12)


@pytest.mark.parametrize("beta", [0.5, 5.0, 10.0])
def test_3_slope_of_the_gap_gate(beta: float) -> None:
    teacher = torch.linspace(-1.0, 1.0, 41, dtype=torch.float64)
    step = 1e-6
    low, high = ([value.item() + shift for value in teacher] for shift in (-step, step))
    slope = (
        gap_gate(one_row(ALGO, [0.0] * 41, teacher=high), beta) - gap_gate(one_row(ALGO, [0.0] * 41, teacher=low), beta)
    ) / (2 * step)
    assert (slope > 0).all() and (slope <= beta / 4 + 1e-7).all()
    close(slope[0, 20], beta / 4, atol=1e-6)  # the bound is reached at gap 0


def test_4_the_gate_never_amplifies() -> None:
    batch = _batch(4)
    weights = token_weights(batch.mask, "token", batch.trajectory_ids)
    loss, _ = distillation(batch, gate="gap", objective="surrogate", beta=10.0, weights=weights)
    assert (gradient(loss, batch.student).abs() <= weights).all()


def test_5_an_undetached_gate_would_couple_the_gap_into_the_gradient() -> None:
    beta, delta = 5.0, 0.3
    batch = one_row(ALGO, [-1.0], teacher=[-1.0 + delta])
    live = torch.sigmoid(beta * (batch.teacher - batch.student))
    g = 1 / (1 + math.exp(-beta * delta))
    close(gradient(surrogate(batch, live), batch.student), [[-(g + beta * delta * g * (1 - g))]])
    close(gradient(surrogate(batch, gap_gate(batch, beta)), batch.student), [[-g]])


def test_entropy_gates_never_suppress() -> None:
    assert (GATES["entropy"](_batch(5), 5.0) >= 0.5).all()


@pytest.mark.parametrize(("entropy", "sign"), [(0.5, 1), (1.0, 0), (2.0, -1)])
def test_endorsement_lowers_the_soft_or_gate_above_one_nat(entropy: float, sign: int) -> None:
    gates = [soft_or_gate(one_row(ALGO, [-1.0], teacher=[-1.0 + d], entropy=[entropy]), 5.0).item() for d in (0.1, 0.2)]
    assert (gates[1] > gates[0]) - (gates[1] < gates[0]) == sign


def test_finite_differences() -> None:
    batch = _batch(6)
    shape = batch.student.shape
    weight = torch.rand(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def term(name: str, student: torch.Tensor) -> torch.Tensor:
        fields = {key: getattr(batch, key) for key in ("mask", "teacher", "old")}
        ids = {key: getattr(batch, key) for key in ("turn_ids", "trajectory_ids", "group_ids")}
        return OBJECTIVES[name](TokenBatch(student=student, **fields, **ids), weight)

    leaf = batch.student.detach().requires_grad_()
    for name in ("surrogate", "k3"):  # "signed" is a score function: its gradient is not that of its value
        assert torch.autograd.gradcheck(lambda student, name=name: term(name, student), leaf)
    assert batch.old is not None and batch.reference is not None
    advantage = tensor([1.0, -1.0, 0.5, -0.5, 2.0, 0.0])
    assert torch.autograd.gradcheck(lambda s: clipped_policy_loss(s, batch.old, advantage, 0.2, 3.0), leaf)
    assert torch.autograd.gradcheck(lambda s: kl_k3(s, batch.reference), leaf)


def test_the_expected_gap_is_a_negative_divergence() -> None:
    student, teacher = tensor([0.5, 0.3, 0.2]), tensor([0.2, 0.3, 0.5])
    batch = one_row(ALGO, student.log().tolist(), teacher=teacher.log().tolist())
    # 0.5 ln(0.2/0.5) + 0.2 ln(0.5/0.2) = -0.3 ln 2.5
    close((student * gap(batch)).sum(), -0.3 * math.log(2.5), atol=1e-12)
