"""Group-relative advantages (paper, section 2.2 and Algorithm 2: A = (R - mean) / std within a group)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from sdar_cli.algo.batch import check_shape


def group_advantages(
    rewards: Tensor,
    group_ids: Tensor,
    trajectory_ids: Tensor,
    *,
    stats: Literal["episode", "turn"],
    std: bool,
    eps: float = 1e-6,
) -> Tensor:
    """Advantage of every row, (R,), in the dtype of ``rewards``.

    ``rewards`` (R,) holds the episode's return on each of its rows, any per-turn penalty already subtracted;
    ``group_ids`` and ``trajectory_ids`` (R,) are those of each row.  Leave filler rows out: each row is counted.
    ``stats="turn"`` takes mean and unbiased deviation over all rows of the group, so long episodes weigh more (the
    released default); ``"episode"`` over one entry per trajectory, its first row, and applies them to every row.
    A group with one entry has mean 0 and deviation 1, as released: its advantage is the reward itself.
    ``std=False`` only subtracts the mean.  Raises ValueError for a wrong shape, dtype or ``stats``.
    """
    if rewards.dim() != 1 or not rewards.is_floating_point():
        raise ValueError(f"rewards must be a float (R,) tensor, got {rewards.dtype} of shape {tuple(rewards.shape)}")
    check_shape("group_ids", group_ids, tuple(rewards.shape))
    check_shape("trajectory_ids", trajectory_ids, tuple(rewards.shape))
    if stats not in ("episode", "turn"):
        raise ValueError(f"stats must be 'episode' or 'turn', got {stats!r}")
    # float64: in a group of equal rewards the rounding of a float32 mean is not small against eps
    values = rewards.double()
    counted = torch.ones_like(values, dtype=torch.bool)
    if stats == "episode":
        counted = _first_rows(group_ids, trajectory_ids)
    advantages = torch.empty_like(values)
    for group in torch.unique(group_ids):
        rows = group_ids == group
        mean, deviation = _mean_std(values[rows & counted])
        centred = values[rows] - mean
        advantages[rows] = centred / (deviation + eps) if std else centred
    return advantages.to(rewards.dtype)


def _mean_std(entries: Tensor) -> tuple[float, float]:
    if entries.numel() == 1:
        return 0.0, 1.0
    return float(entries.mean()), float(entries.std(unbiased=True))


def _first_rows(group_ids: Tensor, trajectory_ids: Tensor) -> Tensor:
    """(R,) bool, True on the first row met of each trajectory of each group."""
    seen: set[tuple[int, int]] = set()
    first = []
    for pair in zip(group_ids.tolist(), trajectory_ids.tolist(), strict=True):
        first.append(pair not in seen)
        seen.add(pair)
    return torch.tensor(first, dtype=torch.bool, device=group_ids.device)
