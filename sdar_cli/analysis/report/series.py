"""Numbers of runs as the charts want them: the mean over an arm's seeds with its t interval, or one run's own line.

Read from run directories only: ``metrics.jsonl`` for training, ``eval/step-*.json`` for held-out panels.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from sdar_cli.analysis.compare.arms import Arm
from sdar_cli.analysis.report.charts import Series
from sdar_cli.runs.metrics import read_metrics
from sdar_cli.runs.rundir import RunDir, result_of
from sdar_cli.stats import t_interval

Rows = list[dict[str, Any]]


def metrics_of(arm: Arm) -> list[Rows]:
    """The metrics of every step, per run."""
    return [read_metrics(run.metrics) for run in arm.runs]


def training_series(label: str, metrics: Sequence[Rows], key: str) -> Series:
    """A metric of training over the steps.  Steps that one run lacks are averages of the others."""
    return _over_seeds(label, [_column(rows, key) for rows in metrics])


def turn_series(label: str, metrics: Sequence[Rows], key: str) -> Series:
    """A metric that is a list over the turns of an episode (from 1), averaged over all steps of a run."""
    lines = []
    for rows in metrics:
        values: dict[float, list[float]] = {}
        for row in rows:
            for turn, value in enumerate(row.get(key) or (), 1):
                if value is not None:
                    values.setdefault(float(turn), []).append(value)
        lines.append({turn: sum(found) / len(found) for turn, found in values.items()})
    return _over_seeds(label, lines)


def evaluations(run: RunDir) -> dict[int, dict[str, Any]]:
    """The panels played by training, by step.  Raises RunFailedError for a damaged file."""
    return {step: run.evaluation(step) for step in run.evaluated_steps()}


def panel_series(arm: Arm, with_skill: bool, label: str) -> Series:
    """Success on the held-out panel over the steps.  The band of one run is Wilson's, of the sampling of tasks only."""
    lines: list[dict[float, float]] = []
    low: dict[float, float] = {}
    high: dict[float, float] = {}
    for run in arm.runs:
        line = {}
        for step, report in evaluations(run).items():
            result = result_of(report, with_skill)
            if result is not None:
                line[float(step)] = result["overall"]["success"]
                low[float(step)], high[float(step)] = result["overall"]["low"], result["overall"]["high"]
        lines.append(line)
    if len(lines) == 1:
        xs = sorted(lines[0])
        return Series(label, xs, [lines[0][x] for x in xs], [low[x] for x in xs], [high[x] for x in xs])
    return _over_seeds(label, lines)


def _column(rows: Rows, key: str) -> dict[float, float]:
    return {float(row["step"]): float(row[key]) for row in rows if isinstance(row.get(key), int | float)}


def _over_seeds(label: str, lines: Sequence[dict[float, float]]) -> Series:
    """The mean of several lines at every x, with the t interval over them where there are two or more."""
    xs = sorted(set().union(*lines)) if lines else []
    found = [t_interval([line[x] for line in lines if x in line]) for x in xs]
    means = [interval.estimate for interval in found]
    if len(lines) < 2:
        return Series(label, xs, means)
    return Series(label, xs, means, *_bounds(found))


def _bounds(found: Iterable[Any]) -> tuple[list[float], list[float]]:
    """Lower and upper ends; NaN, which draws nothing, where one seed bounds nothing."""
    pairs = [
        (interval.low, interval.high) if math.isfinite(interval.low) else (math.nan, math.nan) for interval in found
    ]
    return [low for low, _ in pairs], [high for _, high in pairs]
