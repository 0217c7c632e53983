"""Results of evaluations as tables and lines for a person."""

from __future__ import annotations

from collections.abc import Sequence

from sdar_cli.runs.results import EvaluationReport, EvaluationResult, Internalisation, MetricLabel, Rate


def table(results: Sequence[EvaluationResult]) -> tuple[list[str], list[list[str]]]:
    """(columns, rows) of a success table: a row per task type and one for all."""
    columns = ["task type", *(r.label for r in results)]
    rows = [[name, *(_cell(r.types[name], r.metrics) for r in results)] for name in results[0].types]
    rows.append(["all", *(_cell(r.overall, r.metrics) for r in results)])
    for name in results[0].means or {}:
        rows.append([name, *(f"{100 * (r.means or {})[name]:.1f} %" for r in results)])
    if any(len(r.seeds) > 1 for r in results):
        rows.append(["mean ± sd over seeds", *(_spread(r) for r in results)])
    return columns, rows


def _cell(rate: Rate, metrics: Sequence[MetricLabel]) -> str:
    low, high = 100 * rate.low, 100 * rate.high
    return f"{100 * rate.success:.1f} % [{low:.0f}, {high:.0f}] ({rate.won}/{rate.of}){metrics_of(rate, metrics)}"


def metrics_of(rate: Rate, metrics: Sequence[MetricLabel]) -> str:
    """For example ``, score 0.575``: every metric of a rate that has a value, behind a comma."""
    values = [(metric.title, rate.metrics[metric.name]) for metric in metrics]
    return "".join(f", {title} {value:.3f}" for title, value in values if value is not None)


def _spread(result: EvaluationResult) -> str:
    if len(result.seeds) == 1:
        return "one seed"
    return f"{100 * result.mean:.1f} ± {100 * result.sd_over_sampling_seeds:.1f}"


def benchmark_table(reports: Sequence[EvaluationReport]) -> tuple[list[str], list[list[str | None]]]:
    """(columns, rows) of several benchmarks in one table; a setting that one was not played in is None there."""
    labels = list(dict.fromkeys(result.label for report in reports for result in report.results))
    rows: list[list[str | None]] = []
    for report in reports:
        columns, own = table(report.results)
        place = [columns.index(label) if label in columns else None for label in labels]
        rows += [[report.benchmark, row[0], *(None if i is None else row[i] for i in place)] for row in own]
    return ["benchmark", "task type", *labels], rows


def internalisation_line(found: Internalisation) -> str:
    """For example ``without skills 47.0 %, with them 48.5 % (97 % internalised); the skill adds +1.5 points …``."""
    gain = found.gain
    share = "" if found.share is None else f" ({100 * found.share:.0f} % is there without)"
    return (
        f"internalised ({found.decoding}): without skills {100 * found.without:.1f} %, with them "
        f"{100 * found.shown:.1f} %{share}; showing the skill adds {100 * gain.estimate:+.1f} points "
        f"[{100 * gain.low:+.1f}, {100 * gain.high:+.1f}], exact p {gain.p:.3f}"
    )
