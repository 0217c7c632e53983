"""The propositions of the paper's appendix, and gradients against finite differences."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

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


def test_3_far_from_zero_the_slope_is_positive_and_falls_with_distance() -> None:
    """g (1 - g) beta by autograd: positive as long as it differs from 0, largest at gap 0, even in the gap."""
    for beta in (0.5, 5.0, 10.0):
        delta = torch.linspace(-30.0 / beta, 30.0 / beta, 61, dtype=torch.float64).requires_grad_()
        slope = gradient(torch.sigmoid(beta * delta), delta)
        g = gap_gate(one_row(ALGO, [0.0] * 61, teacher=delta.tolist()), beta)[0]
        close(slope, beta * g * (1 - g), atol=1e-12)  # the gate is that function of the gap
        assert (slope > 0).all() and int(slope.argmax()) == 30
        assert (slope[:30].diff() > 0).all() and (slope[31:].diff() < 0).all()
        close(slope, slope.flip(0), atol=1e-12)


def _softmax_policy(seed: int) -> tuple[TokenBatch, Tensor, Tensor]:
    """(batch, theta, norms): log pi_theta of a linear softmax policy, and ||grad_theta log pi_theta(y_t)|| (R, T)."""
    fields = random_fields(seed)
    generator = torch.Generator().manual_seed(seed)
    states = torch.randn(6, 5, 4, generator=generator, dtype=torch.float64)
    theta = torch.randn(4, 7, generator=generator, dtype=torch.float64).requires_grad_()
    taken = torch.randint(7, (6, 5, 1), generator=generator)
    log_p = (states @ theta).log_softmax(-1)
    student = log_p.gather(-1, taken)[..., 0]
    # grad = state (e_y - pi)^T, so its norm is |state| |e_y - pi|
    off = torch.nn.functional.one_hot(taken[..., 0], 7) - log_p.exp()
    norms = (states.norm(dim=-1) * off.norm(dim=-1)).detach()
    close(gradient(student[0, 0], theta).norm(), norms[0, 0])
    teacher = student.detach() + fields["teacher"] - fields["student"]
    return TokenBatch(**{**fields, "student": student, "teacher": teacher}), theta, norms


@pytest.mark.parametrize("agg", ["token", "turn", "trajectory"])
@pytest.mark.parametrize("gate", ["gap", "entropy", "soft-or"])
def test_4_the_gradient_is_bounded_by_that_of_the_log_probs(gate: str, agg: str) -> None:
    """||grad L|| <= Agg(g B) <= Agg(B), B_t = ||grad log pi_theta(y_t)||; in theta, which all tokens share."""
    for seed in range(5):
        batch, theta, norms = _softmax_policy(seed)
        weights = token_weights(batch.mask, agg, batch.trajectory_ids).double()  # type: ignore[arg-type]
        weights = weights / weights.sum()
        loss, _ = distillation(batch, gate=gate, objective="surrogate", beta=10.0, weights=weights)
        g = GATES[gate](batch, 10.0)
        gated, free = (weights * g * norms).sum(), (weights * norms).sum()
        assert 0 < gradient(loss, theta).norm() <= gated + 1e-12 < free


def test_4_one_token_reaches_the_bound() -> None:
    batch, theta, norms = _softmax_policy(0)
    weights = torch.zeros(6, 5).double()
    weights[0, 0] = 1.0
    loss, _ = distillation(batch, gate="gap", objective="surrogate", beta=10.0, weights=weights)
    close(gradient(loss, theta).norm(), gap_gate(batch, 10.0)[0, 0] * norms[0, 0])


def test_4_the_signed_objective_has_no_such_bound() -> None:
    """Its factor is the gap, which no gate bounds: the price of a direction."""
    batch, theta, norms = _softmax_policy(0)
    far = dataclasses.replace(batch, teacher=batch.student.detach() + 5.0)
    single = torch.zeros(6, 5).double()
    single[0, 0] = 1.0
    loss, _ = distillation(far, gate="gap", objective="signed", beta=10.0, weights=single)
    assert gradient(loss, theta).norm() > 4.9 * norms[0, 0]


def test_4_the_gate_never_amplifies() -> None:
    batch = _batch(4)
    weights = token_weights(batch.mask, "token", batch.trajectory_ids)
    loss, _ = distillation(batch, gate="gap", objective="surrogate", beta=10.0, weights=weights)
    assert (gradient(loss, batch.student).abs() <= weights).all()


@pytest.mark.parametrize("delta", [-2.0, -0.3, 0.0, 0.3, 2.0])
@pytest.mark.parametrize("beta", [0.5, 5.0])
def test_5_an_undetached_gate_would_couple_the_gap_into_the_gradient(beta: float, delta: float) -> None:
    batch = one_row(ALGO, [-1.0], teacher=[-1.0 + delta])

    def live(tokens: TokenBatch, beta: float) -> Tensor:
        assert tokens.teacher is not None
        return torch.sigmoid(beta * (tokens.teacher - tokens.student))

    g = 1 / (1 + math.exp(-beta * delta))
    close(gradient(surrogate(batch, live(batch, beta)), batch.student), [[-(g + beta * delta * g * (1 - g))]])
    close(gradient(surrogate(batch, gap_gate(batch, beta)), batch.student), [[-g]])
    # the term itself detaches whatever gate it is given
    for gate in ("gap", live):
        loss, _ = distillation(batch, gate=gate, objective="surrogate", beta=beta, weights=torch.ones(1, 1))
        close(gradient(loss, batch.student), [[-g]])


def test_5_which_would_push_a_rejected_token_down() -> None:
    """g + beta gap g (1 - g) is negative where 1 + beta gap (1 - g) is: at beta gap = -2, 1 - 2 * 0.88 = -0.76."""
    batch = one_row(ALGO, [-1.0], teacher=[-1.4])
    live = torch.sigmoid(5.0 * (batch.teacher - batch.student))
    assert gradient(surrogate(batch, live), batch.student).item() > 0
    assert gradient(surrogate(batch, live.detach()), batch.student).item() < 0


def test_entropy_gates_never_suppress() -> None:
    assert (GATES["entropy"](_batch(5), 5.0) >= 0.5).all()


@pytest.mark.parametrize(("entropy", "sign"), [(0.5, 1), (1.0, 0), (2.0, -1)])
def test_endorsement_lowers_the_soft_or_gate_above_one_nat(entropy: float, sign: int) -> None:
    gates = [soft_or_gate(one_row(ALGO, [-1.0], teacher=[-1.0 + d], entropy=[entropy]), 5.0).item() for d in (0.1, 0.2)]
    assert (gates[1] > gates[0]) - (gates[1] < gates[0]) == sign


def _half_square(batch: TokenBatch, student: Tensor, weight: Tensor) -> Tensor:
    """w (log pi_theta - log pi_T)^2 / 2, the k2 estimate: its derivative is -w gap, the slope of ``signed``."""
    assert batch.teacher is not None
    return torch.where(batch.mask, weight * (student - batch.teacher) ** 2 / 2, 0.0)


def _central_differences(function: Callable[[Tensor], Tensor], at: Tensor, step: float = 1e-5) -> Tensor:
    """d function[i] / d at[i] of a function that works element by element."""
    return ((function(at + step) - function(at - step)) / (2 * step)).detach()


def test_finite_differences() -> None:
    batch = _batch(6)
    shape = batch.student.shape
    weight = torch.rand(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def term(name: str, student: torch.Tensor) -> torch.Tensor:
        fields = {key: getattr(batch, key) for key in ("mask", "teacher", "old")}
        ids = {key: getattr(batch, key) for key in ("turn_ids", "trajectory_ids", "group_ids")}
        return OBJECTIVES[name](TokenBatch(student=student, **fields, **ids), weight)

    leaf = batch.student.detach().requires_grad_()
    for name in ("surrogate", "k1", "k3"):  # "signed" is a score function: its gradient is not that of its value
        assert torch.autograd.gradcheck(lambda student, name=name: term(name, student), leaf)
    close(
        gradient(term("signed", leaf), leaf), _central_differences(lambda s: _half_square(batch, s, weight), leaf), 1e-8
    )
    assert batch.old is not None and batch.reference is not None
    advantage = tensor([1.0, -1.0, 0.5, -0.5, 2.0, 0.0])
    assert torch.autograd.gradcheck(lambda s: clipped_policy_loss(s, batch.old, advantage, 0.2, 3.0), leaf)
    assert torch.autograd.gradcheck(lambda s: kl_k3(s, batch.reference), leaf)


def test_the_expected_gap_is_a_negative_divergence() -> None:
    student, teacher = tensor([0.5, 0.3, 0.2]), tensor([0.2, 0.3, 0.5])
    batch = one_row(ALGO, student.log().tolist(), teacher=teacher.log().tolist())
    # 0.5 ln(0.2/0.5) + 0.2 ln(0.5/0.2) = -0.3 ln 2.5
    close((student * gap(batch)).sum(), -0.3 * math.log(2.5), atol=1e-12)
