"""Episodes become rows: the unit the loss is computed on.

One row per turn (``context = window``) or one per episode (``context = transcript``, environment tokens masked).
Token ids are the sampled ones; nothing is tokenised here.  Failed episodes make no rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from sdar_cli.algo.advantages import group_advantages
from sdar_cli.algo.aggregate import token_weights
from sdar_cli.config.schema import AlgoConfig
from sdar_cli.rollout.episode import Episode


@dataclass
class Row:
    """One sample of the loss.  Lists run over the T completion tokens."""

    prompt_ids: list[int]
    completion_ids: list[int]
    mask: list[bool]
    """True on tokens the policy wrote."""
    turn_of: list[int]
    """Turn each completion token belongs to; -1 on environment tokens."""
    trajectory: int
    group: int
    turn: int
    success: bool = False
    """Whether the trajectory reached its goal."""
    teacher_prompts: list[list[int]] = field(default_factory=list)
    """The prompt under each view of the teacher."""
    advantage: list[float] = field(default_factory=list)
    weight: list[float] = field(default_factory=list)
    teacher: list[Tensor] = field(default_factory=list)
    """Log-probs under each view, (T,) each."""
    teacher_hidden: list[Tensor] = field(default_factory=list)
    """Last hidden states under each view, (T, H) each; for full-vocabulary objectives."""
    old: Tensor | None = None
    """Log-probs under the weights that sampled, (T,)."""
    old_entropy: Tensor | None = None
    reference: Tensor | None = None
    gate: Tensor | None = None
    """The gate of the first view under ``old``, (T,)."""

    @property
    def gap(self) -> Tensor | None:
        """Log-probs of the teacher's first view minus ``old``, (T,), nats; None without a teacher."""
        return self.teacher[0] - self.old if self.teacher and self.old is not None else None

    @property
    def length(self) -> int:
        return len(self.prompt_ids) + len(self.completion_ids)


def build_rows(episodes: Sequence[Episode], context: str) -> list[Row]:
    """Rows of every episode that did not fail, in order, without advantages and weights."""
    rows: list[Row] = []
    for episode in episodes:
        if episode.failed or not episode.turns:
            continue
        rows += [_transcript_row(episode)] if context == "transcript" else _turn_rows(episode)
    return rows


def _turn_rows(episode: Episode) -> list[Row]:
    return [
        Row(
            prompt_ids=turn.prompt_ids,
            completion_ids=turn.response_ids,
            mask=[True] * len(turn.response_ids),
            turn_of=[k] * len(turn.response_ids),
            trajectory=episode.index,
            group=episode.group,
            turn=k,
            success=episode.won,
        )
        for k, turn in enumerate(episode.turns)
    ]


def _transcript_row(episode: Episode) -> Row:
    first = episode.turns[0]
    ids: list[int] = []
    turn_of: list[int] = []
    for k, turn in enumerate(episode.turns):
        so_far = first.prompt_ids + ids
        if turn.prompt_ids[: len(so_far)] != so_far:
            raise ValueError(f"turn {k} of {episode.task.id} does not continue the transcript token by token")
        environment = turn.prompt_ids[len(so_far) :]
        ids += environment + turn.response_ids
        turn_of += [-1] * len(environment) + [k] * len(turn.response_ids)
    return Row(
        prompt_ids=first.prompt_ids,
        completion_ids=ids,
        mask=[k >= 0 for k in turn_of],
        turn_of=turn_of,
        trajectory=episode.index,
        group=episode.group,
        turn=0,
        success=episode.won,
    )


def assign_advantages(rows: Sequence[Row], episodes: Sequence[Episode], algo: AlgoConfig) -> None:
    """Group advantages with the invalid-action penalty (paper section 2.2; released code, method.md 6.4).

    penalty_on ``reward``: subtracted from the row's reward before the group statistics (a transcript row
    bears the sum over its turns); ``advantage``: subtracted from the tokens of that turn after them.
    """
    by_index = {episode.index: episode for episode in episodes}
    rewards = []
    for row in rows:
        episode = by_index[row.trajectory]
        invalid = sum(not episode.turns[k].valid for k in set(row.turn_of) if k >= 0)
        rewards.append(episode.reward - (algo.invalid_penalty * invalid if algo.penalty_on == "reward" else 0.0))
    advantages = group_advantages(
        torch.tensor(rewards, dtype=torch.float64),
        torch.tensor([row.group for row in rows]),
        torch.tensor([row.trajectory for row in rows]),
        stats=algo.adv_stats,
        std=algo.adv_std,
    ).tolist()
    after = algo.invalid_penalty if algo.penalty_on == "advantage" else 0.0
    for row, advantage in zip(rows, advantages, strict=True):
        turns = by_index[row.trajectory].turns
        row.advantage = [advantage - (after if k >= 0 and not turns[k].valid else 0.0) for k in row.turn_of]


def assign_weights(rows: Sequence[Row], agg: str) -> float:
    """Per-token weights over the whole batch (``algo.aggregate``); returns their sum, the normaliser."""
    if agg == "turn":  # a transcript row holds several turns
        for row in rows:
            size = Counter(k for k in row.turn_of if k >= 0)
            row.weight = [1.0 / size[k] if k >= 0 else 0.0 for k in row.turn_of]
        return float(sum(sum(row.weight) for row in rows))
    longest = max(len(row.mask) for row in rows)
    mask = torch.tensor([row.mask + [False] * (longest - len(row.mask)) for row in rows])
    weights = token_weights(mask, agg, torch.tensor([row.trajectory for row in rows]))  # type: ignore[arg-type]
    for row, values in zip(rows, weights.tolist(), strict=True):
        row.weight = values[: len(row.mask)]
    return float(weights.sum())


def collate(rows: Sequence[Row], pad: int, device: torch.device, view: int | None = None) -> dict[str, Tensor]:
    """Padded tensors of rows: prompts on the left, completions on the right.

    view: use the prompts of this teacher view, and give nothing but tokens.  Keys are those TRL reads (``prompt_ids``,
    ``prompt_mask``, ``completion_ids``, ``completion_mask``, ``advantages``, ``tool_mask`` = weights,
    ``old_per_token_logps``) plus ours; ``teacher`` and ``teacher_hidden`` have a leading axis of views.
    """
    prompts = [row.prompt_ids if view is None else row.teacher_prompts[view] for row in rows]
    wide = max(map(len, prompts))
    long = max(len(row.completion_ids) for row in rows)

    def right(values: Sequence[Sequence[float]], dtype: torch.dtype, fill: float = 0) -> Tensor:
        padded = [list(v) + [fill] * (long - len(v)) for v in values]
        return torch.tensor(padded, dtype=dtype, device=device)

    batch = {
        "prompt_ids": torch.tensor([[pad] * (wide - len(p)) + p for p in prompts], device=device),
        "prompt_mask": torch.tensor([[0] * (wide - len(p)) + [1] * len(p) for p in prompts], device=device),
        "completion_ids": right([row.completion_ids for row in rows], torch.long, pad),
        "completion_mask": right([[1] * len(row.completion_ids) for row in rows], torch.long),
    }
    if view is not None:
        return batch
    batch["advantages"] = right([row.advantage for row in rows], torch.float32)
    batch["tool_mask"] = right([row.weight for row in rows], torch.float32)
    batch["response_mask"] = right([row.mask for row in rows], torch.bool)
    batch["turn_ids"] = right([row.turn_of for row in rows], torch.long, -1)
    for key in ("trajectory", "group"):
        batch[f"{key}_ids"] = torch.tensor([getattr(row, key) for row in rows], device=device)
    for key, name in (("old_per_token_logps", "old"), ("old_entropy", "old_entropy"), ("reference", "reference")):
        values = [getattr(row, name) for row in rows]
        if all(value is not None for value in values):
            batch[key] = pad_sequence(values, batch_first=True).to(device)
    for key in ("teacher", "teacher_hidden"):
        views = min(len(getattr(row, key)) for row in rows)
        if views:
            padded = [
                pad_sequence([getattr(row, key)[view] for row in rows], batch_first=True) for view in range(views)
            ]
            batch[key] = torch.stack(padded).to(device)
    return batch


def micro_batches(rows: Sequence[Row], size: int) -> list[list[Row]]:
    """Rows in batches of at most ``size``, sorted by length (padding is the waste to avoid)."""
    order = sorted(rows, key=lambda row: (row.length, row.trajectory, row.turn))
    return [list(order[i : i + size]) for i in range(0, len(order), size)]
