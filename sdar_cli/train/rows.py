"""Samples and their signals become padded batches.

A ``Sample`` (``rollout/samples.py``) is known once the episodes are played.  ``Signals`` are what the models compute
for it before the first update of the step.  They are made at once by ``SDARTrainer`` from the results of scoring, in
the order that the types ask for: teacher, reference and old log-probs first, then the advantages shaped by them.

T is the number of response tokens of a sample, H the width of the model.  All tensors are without gradient, on the CPU.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from sdar_cli.algo.mismatch import sampler_gap
from sdar_cli.rollout.samples import Sample
from sdar_cli.train.plan import Size, plan_rows


class PolicyScores(NamedTuple):
    """The policy's log-probs of the response and its entropies, nats, (T,) each."""

    logps: Tensor
    entropy: Tensor


class TeacherScores(NamedTuple):
    """Per view of the teacher: log-probs of the response (T,) and last hidden states (T, H).

    ``hidden`` is empty unless the objective is over the full vocabulary.
    """

    logps: tuple[Tensor, ...]
    hidden: tuple[Tensor, ...]


@dataclass(frozen=True)
class Signals:
    """What the models compute for one sample, and the advantages that follow.  None: not computed in this step."""

    advantage: Sequence[float]
    """(T,), shaped by the teacher where the method does so, else the sample's own."""
    old: PolicyScores | None
    """Of the weights that sampled.  None in a step's first update, whose forward pass has these very weights: its
    importance ratio is 1 by definition, not by two forward passes that agree."""
    reference: Tensor | None
    """Log-probs under the initial weights, (T,)."""
    teacher: TeacherScores | None


def gap_to_sampler(sample: Sample, scores: PolicyScores) -> tuple[Tensor, Tensor]:
    """(log-probs of ``scores`` minus the sampler's, nats; where the sampler's is known), (T,) each."""
    return sampler_gap(scores.logps, torch.tensor(sample.sampler_logps), torch.tensor(sample.mask))


def collate_tokens(
    prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]], pad: int, device: torch.device
) -> dict[str, Tensor]:
    """Padded ids and attention masks of R rows: prompts on the left, (R, P), responses on the right, (R, T).

    Keys are those that TRL reads: ``prompt_ids``, ``prompt_mask``, ``completion_ids``, ``completion_mask``.
    """
    wide, long = max(map(len, prompts)), max(map(len, responses))
    return {
        "prompt_ids": torch.tensor([[pad] * (wide - len(p)) + [*p] for p in prompts], device=device),
        "prompt_mask": torch.tensor([[0] * (wide - len(p)) + [1] * len(p) for p in prompts], device=device),
        "completion_ids": _padded(responses, long, torch.long, device, pad),
        "completion_mask": _padded([[1] * len(r) for r in responses], long, torch.long, device),
    }


def collate(
    samples: Sequence[Sample], signals: Mapping[Sample, Signals], pad: int, device: torch.device
) -> dict[str, Tensor]:
    """The batch of R samples with their signals, padded to (R, T).

    Keys are those of ``collate_tokens``, more that TRL reads (``advantages``, ``tool_mask`` = weights,
    ``old_per_token_logps``) and ours; ``teacher`` (V, R, T) and ``teacher_hidden`` (V, R, T, H) have a leading axis of
    views.  A signal is in the batch only where all samples have it.
    """
    of_each = [signals[sample] for sample in samples]
    batch = collate_tokens([s.prompt_ids for s in samples], [s.response_ids for s in samples], pad, device)
    long = batch["completion_ids"].shape[1]
    batch["advantages"] = _padded([each.advantage for each in of_each], long, torch.float32, device)
    batch["tool_mask"] = _padded([s.weight for s in samples], long, torch.float32, device)
    batch["response_mask"] = _padded([s.mask for s in samples], long, torch.bool, device)
    batch["sampler_logps"] = _padded([s.sampler_logps for s in samples], long, torch.float32, device)
    batch["turn_ids"] = _padded([s.turn_of for s in samples], long, torch.long, device, -1)
    batch["trajectory_ids"] = torch.tensor([s.trajectory for s in samples], device=device)
    batch["group_ids"] = torch.tensor([s.group for s in samples], device=device)
    old = [each.old for each in of_each if each.old is not None]
    if len(old) == len(samples):
        batch["old_per_token_logps"] = pad_sequence([each.logps for each in old], batch_first=True).to(device)
        batch["old_entropy"] = pad_sequence([each.entropy for each in old], batch_first=True).to(device)
    reference = [each.reference for each in of_each if each.reference is not None]
    if len(reference) == len(samples):
        batch["reference"] = pad_sequence(reference, batch_first=True).to(device)
    teacher = [each.teacher for each in of_each if each.teacher is not None]
    if len(teacher) == len(samples):
        batch["teacher"] = _by_view([each.logps for each in teacher]).to(device)
        if all(each.hidden for each in teacher):
            batch["teacher_hidden"] = _by_view([each.hidden for each in teacher]).to(device)
    return batch


def micro_batches(
    samples: Sequence[Sample],
    rows: int,
    tokens: int = 0,
    *,
    prompt_of: Callable[[Sample], Sequence[int]] = lambda sample: sample.prompt_ids,
    processes: int = 1,
    process: int = 0,
) -> list[list[Sample]]:
    """The micro-batches of one process (``plan_rows``), whatever the order of the samples; [] is a filler.

    prompt_of: the prompt that a sample is scored after.  rows, tokens: the bounds of ``plan_rows``.
    """
    order = sorted(samples, key=lambda sample: (sample.trajectory, sample.turn))
    sizes = [Size(len(prompt_of(sample)), len(sample.response_ids)) for sample in order]
    return [[order[i] for i in part] for part in plan_rows(sizes, processes, rows, tokens)[process]]


def _padded(
    values: Sequence[Sequence[float]], long: int, dtype: torch.dtype, device: torch.device, fill: float = 0
) -> Tensor:
    """(R, long), filled on the right."""
    return torch.tensor([[*v] + [fill] * (long - len(v)) for v in values], dtype=dtype, device=device)


def _by_view(rows: Sequence[Sequence[Tensor]]) -> Tensor:
    """(V, R, T, …) from R rows of V tensors (T, …)."""
    return torch.stack([pad_sequence(list(view), batch_first=True) for view in zip(*rows, strict=True)])
