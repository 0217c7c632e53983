"""Method against method with seeds AND tasks drawn: the two-level bootstrap of a difference on one panel.

Seeds are drawn anew within each method, tasks once for both (they are paired).  What is drawn gives the standard
error; t quantiles turn it into a test.  The plain percentile bootstrap is wrong with few seeds, for two reasons:

- drawing n seeds with replacement shows (n - 1)/n of their variance, so seeds' deviations are widened by
  sqrt(n / (n - 1));
- the spread of three seeds is itself uncertain, which percentiles ignore and t quantiles respect.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sdar_cli.stats.seeds import no_spread, t_quantile
from sdar_cli.stats.types import Difference

if TYPE_CHECKING:
    import numpy as np

MIN_SEEDS = 3
"""With two seeds equal methods were called different up to 8 % of the time (docs/statistics.md)."""
DRAWS = 4000
BLOCK = 500
"""Draws held in memory at once."""


def two_level(
    first: Sequence[Sequence[float]] | np.ndarray,
    second: Sequence[Sequence[float]] | np.ndarray,
    draws: int = DRAWS,
    seed: int = 0,
    level: float = 0.95,
) -> Difference:
    """Two methods' outcomes (S, T): success of each training seed on each task, columns being the same tasks.

    Raises ValueError for unequal panels or an arm of fewer than ``MIN_SEEDS``.
    """
    import numpy as np

    arms_ST = [np.asarray(arm, dtype=float) for arm in (first, second)]
    if arms_ST[0].ndim != 2 or arms_ST[0].shape[1:] != arms_ST[1].shape[1:]:
        raise ValueError("both arms need one row per seed over the same tasks")
    if min(len(arm) for arm in arms_ST) < MIN_SEEDS:
        raise ValueError(f"the two-level bootstrap needs {MIN_SEEDS} seeds in each arm")
    estimate = float(arms_ST[1].mean() - arms_ST[0].mean())
    parts = [(float(arm.mean(axis=1).var(ddof=1)) / len(arm), len(arm) - 1) for arm in arms_ST]
    drawn = bootstrap(arms_ST[0], arms_ST[1], draws, np.random.default_rng(seed))
    return t_difference(estimate, float(drawn.var()), parts, level)


def t_difference(
    estimate: float, variance: float, estimated: Sequence[tuple[float, int]], level: float = 0.95
) -> Difference:
    """A difference judged by the t distribution, its degrees of freedom after Welch and Satterthwaite.

    variance: of the estimate; ``estimated``: the parts of it that come from few values, with their degrees of freedom.
    """
    from scipy.special import stdtr

    uncertainty = sum(part**2 / df for part, df in estimated)
    df = variance**2 / uncertainty if uncertainty else math.inf
    if variance == 0:
        return no_spread(estimate)
    error = math.sqrt(variance)
    half = t_quantile(0.5 + level / 2, df) * error
    p = 2 * float(stdtr(df, -abs(estimate) / error))
    return Difference(estimate, estimate - half, estimate + half, p, df)


def bootstrap(first_ST: np.ndarray, second_ST: np.ndarray, draws: int, rng: np.random.Generator) -> np.ndarray:
    """``draws`` differences of means, seeds drawn within each arm and tasks for both, seeds' deviations widened."""
    import numpy as np

    tasks = first_ST.shape[1]
    out = np.empty(draws)
    for start in range(0, draws, BLOCK):
        size = min(BLOCK, draws - start)
        difference_DT = _widened(second_ST, size, rng) - _widened(first_ST, size, rng)
        weights_DT = rng.multinomial(tasks, np.full(tasks, 1 / tasks), size)
        out[start : start + size] = (weights_DT * difference_DT).sum(axis=1) / tasks
    return out


def _widened(arm_ST: np.ndarray, draws: int, rng: np.random.Generator) -> np.ndarray:
    """(D, T): each task's mean over drawn seeds, its deviation from all seeds' mean times sqrt(S / (S - 1))."""
    import numpy as np

    seeds = len(arm_ST)
    mean_T = arm_ST.mean(axis=0)
    counts_DS = rng.multinomial(seeds, np.full(seeds, 1 / seeds), draws)
    return mean_T + (counts_DS / seeds) @ (arm_ST - mean_T) * np.sqrt(seeds / (seeds - 1))
