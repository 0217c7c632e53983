"""The skills of a run: which ones a task's teacher is given, and what has been learnt about them.

A choice is a function of (state, step, task): all episodes of a group and all processes agree, and a resumed run
chooses the same.  Only ``ucb`` and ``skills.evolve`` have state; it changes once per group and is saved with every
checkpoint.

``ucb`` and ``random`` give the single best skill file (the paper's rule), the general one being one of them;
``embedding`` gives the general skills and the most similar other one.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from sdar_cli.base.errors import ConfigError
from sdar_cli.base.seeds import seed_of
from sdar_cli.config.schema import SkillsConfig
from sdar_cli.envs.base import Task
from sdar_cli.rollout.episode import Episode
from sdar_cli.skills.bank import GENERAL, Bank, Skill
from sdar_cli.skills.choose.bandit import Bandit, best
from sdar_cli.skills.choose.evolve import Change
from sdar_cli.skills.choose.similar import Likeness
from sdar_cli.skills.choose.strategies import retrieve


@dataclass(frozen=True)
class Choice:
    """The skills for a task, and the score of every candidate where the strategy has scores (by id)."""

    skills: tuple[Skill, ...]
    scores: Mapping[str, float] = field(default_factory=dict)


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
        self._likeness: Likeness | None = None

    def choose(self, strategy: str, task: Task, goal: str, step: int | None = None) -> Choice:
        """The skills for a task at a step of training; without a step in an evaluation, where nothing is explored.

        Raises ConfigError for an unknown strategy and for a type that it has no skill for.
        """
        bank = self.bank_for(task.type)
        if strategy in RANKED:
            return RANKED[strategy](self, bank, task, goal, step)
        return Choice(retrieve(bank, task, goal, strategy))

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

    def state(self) -> dict[str, Any]:
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

    def likeness(self) -> Likeness:
        """The encoder of ``embedding``, loaded when first needed."""
        if self._likeness is None:
            assert self.settings.embedding_model is not None  # a configuration without it is refused
            self._likeness = Likeness(self.settings.embedding_model)
        return self._likeness


def by_ucb(retriever: Retriever, bank: Bank, task: Task, goal: str, step: int | None) -> Choice:
    """The skill with the highest upper bound.  In an evaluation the best mean; before any reward of that type the skill
    whose id sorts first."""
    ids = [skill.id for skill in bank.skills]
    scores = retriever.bandit.means(task.type, ids) if step is None else {}
    return _single(bank, scores or retriever.bandit.scores(task.type, ids))


def by_chance(retriever: Retriever, bank: Bank, task: Task, goal: str, step: int | None) -> Choice:
    """Any skill, drawn anew for every step and task; in an evaluation always the same one per task."""
    seed = seed_of("skill", task.id) if step is None else seed_of(retriever.seed, "skill", step, task.id)
    return Choice((random.Random(seed).choice(sorted(bank.skills, key=lambda skill: skill.id)),))


def by_likeness(retriever: Retriever, bank: Bank, task: Task, goal: str, step: int | None) -> Choice:
    """The general skills and the one whose ``when`` and ``brief`` are most like the goal."""
    others = [skill for skill in bank.skills if skill.category != GENERAL]
    found = _single(bank, retriever.likeness().scores(goal, others))
    return Choice(bank.of(GENERAL) + found.skills, found.scores)


def _skill(fields: Mapping[str, Any]) -> Skill:
    """A skill from its JSON record, which has lists for tuples."""
    made: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}
    return Skill(**made)


def _single(bank: Bank, scores: Mapping[str, float]) -> Choice:
    chosen = best(scores)
    return Choice(tuple(skill for skill in bank.skills if skill.id == chosen), scores)


Ranked = Callable[[Retriever, Bank, Task, str, int | None], Choice]
RANKED: dict[str, Ranked] = {"ucb": by_ucb, "random": by_chance, "embedding": by_likeness}
SINGLE: Sequence[str] = ("ucb", "random")
"""Those that give one skill of any category; the others give one of the task's category wherever it has one."""
