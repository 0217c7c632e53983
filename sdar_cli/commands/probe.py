"""``sdar probe``: gradients of one batch, before a run is paid for."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sdar_cli.commands import completion
from sdar_cli.commands.examples import ENV
from sdar_cli.commands.option_groups import Without, expand_groups
from sdar_cli.commands.options import OUTPUT, RUN, RUNS_DIR, WHAT, Json, Settings, option, runs_dir_option

if TYPE_CHECKING:
    from sdar_cli.base.display import Reporter
    from sdar_cli.config.schema import RunConfig
    from sdar_cli.runs.rundir import RunDir
    from sdar_cli.train.probe_report import EstimatorReport, Interval, NamedReport, ProbeReport

EPILOG = f"""Examples:

sdar probe

sdar probe --run my-run

sdar probe --model Qwen/Qwen2.5-1.5B-Instruct --data ~/{ENV} --lora 16 --tasks 16

sdar probe --method grpo-opsd --beta 20 --seed 1 --json

A cosine between halves near 1 is signal, near 0 noise; rows in yellow are not distinguishable from noise."""

BATCH = "The batch"
COLUMNS = (
    "estimator (* configured)",
    "norm",
    "between halves",
    "with reverse KL of the other half",
    "with policy gradient",
    "coef at equal norm",
)
TURN_COLUMNS = ("turn", "tokens", "gap", "|gap|", "< 0", "> 0.02", "gap gate", "> 1/2", "entropy gate", "soft-or gate")
TURNS_SHOWN = 20
Run = Annotated[
    str | None,
    option("--run", "A run's settings and the weights of its latest checkpoint.", WHAT,
           autocompletion=completion.run_names),
]  # fmt: skip
Tasks = Annotated[int, option("--tasks", "Tasks, in two halves.", BATCH, min=4)]
Group = Annotated[int, option("--group", "Episodes per task.", BATCH, min=2)]
Resamples = Annotated[int, option("--resamples", "Bootstrap draws of the intervals.", BATCH, min=100)]
RunsDir = Annotated[Path, runs_dir_option(RUN)]
Out = Annotated[
    Path | None, option("--out", "JSON file of the result; default: the run's probe.json, or runs/probes/.", OUTPUT)
]


def register(app: typer.Typer) -> None:
    """Add ``probe``."""
    app.command("probe", rich_help_panel="Train and evaluate", epilog=EPILOG)(probe)


@expand_groups
def probe(
    settings: Annotated[Settings, Without("gate", "coef", "objective", "steps")],
    run: Run = None,
    tasks: Tasks = 12,
    group: Group = 6,
    resamples: Resamples = 2000,
    runs_dir: RunsDir = RUNS_DIR,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Measure on one batch whether the teacher carries a signal: gradients of every loss, signal against noise.

    Nothing is trained.  The tasks are split in two halves; a loss whose gradients on the halves point the same way
    carries a signal, and the exact reverse KL of the other half shows whether it is the teacher's.
    """
    from sdar_cli.base.display import Reporter, json_stdout
    from sdar_cli.base.errors import SdarError

    _check_flags(settings, run, out)
    source, checkpoint = _source(run, runs_dir)
    resolved = settings.resolve(source.config_path if source else None, tasks=tasks, group=group)
    with Reporter(json_mode=as_json) as reporter, json_stdout(reporter):
        probed = f"{source.name}/{checkpoint.name}" if source and checkpoint else resolved.config.model.name
        reporter.emit("launch", probed=probed, config=resolved.config.model_dump(mode="json"))
        for warning in resolved.warnings:
            reporter.warn(warning)
        try:
            report = _probe(resolved.config, checkpoint, resamples, probed, reporter)
        except SdarError as error:
            reporter.emit("done", status="failed", error=error.render())
            raise
        _write(report, out or _default_path(source, resolved.config, runs_dir), reporter)
        reporter.emit("done", status="done", **report)


def _check_flags(settings: Settings, run: str | None, out: Path | None) -> None:
    from sdar_cli.base.errors import ConfigError

    if out is not None and out.is_dir():
        raise ConfigError(f"--out {out} is a folder", fix="give a file")
    if run is None:
        return
    for flag, value in (("--model", settings.model), ("--config", settings.config), ("--lora", settings.lora)):
        if value is not None:
            raise ConfigError(f"--run excludes {flag}", why="a run has its own", fix="give one of them")


def _source(reference: str | None, runs_dir: Path) -> tuple[RunDir | None, Path | None]:
    """The run and its latest checkpoint.  A run without training is its model."""
    from sdar_cli.base.errors import PrerequisiteError
    from sdar_cli.runs.checkpoints import latest_checkpoint
    from sdar_cli.runs.rundir import RunDir

    if reference is None:
        return None, None
    run = RunDir.open(reference, runs_dir)
    checkpoint = latest_checkpoint(run.checkpoints)
    if checkpoint is None and run.config().train.steps:
        raise PrerequisiteError(
            f"run {run.name} has no checkpoint", fix=f"sdar probe --config {run.config_path}, for its untrained model"
        )
    return run, checkpoint


def _probe(config: RunConfig, checkpoint: Path | None, resamples: int, probed: str, reporter: Reporter) -> NamedReport:
    from sdar_cli.runs.provenance import collect_provenance
    from sdar_cli.train.probe import probe as run_probe

    report = run_probe(config, reporter, checkpoint, resamples)
    _show(report, reporter)
    origin = {**collect_provenance(config, sys.argv[1:]), **report["provenance"]}
    return {**report, "provenance": origin, "probed": probed}


def _write(report: NamedReport, path: Path, reporter: Reporter) -> None:
    from sdar_cli.base.files import write_json_atomic

    path.parent.mkdir(parents=True, exist_ok=True)
    write_json_atomic(path, report)
    reporter.info(f"saved to {path}")


def _default_path(run: RunDir | None, config: RunConfig, runs_dir: Path) -> Path:
    """``probe.json`` of the run; without one ``RUNS/probes/ENV-MODEL-TIME.json``."""
    if run is not None:
        return run.path / "probe.json"
    model = config.model.name.rstrip("/").rpartition("/")[2]
    return runs_dir / "probes" / f"{config.env.name}-{model}-{datetime.now(UTC):%Y%m%d-%H%M%S}.json"


def _show(report: ProbeReport, reporter: Reporter) -> None:
    """The tables, the warnings and the sentence about the coefficient."""
    batch, teacher = report["batch"], report["teacher"]
    shown = f"skill in {teacher['skill_present']:.1%}, " if "skill_present" in teacher else ""
    reporter.info(
        f"{batch['episodes']} episodes, success {batch['success']:.1%}, {batch['turns']:.1f} turns; groups with both "
        f"outcomes {batch['groups_with_both']} of {report['settings']['tasks']}; teacher prompts: "
        f"{shown}cut in {teacher['truncated_prompts']:.1%}"
    )
    estimators = report["estimators"]
    how = f", from sketches of {report['sketch']:,} sums" if report["sketch"] else ""
    reporter.table(
        f"gradients on {batch['rows']} rows, {report['parameters']:,} parameters{how} (cosines with 95 % intervals)",
        COLUMNS,
        [_cells(each) for each in estimators],
        [each["noise"] for each in estimators],
    )
    rows = [_turn_cells(str(each["turn"]), each) for each in report["per_turn"][:TURNS_SHOWN]]
    reporter.table("gap (nats) and gates by turn", TURN_COLUMNS, [*rows, _turn_cells("all", report["all_turns"])])
    for warning in report["warnings"]:
        reporter.warn(warning)
    reporter.info(report["own"])


def _cells(each: EstimatorReport) -> list[str | None]:
    def interval(value: Interval | None) -> str | None:
        return f"{value['cosine']:.2f} [{value['low']:.2f}, {value['high']:.2f}]" if value else None

    policy, coefficient = each["with_policy"], each["equal_norm_coef"]
    return [
        f"{each['name']} *" if each["own"] else each["name"],
        f"{each['norm']:.3g}",
        interval(each["between_halves"]),
        interval(each["with_exact"]),
        None if policy is None else f"{policy:.2f}",
        None if coefficient is None else f"{coefficient:.2g}",
    ]


def _turn_cells(name: str, each: Mapping[str, float | None]) -> list[str | None]:
    keys = {"gap_mean": "+.3f", "gap_abs_mean": ".3f", "gap_negative_share": ".1%", "gap_above_share": ".1%",
            "gate_gap_mean": ".3f", "gate_gap_active_share": ".1%", "gate_entropy_mean": ".3f",
            "gate_soft_or_mean": ".3f"}  # fmt: skip
    cells = [None if each[key] is None else format(each[key], spec) for key, spec in keys.items()]
    return [name, str(each["tokens"]), *cells]
