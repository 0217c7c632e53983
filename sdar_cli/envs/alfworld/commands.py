"""``sdar data make alfworld`` and ``sdar data verify alfworld``: games made and won once, and games checked."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from sdar_cli.base.display import Reporter
from sdar_cli.envs.alfworld.options import AlfworldOptions

if TYPE_CHECKING:
    from sdar_cli.envs.alfworld.env import AlfworldEnvironment

Out = Annotated[Path, typer.Option("--out", file_okay=False, help="Folder to fill; games come to json_2.1.1 in it.")]
MadeSplit = Annotated[
    Literal["train", "eval"], typer.Option("--split", help="Split to make; the two never share a house.")
]
Games = Annotated[int, typer.Option("--games", min=1, help="Number of games.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Seed of the generator.")]
Size = Annotated[Literal["small", "full"], typer.Option("--size", help="Size of the houses.")]
CheckGames = Annotated[bool, typer.Option("--check/--no-check", help="Win each made game once in the engine.")]
Workers = Annotated[
    int, typer.Option("--workers", min=0, help="Engine processes; 0 = one per core, which is also the most.")
]
Data = Annotated[
    str | None, typer.Option("--data", help="Folder that holds json_2.1.1; default: the cached generated games.")
]
Split = Annotated[str | None, typer.Option("--split", help="Split to check; default: every split.")]
Replay = Annotated[bool, typer.Option("--replay", help="Also replay each game's stored walkthrough in the engine.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]


def make(
    out: Out,
    split: MadeSplit = "train",
    games: Games = 200,
    seed: Seed = 0,
    size: Size = "small",
    check: CheckGames = True,
    workers: Workers = 0,
    as_json: Json = False,
) -> None:
    """Generate games of all six task types, each won once in the engine as proof.

    The same call again finds a set made.

    Examples:

    sdar data make alfworld --out my-games

    sdar data make alfworld --split eval --games 60 --seed 7 --out my-games

    sdar data make alfworld --games 1000 --size full --no-check --out big-games
    """
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


def verify(
    data: Data = None, split: Split = None, replay: Replay = False, workers: Workers = 0, as_json: Json = False
) -> None:
    """Check game files: readable, complete, solvable; with --replay also that they can be won.

    2,000 games take about a second, --replay half a second for each.

    Examples:

    sdar data verify alfworld

    sdar data verify alfworld --data $ALFWORLD_DATA

    sdar data verify alfworld --data $ALFWORLD_DATA --split valid_seen --replay --json
    """
    from sdar_cli.envs.alfworld.games.games import list_splits
    from sdar_cli.envs.alfworld.games.replay import prove

    splits: dict[str, dict[str, float]] = {}
    with Reporter(as_json) as reporter, _open(data, workers, reporter) as environment:
        for name in [split] if split else list_splits(environment.root):
            began = time.perf_counter()
            tasks = environment.tasks(name)
            environment.preflight(tasks)
            if replay:
                prove(environment, tasks, reporter)
            seconds = time.perf_counter() - began
            reporter.info(f"{name}: {len(tasks)} games are good ({seconds:.1f} s)")
            splits[name] = {"games": len(tasks), "seconds": round(seconds, 2)}
        if as_json:
            reporter.emit_object({"replayed": replay, "splits": splits, "root": str(environment.root)})


def _made_before(out: Path, split: str) -> Mapping[str, object]:
    """The parameters a set was made with; {} where there is none.  Raises PrerequisiteError where its games are not
    all there as they were made."""
    from sdar_cli.envs.alfworld.games.games import ROOT_NAME, list_tasks
    from sdar_cli.envs.alfworld.games.made import read_note

    noted = read_note(out / ROOT_NAME, split)
    if noted:
        list_tasks(out / ROOT_NAME, split)
    return {key: value for key, value in noted.items() if key != "sha256"}


def _open(data: str | None, workers: int, reporter: Reporter) -> AlfworldEnvironment:
    from sdar_cli.envs.alfworld.env import open_environment

    config = AlfworldOptions(data=data, source="real" if data else "generated", workers=workers)
    return open_environment(config, reporter)
