"""What the policy and the teacher said of every sampled token before a step's updates: the record kept in
``episodes/``, and means per turn.

The gate is that of the loss's function under the sampling policy.  In the loss of a later update of the same step the
student has moved on, and the gate with it.  Of several teacher views the first one is recorded.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from sdar_cli.algo.policy import kl_k3
from sdar_cli.base.files import finite
from sdar_cli.rollout.episode import Episode
from sdar_cli.train.rows import Row

DECIMALS = 4


def note_tokens(rows: Sequence[Row], episodes: Sequence[Episode]) -> None:
    """Write ``token_logp``, ``token_entropy`` and, where there is a teacher, ``token_gap`` and ``token_gate`` of every
    turn that is in a row.  Rows must hold their old log-probs and entropies."""
    by_index = {episode.index: episode for episode in episodes}
    for row in rows:
        turns = by_index[row.trajectory].turns
        for k, at in _positions(row).items():
            turns[k].token_logp = _rounded(row.old, at)
            turns[k].token_entropy = _rounded(row.old_entropy, at)
            turns[k].token_gap = _rounded(row.gap, at)
            turns[k].token_gate = _rounded(row.gate, at)


def turn_metrics(rows: Sequence[Row]) -> dict[str, Any]:
    """Means over the tokens of each turn, a list with the first turn first: ``gap_by_turn`` where there is a teacher,
    ``kl_by_turn`` (k3 to the reference) where there is a reference."""
    values: dict[str, dict[int, list[Tensor]]] = {"gap_by_turn": defaultdict(list), "kl_by_turn": defaultdict(list)}
    for row in rows:
        kl = None if row.reference is None or row.old is None else kl_k3(row.old, row.reference)
        for name, found in (("gap_by_turn", row.gap), ("kl_by_turn", kl)):
            if found is None:
                continue
            for k, at in _positions(row).items():
                values[name][k].append(found[at])
    return {
        name: [float(torch.cat(turns[k]).double().mean()) if k in turns else None for k in range(max(turns) + 1)]
        for name, turns in values.items()
        if turns
    }


def _positions(row: Row) -> dict[int, list[int]]:
    """Turn to the positions of its tokens in the row."""
    found: dict[int, list[int]] = defaultdict(list)
    for position, k in enumerate(row.turn_of):
        if k >= 0:
            found[k].append(position)
    return found


def _rounded(values: Tensor | None, at: list[int]) -> list[float | None] | None:
    """Those values to four decimals; no negative zero, and None for what is not finite."""
    return None if values is None else finite([round(value, DECIMALS) + 0.0 for value in values[at].tolist()])
