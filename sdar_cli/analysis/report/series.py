"""Numbers of runs as the charts want them: the mean over an arm's seeds with its t interval, or one run's own line.

Read from run directories only: ``metrics.jsonl`` for training, ``eval/step-*.json`` for held-out panels.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from sdar_cli.analysis.compare.arms import Arm
from sdar_cli.analysis.report.charts import Series
from sdar_cli.runs.metrics import StepMetrics, read_steps
from sdar_cli.runs.results import EvaluationReport, read_report
from sdar_cli.runs.rundir import RunDir
from sdar_cli.stats import Interval, t_interval

Steps = list[StepMetrics]


def metrics_of(arm: Arm) -> list[Steps]:
    """The metrics of every step, per run."""
    return [read_steps(run.metrics) for run in arm.runs]


def training_series(label: str, metrics: Sequence[Steps], key: str) -> Series:
    """A metric of training over the steps.  A step that one run does not have is the average of the others."""
    return _over_seeds(label, [_column(rows, key) for rows in metrics])


def turn_series(label: str, metrics: Sequence[Steps], key: str) -> Series:
    """A metric that is a list over the turns of an episode (from 1), averaged over all steps of a run."""
    lines = []
    for rows in metrics:
        values: dict[float, list[float]] = {}
        for row in rows:
            for turn, value in enumerate(row.by_turn(key), 1):
                if value is not None:
                    values.setdefault(float(turn), []).append(value)
        lines.append({turn: sum(found) / len(found) for turn, found in values.items()})
    return _over_seeds(label, lines)


def evaluations(run: RunDir) -> dict[int, EvaluationReport]:
    """The panels played by training, by step.  Raises RunFailedError for a damaged file."""
    return {step: read_report(run.evaluation_path(step)) for step in run.evaluated_steps()}


def panel_series(arm: Arm, with_skill: bool, label: str) -> Series:
    """Success on the held-out panel over the steps.  The band of one run is Wilson's, of the sampling of tasks only."""
    lines: list[dict[float, float]] = []
    low: dict[float, float] = {}
    high: dict[float, float] = {}
    for run in arm.runs:
        line = {}
        for step, report in evaluations(run).items():
            result = report.result(with_skill)
            if result is not None:
                line[float(step)] = result.overall.success
                low[float(step)], high[float(step)] = result.overall.low, result.overall.high
        lines.append(line)
    if len(lines) == 1:
        xs = sorted(lines[0])
        return Series(label, xs, [lines[0][x] for x in xs], [low[x] for x in xs], [high[x] for x in xs])
    return _over_seeds(label, lines)


def _column(rows: Steps, key: str) -> dict[float, float]:
    return {float(row.step): float(value) for row in rows if (value := row.number(key)) is not None}


def _over_seeds(label: str, lines: Sequence[dict[float, float]]) -> Series:
    """The mean of several lines at every x, with the t interval over them where there are two or more."""
    xs = sorted(set().union(*lines)) if lines else []
    found = [t_interval([line[x] for line in lines if x in line]) for x in xs]
    means = [interval.estimate for interval in found]
    if len(lines) < 2:
        return Series(label, xs, means)
    return Series(label, xs, means, *_bounds(found))


def _bounds(found: Iterable[Interval]) -> tuple[list[float], list[float]]:
    """Lower and upper ends; NaN, which draws nothing, where one seed bounds nothing."""
    pairs = [
        (interval.low, interval.high) if math.isfinite(interval.low) else (math.nan, math.nan) for interval in found
    ]
    return [low for low, _ in pairs], [high for _, high in pairs]
