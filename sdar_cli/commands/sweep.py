"""``sdar sweep``: a grid of settings times seeds; validated at once, resumable, summed up in a table."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sdar_cli.commands import completion
from sdar_cli.commands.train import (
    Beta,
    Coef,
    Data,
    Env,
    Gate,
    Lora,
    Method,
    Model,
    Objective,
    Preset,
    Retrieval,
    Seed,
    Set,
    Steps,
)

if TYPE_CHECKING:
    from sdar_cli.sweep.plan import Request

EPILOG = """Examples:

sdar sweep beta

sdar sweep method --methods grpo,sdar,rlsd --seeds 5 --name methods

sdar sweep --grid algo.coef=0.03,0.1,0.3 --grid algo.gate=gap,none --seeds 3

sdar sweep gate --env webshop --steps 6 --dry-run

sdar sweep --resume methods --seeds 8

sdar sweep method --env alfworld-real --model Qwen/Qwen2.5-1.5B-Instruct --executor slurm --sbatch=--time=12:00:00

Each run is an ordinary run under sweeps/NAME/runs: sdar runs list --runs-dir sweeps/NAME/runs."""


class ExecutorName(StrEnum):
    """Where runs go."""

    local = "local"
    slurm = "slurm"
    ray = "ray"


def _option(name: str, text: str, panel: str, *others: str, **more: Any) -> Any:
    return typer.Option(name, *others, help=text, rich_help_panel=panel, **more)


SWEEP, WHERE, OUTPUT = "Sweep", "Where it runs", "Output"
Which = Annotated[
    str | None,
    typer.Argument(
        metavar="[SWEEP]",
        help="beta, gate, coef, objective, retrieval or method; or none, with --grid.",
        autocompletion=completion.sweeps,
        show_default=False,
    ),
]
Grid = Annotated[
    list[str] | None,
    _option("--grid", "Vary a setting (or env, model, method); repeatable, all combinations.", SWEEP,
            metavar="KEY=V1,V2", autocompletion=completion.keys),
]  # fmt: skip
Values = Annotated[
    str | None,
    _option("--values", "These values in place of the sweep's own.", SWEEP, "--methods", metavar="V1,V2",
            show_default="the sweep's"),
]  # fmt: skip
Seeds = Annotated[
    int | None,
    _option("--seeds", "Training seeds per point, from --seed on.", SWEEP, min=1, show_default="the sweep's, or 1"),
]
Name = Annotated[str | None, _option("--name", "Name of the sweep.", SWEEP, show_default="made from what varies")]
SweepsDir = Annotated[Path, _option("--sweeps-dir", "Where sweeps lie.", SWEEP)]
Resume = Annotated[
    str | None,
    _option("--resume", "Go on with a sweep: done runs are kept, stopped ones continued, failed ones tried again; "
            "--seeds may be raised.", SWEEP, metavar="SWEEP", autocompletion=completion.sweep_names),
]  # fmt: skip
SlotsOption = Annotated[
    int | None, _option("--slots", "Runs at a time.", WHERE, min=1, show_default="one per GPU, else one per core")
]
Tries = Annotated[int, _option("--tries", "Starts of a run that fails.", WHERE, min=1)]
Where = Annotated[ExecutorName, _option("--executor", "This machine, a Slurm array, or a Ray cluster.", WHERE)]
Sbatch = Annotated[
    list[str] | None,
    _option("--sbatch", "An option for sbatch, as --sbatch=--time=4:00:00; repeatable.", WHERE, metavar="OPTION"),
]
Task = Annotated[
    int | None,
    _option("--task", "With --resume: only the Nth run, as a task of a Slurm array does.", WHERE, min=0, metavar="N",
            show_default=False),
]  # fmt: skip
ShowOnly = Annotated[
    str | None,
    _option("--show", "Sum up what is done of a sweep and run nothing.", OUTPUT, metavar="SWEEP",
            autocompletion=completion.sweep_names),
]  # fmt: skip
DryRun = Annotated[bool, _option("--dry-run", "Validate every point; show the runs and what is missing.", OUTPUT)]
Json = Annotated[bool, _option("--json", "JSON lines on stdout, all else on stderr.", OUTPUT)]


def register(app: typer.Typer) -> None:
    """Add ``sweep``."""
    app.command("sweep", rich_help_panel="Train and evaluate", epilog=EPILOG)(sweep)


def sweep(
    which: Which = None,
    grid: Grid = None,
    values: Values = None,
    seeds: Seeds = None,
    name: Name = None,
    sweeps_dir: SweepsDir = Path("sweeps"),
    resume: Resume = None,
    env: Env = None,
    model: Model = None,
    data: Data = None,
    lora: Lora = None,
    method: Method = None,
    gate: Gate = None,
    beta: Beta = None,
    coef: Coef = None,
    objective: Objective = None,
    retrieval: Retrieval = None,
    preset: Preset = None,
    sets: Set = None,
    seed: Seed = None,
    steps: Steps = None,
    slots: SlotsOption = None,
    tries: Tries = 2,
    executor: Where = ExecutorName.local,
    sbatch: Sbatch = None,
    task: Task = None,
    show: ShowOnly = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Train every point of a grid with several seeds, and compare.

    Every point is validated before the first one starts.  A failed run does not stop the others.
    """
    from sdar_cli.analysis.sweeps import finish
    from sdar_cli.base.display import Reporter, json_stdout
    from sdar_cli.commands.train import given_flags
    from sdar_cli.sweep import preview, start
    from sdar_cli.sweep.plan import Request, make_plan
    from sdar_cli.sweep.start import Places
    from sdar_cli.sweep.state import SweepDir, default_path

    flags = given_flags(
        data=data, lora=lora, gate=gate, beta=beta, coef=coef, objective=objective, retrieval=retrieval, seed=seed,
        steps=steps,
    )  # fmt: skip
    request = Request(
        which, tuple(grid or ()), values, seeds, env, model, method, tuple(preset or ()), tuple(sets or ()), flags
    )
    _refuse_lone(executor, sbatch, task, resume)
    places = Places(executor.value, slots, tries, tuple(sbatch or ()))
    with Reporter(json_mode=as_json) as reporter, json_stdout(reporter):
        if show is not None:
            finish.show_results(SweepDir.open(show, sweeps_dir), reporter)
        elif resume is not None:
            _refuse_changes(resume, request, name)
            state = SweepDir.open(resume, sweeps_dir)
            if task is not None:
                start.run_task(state, task, tries, reporter)
            elif dry_run:
                preview.show_jobs(state, places, reporter)
            elif start.resume(state, seeds, sys.argv[1:], places, reporter):
                finish.finish(state, reporter)
        else:
            plan = make_plan(request)
            path = sweeps_dir / name if name else default_path(sweeps_dir, which or "grid")
            if dry_run:
                raise typer.Exit(preview.show_plan(plan, path, places, reporter))
            about = {"sweep": which, "grids": grid or [], "argv": sys.argv[1:]}
            begun = start.begin(path, plan, about, places, reporter)
            if begun is not None:
                finish.finish(begun, reporter)


def _refuse_lone(executor: ExecutorName, sbatch: list[str] | None, task: int | None, resume: str | None) -> None:
    """Flags that would do nothing by themselves."""
    from sdar_cli.base.errors import ConfigError

    if sbatch and executor is not ExecutorName.slurm:
        raise ConfigError(f"--sbatch says nothing with --executor {executor.value}", fix="--executor slurm")
    if task is not None and resume is None:
        raise ConfigError("--task is a run of a sweep that exists", fix="--resume SWEEP --task N")


def _refuse_changes(reference: str, request: Request, name: str | None) -> None:
    from sdar_cli.base.errors import ConfigError
    from sdar_cli.sweep.plan import Request as Empty

    if name is not None or request != Empty(seeds=request.seeds, flags={}):
        raise ConfigError(
            "--resume goes on with the sweep as it is",
            why="beside --seeds only --slots, --tries and --executor may be given",
            fix=f"sdar sweep --resume {reference}, or a new sweep without --resume",
        )
