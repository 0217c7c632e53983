"""One game of ALFWorld at a time, on textworld's own engine: load, reset, step.

Only worker processes import the engine; importing this module alone does not.  An engine object owns a copy
of a C++ library, so use it again for the next game instead of making a new one.

Left out: the handcoded expert, the planner and any wording: observations are the engine's own text.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from sdar_cli.base.files import parse_json, read_regular
from sdar_cli.envs.alfworld.engine.expressions import guard
from sdar_cli.envs.alfworld.engine.speedup import speed_up

__all__ = ["Answer", "GameEngine", "alfworld_module", "speed_up"]


class Answer(NamedTuple):
    """The engine's answer to a command.  ``reward`` is 1 in the won state, else 0."""

    observation: str
    reward: float
    done: bool
    won: bool
    admissible: tuple[str, ...]


class GameEngine:
    """A slot's engine.  Call ``speed_up()`` once per process first; without it everything works, slower."""

    def __init__(self) -> None:
        guard()
        pddl = import_module("textworld.envs.pddl.pddl")
        infos = import_module("textworld.core").EnvInfos(feedback=True, admissible_commands=True, won=True)
        self._demangler = alfworld_module("alfworld.agents.utils.misc").Demangler
        self._env: Any = pddl.PddlEnv(infos)
        self._path: Path | None = None
        self._done = True

    def load(self, path: str | Path) -> None:
        """Take up the game in ``path``; the same game as before costs nothing.

        Raises ForbiddenExpressionError for a game whose grammar holds code."""
        path = Path(path)
        if path == self._path:
            return
        self._path, self._done = None, True
        self._env.load(parse_json(read_regular(path)))
        entities = self._env._entity_infos
        names = self._demangler(game_infos=entities)
        for entity in entities.values():
            entity.name = names.demangle_alfred_name(entity.id)
        self._path = path

    def reset(self) -> tuple[str, tuple[str, ...], bool]:
        """Start the loaded game from its beginning: observation, admissible commands (sorted), won."""
        if self._path is None:
            raise RuntimeError("reset before load")
        state = self._env.reset()
        self._done = bool(state["won"])
        return state["feedback"], tuple(state["admissible_commands"]), self._done

    def step(self, command: str) -> Answer:
        """Run one command.  One that is not admissible changes nothing: ``Nothing happens.``"""
        if self._done:
            raise RuntimeError("step in a game that is over or was not reset")
        state, reward, done = self._env.step(command)
        self._done = bool(done)
        return Answer(
            state["feedback"], float(reward), self._done, bool(state["won"]), tuple(state["admissible_commands"])
        )

    def close(self) -> None:
        """Free the game.  The library itself stays: unloading it leaves exit handlers that crash the process."""
        if self._env is not None:
            self._env.downward_lib.cleanup()
            self._env, self._path, self._done = None, None, True


def alfworld_module(name: str) -> Any:
    """Import a module of alfworld without its side effect of creating the folder ``$ALFWORLD_DATA``."""
    with _alfworld_data(tempfile.gettempdir()):
        return import_module(name)


@contextlib.contextmanager
def _alfworld_data(folder: str) -> Iterator[None]:
    before = os.environ.get("ALFWORLD_DATA")
    os.environ["ALFWORLD_DATA"] = folder
    try:
        yield
    finally:
        if before is None:
            del os.environ["ALFWORLD_DATA"]
        else:
            os.environ["ALFWORLD_DATA"] = before
