"""``sdar runs``: what ran, and how it went."""

from __future__ import annotations

from typing import Annotated

import typer

from sdar_cli.commands import completion
from sdar_cli.commands.examples import ENV
from sdar_cli.commands.options import RUNS_DIR, JsonObject, RunsDir, option

LIST_EPILOG = """Examples:

sdar runs list

sdar runs list --runs-dir /data/runs

sdar runs list --json"""
SHOW_EPILOG = f"""Examples:

sdar runs show

sdar runs show {ENV}-sdar-gap-s0-20261122-221500

sdar runs show runs/grpo-s1 --json"""

CLEAN_EPILOG = """Examples:

sdar runs clean

sdar runs clean --yes

sdar runs clean --checkpoints --yes

sdar runs clean my-run --yes"""

Reference = Annotated[
    str | None,
    typer.Argument(
        metavar="[RUN]", help="Name or directory.", show_default="the latest", autocompletion=completion.run_names
    ),
]


def register(app: typer.Typer) -> None:
    """Add ``runs list``, ``runs show`` and ``runs clean``."""
    runs = typer.Typer(help="Runs: what ran, and how it went.", no_args_is_help=True)
    runs.command("list", epilog=LIST_EPILOG)(list_command)
    runs.command("show", epilog=SHOW_EPILOG)(show_command)
    runs.command("clean", epilog=CLEAN_EPILOG)(clean_command)
    app.add_typer(runs, name="runs", rich_help_panel="Look and prepare")


def list_command(runs_dir: RunsDir = RUNS_DIR, as_json: JsonObject = False) -> None:
    """List the runs, the oldest first."""
    from sdar_cli.base.display import Reporter
    from sdar_cli.runs import show
    from sdar_cli.runs.rundir import list_runs

    overviews = [show.overview(run) for run in list_runs(runs_dir)]
    with Reporter(json_mode=as_json) as reporter:
        if as_json:
            reporter.emit_object({"runs": overviews})
        elif not overviews:
            reporter.info(f"no runs under {runs_dir}; start one with: sdar train")
        else:
            show.show_runs(f"runs under {runs_dir}", overviews, reporter)


def show_command(run: Reference = None, runs_dir: RunsDir = RUNS_DIR, as_json: JsonObject = False) -> None:
    """Show one run: outcome, settings that differ from the defaults, the last steps, provenance."""
    from sdar_cli.base.display import Reporter
    from sdar_cli.runs import show
    from sdar_cli.runs.metrics import read_steps
    from sdar_cli.runs.rundir import RunDir

    found = RunDir.latest(runs_dir) if run is None else RunDir.open(run, runs_dir)
    with Reporter(json_mode=as_json) as reporter:
        if as_json:
            reporter.emit_object(
                {
                    **found.overview(),
                    "config": found.config().model_dump(mode="json"),
                    "state": found.status(),
                    "provenance": found.provenance(),
                    "metrics": [step.to_json() for step in read_steps(found.metrics)],
                }
            )
        else:
            show.show_run(found, reporter)


def clean_command(
    runs: Annotated[
        list[str] | None, typer.Argument(metavar="[RUN]...", help="Runs to remove.", show_default="unfinished ones")
    ] = None,
    checkpoints: Annotated[bool, option("--checkpoints", "Only checkpoints, all but each run's last.")] = False,
    yes: Annotated[bool, option("--yes", "Remove what is listed; without it nothing is.")] = False,
    runs_dir: RunsDir = RUNS_DIR,
    as_json: JsonObject = False,
) -> None:
    """List what could go, and with --yes remove it: runs that ended without a result, named runs, or old checkpoints.

    A run that is running is never touched.
    """
    from sdar_cli.base.display import Reporter
    from sdar_cli.runs.clean import plan_removals, remove
    from sdar_cli.runs.rundir import RunDir, list_runs

    chosen = [RunDir.open(name, runs_dir) for name in runs] if runs else list_runs(runs_dir)
    plan = plan_removals(chosen, named=bool(runs), checkpoints=checkpoints)
    with Reporter(json_mode=as_json) as reporter:
        if as_json:
            listed = [{"path": str(each.path), "bytes": each.size, "why": each.why} for each in plan]
            reporter.emit_object({"removed": yes, "paths": listed})
        elif not plan:
            reporter.info(f"nothing to remove under {runs_dir}")
        else:
            rows = [[str(each.path), f"{each.size / 1e6:.1f} MB", each.why] for each in plan]
            reporter.table("removing" if yes else "would be removed", ["path", "size", "why"], rows)
        freed = remove(plan) if yes else sum(each.size for each in plan)
        if plan:
            reporter.info(
                f"removed {freed / 1e6:.1f} MB" if yes else f"{freed / 1e6:.1f} MB; nothing was removed: add --yes"
            )
