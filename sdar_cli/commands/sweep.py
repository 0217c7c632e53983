"""``sdar sweep``: a grid of settings times seeds; validated at once, resumable, summed up in a table."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sdar_cli.commands import completion
from sdar_cli.commands.examples import ENV, OTHER_ENV
from sdar_cli.commands.option_groups import Without, expand_groups
from sdar_cli.commands.options import OUTPUT, SWEEPS_DIR, Json, Settings, option, sweeps_dir_option

if TYPE_CHECKING:
    from sdar_cli.base.display import Reporter
    from sdar_cli.sweep.plan import Request
    from sdar_cli.sweep.start import Places
    from sdar_cli.sweep.state import SweepDir

EPILOG = f"""Examples:

sdar sweep beta

sdar sweep method --methods grpo,sdar,rlsd --seeds 5 --name methods

sdar sweep --grid algo.coef=0.03,0.1,0.3 --grid algo.gate=gap,none --seeds 3

sdar sweep gate --env {OTHER_ENV} --steps 6 --dry-run

sdar sweep --resume methods --seeds 8

sdar sweep method --env {ENV}-real --model Qwen/Qwen2.5-1.5B-Instruct --executor slurm --sbatch=--time=12:00:00

Each run is an ordinary run under sweeps/NAME/runs: sdar runs list --runs-dir sweeps/NAME/runs."""


class ExecutorName(StrEnum):
    """Where runs go."""

    local = "local"
    slurm = "slurm"
    ray = "ray"


SWEEP, WHERE = "Sweep", "Where it runs"
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
    option("--grid", "Vary a setting (or env, model, method); repeatable, all combinations.", SWEEP,
           metavar="KEY=V1,V2", autocompletion=completion.keys),
]  # fmt: skip
Values = Annotated[
    str | None,
    option("--values", "These values in place of the sweep's own.", SWEEP, "--methods", metavar="V1,V2",
           show_default="the sweep's"),
]  # fmt: skip
Seeds = Annotated[
    int | None,
    option("--seeds", "Training seeds per point, from --seed on.", SWEEP, min=1, show_default="the sweep's, or 1"),
]
Name = Annotated[str | None, option("--name", "Name of the sweep.", SWEEP, show_default="made from what varies")]
SweepsDir = Annotated[Path, sweeps_dir_option(SWEEP)]
Resume = Annotated[
    str | None,
    option("--resume", "Resume a sweep: done runs are kept, stopped ones continued, failed ones tried again; "
           "--seeds may be raised.", SWEEP, metavar="SWEEP", autocompletion=completion.sweep_names),
]  # fmt: skip
SlotsOption = Annotated[
    int | None, option("--slots", "Runs at a time.", WHERE, min=1, show_default="one per GPU, else one per core")
]
Tries = Annotated[int, option("--tries", "Starts of a run that fails.", WHERE, min=1)]
ExecutorOption = Annotated[ExecutorName, option("--executor", "This machine, a Slurm array, or a Ray cluster.", WHERE)]
Sbatch = Annotated[
    list[str] | None,
    option("--sbatch", "An option for sbatch, as --sbatch=--time=4:00:00; repeatable.", WHERE, metavar="OPTION"),
]
Task = Annotated[
    int | None,
    option("--task", "With --resume: only the Nth run, as a task of a Slurm array does.", WHERE, min=0, metavar="N",
           show_default=False),
]  # fmt: skip
ShowOnly = Annotated[
    str | None,
    option("--show", "Sum up what is done of a sweep and run nothing.", OUTPUT, metavar="SWEEP",
           autocompletion=completion.sweep_names),
]  # fmt: skip
DryRun = Annotated[bool, option("--dry-run", "Validate every point; show the runs and what is missing.", OUTPUT)]


@dataclass(frozen=True)
class Varied:
    """What the sweep varies, and how it is called."""

    which: Which = None
    grid: Grid = None
    values: Values = None
    seeds: Seeds = None
    name: Name = None
    sweeps_dir: SweepsDir = SWEEPS_DIR
    resume: Resume = None


@dataclass(frozen=True)
class Where:
    """Where the runs go."""

    slots: SlotsOption = None
    tries: Tries = 2
    executor: ExecutorOption = ExecutorName.local
    sbatch: Sbatch = None
    task: Task = None

    def places(self) -> Places:
        """As the sweep's driver takes it.  Raises ConfigError for a flag that would do nothing."""
        from sdar_cli.base.errors import ConfigError
        from sdar_cli.sweep.start import Places

        if self.sbatch and self.executor is not ExecutorName.slurm:
            raise ConfigError(f"--sbatch has no effect with --executor {self.executor.value}", fix="--executor slurm")
        return Places(self.executor.value, self.slots, self.tries, tuple(self.sbatch or ()))


def register(app: typer.Typer) -> None:
    """Add ``sweep``."""
    app.command("sweep", rich_help_panel="Train and evaluate", epilog=EPILOG)(sweep)


@expand_groups
def sweep(
    varied: Varied,
    settings: Annotated[Settings, Without("config")],
    where: Where,
    show: ShowOnly = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Train every point of a grid with several seeds, and compare.

    Every point is validated before the first one starts.  A failed run does not stop the others.
    """
    from sdar_cli.analysis.sweeps import finish
    from sdar_cli.base.display import Reporter, json_stdout
    from sdar_cli.base.errors import ConfigError
    from sdar_cli.sweep.state import SweepDir

    request, places = _request(varied, settings), where.places()
    if where.task is not None and varied.resume is None:
        raise ConfigError("--task is a run of a sweep that exists", fix="--resume SWEEP --task N")
    with Reporter(json_mode=as_json) as reporter, json_stdout(reporter):
        if show is not None:
            finish.show_results(SweepDir.open(show, varied.sweeps_dir), reporter)
        elif varied.resume is not None:
            _refuse_changes(varied.resume, request, varied.name)
            _resume(
                SweepDir.open(varied.resume, varied.sweeps_dir), request.seeds, places, where.task, dry_run, reporter
            )
        else:
            _begin(request, varied, places, dry_run, reporter)


def _request(varied: Varied, settings: Settings) -> Request:
    from sdar_cli.sweep.plan import Request

    return Request(
        varied.which, tuple(varied.grid or ()), varied.values, varied.seeds, settings.env, settings.model,
        settings.method, tuple(settings.preset or ()), tuple(settings.sets or ()), settings.flags(),
    )  # fmt: skip


def _resume(
    state: SweepDir, seeds: int | None, places: Places, task: int | None, dry_run: bool, reporter: Reporter
) -> None:
    from sdar_cli.analysis.sweeps import finish
    from sdar_cli.sweep import preview, start

    if task is not None:
        start.run_task(state, task, places.tries, reporter)
    elif dry_run:
        preview.show_jobs(state, places, reporter)
    elif start.resume(state, seeds, sys.argv[1:], places, reporter):
        finish.finish(state, reporter)


def _begin(request: Request, varied: Varied, places: Places, dry_run: bool, reporter: Reporter) -> None:
    from sdar_cli.analysis.sweeps import finish
    from sdar_cli.sweep import preview, start
    from sdar_cli.sweep.plan import make_plan
    from sdar_cli.sweep.state import default_path

    plan = make_plan(request)
    path = varied.sweeps_dir / varied.name if varied.name else default_path(varied.sweeps_dir, request.sweep or "grid")
    if dry_run:
        raise typer.Exit(preview.show_plan(plan, path, places, reporter))
    about = {"sweep": request.sweep, "grids": list(request.grids), "argv": sys.argv[1:]}
    begun = start.begin(path, plan, about, places, reporter)
    if begun is not None:
        finish.finish(begun, reporter)


def _refuse_changes(reference: str, request: Request, name: str | None) -> None:
    from sdar_cli.base.errors import ConfigError
    from sdar_cli.sweep.plan import Request as Empty

    if name is not None or request != Empty(seeds=request.seeds, flags={}):
        raise ConfigError(
            "--resume takes the sweep as it is",
            why="besides --seeds only --slots, --tries and --executor may be given",
            fix=f"sdar sweep --resume {reference}, or a new sweep without --resume",
        )
