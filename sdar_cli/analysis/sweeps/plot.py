"""The plot of a sweep in a terminal: a line per point with its mean, interval and seeds, in characters."""

from __future__ import annotations

import math
from collections.abc import Sequence

from sdar_cli.analysis.sweeps.records import PointResult, SeedMeans

WIDTH = 56
"""Characters from 0 % to the right end."""
TICKS = (0.05, 0.1, 0.25, 0.5, 1.0)
SEED, MEAN, SKILLED = "·", "●", "○"


def forest(points: Sequence[PointResult]) -> list[str]:
    """Lines of text; none where nothing was measured."""
    drawn = [(point.success, point) for point in points if point.success]
    if not drawn:
        return []
    seen = [value for found, point in drawn for value in _extent(found, point)]
    end = next((tick for tick in TICKS if tick >= max(seen)), 1.0)
    names = max(len(point.point) for _, point in drawn)
    lines = [f"{SEED} a seed  {MEAN} mean, ├─┤ its interval: no skill  {SKILLED} mean with the skill"]
    lines += [f"{point.point:<{names}} │{_line(found, point, end)}│" for found, point in drawn]
    middle, right = f"{50 * end:g}", f"{100 * end:g} %"
    scale = f"0{middle:>{WIDTH // 2}}{right:>{WIDTH - WIDTH // 2}}"
    return [*lines, " " * (names + 2) + scale]


def _extent(found: SeedMeans, point: PointResult) -> list[float]:
    shown = point.with_skill
    bounds = [found.high] if math.isfinite(found.high) else []
    return [*found.values, *bounds, *([shown.mean] if shown else [])]


def _line(found: SeedMeans, point: PointResult, end: float) -> str:
    cells = [" "] * (WIDTH + 1)

    def at(value: float) -> int:
        return round(min(max(value, 0.0), end) / end * WIDTH)

    if found.n > 1:
        low, high = at(found.low), at(found.high)
        cells[low : high + 1] = "─" * (high - low + 1)
        cells[low], cells[high] = "├", "┤"
        for value in found.values:
            cells[at(value)] = SEED
    if point.with_skill:
        cells[at(point.with_skill.mean)] = SKILLED
    cells[at(found.mean)] = MEAN
    return "".join(cells)
