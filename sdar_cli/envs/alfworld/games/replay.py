"""Proof that games can be won: their stored walkthroughs, replayed in the engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from sdar_cli.base.errors import RunFailedError
from sdar_cli.envs.alfworld.games import games
from sdar_cli.envs.base import Environment, Task

if TYPE_CHECKING:
    from sdar_cli.base.display import Reporter

SIDE_BY_SIDE = 32


class GameEnvironment(Environment, Protocol):
    """An environment that plays the game files under ``root``."""

    @property
    def root(self) -> Path:
        """The folder ``json_2.1.1``."""
        ...


def replay_walkthroughs(
    environment: GameEnvironment, tasks: Sequence[Task], progress: Callable[[int], None] | None = None
) -> dict[str, str]:
    """What is wrong, by task id: no walkthrough, an action that is not admissible, or an end that is not won.

    Empty when every game is won.  ``progress`` gets the number of games that have just been replayed.
    """
    wrong: dict[str, str] = {}
    for start in range(0, len(tasks), SIDE_BY_SIDE):
        part = tasks[start : start + SIDE_BY_SIDE]
        wrong |= _replay(environment, part)
        if progress:
            progress(len(part))
    return wrong


def prove(environment: GameEnvironment, tasks: Sequence[Task], reporter: Reporter) -> None:
    """Win every game by its walkthrough.  Raises RunFailedError that lists the games that are not won."""
    with reporter.progress(f"winning {len(tasks)} games once", len(tasks)) as work:
        wrong = replay_walkthroughs(environment, tasks, work.advance)
    if wrong:
        shown = [f"{name}: {why}" for name, why in sorted(wrong.items())[:10]]
        raise RunFailedError(
            f"{len(wrong)} of {len(tasks)} games are not won by their walkthroughs",
            why="\n  ".join(shown),
            fix="remove the folders of these games, or get them again",
        )


def _replay(environment: GameEnvironment, tasks: Sequence[Task]) -> dict[str, str]:
    plans = {task.id: games.walkthrough(games.game_file(environment.root, task)) for task in tasks}
    wrong = {task.id: "it stores no walkthrough" for task in tasks if not plans[task.id]}
    playing = {slot: task for slot, task in enumerate(tasks) if task.id not in wrong}
    steps = environment.reset(playing)
    for turn in range(max(map(len, plans.values()), default=0)):
        commands = {}
        for slot, task in playing.items():
            if steps[slot].done or task.id in wrong or turn >= len(plans[task.id]):
                continue
            command = plans[task.id][turn]
            if command in steps[slot].observation.admissible:
                commands[slot] = command
            else:
                wrong[task.id] = f"step {turn + 1} of its walkthrough, {command!r}, is not admissible"
        steps |= environment.step(commands)
    for slot, task in playing.items():
        if steps[slot].failure:
            wrong[task.id] = steps[slot].failure or ""
        elif not steps[slot].won:
            wrong.setdefault(task.id, "its walkthrough ends without winning")
    return wrong
