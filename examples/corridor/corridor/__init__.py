"""The corridor: four shelves; find the thing that is wanted and take it.

The world is a function of a task's id, so there are no data files.  Copy this package, or let ``sdar env new NAME``
do it, and change the parts one by one; ``sdar env check NAME`` says what does not fit.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from sdar_cli.base.errors import ConfigError
from sdar_cli.envs.base import Observation, Step, Task
from sdar_cli.envs.benchmark import Benchmark
from sdar_cli.envs.options import EnvOptions
from sdar_cli.envs.wording import CommandPrompts

HERE = Path(__file__).parent
SHELVES = {"apple": (1, 2), "mug": (3, 4)}
"""Task type, which is the thing to fetch, to the numbers of the shelves it may lie on."""
PLACES = ("shelf 1", "shelf 2", "shelf 3", "shelf 4")


class CorridorOptions(EnvOptions):
    """``env.*`` of this environment: the common settings and its own."""

    name: str = Field(default="corridor", description="the environment")
    tasks_train: int = Field(default=24, gt=0, description="number of training tasks")
    tasks_eval: int = Field(default=24, gt=0, description="number of held-out tasks")


@dataclass
class _Episode:
    """Where one episode stands."""

    thing: str
    shelf: str
    place: str = ""
    over: bool = False

    def actions(self) -> tuple[str, ...]:
        """The commands that do something now, sorted."""
        found = [f"go to {place}" for place in PLACES if place != self.place]
        if self.place == self.shelf:
            found.append(f"take {self.thing} 1 from {self.shelf}")
        return tuple(sorted(found))

    def act(self, command: str) -> str:
        """Do a command; what is seen then.  One that is not listed changes nothing."""
        if command not in self.actions():
            return "Nothing happens."
        if command.startswith("go to "):
            self.place = command.removeprefix("go to ")
            seen = f"a {self.thing} 1" if self.place == self.shelf else "nothing"
            return f"You arrive at {self.place}. On the {self.place}, you see {seen}."
        self.over = True
        return f"You pick up the {self.thing} 1 from the {self.shelf}."

    def step(self, text: str) -> Step:
        """What the agent gets: text, goal and legal actions; the reward is 1 for a won episode."""
        seen = Observation(text, f"find a {self.thing} and take it", self.actions())
        return Step(seen, reward=float(self.over), done=self.over, won=self.over)


class Corridor:
    """Many episodes side by side, one per integer slot; see ``sdar_cli.envs.base.Environment``."""

    def __init__(self, options: CorridorOptions) -> None:
        self._counts = {"train": options.tasks_train, "eval": options.tasks_eval}
        self._seed = options.games_seed
        self._episodes: dict[int, _Episode] = {}

    def tasks(self, split: str) -> list[Task]:
        """Every task of a split, sorted by id; the types in turn."""
        if split not in self._counts:
            raise ConfigError(f"the corridor has no split {split!r}", fix=f"choose one of {', '.join(self._counts)}")
        made = []
        for number in range(self._counts[split]):
            kind = list(SHELVES)[number % len(SHELVES)]
            identity = f"{kind}/{split}-{self._seed}-{number:03d}"
            made.append(Task(identity, kind, split, content=_shelf(identity, kind)))
        return sorted(made, key=lambda task: task.id)

    def preflight(self, tasks: Sequence[Task]) -> None:
        """Check the data of these tasks; a corridor has none."""

    def reset(self, assignment: Mapping[int, Task]) -> dict[int, Step]:
        """Start one episode per slot."""
        self._episodes |= {slot: _Episode(task.type, _shelf(task.id, task.type)) for slot, task in assignment.items()}
        text = f"You are in a corridor. Looking quickly around you, you see a {', a '.join(PLACES)}."
        return {slot: self._episodes[slot].step(text) for slot in assignment}

    def step(self, actions: Mapping[int, str]) -> dict[int, Step]:
        """Act in running episodes.  Raises ValueError for a slot whose episode is over."""
        over = [slot for slot in actions if slot not in self._episodes or self._episodes[slot].over]
        if over:
            raise ValueError(f"slots {over} have no running episode")
        return {slot: self._episodes[slot].step(self._episodes[slot].act(command)) for slot, command in actions.items()}


def _shelf(identity: str, kind: str) -> str:
    """Where the thing of a task lies, drawn from the task's id."""
    return f"shelf {random.Random(identity).choice(SHELVES[kind])}"


@contextmanager
def open_corridor(options: Any, reporter: Any = None) -> Iterator[Corridor]:
    """The environment of a configuration.  What it starts (processes, files), it stops after the ``yield``."""
    yield Corridor(options)


BENCHMARK = Benchmark(
    name="corridor",
    title="Corridor",
    description="an example: find a thing on one of four shelves and take it",
    options=CorridorOptions,
    open=open_corridor,
    prompts=CommandPrompts("You walk along a corridor with four shelves, one command per turn."),
    bank=HERE / "bank",
    preset=HERE / "preset.toml",
    default_model="tiny-alfworld",
)
