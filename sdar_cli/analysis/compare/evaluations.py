"""What the members of arms were measured to do: read from ``eval/`` and ``metrics.jsonl``, and from nothing else."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdar_cli.analysis.compare.arms import Arm, Member
from sdar_cli.base.errors import ConfigError, PrerequisiteError, RunFailedError
from sdar_cli.base.files import read_json_lines
from sdar_cli.runs.rundir import RunDir, result_of
from sdar_cli.stats import early_speed


@dataclass(frozen=True)
class Evaluation:
    """One member's panel.  ``plays``: label of a setting to task to (wins, sum of scores); ``results`` by label."""

    member: Member
    path: Path
    panel: dict[str, Any]
    results: dict[str, dict[str, Any]]
    plays: dict[str, dict[str, tuple[int, float]]]


def read_evaluations(arms: Sequence[Arm], name: str | None) -> list[list[Evaluation]]:
    """Every member's evaluation.  name: that of eval/NAME.json; None, those of the training itself.

    Raises PrerequisiteError where one is missing, ConfigError naming both where two panels differ.
    """
    found = [[_read(member, name) for member in arm.members] for arm in arms]
    flat = [evaluation for group in found for evaluation in group]
    for other in flat[1:]:
        if other.panel["sha256"] != flat[0].panel["sha256"]:
            raise ConfigError(
                f"{flat[0].member.title} and {other.member.title} were evaluated on different panels",
                why=f"{_panel(flat[0])}; {_panel(other)}",
                fix="sdar eval --run RUN --name NAME for both, then sdar compare --evaluation NAME",
            )
    return found


def _panel(evaluation: Evaluation) -> str:
    panel = evaluation.panel
    return f"{evaluation.member.title}: {panel['tasks']} tasks of {panel['split']}, sha256 {panel['sha256']}"


def _read(member: Member, name: str | None) -> Evaluation:
    path = _path(member, name)
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        episodes = [episode for episode in read_json_lines(path.with_suffix(".jsonl")) if "task" in episode]
        panel, results = report["panel"], {result["label"]: result for result in report["results"]}
        plays: dict[str, dict[str, tuple[int, float]]] = {label: {} for label in results}
        for episode in episodes:
            won, score = plays[episode["label"]].get(episode["task"], (0, 0.0))
            plays[episode["label"]][episode["task"]] = (won + episode["won"], score + (episode.get("score") or 0.0))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunFailedError(f"the evaluation {path} cannot be read", why=f"{type(error).__name__}: {error}") from error
    return Evaluation(member, path, panel, results, plays)


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
        result = result_of(run.evaluation(step), with_skill)
        points += [(step, result["overall"]["success"])] if result else []
    inside = [point for point in points if point[0] <= steps]
    if len(inside) < 2 or points[-1][0] < steps:
        return None
    return early_speed([step for step, _ in points], [rate for _, rate in points], steps)
