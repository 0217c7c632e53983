"""How runs look on a terminal: one row of a table each, or one run in full."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict, final

from sdar_cli.base.display import Reporter, duration, sparkline
from sdar_cli.base.errors import SdarError
from sdar_cli.config.merge import changed_keys, flatten
from sdar_cli.runs.metrics import read_steps
from sdar_cli.runs.rundir import Overview, RunDir

COLUMNS = ["name", "status", "method", "seed", "steps", "training success", "held out", "time"]
PROVENANCE_SHOWN = (
    "created", "commit", "dirty", "sdar", "python", "platform", "cpu_count", "gpu", "panel_sha256", "skill_bank_sha256",
)  # fmt: skip


@final
class Damaged(TypedDict):
    """The row of a run whose files cannot be read."""

    name: str
    path: str
    status: str
    error: str


def show_runs(title: str, overviews: Sequence[Overview | Damaged], reporter: Reporter) -> None:
    """A table of runs, and what is wrong with those that are damaged."""
    reporter.table(title, COLUMNS, [_row(each) for each in overviews])
    for each in overviews:
        if "error" in each:
            reporter.warn(f"{each['name']} is damaged: {each['error']}")


def overview(run: RunDir) -> Overview | Damaged:
    """One run's row; a damaged run is listed with what is wrong with it."""
    try:
        return run.overview()
    except SdarError as error:
        return {"name": run.name, "path": str(run.path), "status": "damaged", "error": error.what}


def _row(overview: Overview | Damaged) -> list[object]:
    if "error" in overview:
        return [overview["name"], overview["status"], *[None] * (len(COLUMNS) - 2)]
    seconds = overview["seconds"]
    return [
        overview["name"],
        overview["status"],
        overview["method"],
        overview["seed"],
        f"{overview['steps_done']}/{overview['steps']}",
        sparkline(overview["curve"]) or None,
        _success(overview),
        duration(seconds) if seconds else None,
    ]


def _success(overview: Overview) -> str | None:
    """``12.1% → 48.5%``, without skills."""
    values = (overview["success_before"], overview["success_after"])
    if values == (None, None):
        return None
    return " → ".join("–" if value is None else f"{100 * value:.1f}%" for value in values)


def show_run(run: RunDir, reporter: Reporter) -> None:
    """Outcome, settings that differ from the defaults, the last steps, provenance."""
    reporter.table(str(run.path), COLUMNS, [_row(run.overview())])
    error = run.status().get("error")
    if error:
        reporter.info(f"{error}\nlog: {run.log_path}")
    config = run.config()
    values = flatten(config)
    changed = sorted(changed_keys(config))
    reporter.table("settings that differ from the defaults", ["key", "value"], [(key, values[key]) for key in changed])
    for step in read_steps(run.metrics)[-10:]:
        reporter.step({**step.to_json(), "eta_s": None})
    origin = run.provenance()
    reporter.table("provenance", ["", "value"], [(key, origin.get(key)) for key in PROVENANCE_SHOWN])
