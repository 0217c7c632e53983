"""``sdar sweep``: a grid of settings times seeds; validated at once, resumable, summed up in a table."""

from __future__ import annotations

import sys
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
    from sdar_cli.display import Reporter
    from sdar_cli.sweep.plan import Plan, Request
    from sdar_cli.sweep.state import SweepDir

EPILOG = """Examples:

sdar sweep beta

sdar sweep method --methods grpo,sdar,rlsd --seeds 5 --name methods

sdar sweep --grid algo.coef=0.03,0.1,0.3 --grid algo.gate=gap,none --seeds 3

sdar sweep gate --env webshop --steps 6 --dry-run

sdar sweep --resume methods --seeds 8

Each run is an ordinary run under sweeps/NAME/runs: sdar runs list --runs-dir sweeps/NAME/runs."""


def _option(name: str, text: str, panel: str, *others: str, **more: Any) -> Any:
    return typer.Option(name, *others, help=text, rich_help_panel=panel, **more)


SWEEP, WHERE, OUTPUT = "Sweep", "Where it runs", "Output"
Which = Annotated[
    str | None,
    typer.Argument(
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
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Train every point of a grid with several seeds, and compare.

    Every point is validated before the first one starts.  A failed run does not stop the others.
    """
    from sdar_cli.commands.train import given_flags
    from sdar_cli.display import Reporter, json_stdout
    from sdar_cli.sweep.plan import Request

    flags = given_flags(
        data=data, lora=lora, gate=gate, beta=beta, coef=coef, objective=objective, retrieval=retrieval, seed=seed,
        steps=steps,
    )  # fmt: skip
    request = Request(
        which, tuple(grid or ()), values, seeds, env, model, method, tuple(preset or ()), tuple(sets or ()), flags
    )
    with Reporter(json_mode=as_json) as reporter, json_stdout(reporter):
        if resume is not None:
            state = _resumed(resume, sweeps_dir, request, name, dry_run)
            if dry_run:
                _show_jobs(state, reporter)
                return
        else:
            from sdar_cli.sweep.plan import make_plan
            from sdar_cli.sweep.state import default_path

            plan = make_plan(request)
            path = sweeps_dir / name if name else default_path(sweeps_dir, which or "grid")
            if dry_run:
                raise typer.Exit(_show_plan(plan, path, reporter))
            state = _created(path, plan, request, reporter)
        _run(state, slots, tries, reporter)


def _resumed(reference: str, sweeps_dir: Path, request: Request, name: str | None, dry_run: bool) -> SweepDir:
    from sdar_cli.errors import ConfigError
    from sdar_cli.sweep.plan import Request as Empty
    from sdar_cli.sweep.state import SweepDir

    if name is not None or request != Empty(seeds=request.seeds, flags={}):
        raise ConfigError(
            "--resume goes on with the sweep as it is; only --seeds, --slots and --tries may be given",
            fix=f"sdar sweep --resume {reference}, or a new sweep without --resume",
        )
    state = SweepDir.open(reference, sweeps_dir)
    if not dry_run:
        with state.locked():
            state.extend(request.seeds or len(state.seeds))
            state.note_start(sys.argv[1:])
    return state


def _created(path: Path, plan: Plan, request: Request, reporter: Reporter) -> SweepDir:
    """The new sweep's directory.  Raises PrerequisiteError where a run would lack something."""
    from sdar_cli.errors import PrerequisiteError
    from sdar_cli.sweep.plan import lacking
    from sdar_cli.sweep.state import SweepDir

    absent = lacking(plan.configs)
    if absent:
        what = "; ".join(item.what for item in absent)
        raise PrerequisiteError(f"missing: {what}", fix="; ".join(item.fix for item in absent))
    for warning in plan.warnings:
        reporter.warn(warning)
    return SweepDir.create(path, plan, {"sweep": request.sweep, "grids": request.grids, "argv": sys.argv[1:]})


def _run(state: SweepDir, slots: int | None, tries: int, reporter: Reporter) -> None:
    """Run what is not done, show the results, and raise RunFailedError where a run is not done in the end."""
    from sdar_cli.sweep.board import Board
    from sdar_cli.sweep.local import LocalExecutor, make_slots

    with state.locked():
        reporter.attach(state.logs / "sweep.log")
        todo = [job for job in state.jobs if state.state(job) != "done"]
        shares = make_slots([state.config(job) for job in state.jobs], slots)
        reporter.emit("launch", sweep=state.name, path=str(state.path), jobs=len(state.jobs), todo=len(todo))
        reporter.info(
            f"sweep {state.path}: {len(state.points)} points x {len(state.seeds)} seeds, {len(todo)} of "
            f"{len(state.jobs)} runs to do, {shares.count} at a time, threads of each: {shares.threads}"
        )
        board = Board(state, reporter, shares.count)
        try:
            LocalExecutor(state, shares, tries, board).run(todo)
        except KeyboardInterrupt:
            reporter.emit("done", sweep=state.name, path=str(state.path), status="interrupted")
            reporter.info(f"interrupted; go on with: sdar sweep --resume {state.path}")
            raise
        _finish(state, reporter)


def _finish(state: SweepDir, reporter: Reporter) -> None:
    from sdar_cli.errors import RunFailedError
    from sdar_cli.sweep.results import collect, show

    results = collect(state)
    show(results, reporter)
    unfinished = results["unfinished"]
    status = "failed" if unfinished else "done"
    reporter.emit("done", sweep=state.name, path=str(state.path), status=status, results=results)
    if unfinished:
        raise RunFailedError(
            f"{len(unfinished)} of {len(state.jobs)} runs of sweep {state.name} are not done",
            why="".join(f"\n  - {run}: {how}, log {state.logs / f'{run}.log'}" for run, how in unfinished.items()),
            fix=f"mend the cause, then: sdar sweep --resume {state.path}",
        )


def _show_plan(plan: Plan, path: Path, reporter: Reporter) -> int:
    """Print the points, the runs and what is missing; the exit code: 0, or 2 where the sweep would fail."""
    from sdar_cli.errors import RunConflictError
    from sdar_cli.plan import Missing
    from sdar_cli.sweep.plan import lacking
    from sdar_cli.sweep.state import check_free

    absent = lacking(plan.configs)
    try:
        check_free(path)
    except RunConflictError as error:
        absent.append(Missing(f"a free directory: {error.what}", error.fix))
    if reporter.json_mode:
        configs = {run: config.model_dump(mode="json") for run, config in plan.configs.items()}
        lacks = [item._asdict() for item in absent]
        reporter.emit_object({**plan.record(), "path": str(path), "configs": configs, "warnings": plan.warnings,
                              "missing": lacks, "ok": not absent})  # fmt: skip
        return 2 if absent else 0
    rows = [
        [point.label, ", ".join(f"{key} = {value}" for key, value in point.settings.items()),
         plan.baselines[point.label], (plan.paper.get("values") or {}).get(point.figure)]
        for point in plan.points
    ]  # fmt: skip
    reporter.table("points", ["point", "settings", "evaluated before by", "the paper's figure, %"], rows)
    jobs = [[n, job.run, job.seed, job.steps or "evaluation only"] for n, job in enumerate(plan.jobs, start=1)]
    reporter.table(f"runs under {path}/runs, in this order", ["", "run", "seed", "steps"], jobs)
    for warning in plan.warnings:
        reporter.warn(warning)
    for item in absent:
        reporter.info(f"missing: {item.what}\n  fix: {item.fix}")
    reporter.info(f"this sweep {'would fail' if absent else 'starts with the same command without --dry-run'}")
    return 2 if absent else 0


def _show_jobs(state: SweepDir, reporter: Reporter) -> None:
    """The runs of a sweep and how far they are."""
    states = {job.run: state.state(job) for job in state.jobs}
    if reporter.json_mode:
        reporter.emit_object({**state.record, "path": str(state.path), "states": states})
        return
    reporter.table(f"sweep {state.path}", ["run", "seed", "steps", "state"],
                   [[job.run, job.seed, job.steps, states[job.run]] for job in state.jobs])  # fmt: skip
