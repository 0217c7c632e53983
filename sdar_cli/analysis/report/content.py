"""The content of a report, as plain data: sections of charts and tables.

``build.py`` puts it together; the HTML page and the terminal show the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from markupsafe import Markup

from sdar_cli.analysis.report.charts import Series, line_chart
from sdar_cli.analysis.report.episodes import ShownEpisode


@dataclass(frozen=True)
class Chart:
    """A picture and what it was drawn from; ``note`` explains what the band is and what to look for."""

    title: str
    svg: Markup
    note: str
    series: tuple[Series, ...] = ()
    percent: bool = False


@dataclass(frozen=True)
class Table:
    """Rows of text or numbers; None is shown as a dash; ``marked`` rows stand out."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    note: str = ""
    marked: Sequence[bool] = ()


@dataclass(frozen=True)
class Section:
    """``anchor``: its id in the page."""

    anchor: str
    title: str
    intro: str = ""
    charts: Sequence[Chart] = ()
    tables: Sequence[Table] = ()


@dataclass(frozen=True)
class Report:
    """Everything that is shown, in order."""

    title: str
    subtitle: str
    created: str
    facts: Sequence[tuple[str, str]]
    sections: Sequence[Section]
    episodes: Sequence[tuple[str, Sequence[ShownEpisode]]]
    provenance: Sequence[Table]
    caveats: Sequence[str] = field(default_factory=tuple)


def curve(
    title: str,
    series: Sequence[Series],
    *,
    x: str = "step",
    y: str,
    note: str = "",
    percent: bool = False,
    zero: bool = False,
) -> Chart | None:
    """A line chart; None where nothing was recorded."""
    shown = tuple(line for line in series if len(line.x))
    if not shown:
        return None
    return Chart(title, line_chart(shown, x_label=x, y_label=y, percent=percent, zero=zero), note, shown, percent)


def share(value: float | None) -> str | None:
    """A share in per cent."""
    return None if value is None else f"{100 * value:.1f} %"


def span(mean: float, low: float, high: float) -> str:
    """A share with its interval, in per cent."""
    return f"{100 * mean:.1f} % [{100 * low:.0f},\u00a0{100 * high:.0f}]"
