"""Banks that change while a policy is trained: a hook decides after each group what becomes of its skills.

A hook is a function ``update(task, skills, group)`` that returns changes: skills to drop for that task type, or to
rewrite for all.  ``drop`` is the one that ships here; ``package.module:function`` names another.  A hook keeps what it
remembers in ``group.memory``, which is saved with every checkpoint, so that a resumed run decides the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sdar_cli.config.schema import SkillsConfig
from sdar_cli.envs.base import Task
from sdar_cli.rollout.episode import Episode
from sdar_cli.skills.bank import Skill


@dataclass(frozen=True)
class Group:
    """The episodes of one task in one step, and what the teacher made of them."""

    step: int
    episodes: tuple[Episode, ...]
    """Those whose environment did not break; at least one.  Their turns hold gaps and gates per token."""
    reward: float
    """Mean over the episodes."""
    gap: float | None
    """Mean gap of their tokens under the teacher's first view, nats; None without a teacher."""
    settings: SkillsConfig
    memory: dict[str, Any]
    """The hook's own, JSON-ready; change it in place."""


@dataclass(frozen=True)
class Change:
    """Drop skill ``skill`` for the task's type, or put ``rewritten`` (same id, same category) in its place."""

    skill: str
    why: str
    rewritten: Skill | None = None


Hook = Callable[[Task, Sequence[Skill], Group], Sequence[Change]]


def drop(task: Task, skills: Sequence[Skill], group: Group) -> list[Change]:
    """Drop a skill whose last ``evolve_min_uses`` groups of this task type all had a gap below ``evolve_threshold``.

    Where several skills were shown together, the gap counts for each.  The expected gap of a good teacher is negative
    too (minus a KL), so the threshold is to lie well below the run's mean gap.
    """
    if group.gap is None:
        return []
    low = group.gap < group.settings.evolve_threshold
    in_a_row = group.memory.setdefault(task.type, {})
    changes = []
    for skill in skills:
        in_a_row[skill.id] = in_a_row.get(skill.id, 0) + 1 if low else 0
        if in_a_row[skill.id] >= group.settings.evolve_min_uses:
            why = f"gap below {group.settings.evolve_threshold:g} in {in_a_row.pop(skill.id)} groups in a row"
            changes.append(Change(skill.id, f"{why}, now {group.gap:.3f}"))
    return changes


EVOLUTIONS: dict[str, Hook] = {"drop": drop}
