"""Means over tokens, turns or trajectories, written as one weight per token.

Any of them is sum(weights * loss) / sum(weights).  Take the weights over the WHOLE batch of an update, then slice
them with the micro-batches: numerators and denominators add up, and the split changes nothing.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from sdar_cli.algo.batch import check_shape


def token_weights(mask: Tensor, agg: Literal["token", "turn", "trajectory"], trajectory_ids: Tensor) -> Tensor:
    """Weights (R, T), float32, 0 wherever ``mask`` (R, T) is False; a row without response tokens gets 0 throughout.

    ``token``       1: the mean over all response tokens (as released, but over the whole batch)
    ``turn``        1 / tokens of the row: the mean over rows of row means; the sum is the number of non-empty rows
    ``trajectory``  1 / tokens of the trajectory over all its rows: the paper's Agg (section 2.2), the mean over
                    trajectories of their token means; the sum is the number of non-empty trajectories

    ``trajectory_ids`` (R,) must differ between groups.  Raises ValueError for a wrong shape or ``agg``.
    """
    check_shape("trajectory_ids", trajectory_ids, tuple(mask.shape[:1]))
    tokens_R = mask.sum(dim=1)
    if agg == "token":
        size_R = torch.ones_like(tokens_R)
    elif agg == "turn":
        size_R = tokens_R
    elif agg == "trajectory":
        ids, owner_R = torch.unique(trajectory_ids, return_inverse=True)
        size_R = tokens_R.new_zeros(len(ids)).index_add(0, owner_R, tokens_R)[owner_R]
    else:
        raise ValueError(f"agg must be 'token', 'turn' or 'trajectory', got {agg!r}")
    return mask.to(torch.float32) / size_R.clamp(min=1)[:, None]
