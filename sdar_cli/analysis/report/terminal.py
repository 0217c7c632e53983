"""The same report as text: tables, and every curve as a line of blocks."""

from __future__ import annotations

import math

from sdar_cli.analysis.report.charts import Series
from sdar_cli.analysis.report.content import Chart, Report
from sdar_cli.analysis.report.episodes import ShownEpisode
from sdar_cli.base.display import Reporter, sparkline


def print_report(report: Report, reporter: Reporter) -> None:
    """Everything but the episodes' prompts."""
    reporter.info(f"{report.title}\n{report.subtitle}, {report.created}")
    reporter.table("at a glance", ["", ""], report.facts)
    for section in report.sections:
        if section.charts:
            rows = [row for chart in section.charts for row in _rows(chart)]
            reporter.table(section.title, ["curve", "of", "", "first", "last", "least", "most"], rows)
        for table in section.tables:
            reporter.table(f"{table.title}. {table.note}".rstrip(". "), table.columns, table.rows, table.marked)
    for label, episodes in report.episodes:
        played = [_episode(episode) for episode in episodes]
        columns = ["step", "type", "outcome", "mean gate", "mean gap", "task"]
        reporter.table(f"episodes of {label}", columns, played)
    for caveat in report.caveats:
        reporter.warn(caveat)


def _rows(chart: Chart) -> list[list[str]]:
    return [[chart.title, line.label, sparkline(line.y), *_ends(line, chart.percent)] for line in chart.series]


def _ends(line: Series, percent: bool) -> list[str]:
    known = [y for y in line.y if math.isfinite(y)]
    if not known:
        return ["–"] * 4
    return [_number(y, percent) for y in (known[0], known[-1], min(known), max(known))]


def _number(value: float, percent: bool) -> str:
    return f"{100 * value:.1f} %" if percent else f"{value:.4g}"


def _episode(episode: ShownEpisode) -> list[str | None]:
    gate = None if episode.gate is None else f"{episode.gate:.3f}"
    gap = None if episode.gap is None else f"{episode.gap:+.3f}"
    return [str(episode.step), episode.kind, episode.outcome, gate, gap, episode.task]
