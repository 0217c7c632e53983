"""Checks of advantages, means, the summed distillation term and the policy terms on numbers worked out by hand."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from .material import close, gradient, one_row, random_fields, tensor

LN_UP, LN_DOWN = math.log(1.2), math.log(0.8)
SUMS = {"tokens", "gap_sum", "gap_abs_sum", "gap_negative", "gap_above"}
SUMS |= {"gate_sum", "gate_active", "loss_sum", "weight_sum"}


def _advantages(
    algo: SimpleNamespace, rewards: list[float], groups: list[int], owners: list[int], **how: Any
) -> Tensor:
    return algo.advantages.group_advantages(tensor(rewards), torch.tensor(groups), torch.tensor(owners), **how)


def check_advantages_over_turns(algo: SimpleNamespace) -> None:
    # rows 1, 1, 0: mean 2/3, squares (1 + 1 + 4) / 9 = 2/3, over n - 1 = 2: variance 1/3.  eps 0.5 makes it visible
    deviation = math.sqrt(1 / 3) + 0.5
    result = _advantages(algo, [1, 1, 0], [4, 4, 4], [0, 0, 1], stats="turn", std=True, eps=0.5)
    close(result, [1 / 3 / deviation, 1 / 3 / deviation, -2 / 3 / deviation])


def check_advantages_over_episodes(algo: SimpleNamespace) -> None:
    # first rows only: 1 and 0, mean 1/2, variance 2 * 1/4 / 1 = 1/2; the second row of trajectory 0 got a penalty
    deviation = math.sqrt(0.5) + 0.5
    result = _advantages(algo, [1, 0.9, 0], [4, 4, 4], [0, 0, 1], stats="episode", std=True, eps=0.5)
    close(result, [0.5 / deviation, 0.4 / deviation, -0.5 / deviation])


def check_advantages_of_interleaved_groups(algo: SimpleNamespace) -> None:
    # group 0: rewards 3, 1; group 1: 10, 20, 30.  Trajectory ids repeat across groups here
    result = _advantages(algo, [3, 10, 1, 20, 30], [0, 1, 0, 1, 1], [0, 0, 1, 1, 2], stats="episode", std=False)
    close(result, [1, -10, -1, 0, 10])


def check_advantages_of_lone_entries(algo: SimpleNamespace) -> None:
    # one entry: mean 0, deviation 1.  One trajectory of two rows is one entry for "episode", two for "turn"
    close(_advantages(algo, [7.0], [0], [0], stats="turn", std=True, eps=1.0), [3.5])
    close(_advantages(algo, [7.0, 6.0], [0, 0], [5, 5], stats="episode", std=True, eps=1.0), [3.5, 3.0])
    close(_advantages(algo, [7.0, 6.0], [0, 0], [5, 5], stats="turn", std=False), [0.5, -0.5])


def check_equal_rewards_give_zero(algo: SimpleNamespace) -> None:
    rewards = torch.full((7,), 0.1, dtype=torch.float32)
    ids = torch.arange(7)
    result = algo.advantages.group_advantages(rewards, torch.zeros(7).long(), ids, stats="episode", std=True)
    assert result.dtype == torch.float32
    close(result, torch.zeros(7), atol=1e-8)


def check_token_weights(algo: SimpleNamespace) -> None:
    # trajectory 8: rows of 2 and 1 tokens; trajectory 3: a row of 4; trajectory 5: a filler
    mask = torch.tensor([[1, 1, 0, 0], [1, 0, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0]], dtype=torch.bool)
    owners = torch.tensor([8, 8, 3, 5])
    loss = tensor([[2.0, 4.0, 99.0, 99.0], [9.0, 99.0, 99.0, 99.0], [1.0, 1.0, 1.0, 5.0], [99.0] * 4])
    # tokens: 23 / 7.  turns: (3 + 9 + 2) / 3.  trajectories: ((2 + 4 + 9) / 3 + 2) / 2
    for agg, mean, total in (("token", 23 / 7, 7), ("turn", 14 / 3, 3), ("trajectory", 3.5, 2)):
        weights = algo.aggregate.token_weights(mask, agg, owners)
        close((weights * loss).sum() / weights.sum(), mean, atol=1e-6)
        close(weights.sum(), total, atol=1e-6)
        assert (weights[~mask] == 0).all() and weights.isfinite().all()


def check_distillation_sums(algo: SimpleNamespace) -> None:
    batch = one_row(
        algo,
        [math.log(0.5), math.log(0.25), math.log(0.3), -1.0],
        [True, True, True, False],
        teacher=[math.log(0.6), math.log(0.2), math.log(0.303), math.nan],
    )
    weights = tensor([[2.0, 0.5, 1.0, 9.0]])
    loss, sums = algo.distill.distillation(batch, gate="gap", objective="surrogate", beta=1.0, weights=weights)
    # sigmoid(ln x) = x / (1 + x) at x = 1.2, 0.8, 1.01; ln 1.01 = 0.00995 lies below the threshold of 0.02
    gates, small = (1.2 / 2.2, 0.8 / 1.8, 1.01 / 2.01), math.log(1.01)
    expected = 2 * gates[0] * LN_UP + 0.5 * gates[1] * LN_DOWN + gates[2] * small
    close(loss, expected)
    close(gradient(loss, batch.student), [[-2 * gates[0], -0.5 * gates[1], -gates[2], 0.0]])
    assert set(sums) == SUMS and not any(value.requires_grad for value in sums.values())
    close(sums["tokens"], 3)
    close(sums["weight_sum"], 3.5)
    close(sums["loss_sum"], expected)
    means = algo.distill.combine([sums])
    close(means["gap_mean"], (LN_UP + LN_DOWN + small) / 3)
    close(means["gap_abs_mean"], (LN_UP - LN_DOWN + small) / 3)
    close(means["gate_mean"], sum(gates) / 3)
    close(means["gate_active_ratio"], 2 / 3)
    close(means["gate_active_ratio_at_threshold"], 1 / 3)
    close(means["negative_gap_ratio"], 1 / 3)
    close(means["distill_loss"], expected / 3.5)


def check_distillation_detaches_any_gate(algo: SimpleNamespace) -> None:
    batch = one_row(algo, [-1.0], teacher=[-0.5])
    weights = torch.ones(1, 1)

    def live_gate(tokens: Any, beta: float) -> Tensor:
        return beta * tokens.student

    loss, _ = algo.distill.distillation(batch, gate=live_gate, objective="surrogate", beta=2.0, weights=weights)
    close(gradient(loss, batch.student), [[2.0]])  # -g with g = 2 * -1, and nothing through g


def check_splits_and_orders_agree(algo: SimpleNamespace) -> None:
    fields = random_fields(2)
    fields["student"].requires_grad_()
    weights = algo.aggregate.token_weights(fields["mask"], "trajectory", fields["trajectory_ids"])
    results = []
    for parts in ([range(6)], [[0, 1, 2], [3, 4, 5]], [[5], [0, 3], [4, 2, 1]], [[5, 4, 3, 2, 1, 0]]):
        losses, sums = [], []
        for rows in map(list, parts):
            batch = algo.batch.TokenBatch(**{name: value[rows] for name, value in fields.items()})
            how = {"gate": "soft-or", "objective": "k3", "beta": 2.0, "weights": weights[rows]}
            loss, metrics = algo.distill.distillation(batch, **how)
            losses.append(loss)
            sums.append(metrics)
        total = torch.stack(losses).sum()
        results.append((total, gradient(total, fields["student"]), algo.distill.combine(sums)))
    for total, slope, means in results[1:]:
        close(total, results[0][0], atol=1e-12)
        close(slope, results[0][1], atol=1e-12)
        for name, value in results[0][2].items():
            close(means[name], value, atol=1e-12)


def check_clipped_policy_loss(algo: SimpleNamespace) -> None:
    # (advantage, ratio, dual clip) -> (loss, d loss / d log ratio); clip range [0.8, 1.2]
    table = [
        (1, 1.1, 3.0, -1.1, -1.1),  # inside
        (1, 1.5, 3.0, -1.2, 0.0),  # good and already likelier: cut
        (1, 0.5, 3.0, -0.5, -0.5),  # good and less likely: not cut
        (-1, 0.5, 3.0, 0.8, 0.0),  # bad and already less likely: cut
        (-1, 1.5, 3.0, 1.5, 1.5),  # bad and likelier: not cut
        (-2, 4.0, 3.0, 6.0, 0.0),  # the dual clip
        (-2, 4.0, None, 8.0, 8.0),  # without it
        (2, 4.0, 3.0, -2.4, 0.0),  # which leaves good tokens alone
    ]
    for advantage, ratio, dual, value, slope in table:
        student = tensor([[math.log(ratio)]]).requires_grad_()
        for shape in ((1,), (1, 1)):
            signal = torch.full(shape, float(advantage), dtype=torch.float64)
            loss = algo.policy.clipped_policy_loss(student, torch.zeros(1, 1).double(), signal, 0.2, dual)
            close(loss, [[value]])
            close(gradient(loss, student), [[slope]])


def check_an_advantage_belongs_to_its_row(algo: SimpleNamespace) -> None:
    zeros = torch.zeros(2, 2, dtype=torch.float64)
    loss = algo.policy.clipped_policy_loss(zeros, zeros, tensor([1.0, -2.0]), 0.2, 3.0)
    close(loss, [[-1.0, -1.0], [2.0, 2.0]])


def check_kl_k3(algo: SimpleNamespace) -> None:
    student = tensor([[-math.log(2), -1000.0, 0.0, -0.5]]).requires_grad_()
    reference = tensor([[0.0, 0.0, -1000.0, -0.5]]).requires_grad_()
    kl = algo.policy.kl_k3(student, reference)
    # q = ln 2: 2 - ln 2 - 1, slope -(2 - 1).  q = 1000 and q = -1000: the bound, flat.  q = 0: nothing
    close(kl, [[1 - math.log(2), 10.0, 10.0, 0.0]])
    close(gradient(kl, student), [[-1.0, 0.0, 0.0, 0.0]])
    close(gradient(kl, reference), [[0.0, 0.0, 0.0, 0.0]])


CHECKS = [value for name, value in list(globals().items()) if name.startswith("check_")]
