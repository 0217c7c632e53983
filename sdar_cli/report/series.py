"""Numbers of runs as the charts want them: the mean over an arm's seeds with its t interval, or one run's own line.

Read from run directories only: ``metrics.jsonl`` for training, ``eval/step-*.json`` for held-out panels.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from sdar_cli.comparison.arms import Arm
from sdar_cli.errors import RunFailedError
from sdar_cli.report.charts import Series
from sdar_cli.runs import RunDir
from sdar_cli.stats import t_interval
from sdar_cli.track import read_metrics

Rows = list[dict[str, Any]]


def training_series(arm: Arm, key: str) -> Series:
    """A metric of training over the steps.  Steps that one run lacks are averages of the others."""
    return _over_seeds(arm.label, [_column(read_metrics(run.metrics), key) for run in arm.runs])


def turn_series(arm: Arm, of: Callable[[dict[str, Any]], Sequence[float | None] | None]) -> Series:
    """A metric over the turns of an episode (from 1), averaged over all steps of a run."""
    lines = []
    for run in arm.runs:
        values: dict[float, list[float]] = {}
        for row in read_metrics(run.metrics):
            for turn, value in enumerate(of(row) or (), 1):
                if value is not None:
                    values.setdefault(float(turn), []).append(value)
        lines.append({turn: sum(found) / len(found) for turn, found in values.items()})
    return _over_seeds(arm.label, lines)


def evaluations(run: RunDir) -> dict[int, dict[str, Any]]:
    """The panels played by training, by step.  Raises RunFailedError for a damaged file."""
    found = {}
    for path in sorted(run.eval.glob("step-*.json")):
        try:
            found[int(path.stem.split("-")[1])] = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise RunFailedError(f"{path} cannot be read", why=str(error)) from error
    return found


def result_of(report: dict[str, Any], with_skill: bool) -> dict[str, Any] | None:
    """The result of a panel without or with the skill in the prompt; the first way of decoding that was played."""
    return next((result for result in report.get("results", []) if result["with_skill"] is with_skill), None)


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
