"""Which skills a teacher sees for a task (method.md 2.9).

``task-type`` uses the benchmark's own type: an oracle, as in the released code.  ``keyword`` reads the goal text
only, by whole words, and takes exactly one category.  These are functions of bank, task and goal; the strategies
that need more (a state, a step, an encoder) are in ``retriever.py``.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator, Sequence
from typing import get_args

from sdar_cli.base.errors import ConfigError
from sdar_cli.config.choices import RETRIEVALS
from sdar_cli.envs.base import Task
from sdar_cli.skills.bank import GENERAL, Bank, Skill

Strategy = Callable[[Bank, Task, str], tuple[Skill, ...]]


def retrieve(bank: Bank, task: Task, goal: str, strategy: str) -> tuple[Skill, ...]:
    """The skills for a task, general ones first.  Raises ConfigError for an unknown strategy."""
    if strategy not in RETRIEVAL:
        raise ConfigError(
            f"unknown retrieval {strategy!r}",
            why=f"skills.retrieval is one of {', '.join(get_args(RETRIEVALS))}",
            fix="--set skills.retrieval=task-type",
        )
    return RETRIEVAL[strategy](bank, task, goal)


def by_task_type(bank: Bank, task: Task, goal: str) -> tuple[Skill, ...]:
    """General skills and those of ``task.type``.  A type the bank lacks is an error: a teacher that silently
    loses its skill trains a different method."""
    category = bank.category_of(task.type)
    if category not in bank.categories:
        raise ConfigError(
            f"bank {bank.name} has no skill for the task type {task.type!r}",
            why=f"its types: {', '.join(bank.categories)}",
            fix=f"add a file of category {task.type}, or choose skills.retrieval=keyword",
        )
    return bank.of(GENERAL) + bank.of(category)


def by_keyword(bank: Bank, task: Task, goal: str) -> tuple[Skill, ...]:
    """General skills and those of the first category with a keyword in the goal; without a match, general only."""
    match = match_keyword(bank, goal)
    return bank.of(GENERAL) + (bank.of(match[0]) if match else ())


def by_route(bank: Bank, task: Task, goal: str) -> tuple[Skill, ...]:
    """General skills and those the released code takes for a data set (the bank's ``routes``; method.md 6.2).

    The name of the data set tells the teacher what no question does: an advantage that leaks from the benchmark.
    """
    if task.type not in bank.routes:
        raise ConfigError(
            f"bank {bank.name} has no route for {task.type!r}",
            why=f"released routing is by data set: {', '.join(bank.routes) or 'the bank has none'}",
            fix="--set skills.retrieval=keyword, or task-type, or add it under [routes] in bank.toml",
        )
    return bank.of(GENERAL) + bank.of(bank.routes[task.type])


def everything(bank: Bank, task: Task, goal: str) -> tuple[Skill, ...]:
    """The whole bank."""
    return bank.skills


def nothing(bank: Bank, task: Task, goal: str) -> tuple[Skill, ...]:
    """No skill: the teacher sees what the student sees."""
    return ()


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


def reason(bank: Bank, skill: Skill, task: Task, goal: str, strategy: str) -> str:
    """Why ``retrieve`` chose a skill, in words."""
    if strategy in REASONS:
        return REASONS[strategy]
    if skill.category == GENERAL:
        return "shown with every task"
    if strategy == "task-type":
        return f"the task's type is {task.type}"
    if strategy == "embedding":
        return "most like the goal"
    if strategy == "released":
        return f"the data set is {task.type}"
    match = match_keyword(bank, goal)
    return f'the goal contains "{match[1]}"' if match else "no keyword matches"


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


REASONS = {
    "full": "the whole bank is shown",
    "ucb": "the best mean reward so far; before any, the first id",
    "random": "drawn at random",
}
RETRIEVAL: dict[str, Strategy] = {
    "task-type": by_task_type,
    "keyword": by_keyword,
    "full": everything,
    "none": nothing,
    "released": by_route,
}
