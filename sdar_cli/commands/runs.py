"""``sdar runs``: what ran, and how it went."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sdar_cli.commands import completion

if TYPE_CHECKING:
    from sdar_cli.display import Reporter
    from sdar_cli.runs import RunDir

LIST_EPILOG = """Examples:

sdar runs list

sdar runs list --runs-dir /data/runs

sdar runs list --json"""
SHOW_EPILOG = """Examples:

sdar runs show

sdar runs show alfworld-sdar-gap-s0-20261122-221500

sdar runs show runs/grpo-s1 --json"""

RunsDir = Annotated[Path, typer.Option(help="Where runs lie.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]
Reference = Annotated[
    str | None,
    typer.Argument(
        metavar="[RUN]", help="Name or directory.", show_default="the latest", autocompletion=completion.run_names
    ),
]
PROVENANCE_SHOWN = (
    "created", "commit", "dirty", "sdar", "python", "platform", "cpu_count", "gpu", "panel_sha256", "skill_bank_sha256",
)  # fmt: skip


def register(app: typer.Typer) -> None:
    """Add ``runs list`` and ``runs show``."""
    runs = typer.Typer(help="Runs: what ran, and how it went.", no_args_is_help=True)
    runs.command("list", epilog=LIST_EPILOG)(list_command)
    runs.command("show", epilog=SHOW_EPILOG)(show_command)
    app.add_typer(runs, name="runs", rich_help_panel="Look and prepare")


def list_command(runs_dir: RunsDir = Path("runs"), as_json: Json = False) -> None:
    """List the runs, the oldest first."""
    from sdar_cli.display import Reporter
    from sdar_cli.runs import list_runs

    overviews = [_overview(run) for run in list_runs(runs_dir)]
    with Reporter(json_mode=as_json) as reporter:
        if as_json:
            reporter.emit_object({"runs": overviews})
        elif not overviews:
            reporter.info(f"no runs under {runs_dir}; start one with: sdar train")
        else:
            columns = ["name", "status", "method", "seed", "steps", "success", "time"]
            reporter.table(f"runs under {runs_dir}", columns, [_row(overview) for overview in overviews])


def show_command(run: Reference = None, runs_dir: RunsDir = Path("runs"), as_json: Json = False) -> None:
    """Show one run: outcome, settings that differ from the defaults, the last steps, provenance."""
    from sdar_cli.display import Reporter
    from sdar_cli.runs import RunDir
    from sdar_cli.track import read_metrics

    found = RunDir.latest(runs_dir) if run is None else RunDir.open(run, runs_dir)
    with Reporter(json_mode=as_json) as reporter:
        if as_json:
            reporter.emit_object(
                {
                    **found.overview(),
                    "config": found.config().model_dump(mode="json"),
                    "state": found.status(),
                    "provenance": found.provenance(),
                    "metrics": read_metrics(found.metrics),
                }
            )
        else:
            _print_run(found, reporter)


def _overview(run: RunDir) -> dict[str, Any]:
    """One run's row; a damaged run is listed with what is wrong with it."""
    from sdar_cli.errors import SdarError

    try:
        return run.overview()
    except SdarError as error:
        return {"name": run.name, "path": str(run.path), "status": "damaged", "error": error.what}


def _row(overview: dict[str, Any]) -> list[Any]:
    from sdar_cli.display import duration

    if "error" in overview:
        return [overview["name"], f"damaged: {overview['error']}", None, None, None, None, None]
    seconds = overview["seconds"]
    return [
        overview["name"],
        overview["status"],
        overview["method"],
        overview["seed"],
        f"{overview['steps_done']}/{overview['steps']}",
        _success(overview),
        duration(seconds) if seconds else None,
    ]


def _success(overview: dict[str, Any]) -> str | None:
    """``12.1% → 48.5%``, without skills."""
    values = (overview["success_before"], overview["success_after"])
    if values == (None, None):
        return None
    return " → ".join("–" if value is None else f"{100 * value:.1f}%" for value in values)


def _print_run(run: RunDir, reporter: Reporter) -> None:
    from sdar_cli.commands.dry_run import changed_keys
    from sdar_cli.merge import flatten
    from sdar_cli.track import read_metrics

    columns = ["name", "status", "method", "seed", "steps", "success", "time"]
    reporter.table(str(run.path), columns, [_row(run.overview())])
    error = run.status().get("error")
    if error:
        reporter.info(f"{error}\nlog: {run.log_path}")
    config = run.config()
    values = flatten(config)
    changed = sorted(changed_keys(config))
    reporter.table("settings that differ from the defaults", ["key", "value"], [(key, values[key]) for key in changed])
    for metrics in read_metrics(run.metrics)[-10:]:
        reporter.step({**metrics, "eta_s": None})
    origin = run.provenance()
    reporter.table("provenance", ["", "value"], [(key, origin.get(key)) for key in PROVENANCE_SHOWN])
