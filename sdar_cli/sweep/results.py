"""What a sweep found: a row per point over its seeds, and ``results.json``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from sdar_cli.atomic import write_json_atomic
from sdar_cli.display import Reporter
from sdar_cli.stats import mean_sd
from sdar_cli.sweep.outcome import Outcome, outcome_of
from sdar_cli.sweep.state import SweepDir

MEASURES = {
    "success": "success",
    "with_skill": "with skill",
    "early": "early speed",
    "curve": "whole curve",
    "best": "best",
}


def collect(sweep: SweepDir) -> dict[str, Any]:
    """Everything the finished runs say; also written to ``results.json``."""
    states = {job.run: sweep.state(job) for job in sweep.jobs}
    outcomes = {job.run: outcome_of(sweep.run_dir(job)) for job in sweep.jobs if states[job.run] == "done"}
    figures = sweep.record["paper"].get("values", {})
    points = []
    for point in sweep.points:
        base = sweep.baselines[point.label]
        runs = sweep.runs_of(point)
        found = [outcomes[job.run] for job in runs if job.run in outcomes]
        before = outcomes.get(base or "")
        points.append({
            "point": point.label,
            "settings": dict(point.settings),
            "trained": any(job.steps for job in runs),
            "before": {"success": before and before.success, "with_skill": before and before.with_skill},
            "runs": [asdict(outcome) for outcome in found],
            **{measure: summary(found, measure) for measure in MEASURES},
            "paper": figures.get(point.figure),
        })  # fmt: skip
    results = {
        "sweep": sweep.name,
        "seeds": sweep.seeds,
        "points": points,
        "paper_note": sweep.record["paper"].get("note") if figures else None,
        "unfinished": {run: state for run, state in states.items() if state != "done"},
    }
    write_json_atomic(sweep.results_path, results)
    return results


def summary(outcomes: Sequence[Outcome], measure: str) -> dict[str, Any] | None:
    """Mean and standard deviation over seeds; None where nothing was measured."""
    values = [getattr(outcome, measure) for outcome in outcomes]
    known = [value for value in values if value is not None]
    if not known:
        return None
    mean, sd = mean_sd(known)
    return {"n": len(known), "mean": mean, "sd": sd, "values": known}


def show(results: dict[str, Any], reporter: Reporter) -> None:
    """The table."""
    columns = ["point", "seeds", *MEASURES.values(), "the paper, %"]
    rows = [
        [point["point"], len(point["runs"]), *(_cell(point[measure]) for measure in MEASURES), point["paper"]]
        for point in results["points"]
    ]
    reporter.table(f"sweep {results['sweep']}: mean ± sd over seeds, %", columns, rows)


def _cell(found: dict[str, Any] | None) -> str | None:
    if found is None:
        return None
    spread = f" ± {100 * found['sd']:.1f}" if found["n"] > 1 else ""
    return f"{100 * found['mean']:.1f}{spread}"
