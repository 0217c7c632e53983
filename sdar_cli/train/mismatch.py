"""The sampler's log-probs against the trainer's, once per step: metrics, and the alarm for stale or wrong weights."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from sdar_cli.algo.mismatch import mismatch_metrics
from sdar_cli.base import distributed
from sdar_cli.base.errors import RunFailedError
from sdar_cli.config.schema import RunConfig
from sdar_cli.rollout.samples import Sample
from sdar_cli.train.rows import PolicyScores, gap_to_sampler
from sdar_cli.train.tokens import TokenRecord

EXACT, HALF = 1e-3, 0.1
"""Largest mean |gap|, nats, of a sampler that has the trainer's weights: where both compute in float32, and else."""


def gap_metrics(records: Mapping[Sample, TokenRecord], cap: float) -> Mapping[str, float]:
    """``mismatch_metrics`` over the tokens of a step."""
    return mismatch_metrics(_gaps((sample, record.old) for sample, record in records.items()), cap)


def largest_gap(model: nn.Module, half: bool) -> float:
    """The mean |gap|, nats, that is still rounding.  half: the forward pass is in half precision (autocast).

    Infinite where the model has dropout: the trainer's log-probs then differ from any sampler's in every pass.
    """
    shares = [part.p for part in model.modules() if isinstance(part, nn.Dropout)]
    named = vars(model.config) if hasattr(model, "config") else {}
    shares += [value for name, value in named.items() if "dropout" in name and isinstance(value, float)]
    if any(shares):
        return math.inf
    return EXACT if not half and next(model.parameters()).dtype == torch.float32 else HALF


def check_gap(old: Mapping[Sample, PolicyScores], config: RunConfig, limit: float) -> None:
    """Before the first update of a step; every process must call it.

    old: the trainer's log-probs of this process's samples under the weights that sampled.  limit: ``largest_gap``.
    Raises RunFailedError where the mean |gap| over all processes is beyond it.
    """
    gaps = _gaps(old.items())
    parts = distributed.gather((float(gaps.double().abs().sum()), len(gaps)))
    total, count = sum(part[0] for part in parts), sum(part[1] for part in parts)
    if config.engine.allow_gap or not count or total / count <= limit:
        return
    raise RunFailedError(
        f"sampler and trainer disagree by {total / count:.3g} nats per token on the tokens just sampled",
        why=f"up to {limit:g} is rounding: engine.name = {config.engine.name} has stale or other weights, or "
        "samples from another distribution",
        fix="--set engine.name=hf to train with one model for both, or --set engine.allow_gap=true to go on all the "
        "same",
    )


def _gaps(scored: Iterable[tuple[Sample, PolicyScores]]) -> Tensor:
    """trainer - sampler of all tokens whose sampler log-prob is known, (N,), nats."""
    found = [torch.zeros(0)]
    for sample, scores in scored:
        gap, known = gap_to_sampler(sample, scores)
        found.append(gap[known])
    return torch.cat(found)
