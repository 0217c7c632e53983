"""``sdar train --dry-run``: every value with its source, the plan, estimates, and what is missing."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from sdar_cli.base.display import Reporter
from sdar_cli.base.errors import Missing, RunConflictError
from sdar_cli.config.merge import changed_keys, flatten
from sdar_cli.config.presets import Resolved
from sdar_cli.config.schema import RunConfig
from sdar_cli.runs.rundir import RunDir
from sdar_cli.train.launch import check_resume
from sdar_cli.train.preflight import Estimates, Workload, estimates, plan, problems


def show(resolved: Resolved, reporter: Reporter, runs_dir: Path, resumed: RunDir | None) -> int:
    """Print everything; returns the exit code: 0, or 2 where the run would fail.

    Raises RunConflictError where a resumed run's configuration differs.
    """
    config = resolved.config
    note = check_resume(resumed, resolved) if resumed else ""
    absent, notes = problems(resolved, runs_dir, resumed is not None)
    absent += [] if resumed else _conflict(runs_dir, config)
    warnings = [*resolved.warnings, *notes]
    amounts, sizes = plan(config), estimates(config, resolved.parameters)
    if reporter.json_mode:
        reporter.emit_object(
            {
                "config": config.model_dump(mode="json"),
                "sources": resolved.sources,
                "changed": sorted(changed_keys(config)),
                "warnings": warnings,
                "plan": asdict(amounts),
                "estimates": asdict(sizes) if sizes else None,
                "missing": [item._asdict() for item in absent],
                "note": note or None,
                "ok": not absent,
            }
        )
        return 2 if absent else 0
    _print_values(resolved, reporter)
    _print_plan(amounts, reporter)
    _print_estimates(sizes, reporter)
    for warning in warnings:
        reporter.warn(warning)
    if note:
        reporter.info(note)
    for item in absent:
        reporter.info(f"missing: {item.what}\n  fix: {item.fix}")
    reporter.info("this run would fail" if absent else "nothing is missing; the same command without --dry-run starts")
    return 2 if absent else 0


def _conflict(runs_dir: Path, config: RunConfig) -> list[Missing]:
    try:
        RunDir.check_free(runs_dir, config.name)
    except RunConflictError as error:
        return [Missing(f"a free run directory: {error.what}", error.fix)]
    return []


def _print_values(resolved: Resolved, reporter: Reporter) -> None:
    changed = changed_keys(resolved.config)
    values = flatten(resolved.config)
    rows = [
        ("*" if key in changed else "", key, "unset" if value is None else value, resolved.sources[key])
        for key, value in values.items()
    ]
    reporter.table("settings (* differs from the default)", ["", "key", "value", "source"], rows,
                   marked=[key in changed for key in values])  # fmt: skip


def _print_plan(amounts: Workload, reporter: Reporter) -> None:
    training = (
        "{tasks_per_step} tasks x {group_size} episodes x at most {max_turns} turns x {steps} steps "
        "= {episodes} episodes, at most {rows_per_step_max} rows per step, {updates} updates".format(**asdict(amounts))
    )
    reporter.info(f"plan: {training if amounts.steps else 'no training'}")
    games = f" of {amounts.panel_games} games" if amounts.panel_games else ""
    skill = ", with and without skills" if amounts.evaluated_with_skill_too else ""
    reporter.info(f"      {amounts.evaluations} evaluations{games}{skill}")


def _print_estimates(sizes: Estimates | None, reporter: Reporter) -> None:
    if sizes is None:
        reporter.info("memory and disk: not estimated, the model's parameter count is not known here")
        return
    parts = ", ".join(f"{name} {_size(amount)}" for name, amount in sizes.memory.items())
    reporter.info(f"memory: {_size(sizes.memory_total)} in {sizes.dtype} ({parts}); activations not counted")
    if sizes.checkpoint is None or sizes.disk_total is None:
        reporter.info("disk: adapter checkpoints, small next to the model")
    else:
        reporter.info(f"disk: {_size(sizes.disk_total)} of checkpoints, {_size(sizes.checkpoint)} each")


def _size(amount: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.3g} {unit}"
        amount /= 1000
    return f"{amount:.3g} TB"
