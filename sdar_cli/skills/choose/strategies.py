"""Which skills a teacher sees for a task (method.md 2.9): one function per strategy, ``query -> Choice``.

``task-type`` uses the benchmark's own type: an oracle, as in the released code.  ``keyword`` reads the goal text
only, by whole words, and takes exactly one category.  ``ucb`` and ``random`` give the single best skill (the paper's
rule), the general one being one of them; ``embedding`` gives the general skills and the most similar other one.
"""

from __future__ import annotations

import functools
import inspect
import random
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sdar_cli.base.errors import ConfigError
from sdar_cli.base.seeds import seed_of
from sdar_cli.config.schema import SkillsConfig
from sdar_cli.envs.base import Task
from sdar_cli.skills.bank import GENERAL, Bank, Skill
from sdar_cli.skills.choose.bandit import Bandit, best

if TYPE_CHECKING:
    from sdar_cli.skills.choose.similar import Similarity


class NoSkillError(ConfigError):
    """The strategy has no skill for tasks of this type."""


@dataclass(frozen=True)
class Query:
    """What a strategy may look at.  Its answer must depend on nothing else, so that all processes agree."""

    bank: Bank
    """As the task's type sees it: without what was dropped for it, and as rewritten."""
    task: Task
    goal: str
    step: int | None
    """Of training, from 1; None in an evaluation, where nothing is explored."""
    seed: int
    """Of the run."""
    statistics: Bandit
    """Rewards of the skills given so far by strategies that learn (``learns``).  Not to be changed here."""
    similarity: Callable[[], Similarity]
    """The sentence encoder of ``skills.embedding_model``, loaded when first called."""
    settings: SkillsConfig


@dataclass(frozen=True)
class Choice:
    """The skills for a task."""

    skills: tuple[Skill, ...]
    scores: Mapping[str, float] = field(default_factory=dict)
    """Of every candidate by id, where the strategy has scores."""
    why: Mapping[str, str] = field(default_factory=dict)
    """Skill id to why it was chosen, in words."""
    single: bool = False
    """One skill of any category; else at least one of the task's category is expected among them."""


Retrieval = Callable[[Query], Choice]
"""A guest's may also return a sequence of skills."""


def by_task_type(query: Query) -> Choice:
    """General skills and those of ``task.type``.  A type that the bank does not have is an error: a teacher that
    silently loses its skill trains a different method."""
    bank, kind = query.bank, query.task.type
    category = bank.category_of(kind)
    if category not in bank.categories:
        raise NoSkillError(
            f"bank {bank.name} has no skill for the task type {kind!r}",
            why=f"its types: {', '.join(bank.categories)}",
            fix=f"add a file of category {kind}, or choose skills.retrieval=keyword",
        )
    return _with_general(bank, bank.of(category), f"the task's type is {kind}")


def by_keyword(query: Query) -> Choice:
    """General skills and those of the first category with a keyword in the goal; without a match, general only."""
    match = match_keyword(query.bank, query.goal)
    if match is None:
        return _with_general(query.bank, (), "")
    return _with_general(query.bank, query.bank.of(match[0]), f'the goal contains "{match[1]}"')


def by_ucb(query: Query) -> Choice:
    """The skill with the highest upper bound.  In an evaluation the best mean; before any reward of that type the skill
    whose id sorts first."""
    kind, candidates = query.task.type, ids(query.bank.skills)
    scores = query.statistics.means(kind, candidates) if query.step is None else {}
    why = "the best mean reward so far; before any, the first id" if query.step is None else "the highest upper bound"
    return _best(query.bank, scores or query.statistics.scores(kind, candidates), why)


def by_similarity(query: Query) -> Choice:
    """The general skills and the one whose ``when`` and ``brief`` are most like the goal."""
    others = [skill for skill in query.bank.skills if skill.category != GENERAL]
    found = _best(query.bank, query.similarity().scores(query.goal, others), "")
    return _with_general(query.bank, found.skills, "most like the goal", found.scores)


def by_chance(query: Query) -> Choice:
    """Any skill, drawn anew for every step and task; in an evaluation always the same one per task."""
    task, step = query.task, query.step
    seed = seed_of("skill", task.id) if step is None else seed_of(query.seed, "skill", step, task.id)
    chosen = random.Random(seed).choice(sorted(query.bank.skills, key=lambda skill: skill.id))
    return Choice((chosen,), why={chosen.id: "drawn at random"}, single=True)


def everything(query: Query) -> Choice:
    """The whole bank."""
    return Choice(query.bank.skills, why=dict.fromkeys(ids(query.bank.skills), "the whole bank is shown"))


def nothing(query: Query) -> Choice:
    """No skill: the teacher sees what the student sees."""
    return Choice(())


def by_route(query: Query) -> Choice:
    """General skills and those the released code takes for a data set (the bank's ``routes``; method.md 6.2).

    The name of the data set gives the teacher information that no question has: a leak from the benchmark.
    """
    bank, kind = query.bank, query.task.type
    if kind not in bank.routes:
        raise NoSkillError(
            f"bank {bank.name} has no route for {kind!r}",
            why=f"released routing is by data set: {', '.join(bank.routes) or 'the bank has none'}",
            fix="--set skills.retrieval=keyword, or task-type, or add it under [routes] in bank.toml",
        )
    return _with_general(bank, bank.of(bank.routes[kind]), f"the data set is {kind}")


def learns(retrieval: Retrieval) -> bool:
    """Whether the rewards of its choices are added to ``Query.statistics``.

    A guest's is marked: ``function.learns = True``.
    """
    return inspect.unwrap(retrieval) in LEARNING or bool(getattr(retrieval, "learns", False))


def ids(skills: Iterable[Skill]) -> list[str]:
    """Their ids, in order."""
    return [skill.id for skill in skills]


def match_keyword(bank: Bank, goal: str) -> tuple[str, str] | None:
    """(category, keyword) of the first category, in the bank's order, that has a keyword in ``goal``."""
    return next(keyword_hits(bank, goal), None)


def keyword_hits(bank: Bank, goal: str) -> Iterator[tuple[str, str]]:
    """(category, keyword) of every keyword in ``goal``, in the bank's order."""
    text = goal.lower()
    for category, keywords in bank.categories.items():
        for keyword in keywords:
            # Few keywords begin with a word of the goal: most are done with before a pattern is made.
            if keyword.split(maxsplit=1)[0].lower() in text and _pattern(keyword).search(goal):
                yield category, keyword


def skill_text(skills: Sequence[Skill], form: str) -> str:
    """The text a prompt shows: ``brief`` joins the one-line briefs by a space, ``full`` the texts by a blank
    line; general skills first.  Raises ConfigError for another form."""
    ordered = sorted(skills, key=lambda skill: skill.category != GENERAL)
    if form == "brief":
        return " ".join(skill.brief for skill in ordered)
    if form == "full":
        return "\n\n".join(skill.text for skill in ordered)
    raise ConfigError(f"unknown form {form!r}", why="skills.form is full or brief", fix="--set skills.form=brief")


@functools.lru_cache(maxsize=1024)
def _pattern(keyword: str) -> re.Pattern[str]:
    """Whole words, any white space between them, upper or lower case; a hyphen does not end a word."""
    words = r"\s+".join(map(re.escape, keyword.split()))
    return re.compile(rf"(?<![\w-]){words}(?![\w-])", re.IGNORECASE)


def _with_general(bank: Bank, skills: tuple[Skill, ...], why: str, scores: Mapping[str, float] | None = None) -> Choice:
    """The general skills before those that were chosen for a reason."""
    general = bank.of(GENERAL)
    reasons = {**dict.fromkeys(ids(skills), why), **dict.fromkeys(ids(general), "shown with every task")}
    return Choice(general + skills, scores or {}, reasons)


def _best(bank: Bank, scores: Mapping[str, float], why: str) -> Choice:
    chosen = best(scores)
    return Choice(tuple(skill for skill in bank.skills if skill.id == chosen), scores, {chosen: why}, single=True)


RETRIEVALS: dict[str, Retrieval] = {
    "task-type": by_task_type,
    "keyword": by_keyword,
    "ucb": by_ucb,
    "embedding": by_similarity,
    "random": by_chance,
    "full": everything,
    "none": nothing,
    "released": by_route,
}
LEARNING = (by_ucb,)
