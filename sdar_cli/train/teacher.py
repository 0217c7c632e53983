"""The teacher's prompts: the policy's own weights see the skill (paper section 2.1).

The teacher scores the student's sampled token ids; nothing is generated or tokenised again except the prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from sdar_cli.config.schema import RunConfig
from sdar_cli.envs.base import TurnView
from sdar_cli.rollout.episode import Episode
from sdar_cli.rollout.prompt import EncodedPrompt, encode_prompt
from sdar_cli.rollout.samples import Sample
from sdar_cli.skills.bank import GENERAL
from sdar_cli.skills.choose.retriever import Choices, Retriever
from sdar_cli.skills.choose.strategies import skill_text

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass
class TeacherStats:
    """Counts over the prompts of one step: what the audit metrics are made of."""

    prompts: int = 0
    expected: int = 0
    """Prompts that must show a skill of the task's category."""
    with_skill: int = 0
    """Those of them that do."""
    missing: str = ""
    """The first task without one, in words."""
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
        if self.with_skill < self.expected:
            counts = f"{self.expected - self.with_skill} of {self.expected}"
            return f"{counts} teacher prompts show no skill of their task's category, first {self.missing}"
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
        audit = {"teacher/skill_present": self.with_skill / self.expected} if self.expected else {}
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
    """Retrieves skills and writes the teacher's prompts of every sample."""

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

    def add_prompts(
        self, samples: Sequence[Sample], episodes: Sequence[Episode], step: int
    ) -> tuple[list[Sample], TeacherStats]:
        """The samples of a step with ``teacher_prompts``, one per view; counts over all prompts.

        Notes in the episodes what the first view was shown and what was cut.
        """
        self.choose(episodes, step, taught=True)
        stats = TeacherStats()
        by_index = {episode.index: episode for episode in episodes}
        texts = {episode.index: self._skill_texts(episode) for episode in episodes if episode.turns}
        taught = []
        for sample in samples:
            episode = by_index[sample.trajectory]
            turn = episode.turns[sample.turn]
            prompts = self._prompts(turn.view, texts[sample.trajectory])
            turn.teacher_tokens, turn.teacher_cut = len(prompts[0].ids), prompts[0].cut
            taught.append(replace(sample, teacher_prompts=[prompt.ids for prompt in prompts]))
            self.example = self.example or prompts[0]
            for view, prompt in zip(self.config.views, prompts, strict=True):
                stats.add(prompt)
                self._audit(stats, episode, view.retrieval, prompt)
        return taught, stats

    def _prompts(self, turn: TurnView, texts: Sequence[str]) -> list[EncodedPrompt]:
        """The prompt of a turn under each view of the teacher, with that view's skill text."""
        return [
            encode_prompt(
                self.tokenizer,
                turn,
                style=self.config.env.prompt,
                limit=self.config.teacher.max_prompt_tokens,
                thinking=self.config.model.thinking,
                skill=text,
                placement=view.placement,
            )
            for view, text in zip(self.config.views, texts, strict=True)
        ]

    def _audit(self, stats: TeacherStats, episode: Episode, strategy: str, prompt: EncodedPrompt) -> None:
        """Count whether the prompt shows what it should: advice for every task alone is not enough."""
        bank, kind = self.retriever.bank, episode.task.type
        if strategy == "none" or not (bank.category_of(kind) in bank.categories or kind in bank.routes):
            return
        choice = self.choices[episode.group][strategy]
        fits = choice.single or any(skill.category != GENERAL for skill in choice.skills)
        stats.expected += 1
        stats.with_skill += fits and prompt.skill_present
        if not (fits and prompt.skill_present):
            ids = ", ".join(skill.id for skill in choice.skills) or "nothing"
            stats.missing = stats.missing or f"{episode.task.id} ({kind}): {strategy} chose {ids}"

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
