"""``sdar sweep --dry-run``: the points, the runs in their order, what is missing, and the script for Slurm."""

from __future__ import annotations

from pathlib import Path

from sdar_cli.base.display import Reporter
from sdar_cli.base.errors import Missing, RunConflictError
from sdar_cli.sweep.plan import Plan, missing_prerequisites
from sdar_cli.sweep.start import Places, open_tasks
from sdar_cli.sweep.state import SweepDir, check_free
from sdar_cli.train.preflight import estimates, plan


def show_plan(made: Plan, path: Path, places: Places, reporter: Reporter) -> int:
    """Print everything; the exit code: 0, or 2 where the sweep would fail."""
    absent = missing_prerequisites(made.configs)
    try:
        check_free(path)
    except RunConflictError as error:
        absent.append(Missing(f"a free directory: {error.what}", error.fix))
    configs = list(made.configs.values())
    slurm = places.executor == "slurm"
    script = places.script(path, range(len(made.jobs)), configs) if slurm else None
    episodes = sum(plan(config).episodes for config in configs)
    sizes = [estimates(config, made.parameters) for config in configs if config.train.steps]
    disk = sum(size.disk_total or 0 for size in sizes if size)
    if reporter.json_mode:
        reporter.emit_object({
            **made.record(), "path": str(path), "configs": {c.name: c.model_dump(mode="json") for c in configs},
            "warnings": made.warnings, "missing": [item._asdict() for item in absent], "episodes": episodes,
            "disk": disk or None, "script": script, "ok": not absent,
        })  # fmt: skip
        return 2 if absent else 0
    figures = made.paper.get("values", {})
    rows = [
        [point.label, ", ".join(f"{key} = {value}" for key, value in point.settings.items()),
         made.baselines[point.label], figures.get(point.figure)]
        for point in made.points
    ]  # fmt: skip
    reporter.table("points", ["point", "settings", "evaluated before by", "the paper's, %"], rows)
    jobs = [[n, job.run, job.seed, job.steps or "evaluation only"] for n, job in enumerate(made.jobs)]
    reporter.table(f"runs under {path}/runs, in this order", ["", "run", "seed", "steps"], jobs)
    stored = f", {disk / 1e6:.0f} MB of checkpoints" if disk else ""
    reporter.info(f"{len(made.jobs)} runs, {episodes} training episodes{stored}")
    for warning in made.warnings:
        reporter.warn(warning)
    for item in absent:
        reporter.info(f"missing: {item.what}\n  fix: {item.fix}")
    if script:
        reporter.info(f"slurm.sh:\n{script}")
    reporter.info(f"this sweep {'would fail' if absent else 'starts with the same command without --dry-run'}")
    return 2 if absent else 0


def show_jobs(state: SweepDir, places: Places, reporter: Reporter) -> None:
    """The runs of a sweep, how far they are, and for Slurm the script of those that are open."""
    states = {job.run: state.state(job) for job in state.jobs}
    tasks, slurm = open_tasks(state), places.executor == "slurm"
    script = places.script(state.path, tasks, [state.config(job) for job in state.jobs]) if slurm and tasks else None
    if reporter.json_mode:
        reporter.emit_object({**state.record, "path": str(state.path), "states": states, "script": script})
        return
    rows = [[n, job.run, job.seed, job.steps, states[job.run]] for n, job in enumerate(state.jobs)]
    reporter.table(f"sweep {state.path}", ["", "run", "seed", "steps", "state"], rows)
    if script:
        reporter.info(f"slurm.sh:\n{script}")
