"""Charts: round ticks, right places, escaped text."""

from __future__ import annotations

import math
import re
from xml.etree import ElementTree

import pytest

from sdar_cli.analysis.report.charts import (
    BOTTOM,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    Interval,
    Series,
    interval_chart,
    line_chart,
    ticks,
)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (0, 12, [0, 5, 10]),
        (-0.17, 0.0, [-0.15, -0.1, -0.05, 0.0]),
        (3, 3, [3]),
        (0, 250, [0, 50, 100, 150, 200, 250]),
    ],
)
def test_ticks_are_round_numbers(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high) == pytest.approx(expected)


def test_whole_ticks_never_split_a_step() -> None:
    assert ticks(1, 3, most=6, whole=True) == [1, 2, 3]


def points(svg: str, kind: str) -> list[list[tuple[float, float]]]:
    """The corner points of every element of a class."""
    found = re.findall(rf'class="{kind}[^"]*"[^>]* points="([^"]*)"', svg)
    return [[tuple(map(float, pair.split(","))) for pair in text.split()] for text in found]  # type: ignore[misc]


def test_a_share_is_drawn_where_it_belongs() -> None:
    svg = str(line_chart([Series("a", [0, 10], [0.0, 1.0])], x_label="step", y_label="share", percent=True))
    ElementTree.fromstring(svg)
    assert points(svg, "line") == [[(LEFT, HEIGHT - BOTTOM), (WIDTH - RIGHT, TOP)]]
    assert "100 %" in svg
    assert "legend" not in svg


def test_the_band_runs_along_the_high_end_and_back_along_the_low_one() -> None:
    svg = str(
        line_chart([Series("a", [0, 10], [0.5, 0.5], [0.0, 0.0], [1.0, 1.0])], x_label="", y_label="", percent=True)
    )
    assert points(svg, "band") == [
        [(LEFT, TOP), (WIDTH - RIGHT, TOP), (WIDTH - RIGHT, HEIGHT - BOTTOM), (LEFT, HEIGHT - BOTTOM)]
    ]


def test_a_missing_value_breaks_the_line() -> None:
    svg = str(line_chart([Series("a", [0, 1, 2, 3], [1, math.nan, 2, 3])], x_label="", y_label=""))
    assert [len(line) for line in points(svg, "line")] == [1, 2]


def test_nothing_recorded_is_reported() -> None:
    assert "nothing was recorded" in line_chart([Series("a", [0], [math.nan])], x_label="", y_label="")
    assert "nothing was recorded" in interval_chart([], x_label="")


def test_several_series_differ_in_more_than_colour_and_labels_are_escaped() -> None:
    hostile = "<script>alert(1)</script>"
    svg = str(line_chart([Series(hostile, [0, 1], [0, 1]), Series("b", [0, 1], [1, 0])], x_label="x", y_label=hostile))
    assert hostile not in svg
    assert "&lt;script&gt;" in svg
    assert 'class="legend"' in svg
    assert 'stroke-dasharray="6 3"' in svg
    assert "<circle" in svg and "<rect" in svg


def test_an_interval_is_drawn_from_low_to_high() -> None:
    rows = [Interval("a", 0.5, 0.25, 0.75, (0.25, 0.75)), Interval("one seed", 0.5, -math.inf, math.inf, (0.5,))]
    svg = str(interval_chart(rows, x_label="success", percent=True))
    ElementTree.fromstring(svg)
    bars = re.findall(r'class="bar s\d" x1="([\d.]+)" x2="([\d.]+)"', svg)
    rings = re.findall(r'class="ring s\d" cx="([\d.]+)"', svg)
    assert len(bars) == 1
    assert list(bars[0]) == rings[:2]
    assert len(rings) == 3
