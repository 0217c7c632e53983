"""The results of a sweep: at its end, or so far."""

from __future__ import annotations

from sdar_cli.analysis.sweeps.results import collect, show
from sdar_cli.base.display import Reporter
from sdar_cli.base.errors import RunFailedError
from sdar_cli.sweep.state import SweepDir


def show_results(state: SweepDir, reporter: Reporter) -> None:
    """What is done so far."""
    results = collect(state)
    if reporter.json_mode:
        reporter.emit_object(results.to_json())
        return
    show(results, reporter)
    if results.unfinished:
        reporter.info(f"{len(results.unfinished)} of {len(state.jobs)} runs are not done")


def finish(state: SweepDir, reporter: Reporter) -> None:
    """The results of a sweep that has ended.  Raises RunFailedError where a run is not done."""
    results = collect(state)
    show(results, reporter)
    reporter.info(f"all tests: sdar compare '{state.path}:'; a page: sdar report '{state.path}:'")
    unfinished = results.unfinished
    status = "failed" if unfinished else "done"
    reporter.emit("done", sweep=state.name, path=str(state.path), status=status, results=results.to_json())
    if unfinished:
        raise RunFailedError(
            f"{len(unfinished)} of {len(state.jobs)} runs of sweep {state.name} are not done",
            why="".join(f"\n  - {run}: {how}, log {state.logs / f'{run}.log'}" for run, how in unfinished.items()),
            fix=f"fix the cause, then: sdar sweep --resume {state.path}",
        )
