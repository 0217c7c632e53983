"""One run on a panel: the interval of a success rate.  It covers the sampling of tasks only, not of seeds."""

from __future__ import annotations

import math


def wilson(successes: float, trials: int, z: float = 1.959964) -> tuple[float, float]:
    """Wilson score interval of a proportion (default 95 %), as fractions.  (0, 1) for no trials.

    ``successes`` may be a fraction: the mean over repeats of the same trials.
    """
    if trials == 0:
        return 0.0, 1.0
    p = successes / trials
    centre = p + z * z / (2 * trials)
    half = z * math.sqrt(p * (1 - p) / trials + z * z / (4 * trials * trials))
    scale = 1 + z * z / trials
    return max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale)
