"""What the members of arms were measured to do: read from ``eval/`` and ``metrics.jsonl``, and from nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sdar_cli.analysis.compare.arms import Arm, Member
from sdar_cli.base.errors import ConfigError, PrerequisiteError, RunFailedError
from sdar_cli.evaluation.metrics import METRICS
from sdar_cli.runs.records import EpisodeRecord, read_episodes
from sdar_cli.runs.results import OLDER_HASHES, EvaluationReport, EvaluationResult, read_report
from sdar_cli.runs.rundir import RunDir
from sdar_cli.stats import early_speed

Plays = dict[str, dict[str, float]]
"""Metric to task to its sum over the plays of that task."""


@dataclass(frozen=True)
class Evaluation:
    """One member's panel.  ``results`` by the setting's label; ``plays`` of each setting, of the metrics that can be
    measured again from what is on disk: success, and built-in ones that are means over episodes."""

    member: Member
    path: Path
    report: EvaluationReport
    results: dict[str, EvaluationResult]
    plays: dict[str, Plays]


def read_evaluations(arms: Sequence[Arm], name: str | None) -> list[list[Evaluation]]:
    """Every member's evaluation.  name: that of eval/NAME.json; None, those of the training itself.

    Raises PrerequisiteError where one is missing, ConfigError naming both where two panels differ.
    """
    found = [[_read(member, name) for member in arm.members] for arm in arms]
    flat = [evaluation for group in found for evaluation in group]
    for other in flat[1:]:
        if other.report.panel.sha256 != flat[0].report.panel.sha256:
            raise ConfigError(
                f"{flat[0].member.title} and {other.member.title} were evaluated on different panels",
                why=f"{_panel(flat[0])}; {_panel(other)} ({OLDER_HASHES})",
                fix="sdar eval --run RUN --name NAME for both, then sdar compare --evaluation NAME",
            )
    return found


def _panel(evaluation: Evaluation) -> str:
    panel = evaluation.report.panel
    return f"{evaluation.member.title}: {panel.tasks} tasks of {panel.split}, sha256 {panel.sha256}"


def _read(member: Member, name: str | None) -> Evaluation:
    path = _path(member, name)
    report = read_report(path)
    results = {result.label: result for result in report.results}
    plays: dict[str, Plays] = {label: {name: {} for name in measured(found)} for label, found in results.items()}
    try:
        for episode in read_episodes(path.with_suffix(".jsonl")):
            _count(episode, plays)
    except (OSError, KeyError) as error:
        raise RunFailedError(
            f"the episodes of the evaluation {path} cannot be read", why=f"{type(error).__name__}: {error}"
        ) from error
    return Evaluation(member, path, report, results, plays)


def measured(result: EvaluationResult) -> list[str]:
    """Names of the metrics of a result that have a value per task: success first, then in the result's order."""
    names = ["success", *(metric.name for metric in result.metrics)]
    return [name for name in names if name in METRICS and METRICS[name].over == "episodes"]


def _count(episode: EpisodeRecord, plays: dict[str, Plays]) -> None:
    if episode.label is None:
        raise KeyError("label")
    for name, sums in plays[episode.label].items():
        value = METRICS[name].value(episode) or 0.0
        sums[episode.task.id] = sums.get(episode.task.id, 0.0) + value


def _path(member: Member, name: str | None) -> Path:
    if member.run is None:
        assert member.file is not None
        return member.file
    if name is not None:
        path = member.run.eval / f"{name}.json"
    elif member.step is not None:
        path = member.run.evaluation_path(member.step)
    else:
        path = member.run.evaluation_path(max(member.run.evaluated_steps(), default=0))
    if path.is_file():
        return path
    known = ", ".join(each.stem for each in sorted(member.run.eval.glob("*.json"))) or "none"
    raise PrerequisiteError(
        f"{member.title} has no evaluation {path.name}",
        why=f"its evaluations are {known}",
        fix=f"sdar eval --run {member.run.path} --name NAME, then sdar compare --evaluation NAME",
    )


def step_of(evaluation: Evaluation) -> int | None:
    """After which step it was made; None for an evaluation of another name."""
    stem = evaluation.path.stem
    return int(stem.removeprefix("step-")) if stem.startswith("step-") else None


def early_held_out(run: RunDir, steps: int, with_skill: bool) -> float | None:
    """Area under the held-out curve up to ``steps``, over its width; None with nothing evaluated within."""
    points = []
    for step in run.evaluated_steps():
        report = run.evaluation(step)
        result = report.result(with_skill) if report else None
        points += [(step, result.overall.success)] if result else []
    inside = [point for point in points if point[0] <= steps]
    if len(inside) < 2 or points[-1][0] < steps:
        return None
    return early_speed([step for step, _ in points], [rate for _, rate in points], steps)
