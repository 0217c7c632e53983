"""What a TokenBatch, an advantage or a mean refuses, and how it says so."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from sdar_cli.algo.advantages import group_advantages
from sdar_cli.algo.aggregate import token_weights
from sdar_cli.algo.batch import TokenBatch, gap
from sdar_cli.algo.gates import entropy_gate

from .material import random_fields


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"student": torch.zeros(6)}, r"student must be a float \(R, T\) tensor, got torch.float32 with shape \(6,\)"),
        ({"student": torch.zeros(6, 5, dtype=torch.long)}, "student must be a float"),
        ({"mask": torch.ones(6, 4, dtype=torch.bool)}, r"mask has shape \(6, 4\), expected \(6, 5\)"),
        ({"mask": torch.ones(6, 5)}, r"mask must be bool, got torch.float32; .*\.bool\(\)"),
        ({"teacher": torch.zeros(5, 6)}, r"teacher has shape \(5, 6\), expected \(6, 5\)"),
        ({"old": torch.zeros(6, 1)}, "old has shape"),
        ({"reference": torch.zeros(6, 5, 1)}, "reference has shape"),
        ({"entropy": torch.zeros(1, 5)}, "entropy has shape"),
        ({"advantage": torch.zeros(5)}, r"a per-row advantage has shape \(5,\), expected \(6,\)"),
        ({"advantage": torch.zeros(6, 1)}, r"a per-token advantage has shape \(6, 1\), expected \(6, 5\)"),
        ({"turn_ids": torch.arange(5)}, r"turn_ids has shape \(5,\), expected \(6,\)"),
        ({"trajectory_ids": torch.zeros(6)}, "trajectory_ids must be long, got torch.float32"),
        ({"group_ids": torch.zeros(6, 1, dtype=torch.long)}, "group_ids has shape"),
    ],
)
def test_a_wrong_field_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TokenBatch(**{**random_fields(0), **change})


@pytest.mark.parametrize("shape", [(6,), (6, 5)])
def test_advantages_may_be_per_row_or_per_token(shape: tuple[int, ...]) -> None:
    advantage = TokenBatch(**random_fields(0), advantage=torch.zeros(shape)).advantage
    assert advantage is not None and tuple(advantage.shape) == shape


def test_a_batch_cannot_be_changed() -> None:
    batch = TokenBatch(**random_fields(0))
    with pytest.raises(dataclasses.FrozenInstanceError):
        batch.student = batch.mask  # type: ignore[misc]


def test_missing_fields_are_named() -> None:
    batch = dataclasses.replace(TokenBatch(**random_fields(0)), teacher=None, entropy=None)
    with pytest.raises(ValueError, match="no teacher values"):
        gap(batch)
    with pytest.raises(ValueError, match="no entropy values"):
        entropy_gate(batch, 5.0)


def test_wrong_arguments_of_advantages() -> None:
    ids = torch.zeros(3, dtype=torch.long)
    for rewards, groups, owners, stats, message in (
        (torch.zeros(3, 1), ids, ids, "turn", "rewards must be a float"),
        (torch.zeros(3, dtype=torch.long), ids, ids, "turn", "rewards must be a float"),
        (torch.zeros(3), ids[:2], ids, "turn", "group_ids has shape"),
        (torch.zeros(3), ids, ids[:2], "turn", "trajectory_ids has shape"),
        (torch.zeros(3), ids, ids, "row", "stats must be 'episode' or 'turn', got 'row'"),
    ):
        with pytest.raises(ValueError, match=message):
            group_advantages(rewards, groups, owners, stats=stats, std=True)  # type: ignore[arg-type]


def test_wrong_arguments_of_means() -> None:
    mask = torch.ones(2, 3, dtype=torch.bool)
    with pytest.raises(ValueError, match="agg must be"):
        token_weights(mask, "row", torch.arange(2))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="trajectory_ids has shape"):
        token_weights(mask, "token", torch.arange(3))
