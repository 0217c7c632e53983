"""Run directories made by hand: what ``sdar compare`` reads, with outcomes a test can count."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from sdar_cli.config.presets import resolve
from sdar_cli.envs.base import StopReason, Task
from sdar_cli.envs.panels import make_panel
from sdar_cli.evaluation.metrics import Metric
from sdar_cli.evaluation.setting import Setting
from sdar_cli.evaluation.summary import summarise
from sdar_cli.runs.records import EpisodeRecord
from sdar_cli.runs.results import EvaluationReport

KINDS = ("look_at_obj_in_light", "pick_and_place_simple")


def panel_of(count: int, prefix: str = ""):
    """Tasks of two types in turn."""
    return make_panel([Task(f"{KINDS[n % 2]}/{prefix}{n:03d}", KINDS[n % 2], "eval") for n in range(count)])


def make_run(
    runs: Path,
    name: str,
    outcomes: Mapping[int, Sequence[int]],
    *,
    seed: int = 0,
    with_skill: Sequence[int] | None = None,
    training: Sequence[float] = (),
    scores: Sequence[float] | None = None,
    prefix: str = "",
    sets: Sequence[str] = (),
    method: str = "grpo",
    state: str = "done",
    metrics: Sequence[Metric] = (),
) -> Path:
    """outcomes: after each step, whether each task was won (0 or 1) without the skill."""
    path = runs / name
    (path / "eval").mkdir(parents=True)
    config = resolve(method=method, sets=[f"seed={seed}", f"name={name}", *sets]).config
    (path / "config.json").write_text(json.dumps(config.model_dump(mode="json")))
    (path / "provenance.json").write_text(json.dumps({"created": name, "skill_bank_sha256": "b"}))
    (path / "status.json").write_text(json.dumps({"state": state}))
    rows = [{"step": step, "success": value} for step, value in enumerate(training, 1)]
    (path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for step, won in outcomes.items():
        write_evaluation(path / "eval" / f"step-{step:06d}.json", won, with_skill, scores, prefix, metrics)
    return path


def write_evaluation(
    path: Path,
    won: Sequence[int],
    with_skill: Sequence[int] | None = None,
    scores: Sequence[float] | None = None,
    prefix: str = "",
    metrics: Sequence[Metric] = (),
) -> None:
    """An evaluation's JSON and its episodes, as ``sdar`` writes them."""
    panel = panel_of(len(won), prefix)
    results, lines = [], []
    for shown, wins in ((False, won), (True, with_skill)):
        if wins is None:
            continue
        setting = Setting(shown, "sampled", 0.4, (0,))
        episodes = [
            EpisodeRecord(
                task=task, goal="", won=bool(win), score=None if scores is None else scores[n],
                stop=StopReason.WON if win else StopReason.LOST, label=setting.label, seed=0,
            )
            for n, (task, win) in enumerate(zip(panel.tasks, wins, strict=True))
        ]  # fmt: skip
        results.append(summarise(panel, setting, episodes, 0, metrics=metrics))
        lines += [json.dumps(episode.to_json()) for episode in episodes]
    path.write_text(json.dumps(EvaluationReport("t", results[0].panel, tuple(results)).to_json()))
    path.with_suffix(".jsonl").write_text("\n".join(lines) + "\n")


def wins(count: int, of: int) -> list[int]:
    """The first ``count`` of ``of`` tasks, in an order that has both types among the won."""
    order = sorted(range(of), key=lambda n: hashlib.sha256(str(n).encode()).hexdigest())
    return [int(n in set(order[:count])) for n in range(of)]
