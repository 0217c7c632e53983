"""Log-probs of every sampled token by the policy and the teacher before a step's updates: the record kept in
``episodes/``, and means per turn.

The gate is that of the loss's function under the sampling policy.  In the loss of a later update of the same step the
student has moved on, and the gate with it.  Of several teacher views the first one is recorded.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sdar_cli.algo.policy import kl_k3
from sdar_cli.base.files import finite
from sdar_cli.rollout.episode import Episode
from sdar_cli.rollout.samples import Sample
from sdar_cli.train.rows import PolicyScores, gap_to_sampler

DECIMALS = 4


@dataclass(frozen=True)
class TokenRecord:
    """Of one sample's T response tokens."""

    old: PolicyScores
    """Of the policy that sampled."""
    reference: Tensor | None
    """Log-probs under the initial weights, (T,); None without a reference."""
    teacher: tuple[Tensor, ...]
    """Log-probs of every view of the teacher, (T,) each; empty without a teacher."""
    gate: Tensor | None
    """The gate of the first view, (T,); None without a teacher, and where it shapes advantages."""

    @property
    def gap(self) -> Tensor | None:
        """Log-probs of the teacher's first view minus ``old``, (T,), nats; None without a teacher."""
        return self.teacher[0] - self.old.logps if self.teacher else None


def note_tokens(records: Mapping[Sample, TokenRecord], episodes: Sequence[Episode]) -> None:
    """Write ``token_logp``, ``token_entropy`` and, where there is a teacher, ``token_gap`` and ``token_gate`` of every
    turn that is in a sample."""
    by_index = {episode.index: episode for episode in episodes}
    for sample, record in records.items():
        turns = by_index[sample.trajectory].turns
        gap = record.gap
        for k, at in _positions(sample).items():
            turns[k].token_logp = _rounded(record.old.logps, at)
            turns[k].token_entropy = _rounded(record.old.entropy, at)
            turns[k].token_gap = _rounded(gap, at)
            turns[k].token_gate = _rounded(record.gate, at)


def turn_metrics(records: Mapping[Sample, TokenRecord]) -> dict[str, list[float | None]]:
    """Means over the tokens of each turn, a list with the first turn first: ``gap_by_turn`` where there is a teacher,
    ``kl_by_turn`` (k3 to the reference) where there is a reference, ``sampler_gap_by_turn`` (trainer - sampler, tokens
    whose sampler log-prob is known)."""
    names = ("gap_by_turn", "kl_by_turn", "sampler_gap_by_turn")
    values: dict[str, dict[int, list[Tensor]]] = {name: defaultdict(list) for name in names}
    for sample, record in records.items():
        kl = None if record.reference is None else kl_k3(record.old.logps, record.reference)
        sampler, known = gap_to_sampler(sample, record.old)
        for k, at in _positions(sample).items():
            for name, found in zip(names, (record.gap, kl), strict=False):
                if found is not None:
                    values[name][k].append(found[at])
            if known[at].any():
                values["sampler_gap_by_turn"][k].append(sampler[at][known[at]])
    return {
        name: [float(torch.cat(turns[k]).double().mean()) if k in turns else None for k in range(max(turns) + 1)]
        for name, turns in values.items()
        if turns
    }


def _positions(sample: Sample) -> dict[int, list[int]]:
    """Turn to the positions of its tokens in the sample."""
    found: dict[int, list[int]] = defaultdict(list)
    for position, k in enumerate(sample.turn_of):
        if k >= 0:
            found[k].append(position)
    return found


def _rounded(values: Tensor | None, at: list[int]) -> list[float | None] | None:
    """Those values to four decimals; no negative zero, and None for what is not finite."""
    return None if values is None else finite([round(value, DECIMALS) + 0.0 for value in values[at].tolist()])
