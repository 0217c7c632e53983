"""Measures: one number per member, and where there is one, a row of outcomes per task."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sdar_cli.analysis.compare.arms import Arm
from sdar_cli.analysis.compare.evaluations import Evaluation, early_held_out, measured
from sdar_cli.base.errors import ConfigError
from sdar_cli.evaluation.metrics import METRICS
from sdar_cli.runs.curves import early_training
from sdar_cli.runs.results import MetricLabel
from sdar_cli.runs.rundir import RunDir


@dataclass(frozen=True)
class Measure:
    """``values``: per arm, per member.  ``wins``: per arm, per member, wins of each task in ``plays`` plays.

    ``outcomes`` is the same as means per task, and is all there is of metrics other than success.  ``unit``: ``%`` for
    shares, which are fractions here.
    """

    title: str
    values: list[list[float]]
    outcomes: list[list[list[float]]] | None = None
    wins: list[list[list[int]]] | None = None
    plays: int = 1
    unit: str = "%"


def measures_of(arms: Sequence[Arm], evaluations: Sequence[Sequence[Evaluation]], early: int) -> list[Measure]:
    """Success and further metrics in every setting that all members were played in, then early speed.

    The first is success without the skill, where that was played.  Raises ConfigError for no common setting.
    """
    flat = [evaluation for group in evaluations for evaluation in group]
    labels = [label for label in flat[0].results if all(label in each.results for each in flat)]
    if not labels:
        played = [f"{each.member.title}: {', '.join(each.results)}" for each in flat]
        raise ConfigError("no setting was played by all", why="; ".join(dict.fromkeys(played)))
    labels.sort(key=lambda label: flat[0].results[label].with_skill)
    found = [_success(label, evaluations) for label in labels]
    for label in labels:
        shown = flat[0].results[label].metrics
        found += [_metric(metric, label, evaluations) for metric in shown if _in_all(metric.name, label, flat)]
    found += [_mean(name, label, evaluations) for label in labels for name in flat[0].results[label].means or ()]
    if all(each.member.run for each in flat):
        curves: list[tuple[str, Callable[[RunDir], float | None]]] = [
            (f"early speed: training success, steps 1 to {early}", lambda run: early_training(run, early)),
            (
                f"early speed: held-out success, no skill, to step {early}",
                lambda run: early_held_out(run, early, False),
            ),
        ]
        for title, value in curves:
            numbers = [[value(run) for run in arm.runs] for arm in arms]
            known = [[number for number in row if number is not None] for row in numbers]
            if known == numbers:
                found.append(Measure(title, known))
    return found


def _success(label: str, evaluations: Sequence[Sequence[Evaluation]]) -> Measure:
    plays = {len(each.results[label].seeds) for group in evaluations for each in group}
    if len(plays) > 1:
        raise ConfigError(
            f"tasks were not played equally often ({label})",
            why=f"by {' and '.join(map(str, sorted(plays)))} sampling seeds",
            fix="sdar eval with equal --seeds",
        )
    times = plays.pop()
    wins = [[[int(won) for won in _by_task(each, label, "success")] for each in group] for group in evaluations]
    return Measure(
        f"{METRICS['success'].title}, {label}",
        [[sum(row) / (times * len(row)) for row in group] for group in wins],
        [[[won / times for won in row] for row in group] for group in wins],
        wins,
        times,
    )


def _in_all(name: str, label: str, evaluations: Sequence[Evaluation]) -> bool:
    """Whether every evaluation has a value of the metric, judged by the same judge where it is a score."""
    known = all(each.results[label].overall.metrics.get(name) is not None for each in evaluations)
    return known and (name != "score" or len(taggers(evaluations)) == 1)


def _metric(metric: MetricLabel, label: str, evaluations: Sequence[Sequence[Evaluation]]) -> Measure:
    """A metric with its outcomes per task where it can be measured again from what is on disk, else its means."""
    unit = f" ({metric.unit})" if metric.unit not in ("%", "") else ""
    title = f"{metric.title}{unit}, {label}"
    if all(metric.name in measured(each.results[label]) for group in evaluations for each in group):
        times = len(evaluations[0][0].results[label].seeds)
        rows = [[[v / times for v in _by_task(each, label, metric.name)] for each in group] for group in evaluations]
        return Measure(title, [[sum(row) / len(row) for row in group] for group in rows], rows, unit=metric.unit)
    means = [[each.results[label].overall.metrics[metric.name] or 0.0 for each in group] for group in evaluations]
    return Measure(title, means, unit=metric.unit)


def taggers(evaluations: Sequence[Evaluation]) -> set[str | None]:
    """What judged the scores; with several of them, scores are not comparable."""
    return {result.tagger for each in evaluations for result in each.results.values()}


def _mean(name: str, label: str, evaluations: Sequence[Sequence[Evaluation]]) -> Measure:
    """A further mean over task types that the benchmark reports, such as a macro mean."""
    values = [[(each.results[label].means or {})[name] for each in group] for group in evaluations]
    return Measure(f"{name}, {label}", values)


def _by_task(evaluation: Evaluation, label: str, metric: str) -> list[float]:
    """Sums over plays by task id: the panel's order, the same for every member."""
    return [found for _, found in sorted(evaluation.plays[label][metric].items())]
