"""What is computed once per step over all its samples: advantages shaped by the teacher.

A shaping sees the log-probs of the sampling policy (``old``) as the student's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

import torch

from sdar_cli.algo.batch import TokenBatch, check_shape
from sdar_cli.algo.shaping import Shaping
from sdar_cli.base import distributed
from sdar_cli.rollout.samples import Sample
from sdar_cli.train.rows import Signals, collate

T = TypeVar("T")


def step_batch(samples: Sequence[Sample], signals: Mapping[Sample, Signals], view: int) -> TokenBatch:
    """All samples of a step as one batch on the CPU, the teacher being the given view."""
    inputs = collate(samples, signals, 0, torch.device("cpu"))
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
        success=torch.tensor([sample.success for sample in samples]),
    )


def shape_advantages(
    samples: Sequence[Sample],
    signals: Mapping[Sample, Signals],
    shaping: Shaping,
    weights: Sequence[float],
    coef: float,
    clip: float,
) -> tuple[dict[Sample, list[float]], dict[str, float]]:
    """(shaped advantages of all samples of a step, (T,) each; metrics): A + sum over views of weight * (shaped - A).

    signals: of every sample, with old and teacher log-probs and the advantages A.  weights: one per view.

    ``shaping_change``: mean |new - old advantage| over tokens; ``shaping_flipped``: share of tokens whose sign changed.
    """
    total = torch.zeros(())
    for view, weight in enumerate(weights):
        batch = step_batch(samples, signals, view)
        shaped = shaping(batch, coef, clip).detach()
        check_shape("the shaping's result", shaped, tuple(batch.mask.shape))
        total = total + weight * (shaped - batch.advantage)
    assert batch.advantage is not None
    new = torch.where(batch.mask, batch.advantage + total, 0.0)
    before, after = batch.advantage[batch.mask], new[batch.mask]
    metrics = {
        "shaping_change": float((after - before).abs().mean()),
        "shaping_flipped": float((after * before < 0).float().mean()),
    }
    rows = zip(samples, new.tolist(), strict=True)
    return {sample: values[: len(sample.mask)] for sample, values in rows}, metrics


def of_all_processes(values: Mapping[Sample, T], samples: Sequence[Sample]) -> dict[Sample, T]:
    """A value of every sample of the step, in its order, where each process has those of its own samples."""
    number = {sample: i for i, sample in enumerate(samples)}
    parts = distributed.gather({number[sample]: value for sample, value in values.items()})
    found = {i: value for part in parts for i, value in part.items()}
    return {sample: found[i] for i, sample in enumerate(samples)}
