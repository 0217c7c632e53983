"""Episodes become samples: the unit that the loss is computed on.

One sample per turn (``context = window``) or one per episode (``context = transcript``, environment tokens masked).
Token ids are the sampled ones; nothing is tokenised here.  Failed episodes make no samples.

The types state the order: ``TokenRow`` is what an episode alone gives; a ``Sample`` also has its advantages and
weights, which need all rows of the step.  What the models compute for a sample is in ``train/rows.py`` (``Signals``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from sdar_cli.algo.advantages import group_advantages
from sdar_cli.algo.aggregate import token_weights
from sdar_cli.config.schema import AlgoConfig
from sdar_cli.rollout.episode import Episode


@dataclass(frozen=True, eq=False)
class TokenRow:
    """The tokens of a turn or of a transcript, and whose they are.  T is the number of response tokens.

    ``eq=False``: rows are compared and hashed by identity, so that they can be keys.
    """

    prompt_ids: Sequence[int]
    response_ids: Sequence[int]
    """(T,); in a transcript with the environment's tokens between the turns."""
    mask: Sequence[bool]
    """(T,), True on tokens the policy wrote."""
    turn_of: Sequence[int]
    """(T,), the turn each response token belongs to; -1 on environment tokens."""
    trajectory: int
    group: int
    turn: int
    sampler_logps: Sequence[float]
    """(T,), the log-prob of each token when it was sampled, nats; 0 on environment tokens."""
    success: bool
    """Whether the trajectory reached its goal."""

    @property
    def length(self) -> int:
        """Tokens of prompt and response."""
        return len(self.prompt_ids) + len(self.response_ids)


@dataclass(frozen=True, eq=False)
class Sample(TokenRow):
    """All that is known once the episodes of a step are played, and how it enters the loss."""

    advantage: Sequence[float]
    """(T,), of the group, before any shaping."""
    weight: Sequence[float]
    """(T,), of the loss; 0 on environment tokens."""
    teacher_prompts: Sequence[Sequence[int]] = ()
    """The prompt under each view of the teacher, token ids; empty in a step without a teacher."""


def make_samples(episodes: Sequence[Episode], context: str, algo: AlgoConfig) -> tuple[list[Sample], float]:
    """(samples of every episode that did not fail, in order; the sum of all token weights, the loss's normaliser)."""
    rows = token_rows(episodes, context)
    advantages = advantages_of(rows, episodes, algo)
    weights, normaliser = weights_of(rows, algo.agg)
    samples = [
        Sample(**vars(row), advantage=advantage, weight=weight)
        for row, advantage, weight in zip(rows, advantages, weights, strict=True)
    ]
    return samples, normaliser


def token_rows(episodes: Sequence[Episode], context: str) -> list[TokenRow]:
    """Rows of every episode that did not fail, in order.

    Raises ValueError where a transcript's prompt does not continue the tokens before it.
    """
    rows: list[TokenRow] = []
    for episode in episodes:
        if episode.failed or not episode.turns:
            continue
        rows += [_transcript_row(episode)] if context == "transcript" else _turn_rows(episode)
    return rows


def _turn_rows(episode: Episode) -> list[TokenRow]:
    return [
        TokenRow(
            prompt_ids=turn.prompt_ids,
            response_ids=turn.response_ids,
            mask=[True] * len(turn.response_ids),
            turn_of=[k] * len(turn.response_ids),
            trajectory=episode.index,
            group=episode.group,
            turn=k,
            sampler_logps=turn.sampler_logp,
            success=episode.won,
        )
        for k, turn in enumerate(episode.turns)
    ]


def _transcript_row(episode: Episode) -> TokenRow:
    first = episode.turns[0]
    ids: list[int] = []
    turn_of: list[int] = []
    logps: list[float] = []
    for k, turn in enumerate(episode.turns):
        so_far = first.prompt_ids + ids
        if turn.prompt_ids[: len(so_far)] != so_far:
            raise ValueError(f"turn {k} of {episode.task.id} does not continue the transcript token by token")
        environment = turn.prompt_ids[len(so_far) :]
        ids += environment + turn.response_ids
        turn_of += [-1] * len(environment) + [k] * len(turn.response_ids)
        logps += [0.0] * len(environment) + turn.sampler_logp
    return TokenRow(
        prompt_ids=first.prompt_ids,
        response_ids=ids,
        mask=[k >= 0 for k in turn_of],
        turn_of=turn_of,
        trajectory=episode.index,
        group=episode.group,
        turn=0,
        sampler_logps=logps,
        success=episode.won,
    )


def advantages_of(rows: Sequence[TokenRow], episodes: Sequence[Episode], algo: AlgoConfig) -> list[list[float]]:
    """Per row, (T,): group advantages with the penalty on invalid actions (paper section 2.2; released code).

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
    return [
        [advantage - (after if k >= 0 and not by_index[row.trajectory].turns[k].valid else 0.0) for k in row.turn_of]
        for row, advantage in zip(rows, advantages, strict=True)
    ]


def weights_of(rows: Sequence[TokenRow], agg: str) -> tuple[list[list[float]], float]:
    """(per row the weight of every token, (T,), over the whole batch (``algo.aggregate``); their sum)."""
    if agg == "turn":  # a transcript row holds several turns
        weights = []
        for row in rows:
            size = Counter(k for k in row.turn_of if k >= 0)
            weights.append([1.0 / size[k] if k >= 0 else 0.0 for k in row.turn_of])
        return weights, float(sum(sum(values) for values in weights))
    longest = max(len(row.mask) for row in rows)
    mask = torch.tensor([[*row.mask, *[False] * (longest - len(row.mask))] for row in rows])
    found = token_weights(mask, agg, torch.tensor([row.trajectory for row in rows]))  # type: ignore[arg-type]
    return [values[: len(row.mask)] for row, values in zip(rows, found.tolist(), strict=True)], float(found.sum())
