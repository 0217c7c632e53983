"""Charts as inline SVG: no script, no network, colours from the page's style sheet (light, dark, print).

A series is distinguished by colour, dashes and marker, so that no reader has to see colours.  Text of runs is escaped.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from markupsafe import Markup, escape

from sdar_cli.base.text import clean

WIDTH, HEIGHT = 440, 250
LEFT, RIGHT, TOP, BOTTOM = 66, 12, 14, 40
"""Margins of a line chart's plot area."""
STYLES = 8
"""Colours of the style sheet, ``s0`` to ``s7``."""
DASHES = ("", "6 3", "2 3", "8 3 2 3", "", "6 3", "2 3", "8 3 2 3")
MARKERS = "osd^"
ROW = 30
"""Height of a row of an interval chart."""
LABEL = 168
"""Room for the row labels of an interval chart."""


@dataclass(frozen=True)
class Series:
    """A line: y over x, with a band from ``low`` to ``high`` where both are given.  NaN breaks a line."""

    label: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None


@dataclass(frozen=True)
class Interval:
    """A row of an interval chart: a mean, its interval, and the single values it is made of."""

    label: str
    mean: float
    low: float
    high: float
    values: Sequence[float] = field(default_factory=tuple)


@dataclass(frozen=True)
class _Plot:
    """Maps data to pixels."""

    x: Callable[[float], float]
    y: Callable[[float], float]


def ticks(low: float, high: float, most: int = 5, whole: bool = False) -> list[float]:
    """At most ``most`` + 1 round numbers (1, 2 or 5 times a power of ten apart) from ``low`` to ``high``.

    whole: whole numbers only.
    """
    if not low < high:
        return [low]
    step = 10.0 ** math.floor(math.log10((high - low) / most))
    if whole:
        step = max(1.0, step)
    while (high - low) / step > most:
        step *= 2.5 if f"{step:e}".startswith("2") else 2
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(n * step, 12) for n in range(first, last + 1)]


def line_chart(
    series: Sequence[Series], *, x_label: str, y_label: str, percent: bool = False, zero: bool = False
) -> Markup:
    """Lines with bands over one another, with a legend where there are several.  x is a whole number: a step, a turn.

    percent: y is a share, shown in per cent, and the axis is within 0 to 1.  zero: a line at y = 0.
    """
    shown = [line for line in series if any(map(math.isfinite, line.y))]
    if not shown:
        return Markup('<p class="none">nothing was recorded</p>')
    xs = [x for line in shown for x in line.x]
    ys = [y for line in shown for part in (line.y, line.low or (), line.high or ()) for y in part if math.isfinite(y)]
    low, high = _range(ys, percent, zero)
    first, last = (min(xs), max(xs)) if min(xs) < max(xs) else (min(xs) - 1, max(xs) + 1)
    legend = _legend([line.label for line in shown]) if len(shown) > 1 else ""
    plot = _Plot(
        lambda x: LEFT + (x - first) / (last - first) * (WIDTH - LEFT - RIGHT),
        lambda y: HEIGHT - BOTTOM - (y - low) / (high - low) * (HEIGHT - TOP - BOTTOM),
    )
    parts = [_axes(plot, (first, last), (low, high), x_label, y_label, percent)]
    if low < 0 < high or (zero and low == 0):
        parts.append(f'<line class="zero" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{plot.y(0):.1f}" y2="{plot.y(0):.1f}"/>')
    parts += [_band(plot, line, n) for n, line in enumerate(shown)]
    parts += [_line(plot, line, n) for n, line in enumerate(shown)]
    return _svg(WIDTH, HEIGHT, "".join(parts), f"{y_label} over {x_label}") + Markup(legend)


def interval_chart(
    rows: Sequence[Interval], *, x_label: str, percent: bool = False, reference: float | None = None
) -> Markup:
    """Means with intervals, one below the other, and the single values as rings.  reference: a dashed vertical line."""
    if not rows:
        return Markup('<p class="none">nothing was recorded</p>')
    values = [v for row in rows for v in (row.low, row.high, row.mean, *row.values) if math.isfinite(v)]
    low, high = _range([*values, *([] if reference is None else [reference])], percent, False)
    height = TOP + ROW * len(rows) + BOTTOM

    def x(value: float) -> float:
        return LABEL + (min(max(value, low), high) - low) / (high - low) * (WIDTH - LABEL - RIGHT)

    parts = []
    for tick in ticks(low, high):
        parts.append(f'<line class="grid" x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="{TOP}" y2="{height - BOTTOM}"/>')
        parts.append(_text(x(tick), height - BOTTOM + 16, _number(tick, percent), "middle"))
    parts.append(_text((LABEL + WIDTH - RIGHT) / 2, height - 6, x_label, "middle", "label"))
    if reference is not None:
        parts.append(
            f'<line class="zero" x1="{x(reference):.1f}" x2="{x(reference):.1f}" y1="{TOP}" y2="{height - BOTTOM}"/>'
        )
    for number, row in enumerate(rows):
        y, style = TOP + ROW * (number + 0.5), f"s{number % STYLES}"
        parts.append(_text(LABEL - 8, y + 4, row.label if len(row.label) <= 24 else row.label[:23] + "…", "end"))
        parts += [f'<circle class="ring {style}" cx="{x(v):.1f}" cy="{y + 6:.1f}" r="3"/>' for v in row.values]
        if math.isfinite(row.low) and math.isfinite(row.high):
            parts.append(
                f'<line class="bar {style}" x1="{x(row.low):.1f}" x2="{x(row.high):.1f}" y1="{y:.1f}" y2="{y:.1f}"/>'
            )
        if math.isfinite(row.mean):
            parts.append(_marker(x(row.mean), y, number, 4.5))
    return _svg(WIDTH, height, "".join(parts), x_label)


def _range(values: Sequence[float], percent: bool, zero: bool) -> tuple[float, float]:
    low, high = min(values), max(values)
    if percent:
        return 0.0, min(1.0, max(0.1, high * 1.1))
    if zero:
        low, high = min(low, 0.0), max(high, 0.0)
    pad = (high - low) * 0.06 or abs(high) * 0.1 or 1.0
    return low - (0 if zero and low == 0 else pad), high + (0 if zero and high == 0 else pad)


def _axes(
    plot: _Plot, xs: tuple[float, float], ys: tuple[float, float], x_label: str, y_label: str, percent: bool
) -> str:
    parts = []
    for tick in ticks(*ys):
        y = plot.y(tick)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(_text(LEFT - 6, y + 4, _number(tick, percent), "end"))
    for tick in ticks(*xs, most=6, whole=True):
        parts.append(_text(plot.x(tick), HEIGHT - BOTTOM + 16, _number(tick, False), "middle"))
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, x_label, "middle", "label"))
    middle = (TOP + HEIGHT - BOTTOM) / 2
    parts.append(
        f'<text class="label" x="13" y="{middle}" text-anchor="middle" transform="rotate(-90 13 {middle})">'
        f"{_safe(y_label)}</text>"
    )
    return "".join(parts)


def _band(plot: _Plot, line: Series, number: int) -> str:
    if line.low is None or line.high is None:
        return ""
    rows = [row for row in zip(line.x, line.low, line.high, strict=True) if all(map(math.isfinite, row))]
    if len(rows) < 2:
        return "".join(
            f'<line class="bar s{number % STYLES}" x1="{plot.x(x):.1f}" x2="{plot.x(x):.1f}" '
            f'y1="{plot.y(low):.1f}" y2="{plot.y(high):.1f}"/>'
            for x, low, high in rows
        )
    there = [f"{plot.x(x):.1f},{plot.y(high):.1f}" for x, _, high in rows]
    back = [f"{plot.x(x):.1f},{plot.y(low):.1f}" for x, low, _ in reversed(rows)]
    return f'<polygon class="band s{number % STYLES}" points="{" ".join([*there, *back])}"/>'


def _line(plot: _Plot, line: Series, number: int) -> str:
    pieces: list[list[str]] = [[]]
    marks = []
    for x, y in zip(line.x, line.y, strict=True):
        if math.isfinite(y):
            pieces[-1].append(f"{plot.x(x):.1f},{plot.y(y):.1f}")
            if len(line.x) <= 30:
                title = f"<title>{_safe(line.label)}: {_number(x, False)}, {y:.4g}</title>"
                marks.append(f"<g>{title}{_marker(plot.x(x), plot.y(y), number, 3)}</g>")
        else:
            pieces.append([])
    dash = f' stroke-dasharray="{DASHES[number % STYLES]}"' if DASHES[number % STYLES] else ""
    drawn = "".join(
        f'<polyline class="line s{number % STYLES}"{dash} points="{" ".join(piece)}"/>' for piece in pieces if piece
    )
    return drawn + "".join(marks)


def _marker(x: float, y: float, number: int, size: float) -> str:
    style = f'class="mark s{number % STYLES}"'
    match MARKERS[number % len(MARKERS)]:
        case "s":
            return f'<rect {style} x="{x - size:.1f}" y="{y - size:.1f}" width="{2 * size}" height="{2 * size}"/>'
        case "d":
            corners: tuple[tuple[float, float], ...] = ((0, -1.3), (1.3, 0), (0, 1.3), (-1.3, 0))
        case "^":
            corners = ((0, -1.2), (1.2, 1), (-1.2, 1))
        case _:
            return f'<circle {style} cx="{x:.1f}" cy="{y:.1f}" r="{size}"/>'
    points = " ".join(f"{x + size * dx:.1f},{y + size * dy:.1f}" for dx, dy in corners)
    return f'<polygon {style} points="{points}"/>'


def _legend(labels: Sequence[str]) -> str:
    items = []
    for number, label in enumerate(labels):
        dash = f' stroke-dasharray="{DASHES[number % STYLES]}"' if DASHES[number % STYLES] else ""
        drawn = f'<line class="line s{number % STYLES}"{dash} x1="0" x2="28" y1="7" y2="7"/>{_marker(14, 7, number, 3)}'
        items.append(f'<li><svg class="key" viewBox="0 0 28 14" aria-hidden="true">{drawn}</svg>{_safe(label)}</li>')
    return f'<ul class="legend">{"".join(items)}</ul>'


def _text(x: float, y: float, text: str, anchor: str, kind: str = "tick") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{_safe(text)}</text>'


def _number(value: float, percent: bool) -> str:
    return f"{100 * value:.3g} %" if percent else f"{value:.4g}"


def _svg(width: int, height: int, inside: str, title: str) -> Markup:
    return Markup(
        f'<svg class="chart" viewBox="0 0 {width} {height}" role="img" aria-label="{_safe(title)}">{inside}</svg>'
    )


def _safe(text: str) -> Markup:
    return escape(clean(text))
