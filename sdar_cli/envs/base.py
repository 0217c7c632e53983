"""What every environment offers: tasks, observations, steps, and why an episode ended.

Left out on purpose: prompts (each environment has a ``prompt`` module), rewards shaping and
sampling of tasks (the trainer's), and anything about models.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol


class StopReason(StrEnum):
    """Why an episode ended."""

    WON = "won"
    LOST = "lost"
    MAX_TURNS = "max_turns"
    ENV_FAILED = "env_failed"
    CONTEXT_FULL = "context_full"


@dataclass(frozen=True)
class Task:
    """One thing to do.  ``id`` is stable across machines; ``type`` is the benchmark's category."""

    id: str
    type: str
    split: str
    content: str = ""
    """A digest of the task, where its id does not distinguish one set of data from another."""


@dataclass(frozen=True)
class Observation:
    """What the agent sees: the environment's own text, the goal, and the legal actions (sorted)."""

    text: str
    goal: str
    admissible: tuple[str, ...]


@dataclass(frozen=True)
class Step:
    """The result of a reset (reward 0) or an action.  ``failure`` is set when the environment itself
    broke; the episode is then over, masked from the loss and counted."""

    observation: Observation
    reward: float
    done: bool
    won: bool
    failure: str | None = None
    score: float | None = None
    """At the end: the benchmark's own score in [0, 1], where it has one besides winning."""
    out_of_turns: bool = False
    """At the end: nothing was decided, the environment's turns are used up."""
    info: Mapping[str, Any] = field(default_factory=dict)
    """What else the environment reports, for people and replays: never shown to a model."""


class Environment(Protocol):
    """Many episodes at once, one per integer slot.  A finished slot takes no further action.

    One whose episodes need not wait for each other is a subclass of ``envs.continuous.InTurns``.
    """

    def tasks(self, split: str) -> list[Task]:
        """Every task of a split, sorted by id.  Raises SdarError when the data is missing or bad."""
        ...

    def preflight(self, tasks: Sequence[Task]) -> None:
        """Check the data of these tasks before they are played.  Raises SdarError naming what is bad."""
        ...

    def reset(self, assignment: Mapping[int, Task]) -> dict[int, Step]:
        """Start one episode per slot; other slots go on."""
        ...

    def step(self, actions: Mapping[int, str]) -> dict[int, Step]:
        """Act in the named (active) slots only."""
        ...

    def close(self) -> None:
        """Stop the workers."""
        ...


def group_by_type(tasks: Sequence[Task]) -> dict[str, list[Task]]:
    """Tasks by type, types sorted, order within a type kept."""
    groups: dict[str, list[Task]] = {}
    for task in sorted(tasks, key=lambda t: t.type):
        groups.setdefault(task.type, []).append(task)
    return groups


@dataclass(frozen=True)
class TurnView:
    """Everything a prompt of one turn may show, before any wording (see the environment's ``prompt``)."""

    goal: str
    observation: str
    admissible: tuple[str, ...]
    history: tuple[tuple[str, str], ...] = ()
    """Past (observation, action) pairs, oldest first, already cut to the window."""
    turn: int = 0
    """Turns taken before this one."""
    env: str = "alfworld"
    """Whose wording applies (``envs.registry``)."""


@dataclass(frozen=True)
class Act:
    """One action.  ``acted``: it changed something, as far as the record shows.  ``observation`` and ``admissible``:
    what the agent saw before it; empty where the record has neither."""

    action: str
    acted: bool = True
    observation: str = ""
    admissible: tuple[str, ...] = ()
    thought: str = ""
    """The whole response."""


@dataclass(frozen=True)
class Trace:
    """One episode.  ``file`` and ``line`` (from 1) are where it was read."""

    file: str
    line: int
    task: str
    type: str
    goal: str
    won: bool
    acts: tuple[Act, ...]
    env: str = ""
    """The environment, where the record names it."""
