"""Checkpoint against checkpoint on one panel: tasks are the unit, and every task is its own control.

It is not about methods: another seed of either would be another checkpoint.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sdar_cli.stats.types import Difference

if TYPE_CHECKING:
    import numpy as np

Z95, Z80 = 1.959964, 0.841621


@dataclass(frozen=True)
class PairedDifference(Difference):
    """With the numbers of tasks on which the second is better, and worse, than the first."""

    better: int = 0
    worse: int = 0
    tasks: int = 0


def mcnemar(better: int, worse: int) -> float:
    """Exact two-sided p of McNemar's test from the numbers of tasks won by one of two only.  1 for none."""
    from scipy.special import bdtr

    both = better + worse
    return min(1.0, 2 * float(bdtr(min(better, worse), both, 0.5))) if both else 1.0


def paired(first: Sequence[int], second: Sequence[int], repeats: int = 1) -> PairedDifference:
    """Compare two checkpoints task by task: wins of each task in ``repeats`` plays.

    p is exact: each task's difference is as likely as its opposite if the checkpoints are equal.  With one play that
    is McNemar's test.  The interval is Bonett and Price's (two tasks added, one better and one worse), also where
    tasks are played more than once.  Raises ValueError for no tasks or unequal lengths.
    """
    if not first or len(first) != len(second):
        raise ValueError("two sequences over the same tasks are needed")
    differences = [b - a for a, b in zip(first, second, strict=True)]
    tasks = len(differences)
    better, worse = sum(d > 0 for d in differences), sum(d < 0 for d in differences)
    p = mcnemar(better, worse) if repeats == 1 else sign_flip(differences)
    shares = [*(d / repeats for d in differences), 1.0, -1.0]
    mean = sum(shares) / len(shares)
    error = math.sqrt((sum(d * d for d in shares) / len(shares) - mean**2) / len(shares))
    low, high = max(-1.0, mean - Z95 * error), min(1.0, mean + Z95 * error)
    estimate = sum(differences) / (repeats * tasks)
    return PairedDifference(estimate, low, high, p, better=better, worse=worse, tasks=tasks)


def sign_flip(differences: Sequence[int]) -> float:
    """Exact two-sided p of a sum of whole numbers whose signs are fair coins (McNemar's test for -1, 0, 1)."""
    import numpy as np

    total = sum(map(abs, differences))
    chances: np.ndarray = np.zeros(2 * total + 1)
    chances[total] = 1.0
    for size in map(abs, differences):
        if size:
            chances = (np.roll(chances, size) + np.roll(chances, -size)) / 2
    distance = abs(np.arange(-total, total + 1))
    return min(1.0, float(chances[distance >= abs(sum(differences))].sum()))


def tasks_needed(discordant: float, gain: float = 0.05) -> int | None:
    """Tasks for McNemar's test to find ``gain`` with 80 % power (Connor 1987); None where that gain cannot be.

    discordant: the share of tasks that just one of two checkpoints wins; it bounds the gain.
    """
    if discordant < gain:
        return None
    root = Z95 * math.sqrt(discordant) + Z80 * math.sqrt(discordant - gain**2)
    return math.ceil((root / gain) ** 2)
