"""The skills of a run: which ones a task's teacher is given, and what has been learnt about them.

A choice is a function of (state, step, task): all episodes of a group and all processes agree, and a resumed run
chooses the same.  Only strategies that learn and ``skills.evolve`` have state; it changes once per group and is saved
with every checkpoint.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from sdar_cli.base.errors import ConfigError
from sdar_cli.config.plugs import RETRIEVAL
from sdar_cli.config.schema import SkillsConfig
from sdar_cli.envs.base import Task
from sdar_cli.rollout.episode import Episode
from sdar_cli.skills.bank import GENERAL, Bank, Skill
from sdar_cli.skills.choose.bandit import Bandit
from sdar_cli.skills.choose.evolve import Change
from sdar_cli.skills.choose.similar import Similarity
from sdar_cli.skills.choose.strategies import Choice, Query, Retrieval, ids, learns

Choices = dict[int, dict[str, Choice]]
"""Group to strategy to what it chose."""


class Retriever:
    """See the module's text."""

    def __init__(self, bank: Bank, settings: SkillsConfig, seed: int = 0) -> None:
        self.bank = bank
        self.settings = settings
        self.seed = seed
        self.bandit = Bandit(settings.ucb_c)
        self.dropped: dict[str, list[str]] = {}
        """Task type to the skills it is no longer given."""
        self.rewritten: dict[str, Skill] = {}
        self.memory: dict[str, Any] = {}
        """What the evolution hook remembers."""
        self._retrievals: dict[str, Retrieval] = {}
        self._similarity: Similarity | None = None

    def choose(self, strategy: str, task: Task, goal: str, step: int | None = None) -> Choice:
        """The skills for a task at a step of training; without a step in an evaluation, where nothing is explored.

        Raises ConfigError for an unknown strategy, NoSkillError for a type that it has no skill for.
        """
        bank = self.bank_for(task.type)
        query = Query(bank, task, goal, step, self.seed, self.bandit, self.similarity, self.settings)
        found: Any = self._retrieval(strategy)(query)
        return found if isinstance(found, Choice) else _choice(strategy, found)

    def learns(self, strategy: str) -> bool:
        """Whether the rewards of what it chose are added to the statistics of those skills."""
        return learns(self._retrieval(strategy))

    def _retrieval(self, strategy: str) -> Retrieval:
        """Its function, with ``skills.retrieval_args`` where it is ``skills.retrieval``."""
        if strategy not in self._retrievals:
            arguments = self.settings.retrieval_args if strategy == self.settings.retrieval else {}
            self._retrievals[strategy] = RETRIEVAL.bind(strategy, arguments)
        return self._retrievals[strategy]

    def choose_for_groups(self, episodes: Iterable[Episode], strategies: Iterable[str], step: int) -> Choices:
        """One choice per group and strategy, for the groups in which a turn was played."""
        chosen: Choices = {}
        wanted = sorted(set(strategies))
        for episode in episodes:
            if episode.turns and episode.group not in chosen:
                goal = episode.turns[0].view.goal
                chosen[episode.group] = {each: self.choose(each, episode.task, goal, step) for each in wanted}
        return chosen

    def bank_for(self, kind: str) -> Bank:
        """The bank as a task type sees it: without what was dropped for it, and as rewritten."""
        gone = self.dropped.get(kind, ())
        if not gone and not self.rewritten:
            return self.bank
        kept = (skill for skill in self.bank.skills if skill.id not in gone)
        return replace(self.bank, skills=tuple(self.rewritten.get(skill.id, skill) for skill in kept))

    def apply(self, kind: str, change: Change) -> str:
        """Make a change that a hook asked for on a group of this task type; ``dropped``, ``rewritten`` or ``kept``.

        A type keeps its last general skill and the last of its own category; skills of other categories (``ucb`` and
        ``random`` give those too) may all go, as they stay with their own types.  Raises ConfigError for a change that
        makes no sense.
        """
        bank = self.bank_for(kind)
        known = {skill.id: skill for skill in bank.skills}
        if change.skill not in known:
            raise ConfigError(f"skills.evolve changes {change.skill!r}, which the type {kind} is not given")
        skill, new = known[change.skill], change.rewritten
        if new is None:
            last = skill.category in (GENERAL, bank.category_of(kind)) and len(bank.of(skill.category)) == 1
            if last or len(bank.skills) == 1:
                return "kept"
            self.dropped[kind] = sorted([*self.dropped.get(kind, []), skill.id])
            return "dropped"
        if (new.id, new.category) != (skill.id, skill.category) or not (new.brief.strip() and new.text.strip()):
            raise ConfigError(
                f"skills.evolve rewrites {skill.id} to something else",
                why="a rewritten skill keeps id and category, and has a brief and a text",
            )
        self.rewritten[skill.id] = new
        return "rewritten"

    def state(self) -> Mapping[str, object]:
        """Everything learnt, JSON-ready."""
        return {
            "bank": self.bank.sha256,
            "ucb": self.bandit.state(),
            "dropped": {kind: list(ids) for kind, ids in sorted(self.dropped.items())},
            "rewritten": {name: asdict(skill) for name, skill in sorted(self.rewritten.items())},
            "memory": copy.deepcopy(self.memory),
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Take over what ``state`` gave."""
        self.bandit.load(state["ucb"])
        self.dropped = {kind: list(ids) for kind, ids in state["dropped"].items()}
        self.rewritten = {name: _skill(fields) for name, fields in state["rewritten"].items()}
        self.memory = state["memory"]

    def similarity(self) -> Similarity:
        """The encoder of ``embedding``, loaded when first needed.  Raises ConfigError where none is configured."""
        if self._similarity is None:
            if self.settings.embedding_model is None:
                raise ConfigError(
                    "the retrieval compares sentences and skills.embedding_model is not set",
                    fix="set it to a folder, or to the id of a sentence-transformers model in the Hugging Face cache",
                )
            self._similarity = Similarity(self.settings.embedding_model)
        return self._similarity


def _skill(fields: Mapping[str, Any]) -> Skill:
    """A skill from its JSON record, which has lists for tuples."""
    return Skill(**{**fields, "sources": tuple(fields["sources"])})


def _choice(strategy: str, found: Any) -> Choice:
    """What a guest's function returned, if it is a sequence of skills.  Raises ConfigError for anything else."""
    if isinstance(found, Sequence) and all(isinstance(skill, Skill) for skill in found):
        return Choice(tuple(found), why=dict.fromkeys(ids(found), f"chosen by {strategy}"))
    raise ConfigError(
        f"retrieval {strategy!r} returned a {type(found).__name__}",
        why="it has to return a Choice or a sequence of Skill",
    )
