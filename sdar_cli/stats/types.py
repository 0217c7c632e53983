"""What the statistics return."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Interval:
    """An estimate and its interval.  Infinite bounds: the data do not bound it (one seed)."""

    estimate: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference(Interval):
    """Second minus first, with the two-sided p of "no difference".

    ``df``: degrees of freedom of the t distribution used, infinite for the normal one.
    """

    p: float
    df: float = float("inf")
