"""What is computed once per step over all its rows: advantages shaped by the teacher.

A shaping sees the log-probs of the sampling policy (``row.old``) as the student's.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from sdar_cli.algo.batch import TokenBatch, check_shape
from sdar_cli.algo.shaping import Shaping
from sdar_cli.base import distributed
from sdar_cli.train.rows import Row, collate


def step_batch(rows: Sequence[Row], view: int) -> TokenBatch:
    """All rows as one batch on the CPU, the teacher being the given view."""
    inputs = collate(rows, 0, torch.device("cpu"))
    return TokenBatch(
        student=inputs["old_per_token_logps"],
        old=inputs["old_per_token_logps"],
        mask=inputs["response_mask"],
        turn_ids=inputs["turn_ids"],
        trajectory_ids=inputs["trajectory_ids"],
        group_ids=inputs["group_ids"],
        teacher=inputs["teacher"][view],
        views=inputs["teacher"],
        entropy=inputs["old_entropy"],
        advantage=inputs["advantages"],
        success=torch.tensor([row.success for row in rows]),
    )


def shape_advantages(
    rows: Sequence[Row], shaping: Shaping, weights: Sequence[float], coef: float, clip: float
) -> dict[str, float]:
    """Replace ``row.advantage``: A + sum over views of weight * (shaped - A).  Returns metrics.

    ``shaping_change``: mean |new - old advantage| over tokens; ``shaping_flipped``: share of tokens whose sign changed.
    """
    total = torch.zeros(())
    for view, weight in enumerate(weights):
        batch = step_batch(rows, view)
        shaped = shaping(batch, coef, clip).detach()
        check_shape("the shaping's result", shaped, tuple(batch.mask.shape))
        total = total + weight * (shaped - batch.advantage)
    assert batch.advantage is not None
    new = torch.where(batch.mask, batch.advantage + total, 0.0)
    before, after = batch.advantage[batch.mask], new[batch.mask]
    for row, values in zip(rows, new.tolist(), strict=True):
        row.advantage = values[: len(row.mask)]
    return {
        "shaping_change": float((after - before).abs().mean()),
        "shaping_flipped": float((after * before < 0).float().mean()),
    }


def share_scores(rows: Sequence[Row], mine: Sequence[Row]) -> None:
    """Give every process the log-probs and entropies of all rows; each has scored ``mine``, some of them."""
    if distributed.world() == 1:
        return
    own = {id(row) for row in mine}
    scored = {i: (row.teacher, row.old, row.old_entropy, row.reference) for i, row in enumerate(rows) if id(row) in own}
    for part in distributed.gather(scored):
        for i, values in part.items():
            rows[i].teacher, rows[i].old, rows[i].old_entropy, rows[i].reference = values
