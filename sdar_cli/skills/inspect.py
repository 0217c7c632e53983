"""What ``sdar skills inspect`` shows, as plain data: a bank, the prompts of one task, the coverage of a panel."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NotRequired, TypedDict

from sdar_cli.base.errors import ConfigError, RunFailedError
from sdar_cli.config.schema import ModelConfig, SkillsConfig, TeacherConfig
from sdar_cli.envs.base import Environment, Observation, Task, TurnView
from sdar_cli.envs.options import EnvOptions
from sdar_cli.rollout.prompt import PREFIX, EncodedPrompt, Tokenizer, encode_prompt
from sdar_cli.skills.bank import Bank, Skill
from sdar_cli.skills.choose.retriever import Retriever
from sdar_cli.skills.choose.strategies import NoSkillError, skill_text
from sdar_cli.skills.lint import Goal

Count = Callable[[str], int]


class SkillRecord(TypedDict):
    """A skill of a bank and its size; in tokens only where a tokenizer is known."""

    id: str
    category: str
    when: str
    brief: str
    keywords: list[str]
    words: int
    path: str
    kind: str
    sources: list[str]
    tokens: NotRequired[int]
    brief_tokens: NotRequired[int]


class BankRecord(TypedDict):
    """A bank and its skills.  origin: what it was built from, None where it was written by hand."""

    name: str
    version: str
    environment: str
    licence: str
    sha256: str
    origin: Mapping[str, Any] | None
    skills: list[SkillRecord]


class PromptRecord(TypedDict):
    """A prompt as a model reads it.

    skill_span: where the skill stands in ``text``, as [start, end) in characters.  dropped: of the teacher's prompt,
    what was cut from the skill.
    """

    tokens: int
    limit: int
    skill_tokens: int
    cut_tokens: int
    cut: list[str]
    skill_present: bool
    skill_span: list[int] | None
    text: str
    dropped: NotRequired[str]


class ChosenSkill(TypedDict):
    """A skill that a task is given, and why."""

    id: str
    category: str
    reason: str
    score: float | None


class TaskPrompts(TypedDict):
    """The skills chosen for a task, and both prompts of its first turn.  scores: of all skills, the highest first."""

    bank: dict[str, str]
    model: str
    task: dict[str, str]
    retrieval: str
    form: str
    placement: str
    skills: list[ChosenSkill]
    scores: dict[str, float]
    teacher: PromptRecord
    student: PromptRecord


class Coverage(TypedDict):
    """Which skills the tasks of a panel are given.

    types: tasks by type.  skills: by id, the number of tasks by type.  unused: skills that no task is given.
    without_own: tasks that are given no skill of their category.  refused: tasks that the strategy has no skill for.
    """

    retrieval: str
    types: dict[str, int]
    skills: dict[str, dict[str, int]]
    unused: list[str]
    without_own: dict[str, int]
    refused: dict[str, int]


class PanelCoverage(Coverage):
    """The same, with the bank and the number of tasks."""

    bank: str
    sha256: str
    tasks: int


@dataclass(frozen=True)
class Shown:
    """The settings that decide what a prompt looks like."""

    env: EnvOptions
    model: ModelConfig
    skills: SkillsConfig
    teacher: TeacherConfig


def describe_bank(bank: Bank, count: Count | None = None) -> BankRecord:
    """A bank, JSON-ready.  count: text to number of tokens; without it no tokens are given."""
    return {
        "name": bank.name,
        "version": bank.version,
        "environment": bank.environment,
        "licence": bank.licence,
        "sha256": bank.sha256,
        "origin": bank.origin.model_dump() if bank.origin else None,
        "skills": [_describe_skill(bank, skill, count) for skill in bank.skills],
    }


def _describe_skill(bank: Bank, skill: Skill, count: Count | None) -> SkillRecord:
    record: SkillRecord = {
        "id": skill.id,
        "category": skill.category,
        "when": skill.when,
        "brief": skill.brief,
        "keywords": list(bank.categories.get(skill.category, ())),
        "words": len(skill.text.split()),
        "path": skill.path,
        "kind": skill.kind,
        "sources": list(skill.sources),
    }
    if count:
        record["tokens"], record["brief_tokens"] = count(skill.text), count(skill.brief)
    return record


def describe_task(
    retriever: Retriever, task: Task, seen: Observation, shown: Shown, tokenizer: Tokenizer
) -> TaskPrompts:
    """The skills chosen for a task and both prompts of its first turn, JSON-ready.

    retriever: with what a run has learnt, or new.  Choices are those of an evaluation: nothing is explored.
    """
    bank, strategy = retriever.bank, shown.skills.retrieval
    choice = retriever.choose(strategy, task, seen.goal)
    view = TurnView(seen.goal, seen.text, seen.admissible, env=shown.env.name)
    encode = partial(encode_prompt, tokenizer, view, style=shown.env.prompt, thinking=shown.model.thinking)
    student = encode(limit=shown.model.max_prompt_tokens)
    text = skill_text(choice.skills, shown.skills.form)
    teacher = encode(limit=shown.teacher.max_prompt_tokens, skill=text, placement=shown.teacher.placement)
    described = _describe_prompt(teacher, shown.teacher.max_prompt_tokens, shown.teacher.placement)
    described["dropped"] = text.strip().removeprefix(teacher.skill) if "skill" in teacher.cut else ""
    return {
        "bank": {"name": bank.name, "version": bank.version, "sha256": bank.sha256},
        "model": shown.model.name,
        "task": {"id": task.id, "type": task.type, "split": task.split, "goal": seen.goal},
        "retrieval": strategy,
        "form": shown.skills.form,
        "placement": shown.teacher.placement,
        "skills": [
            {
                "id": skill.id,
                "category": skill.category,
                "reason": choice.why.get(skill.id, ""),
                "score": choice.scores.get(skill.id),
            }
            for skill in choice.skills
        ],
        "scores": dict(sorted(choice.scores.items(), key=lambda item: (-item[1], item[0]))),
        "teacher": described,
        "student": _describe_prompt(student, shown.model.max_prompt_tokens),
    }


def describe_coverage(retriever: Retriever, goals: Sequence[Goal], strategy: str) -> Coverage:
    """Which skills the tasks of a panel are given."""
    types = Counter(goal.task.type for goal in goals)
    table = {skill.id: dict.fromkeys(sorted(types), 0) for skill in retriever.bank.skills}
    refused: Counter[str] = Counter()
    bare: Counter[str] = Counter()
    for goal in goals:
        kind = goal.task.type
        try:
            chosen = retriever.choose(strategy, goal.task, goal.text).skills
        except NoSkillError:
            refused[kind] += 1
            continue
        bare[kind] += not any(skill.category == retriever.bank.category_of(kind) for skill in chosen)
        for skill in chosen:
            table[skill.id][kind] += 1
    return {
        "retrieval": strategy,
        "types": dict(sorted(types.items())),
        "skills": table,
        "unused": [name for name, row in table.items() if not any(row.values())],
        "without_own": {kind: n for kind, n in sorted(bare.items()) if n},
        "refused": dict(refused),
    }


def _describe_prompt(prompt: EncodedPrompt, limit: int, placement: str = "user") -> PromptRecord:
    inserted = PREFIX.format(skill=prompt.skill) if placement == "prefix" else prompt.skill
    start = prompt.text.find(inserted) if prompt.skill_present else -1
    return {
        "tokens": len(prompt.ids),
        "limit": limit,
        "skill_tokens": prompt.skill_tokens,
        "cut_tokens": prompt.cut_tokens,
        "cut": list(prompt.cut),
        "skill_present": prompt.skill_present,
        "skill_span": [start, start + len(inserted)] if start >= 0 else None,
        "text": prompt.text,
    }


def find_task(tasks: Sequence[Task], wanted: str) -> Task:
    """The task with that id; for a task type, the first task of it.  Raises ConfigError with near names."""
    for task in tasks:
        if wanted == task.id:
            return task
    for task in tasks:
        if wanted == task.type:
            return task
    names = [task.id for task in tasks] + sorted({task.type for task in tasks})
    close = difflib.get_close_matches(wanted, names, n=3, cutoff=0.4) or names[:3]
    raise ConfigError(
        f"no task {wanted!r} among {len(tasks)} tasks of the split",
        why=f"near: {', '.join(close)}",
        fix="give a task id, a task type for its first task, or another --split",
    )


def first_observation(environment: Environment, task: Task) -> Observation:
    """What the agent sees before its first action.  Raises RunFailedError when the environment broke."""
    step = environment.reset({0: task})[0]
    if step.failure:
        raise RunFailedError(f"the environment could not start {task.id}", why=step.failure, fix="choose another task")
    return step.observation
