"""ALFWorld's part of ``sdar data``: games made and won once, and games checked."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sdar_cli.base.display import Reporter

if TYPE_CHECKING:
    from sdar_cli.envs.alfworld.env import AlfworldEnvironment


def make(
    out: Path,
    split: Literal["train", "eval"],
    games: int,
    seed: int,
    size: Literal["small", "full"],
    check: bool,
    workers: int,
    as_json: bool,
) -> None:
    """Generate games of all six task types; with ``check`` each is won once in the engine."""
    from sdar_cli.envs.alfworld.games.generator import GENERATOR_VERSION, make_games, new_set, refuse_taken
    from sdar_cli.envs.alfworld.games.replay import prove

    began = time.perf_counter()
    wanted = {"generator": GENERATOR_VERSION, "split": split, "games": games, "seed": seed, "size": size}
    with Reporter(as_json) as reporter:
        found = _made_before(out, split)
        if {**found, "replayed": True} != {**wanted, "replayed": True} or (check and not found["replayed"]):
            refuse_taken(out, split)
            found = {**wanted, "replayed": check}
            with new_set(out, split, found) as folder:
                with reporter.progress(f"making {games} {size} games", games) as work:
                    make_games(split, games, seed, size, folder, lambda: work.advance())
                with _open(str(folder), workers, reporter) as environment:
                    tasks = environment.tasks(split)
                    environment.preflight(tasks)
                    if check:
                        prove(environment, tasks, reporter)
        seconds = time.perf_counter() - began
        proof = "each won once in the engine" if found["replayed"] else "not tried in the engine"
        reporter.info(f"{games} games of split {split} in {out}, {proof}, {seconds:.1f} s")
        if as_json:
            reporter.emit_object({"out": str(out), **found})


def verify(data: str | None, split: str | None, replay: bool, workers: int, as_json: bool) -> None:
    """Check game files: readable, complete, solvable, no unknown predicates; with ``replay``, winnable."""
    from sdar_cli.envs.alfworld.games.games import list_splits
    from sdar_cli.envs.alfworld.games.replay import prove

    report: dict[str, Any] = {"replayed": replay, "splits": {}}
    with Reporter(as_json) as reporter, _open(data, workers, reporter) as environment:
        report["root"] = str(environment.root)
        for name in [split] if split else list_splits(environment.root):
            began = time.perf_counter()
            tasks = environment.tasks(name)
            environment.preflight(tasks)
            if replay:
                prove(environment, tasks, reporter)
            seconds = time.perf_counter() - began
            reporter.info(f"{name}: {len(tasks)} games are good ({seconds:.1f} s)")
            report["splits"][name] = {"games": len(tasks), "seconds": round(seconds, 2)}
        if as_json:
            reporter.emit_object(report)


def _made_before(out: Path, split: str) -> dict[str, Any]:
    """The parameters a set was made with; {} where there is none."""
    from sdar_cli.envs.alfworld.games.generator import manifest

    path = manifest(out, split)
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _open(data: str | None, workers: int, reporter: Reporter) -> AlfworldEnvironment:
    from sdar_cli.config.schema import EnvConfig
    from sdar_cli.envs.alfworld.env import open_environment

    config = EnvConfig(data=data, source="real" if data else "generated", workers=workers)
    return open_environment(config, reporter)
