"""Evaluation panels: which tasks a number was measured on, and the hash that distinguishes two panels.

Left out on purpose: sampling.  A panel is a sorted list of tasks, each played once per seed.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from sdar_cli.base.errors import ConfigError
from sdar_cli.envs.base import Task


@dataclass(frozen=True)
class Panel:
    """Tasks sorted by id.  ``sha256`` covers the ids, and the content that an id does not identify."""

    split: str
    tasks: tuple[Task, ...]
    sha256: str


def make_panel(tasks: Sequence[Task], limit: int = 0) -> Panel:
    """The panel of a split's tasks: all of them, or ``limit`` spread evenly over the sorted ids.

    Ids begin with the task type, so a small panel still has every type.

    The hash is that of the ids, each with its task's ``content`` where it has one, joined by newlines.
    Raises ConfigError for no tasks, a task listed twice, or tasks of several splits.
    """
    if not tasks:
        raise ConfigError("an evaluation panel needs at least one task", fix="choose a split that holds games")
    twice = sorted(name for name, count in Counter(task.id for task in tasks).items() if count > 1)
    if twice:
        raise ConfigError(
            f"{len(twice)} tasks are listed more than once, first {twice[0]}", why="a panel plays each task once"
        )
    splits = sorted({task.split for task in tasks})
    if len(splits) > 1:
        raise ConfigError(f"a panel is of one split, not of {', '.join(splits)}")
    chosen = sorted(tasks, key=lambda task: task.id)
    if 0 < limit < len(chosen):
        chosen = [chosen[i * len(chosen) // limit] for i in range(limit)]
    lines = [f"{task.id} {task.content}".rstrip() for task in chosen]
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    return Panel(splits[0], tuple(chosen), digest)
