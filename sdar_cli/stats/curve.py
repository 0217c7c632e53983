"""Early speed: how much a success curve has gained, and not only where it ends."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise


def early_speed(steps: Sequence[float], values: Sequence[float], until: float | None = None) -> float:
    """Area under a curve from its first point to ``until`` (default: its last), over that length: a mean height.

    Straight lines join the points.  Raises ValueError for fewer than two points, steps that do not increase, or an
    ``until`` outside the curve.
    """
    if len(steps) != len(values) or len(steps) < 2 or any(b <= a for a, b in pairwise(steps)):
        raise ValueError("a curve needs two points or more, at increasing steps")
    end = steps[-1] if until is None else until
    if not steps[0] < end <= steps[-1]:
        raise ValueError(f"the curve runs from {steps[0]:g} to {steps[-1]:g}, not to {end:g}")
    area = 0.0
    for (a, left), (b, right) in pairwise(zip(steps, values, strict=True)):
        if a >= end:
            break
        stop = min(b, end)
        height = left + (right - left) * (stop - a) / (b - a)
        area += (stop - a) * (left + height) / 2
    return area / (end - steps[0])
