"""What ``sdar skills inspect`` shows, as plain data: a bank, the prompts of one task, the coverage of a panel."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

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


@dataclass(frozen=True)
class Shown:
    """The settings that decide what a prompt looks like."""

    env: EnvOptions
    model: ModelConfig
    skills: SkillsConfig
    teacher: TeacherConfig


def describe_bank(bank: Bank, count: Count | None = None) -> dict[str, Any]:
    """A JSON-ready record of a bank.  count: text to number of tokens; without it no tokens are given."""
    return {
        "name": bank.name,
        "version": bank.version,
        "environment": bank.environment,
        "licence": bank.licence,
        "sha256": bank.sha256,
        "origin": bank.origin.model_dump() if bank.origin else None,
        "skills": [_describe_skill(bank, skill, count) for skill in bank.skills],
    }


def _describe_skill(bank: Bank, skill: Skill, count: Count | None) -> dict[str, Any]:
    record: dict[str, Any] = {
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
        record |= {"tokens": count(skill.text), "brief_tokens": count(skill.brief)}
    return record


def describe_task(
    retriever: Retriever, task: Task, seen: Observation, shown: Shown, tokenizer: Tokenizer
) -> dict[str, Any]:
    """A JSON-ready record of the skills chosen for a task and of both prompts of its first turn.

    retriever: with what a run has learnt, or new.  Choices are those of an evaluation: nothing is explored.
    """
    bank, strategy = retriever.bank, shown.skills.retrieval
    choice = retriever.choose(strategy, task, seen.goal)
    view = TurnView(seen.goal, seen.text, seen.admissible, env=shown.env.name)
    common: dict[str, Any] = {"style": shown.env.prompt, "thinking": shown.model.thinking}
    student = encode_prompt(tokenizer, view, limit=shown.model.max_prompt_tokens, **common)
    text = skill_text(choice.skills, shown.skills.form)
    teacher = encode_prompt(
        tokenizer,
        view,
        limit=shown.teacher.max_prompt_tokens,
        skill=text,
        placement=shown.teacher.placement,
        **common,
    )
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


def describe_coverage(retriever: Retriever, goals: Sequence[Goal], strategy: str) -> dict[str, Any]:
    """Which skills the tasks of a panel are given: per skill and task type the number of tasks.

    ``refused``: task types that the strategy has no skill for, with their tasks.
    """
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


def _describe_prompt(prompt: EncodedPrompt, limit: int, placement: str = "user") -> dict[str, Any]:
    """``skill_span``: where the inserted text stands in ``text``, as [start, end) in characters."""
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
