"""A comparison as tables for a person."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from sdar_cli.analysis.compare.comparison import (
    TESTS,
    ArmReport,
    Comparison,
    Corrected,
    Estimate,
    MeasureReport,
)
from sdar_cli.base.display import Reporter

KINDS = {
    "one": "one arm",
    "checkpoints": "two checkpoints on one panel",
    "methods": "methods, over their seeds",
    "mixed": "methods, over their seeds; arms of one seed are not tested",
}
SIGNIFICANT = 0.05
MANY_ARMS = 5
"""From this many on, all pairs are shown as one matrix per measure, and not as a line per test."""


class Table(NamedTuple):
    """A table for a person; ``marked`` rows stand out."""

    title: str
    columns: list[str]
    rows: list[list[Any]]
    marked: list[bool]


def show(comparison: Comparison, reporter: Reporter) -> None:
    """Values, types, tests, settings that differ, power, notes."""
    panel = comparison.panel
    reporter.info(f"panel {panel.sha256[:12]}: {panel.tasks} tasks of {panel.split}")
    for table in [*value_tables(comparison), *difference_tables(comparison), *setting_tables(comparison)]:
        reporter.table(table.title, table.columns, table.rows, table.marked)
    for line in power_lines(comparison):
        reporter.info(line)
    for note in comparison.notes:
        reporter.warn(note)


def value_tables(comparison: Comparison) -> list[Table]:
    """The arms, every measure, and success by task type."""
    arms = comparison.arms
    labels = [arm.label for arm in arms]
    rows = [[arm.label, _few(arm.members), _few(arm.seeds), _steps(arm)] for arm in arms]
    found = [Table("arms", ["arm", "runs", "seeds", "after step"], rows, [])]
    rows = [[m.title, *(_interval(arm.found, m.unit) for arm in m.arms)] for m in comparison.measures]
    shares = all(m.unit == "%" for m in comparison.measures)
    unit = "%" if shares else "% (of shares)"
    title = f"measures, {unit}, with 95 % intervals ({_interval_kind(comparison)})"
    found.append(Table(title, ["measure", *labels], rows, []))
    for label in arms[0].types:
        kinds = [kind for kind in arms[0].types[label] if all(kind in arm.types.get(label, {}) for arm in arms)]
        rows = [[kind, *(_interval(arm.types[label][kind], "%") for arm in arms)] for kind in kinds]
        if rows:
            found.append(Table(f"by task type, %: {label}", ["task type", *labels], rows, []))
    return found


def setting_tables(comparison: Comparison) -> list[Table]:
    """The settings in which the arms differ, in one table or none."""
    rows = [[row.key, *row.values] for row in comparison.differences]
    labels = [arm.label for arm in comparison.arms]
    return [Table("settings that differ", ["key", *labels], rows, [])] if rows else []


def difference_tables(comparison: Comparison) -> list[Table]:
    """Every test of every pair in one table, or none; of many arms against each other a matrix per measure."""
    rows, marked = [], []
    pairs, arms = len(comparison.measures[0].pairs), len(comparison.arms)
    if arms >= MANY_ARMS and pairs == arms * (arms - 1) // 2:
        return [_matrix(measure) for measure in comparison.measures]
    several = pairs > 1
    for measure in comparison.measures:
        for pair in measure.pairs:
            for key, test in pair.tests.items():
                corrected = [_p(test.p_holm)] if several else []
                which = f"{pair.second} minus {pair.first}"
                points = _points(test, measure.unit)
                rows.append([measure.title, which, TESTS[key], points, _p(test.difference.p), *corrected])
                marked.append(test.p_holm < SIGNIFICANT)
    columns = ["measure", "difference", "test", "points", "p", *(["p, Holm"] if several else [])]
    title = f"differences: {KINDS[comparison.kind]} (marked: p below {SIGNIFICANT:g})"
    return [Table(title, columns, rows, marked)] if rows else []


def _matrix(measure: MeasureReport) -> Table:
    """Row minus column in points, with the largest p of the pair's tests after Holm's correction."""
    labels = [arm.label for arm in measure.arms]
    cells = {}
    for row in measure.pairs:
        found = [test.p_holm for test in row.tests.values()]
        p_text = f" {_p(max(found))}{'*' if max(found) < SIGNIFICANT else ''}" if found else ""
        for pair, sign in (((row.second, row.first), 1), ((row.first, row.second), -1)):
            cells[pair] = f"{_signed(sign * row.difference, measure.unit)}{p_text}"
    title = (
        f"differences, row minus column, points and the largest p of the tests after Holm (* below {SIGNIFICANT:g}): "
        f"{measure.title}"
    )
    return Table(title, ["", *labels], [[a, *(cells.get((a, b)) for b in labels)] for a in labels], [])


def power_lines(comparison: Comparison) -> list[str]:
    """How much more would be needed to see five points, for the first measure."""
    measure = comparison.measures[0]
    needed, lines = measure.seeds_needed, []
    if needed:
        lines.append(
            f"to see {100 * needed.gain:g} points at {100 * needed.power:g} % power ({measure.title}): "
            f"{needed.seeds} seeds per arm at the observed spread ({100 * needed.sd:.1f} points between seeds), "
            f"{needed.cautious_seeds} at a cautious one ({100 * needed.cautious_sd:.1f})"
        )
    for row in measure.pairs:
        if "paired" in row.tests:
            tasks = row.tests["paired"].tasks_needed
            wanted = f"{tasks} tasks" if tasks else "no number of tasks is enough: too few are won by one of them only"
            lines.append(f"to see 5 points between {row.first} and {row.second} at 80 % power: {wanted}")
    return lines


def _interval_kind(comparison: Comparison) -> str:
    kinds = dict.fromkeys(arm.found.interval for m in comparison.measures for arm in m.arms if arm.found.interval)
    return "; ".join(kinds) or "none: one seed"


def scaled(value: float, unit: str) -> float:
    """A share in per cent, anything else as it is."""
    return 100 * value if unit == "%" else value


def _interval(found: Estimate, unit: str) -> str:
    if found.low is None or found.high is None:
        return f"{scaled(found.estimate, unit):.1f}"
    return f"{scaled(found.estimate, unit):.1f} [{scaled(found.low, unit):.1f}, {scaled(found.high, unit):.1f}]"


def _signed(value: float, unit: str) -> str:
    return f"{scaled(value, unit) + 0.0:+.1f}"


def _points(test: Corrected, unit: str) -> str:
    low, high = scaled(test.difference.low, unit), scaled(test.difference.high, unit)
    return f"{scaled(test.difference.estimate, unit):+.1f} [{low:+.1f}, {high:+.1f}]"


def _p(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _steps(arm: ArmReport) -> str:
    return _few(sorted({step for step in arm.steps if step is not None})) or "–"


def _few(items: Sequence[Any]) -> str:
    """All of a few, the ends of many."""
    texts = [str(item) for item in items]
    return ", ".join(texts) if len(texts) <= 5 else f"{texts[0]}, {texts[1]}, … {texts[-1]} ({len(texts)})"
