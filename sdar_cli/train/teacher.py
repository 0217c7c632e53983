"""The teacher: the policy's own weights on a prompt that shows the skill (paper section 2.1).

It scores the student's sampled token ids; nothing is generated or tokenised again except the prompt.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from sdar_cli.config.schema import RunConfig
from sdar_cli.rollout.episode import Episode
from sdar_cli.rollout.prompt import EncodedPrompt, encode_prompt
from sdar_cli.skills.bank import GENERAL
from sdar_cli.skills.choose.retriever import Choices, Retriever
from sdar_cli.skills.choose.strategies import skill_text
from sdar_cli.train.rows import Row

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass
class TeacherStats:
    """Counts over the prompts of one step: what the audit metrics are made of."""

    prompts: int = 0
    owed: int = 0
    """Prompts that are to show a skill of the task's category."""
    with_skill: int = 0
    """Those of them that do."""
    lacking: str = ""
    """The first task without, in words."""
    skill_cut: int = 0
    cut: int = 0
    cut_tokens: int = 0
    tokens: int = 0
    skill_tokens: int = 0

    def add(self, prompt: EncodedPrompt) -> None:
        self.prompts += 1
        self.skill_cut += "skill" in prompt.cut
        self.cut += bool(prompt.cut)
        self.cut_tokens += prompt.cut_tokens
        self.tokens += len(prompt.ids)
        self.skill_tokens += prompt.skill_tokens

    def problem(self) -> str:
        """What is wrong with the teacher's skills, in words; empty when nothing is."""
        if self.with_skill < self.owed:
            lack = self.owed - self.with_skill
            return f"{lack} of {self.owed} teacher prompts show no skill of their task's category, first {self.lacking}"
        if self.skill_cut:
            cut = f"the skill is cut in {self.skill_cut} of {self.prompts} teacher prompts"
            return f"{cut}: raise teacher.max_prompt_tokens, or take skills.form=brief"
        return ""

    def metrics(self) -> dict[str, float]:
        """Shares and means per teacher prompt, over all views.

        ``teacher/skill_present``: the share with a skill among prompts of tasks whose type is a category of the bank,
        views that retrieve none left out; absent where there is no such prompt.
        """
        n = max(1, self.prompts)
        audit = {"teacher/skill_present": self.with_skill / self.owed} if self.owed else {}
        return {
            **audit,
            "teacher/skill_cut": self.skill_cut / n,
            "teacher/truncated_prompts": self.cut / n,
            "teacher/truncated_tokens": self.cut_tokens / n,
            "teacher/prompt_tokens": self.tokens / n,
            "teacher/skill_tokens": self.skill_tokens / n,
        }


@dataclass
class TeacherPrompts:
    """Retrieves skills and writes the teacher's prompt of every row."""

    config: RunConfig
    retriever: Retriever
    tokenizer: PreTrainedTokenizerBase
    choices: Choices = field(default_factory=dict, init=False)
    """Those of the last step."""
    example: EncodedPrompt | None = field(default=None, init=False)
    """The first prompt made, shown to the user."""

    def choose(self, episodes: Sequence[Episode], step: int, taught: bool) -> None:
        """Choose the skills of every group of a step: for the views if it is taught, for the policy if it is shown."""
        strategies = {view.retrieval for view in self.config.views} if taught else set()
        if self.config.train.with_skill:
            strategies.add(self.config.skills.retrieval)
        self.choices = self.retriever.choose_for_groups(episodes, strategies, step)

    def fill(self, rows: Sequence[Row], episodes: Sequence[Episode], step: int = 1) -> TeacherStats:
        """Set ``teacher_prompts`` of every row; note in the episodes what the first view was shown and what was cut."""
        self.choose(episodes, step, taught=True)
        stats = TeacherStats()
        by_index = {episode.index: episode for episode in episodes}
        texts = {episode.index: self._skill_texts(episode) for episode in episodes if episode.turns}
        for row in rows:
            turn = by_index[row.trajectory].turns[row.turn]
            prompts = [
                encode_prompt(
                    self.tokenizer,
                    turn.view,
                    style=self.config.env.prompt,
                    limit=self.config.teacher.max_prompt_tokens,
                    thinking=self.config.model.thinking,
                    skill=text,
                    placement=view.placement,
                )
                for view, text in zip(self.config.views, texts[row.trajectory], strict=True)
            ]
            row.teacher_prompts = [prompt.ids for prompt in prompts]
            turn.teacher_tokens, turn.teacher_cut = len(prompts[0].ids), prompts[0].cut
            self.example = self.example or prompts[0]
            for view, prompt in zip(self.config.views, prompts, strict=True):
                stats.add(prompt)
                self._audit(stats, by_index[row.trajectory], view.retrieval, prompt)
        return stats

    def _audit(self, stats: TeacherStats, episode: Episode, strategy: str, prompt: EncodedPrompt) -> None:
        """Count whether the prompt shows what it should: advice for every task alone is not enough."""
        bank, kind = self.retriever.bank, episode.task.type
        if strategy == "none" or not (bank.category_of(kind) in bank.categories or kind in bank.routes):
            return
        choice = self.choices[episode.group][strategy]
        fits = choice.single or any(skill.category != GENERAL for skill in choice.skills)
        stats.owed += 1
        stats.with_skill += fits and prompt.skill_present
        if not (fits and prompt.skill_present):
            ids = ", ".join(skill.id for skill in choice.skills) or "nothing"
            stats.lacking = stats.lacking or f"{episode.task.id} ({kind}): {strategy} chose {ids}"

    def _skill_texts(self, episode: Episode) -> list[str]:
        """The skill text of every view; the first one's is noted in the episode."""
        texts = []
        for view in self.config.views:
            found = self.choices[episode.group][view.retrieval].skills
            texts.append(skill_text(found, view.form))
            if len(texts) == 1:
                episode.skill_ids = tuple(skill.id for skill in found)
                episode.skill_text = texts[0]
        return texts


class ShadowWeights:
    """A second set of the trainable weights: the initial ones (decay 1) or their moving average.

    With LoRA only the adapter is shadowed.  ``update`` is called after every optimizer update.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.values = {name: p.detach().clone() for name, p in self.parameters.items()}

    @torch.no_grad()
    def update(self) -> None:
        """values = decay * values + (1 - decay) * weights."""
        if self.decay < 1.0:
            for name, p in self.parameters.items():
                self.values[name].lerp_(p.detach(), 1.0 - self.decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The model computes with the shadow inside this block."""
        live = {name: p.data for name, p in self.parameters.items()}
        for name, p in self.parameters.items():
            p.data = self.values[name]
        try:
            yield
        finally:
            for name, p in self.parameters.items():
                p.data = live[name]

    def load(self, values: Mapping[str, Tensor]) -> None:
        """Take over saved values.  Raises KeyError when a parameter is missing."""
        for name in self.values:
            self.values[name].copy_(values[name])
