"""An episode while it is played and trained on: what the agent saw, the tokens it wrote, and what came of it.

What stays of it in files is its ``record``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from sdar_cli.envs.base import StopReason, Task, TurnView
from sdar_cli.runs.records import EpisodeRecord, TurnDetail, TurnRecord


@dataclass
class Turn:
    """One (prompt, response) sample.  ``response_ids`` are the sampled ids and are never re-tokenised."""

    view: TurnView
    prompt_ids: list[int]
    response_ids: list[int]
    response: str
    action: str
    valid: bool
    admissible: bool
    sampler_logp: list[float]
    """Of each response token, nats, as the engine sampled it (at the temperature of the rollout)."""
    weight_version: int = 0
    """Of the weights that sampled it."""
    truncated_prompt: int = 0
    """Tokens that did not fit the prompt budget."""
    truncated_response: bool = False
    """The response hit its token budget before the end token."""
    teacher_tokens: int | None = None
    """Length of the teacher's prompt of this turn."""
    teacher_cut: tuple[str, ...] = ()
    """What had to be cut from it, in order: ``history``, ``observation``, ``skill``."""
    token_logp: list[float | None] | None = None
    """Per response token, before the step's updates: the policy's log-prob, nats (this and the next from training)."""
    token_entropy: list[float | None] | None = None
    """Entropy of the policy's distribution there, nats."""
    token_gap: list[float | None] | None = None
    """The first teacher view's log-prob minus the policy's, nats; None without a teacher."""
    token_gate: list[float | None] | None = None
    """The loss's gate; None without a teacher, and where the teacher shapes advantages."""

    def record(self) -> TurnRecord:
        """What stays of it, with every token."""
        detail = TurnDetail(**{each.name: getattr(self, each.name) for each in fields(TurnDetail)})
        return TurnRecord(self.response, self.action, self.valid, self.admissible, detail)


@dataclass
class Episode:
    """One trajectory.  ``group`` is shared by the episodes of one task in one step."""

    task: Task
    group: int
    index: int
    turns: list[Turn] = field(default_factory=list)
    reward: float = 0.0
    won: bool = False
    score: float | None = None
    """The benchmark's own score in [0, 1], where it has one besides winning."""
    reward_parts: Mapping[str, Any] | None = None
    """What the score is made of and what it was judged by, where the environment reports them."""
    stop: StopReason | None = None
    failure: str | None = None
    skill_ids: tuple[str, ...] = ()
    skill_text: str = ""
    """What the teacher was shown, before any cut."""

    @property
    def failed(self) -> bool:
        """The environment broke: no part of the loss."""
        return self.stop is StopReason.ENV_FAILED

    def record(self) -> EpisodeRecord:
        """What stays of it, with every token."""
        return EpisodeRecord(
            task=self.task,
            goal=self.turns[0].view.goal if self.turns else "",
            won=self.won,
            reward=self.reward,
            score=self.score,
            reward_parts=self.reward_parts,
            stop=self.stop,
            failure=self.failure,
            turns=tuple(turn.record() for turn in self.turns),
            group=self.group,
            index=self.index,
            skill_ids=self.skill_ids,
            skill_text=self.skill_text,
        )
