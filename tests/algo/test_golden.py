"""Values and gradients of the paper's released implementation (github.com/ZJU-REAL/SDAR), to 1e-6 in float64."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
import torch
from places import SHARED
from torch import Tensor

from sdar_cli.algo.advantages import group_advantages
from sdar_cli.algo.aggregate import token_weights
from sdar_cli.algo.batch import TokenBatch
from sdar_cli.algo.distill import combine, distillation
from sdar_cli.algo.policy import clipped_policy_loss, kl_k3
from sdar_cli.algo.shaping import rlsd

from .material import close, gradient, tensor

VECTORS = SHARED / "data" / "algo" / "reference_vectors.json"
CASES: list[dict[str, Any]] = json.loads(VECTORS.read_text()) if VECTORS.is_file() else []

pytestmark = pytest.mark.skipif(not CASES, reason=f"no reference vectors at {VECTORS}; set SDAR_SHARED to their folder")


def _ids(names: list[str]) -> Tensor:
    order = {name: number for number, name in enumerate(dict.fromkeys(names))}
    return torch.tensor([order[name] for name in names])


def _batch(case: dict[str, Any]) -> TokenBatch:
    return TokenBatch(
        student=tensor(case["student_logp"]).requires_grad_(),
        teacher=tensor(case["teacher_logp"]),
        old=tensor(case["old_logp"]),
        reference=tensor(case["ref_logp"]),
        mask=tensor(case["mask"]).bool(),
        turn_ids=torch.arange(len(case["group"])),
        trajectory_ids=_ids(case["trajectory"]),
        group_ids=_ids(case["group"]),
    )


def _masked_mean(values: Tensor, batch: TokenBatch) -> Tensor:
    return values[batch.mask].mean()


def _same(loss: Tensor, batch: TokenBatch, expected: dict[str, Any]) -> None:
    close(loss, expected["loss"], atol=1e-6)
    close(gradient(loss, batch.student), expected["grad"], atol=1e-6)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"seed{case['seed']}")
@pytest.mark.parametrize("beta", [0, 1, 5, 10])
def test_sdar(case: dict[str, Any], beta: int) -> None:
    batch, expected = _batch(case), case["expected"][f"sdar_beta{beta}"]
    weights = token_weights(batch.mask, "token", batch.trajectory_ids)
    loss, sums = distillation(batch, gate="gap", objective="surrogate", beta=float(beta), weights=weights)
    _same(loss / weights.sum(), batch, expected)
    means = combine([sums])
    close(means["distill_loss"], expected["loss"], atol=1e-6)
    for name in ("gap_mean", "gate_mean", "gate_active_ratio"):
        close(means[name], expected[name], atol=1e-6)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"seed{case['seed']}")
def test_skill_sd(case: dict[str, Any]) -> None:
    batch = _batch(case)
    weights = token_weights(batch.mask, "token", batch.trajectory_ids)
    loss, _ = distillation(batch, gate="none", objective="k3", beta=5.0, weights=weights)
    _same(loss / weights.sum(), batch, case["expected"]["skill_sd"])


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"seed{case['seed']}")
@pytest.mark.parametrize(("stats", "key"), [("turn", "turns"), ("episode", "episodes")])
def test_advantages_and_policy_loss(case: dict[str, Any], stats: Any, key: str) -> None:
    batch, expected = _batch(case), case["expected"]
    rewards = tensor(case["episode_reward"])
    advantage = group_advantages(rewards, batch.group_ids, batch.trajectory_ids, stats=stats, std=True)
    close(advantage, expected[f"grpo_advantage_{key}"], atol=1e-6)
    assert batch.old is not None
    per_token = clipped_policy_loss(batch.student, batch.old, advantage, clip_eps=0.2, dual_clip=3.0)
    _same(_masked_mean(per_token, batch), batch, expected[f"grpo_clip_{key}"])


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"seed{case['seed']}")
@pytest.mark.parametrize("stats", ["turns", "episodes"])
@pytest.mark.parametrize("coef", [0.5, 0.2])
def test_rlsd_token_advantages(case: dict[str, Any], stats: str, coef: float) -> None:
    """The student's log-probs are the old ones there."""
    batch, expected = _batch(case), case["expected"]
    assert batch.old is not None
    advantage = tensor(expected[f"grpo_advantage_{stats}"])
    batch = dataclasses.replace(batch, student=batch.old, advantage=advantage)
    close(rlsd(batch, coef, 0.2), expected[f"rlsd_{stats}_lambda{coef}"], atol=1e-6)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"seed{case['seed']}")
def test_kl_to_the_reference(case: dict[str, Any]) -> None:
    batch = _batch(case)
    assert batch.reference is not None
    _same(_masked_mean(kl_k3(batch.student, batch.reference), batch), batch, case["expected"]["kl_k3"])
