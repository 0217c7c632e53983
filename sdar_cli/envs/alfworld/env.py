"""ALFWorld as an ``Environment``: tasks from game files, episodes on worker processes.

Observations are the engine's own text.  Wording and rewards shaping are elsewhere; games are real or generated,
and nothing below ``open_environment`` knows which.
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from sdar_cli.base.errors import PrerequisiteError
from sdar_cli.base.locks import locked_in_turn
from sdar_cli.base.resources import cache_dir, core_count, made_once
from sdar_cli.envs.alfworld.engine.pool import WorkerPool
from sdar_cli.envs.alfworld.engine.worker import Outcome
from sdar_cli.envs.alfworld.games import games
from sdar_cli.envs.alfworld.games.generator import GENERATOR_VERSION, SPLITS, make_games
from sdar_cli.envs.alfworld.games.made import read_note, released_gap, write_note
from sdar_cli.envs.alfworld.games.replay import prove
from sdar_cli.envs.alfworld.options import AlfworldOptions
from sdar_cli.envs.alfworld.prompt import goal_of
from sdar_cli.envs.base import Observation, Step, Task
from sdar_cli.envs.continuous import InTurns

if TYPE_CHECKING:
    from sdar_cli.base.display import Reporter

NOTHING = Observation("", "", ())
"""The file that closes a set of generated games in the cache."""


class AlfworldEnvironment(InTurns):
    """Episodes of the games under ``root``, a folder ``json_2.1.1`` or one that holds it.

    workers: number of processes; they start at the first reset.
    step_timeout: seconds a worker may be silent while an answer is expected.
    """

    def __init__(
        self, root: Path, workers: int = 1, step_timeout: float = 120.0, reporter: Reporter | None = None
    ) -> None:
        self.root = games.find_root(root)
        self._reporter = reporter
        self._pool = WorkerPool(workers, step_timeout)
        self._now: dict[int, Step] = {}

    def tasks(self, split: str) -> list[Task]:
        """Every task of a split, sorted by id.  Raises PrerequisiteError when there is none.

        That a released split lacks games is said."""
        found = games.list_tasks(self.root, split)
        if self._reporter and (gap := released_gap(found)):
            self._reporter.warn(gap)
        return found

    def preflight(self, tasks: Sequence[Task]) -> None:
        """Check the game files of these tasks.  Raises one PrerequisiteError that lists the bad ones."""
        once = list(dict.fromkeys(tasks))
        if self._reporter is None:
            games.preflight(once, self.root)
            return
        with self._reporter.progress(f"checking {len(once)} game files", len(once)) as work:
            games.preflight(once, self.root, work.advance)

    def start(self, assignment: Mapping[int, Task]) -> None:
        """Start one episode per slot, those of one task on one worker.

        A game that does not load gives a failed step that names its file.
        """
        paths = {slot: games.game_file(self.root, task) for slot, task in assignment.items()}
        for slot in assignment:
            self._now.pop(slot, None)
        self._pool.start(paths)
        self._pass_on_notices()

    def send(self, actions: Mapping[int, str]) -> None:
        """Act in active slots.  A command that is not admissible changes nothing.

        Raises ValueError for a slot that was not reset or whose episode is over.
        """
        idle = [slot for slot in actions if slot not in self._now or self._now[slot].done]
        if idle:
            raise ValueError(f"slots {idle} have no running episode")
        self._pool.send(actions)

    def ready(self, timeout: float | None) -> dict[int, Step]:
        """See ``Continuous``; ``step_timeout`` bounds the wait for a worker that is silent."""
        return {slot: self._record(slot, outcome) for slot, outcome in self._pool.ready(timeout).items()}

    def close(self) -> None:
        """Stop the workers."""
        self._pool.close()
        self._now.clear()

    def __enter__(self) -> AlfworldEnvironment:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _record(self, slot: int, outcome: Outcome) -> Step:
        before = self._now.get(slot)
        seen = before.observation if before else NOTHING
        if outcome.answer is None:
            step = Step(seen, 0.0, done=True, won=False, failure=outcome.failure)
        else:
            text, reward, done, won, admissible = outcome.answer
            observation = Observation(text, seen.goal if before else goal_of(text), admissible)
            step = Step(observation, reward, done, won)
        self._now[slot] = step
        return step

    def _pass_on_notices(self) -> None:
        while self._pool.notices:
            notice = f"games run at the engine's normal, much lower speed: {self._pool.notices.pop()}"
            if self._reporter:
                self._reporter.warn(notice)
            else:
                warnings.warn(notice, RuntimeWarning, stacklevel=3)


def open_environment(config: AlfworldOptions, reporter: Reporter | None = None) -> AlfworldEnvironment:
    """The environment of a configuration: real games if ``data`` or ``source`` asks for them, else generated ones.

    ``$ALFWORLD_DATA`` counts only for real games without ``data``; then comes the place where alfworld puts them.
    At most one worker per core is started.
    Raises PrerequisiteError when the games are missing.
    """
    cores = core_count()
    workers = min(config.workers or cores, cores)
    return AlfworldEnvironment(data_root(config, workers, reporter), workers, config.step_timeout, reporter)


def data_root(config: AlfworldOptions, workers: int = 1, reporter: Reporter | None = None) -> Path:
    """The folder of the games a configuration names; generated games are made when they are not cached."""
    if config.source == "generated":
        return games.find_root(ensure_games(config, workers, reporter))
    return games.real_root(config.data)


def ensure_games(config: AlfworldOptions, workers: int, reporter: Reporter | None = None) -> Path:
    """The cached root of the generated train and eval games of a configuration.

    When absent they are made, and every one is won once in the engine by its plan; a set that fails is not kept.  A set
    of which games are missing or changed is made again, and that is said.  Raises RunFailedError for games that are not
    won.
    """
    key = f"{GENERATOR_VERSION}-{config.size}-s{config.games_seed}-t{config.games_train}-e{config.games_eval}"
    root = cache_dir() / "alfworld" / f"games-{key}"

    def make(folder: Path) -> None:
        make_games("train", config.games_train, config.games_seed, config.size, folder)
        make_games("eval", config.games_eval, config.games_seed, config.size, folder)
        _prove(folder, workers, config.step_timeout, reporter)
        for split in SPLITS:
            write_note(folder / games.ROOT_NAME, split, {}, games.list_tasks(folder / games.ROOT_NAME, split))

    if root.is_dir() and _fault(root):
        with locked_in_turn(root.with_name(f"{root.name}.lock")):  # of several processes one removes the set
            if root.is_dir() and (fault := _fault(root)):
                if reporter:
                    reporter.warn(f"{fault}: the games are made again")
                shutil.rmtree(root)
    return made_once(root, make)


def _fault(root: Path) -> str:
    """What is wrong with a cached set; empty where every game is there as it was made."""
    for split in SPLITS:
        try:
            if not read_note(root / games.ROOT_NAME, split):  # made by an earlier version
                return f"nothing says which games were made in {root}"
            games.list_tasks(root / games.ROOT_NAME, split)
        except PrerequisiteError as error:
            return error.what
    return ""


def _prove(root: Path, workers: int, timeout: float, reporter: Reporter | None) -> None:
    from sdar_cli.base.display import Reporter

    with AlfworldEnvironment(root, workers, timeout, reporter) as environment:
        tasks = [task for split in SPLITS for task in environment.tasks(split)]
        prove(environment, tasks, reporter or Reporter(json_mode=True))
