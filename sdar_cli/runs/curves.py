"""Learning curves of a run, read from its metrics."""

from __future__ import annotations

from sdar_cli.runs.metrics import read_steps
from sdar_cli.runs.rundir import RunDir

EARLY_STEPS = 6
"""Steps over which early speed is measured."""


def early_training(run: RunDir, steps: int) -> float | None:
    """Mean success of the training episodes of the first steps: the area under the curve of steps, over its width.

    None for a run that has not done as many.
    """
    values = [row.success for row in read_steps(run.metrics) if row.step <= steps and row.success is not None]
    return sum(values) / steps if len(values) == steps else None
