"""``sdar data``: make game sets and check them."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from sdar_cli.display import Reporter
    from sdar_cli.envs.alfworld.env import AlfworldEnvironment

data_app = typer.Typer(no_args_is_help=True, help="Make and check the data sets of the environments.")

EnvArgument = Annotated[Literal["alfworld"], typer.Argument(help="Environment.")]
MadeSplitOption = Annotated[
    Literal["train", "eval"], typer.Option("--split", help="Split to make; the two never share a house.")
]
GamesOption = Annotated[int, typer.Option("--games", min=1, help="Number of games.")]
SeedOption = Annotated[int, typer.Option("--seed", min=0, help="Seed of the generator.")]
SizeOption = Annotated[Literal["small", "full"], typer.Option("--size", help="Size of the houses.")]
OutOption = Annotated[Path, typer.Option("--out", file_okay=False, help="Folder that will hold json_2.1.1.")]
CheckOption = Annotated[bool, typer.Option("--check/--no-check", help="Win each made game once in the engine.")]
DataOption = Annotated[
    str | None, typer.Option("--data", help="Folder that holds json_2.1.1; default: the cached generated games.")
]
SplitOption = Annotated[str | None, typer.Option("--split", help="Split to check; default: every split.")]
ReplayOption = Annotated[
    bool, typer.Option("--replay", help="Also replay each game's stored walkthrough in the engine.")
]
WorkersOption = Annotated[
    int, typer.Option("--workers", min=0, help="Engine processes; 0 = one per core, which is also the most.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]


def register(app: typer.Typer) -> None:
    """Add ``data`` to the main application."""
    app.add_typer(data_app, name="data")


@data_app.callback()
def _group() -> None:
    """Make and check the data sets of the environments."""


@data_app.command("make")
def make_command(
    env: EnvArgument,
    out: OutOption,
    split: MadeSplitOption = "train",
    games: GamesOption = 200,
    seed: SeedOption = 0,
    size: SizeOption = "small",
    check: CheckOption = True,
    workers: WorkersOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Generate games of all six task types, and win each of them once in the engine as proof.

    The same call again finds them made.

    Examples:

    sdar data make alfworld --out my-games

    sdar data make alfworld --split eval --games 60 --seed 7 --out my-games

    sdar data make alfworld --games 1000 --size full --no-check --out big-games
    """
    from sdar_cli.display import Reporter
    from sdar_cli.envs.alfworld.generator import GENERATOR_VERSION, make_games, new_set, refuse_taken
    from sdar_cli.envs.alfworld.replay import prove

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


@data_app.command("verify")
def verify_command(
    env: EnvArgument,
    data: DataOption = None,
    split: SplitOption = None,
    replay: ReplayOption = False,
    workers: WorkersOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Check game files: readable, complete, solvable, no unknown predicates; with --replay, winnable.

    The check without --replay takes about a second for 2,000 games; --replay takes about half a second for each.

    Examples:

    sdar data verify alfworld

    sdar data verify alfworld --data $ALFWORLD_DATA

    sdar data verify alfworld --data $ALFWORLD_DATA --split valid_seen --replay --json
    """
    from sdar_cli.display import Reporter
    from sdar_cli.envs.alfworld.games import list_splits
    from sdar_cli.envs.alfworld.replay import prove

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
    from sdar_cli.envs.alfworld.generator import manifest

    path = manifest(out, split)
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _open(data: str | None, workers: int, reporter: Reporter) -> AlfworldEnvironment:
    from sdar_cli.config import EnvConfig
    from sdar_cli.envs.alfworld.env import open_environment

    config = EnvConfig(data=data, source="real" if data else "generated", workers=workers)
    return open_environment(config, reporter)
