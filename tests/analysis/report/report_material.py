"""Run directories written by hand: metrics, evaluations and episodes whose numbers are known."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sdar_cli.config.schema import ModelConfig, RunConfig
from sdar_cli.envs.base import StopReason, Task, TurnView
from sdar_cli.models.loading import load_tokenizer
from sdar_cli.rollout.episode import Episode, Turn
from sdar_cli.runs.metrics import MetricsWriter
from sdar_cli.runs.records import EpisodeRecord
from sdar_cli.runs.results import EvaluationReport, EvaluationResult, PanelRecord, Rate
from sdar_cli.runs.rundir import RunDir
from sdar_cli.stats import wilson

TASKS = [f"eval/t{n}" for n in range(10)]
SKILL = "search every place and open closed ones."


def make_run(
    runs_dir: Path,
    name: str = "a",
    *,
    seed: int = 0,
    success: Sequence[float] = (0.25, 0.5),
    held_out: Sequence[tuple[int, int, int]] = ((0, 1, 5), (2, 4, 6)),
    panel: str = "f" * 64,
    episodes: Sequence[Episode] = (),
    state: str = "done",
    metrics: Sequence[dict[str, Any]] = (),
    **sections: Any,
) -> RunDir:
    """A finished run.  held_out: (step, tasks of ten won without, with the skill).  metrics: more values per step."""
    config = RunConfig.model_validate({"name": name, "seed": seed, **sections})
    run = RunDir.create(runs_dir, config, ["train", "--name", name])
    run.update_provenance(panel_sha256=panel)
    run.start()
    with MetricsWriter(run.metrics) as writer:
        for step, value in enumerate(success, 1):
            more = metrics[step - 1] if step <= len(metrics) else {}
            writer.write({"step": step, "success": value, "gap_mean": -value, **more})
    for step, without, shown in held_out:
        write_evaluation(run, step, panel, without, shown)
    if episodes:
        lines = "".join(json.dumps(episode.record().to_json()) + "\n" for episode in episodes)
        (run.episodes / "step-000001.jsonl").write_text(lines, encoding="utf-8")
    run.finish(state)
    return run


def write_evaluation(run: RunDir, step: int, panel: str, without: int, shown: int) -> None:
    """``eval/step-N.json`` and its episodes: the first ``without`` (``shown``) of the ten tasks are won."""
    about = PanelRecord("eval", len(TASKS), panel)
    results, plays = [], []
    for with_skill, won in ((False, without), (True, shown)):
        label, success = "with skill" if with_skill else "no skill", won / len(TASKS)
        rate = Rate(won, len(TASKS), success, *wilson(won, len(TASKS)))
        results.append(EvaluationResult(
            label=label, with_skill=with_skill, decoding="sampled", temperature=0.4, seeds=(0,), panel=about,
            overall=rate, per_seed=(success,), mean=success, sd_over_sampling_seeds=0.0, types={"t": rate}, means=None,
            mean_turns=1.0, invalid_ratio=0.0, failed=0, cut_prompts=0,
        ))  # fmt: skip
        plays += [
            EpisodeRecord(Task(task, "t", "eval"), "", n < won, label=label, seed=0) for n, task in enumerate(TASKS)
        ]
    report = EvaluationReport("panel", about, tuple(results))
    (run.eval / f"step-{step:06d}.json").write_text(json.dumps(report.to_json()), encoding="utf-8")
    lines = "".join(json.dumps(play.to_json()) + "\n" for play in plays)
    (run.eval / f"step-{step:06d}.jsonl").write_text(lines, encoding="utf-8")


def episode(
    index: int = 0, *, won: bool = False, kind: str = "heat", text: str = "look", taught: bool = True
) -> Episode:
    """One turn whose observation, goal and response hold ``text``; the first token's gate is 0.9, the last's 0.1."""
    tokenizer = load_tokenizer(ModelConfig(name="tiny-alfworld"))
    response = f"<think>go</think><action>{text}</action>"
    ids = tokenizer(response, add_special_tokens=False)["input_ids"]
    view = TurnView(f"heat {text}", f"You see {text}.", ("look",))
    gates: list[float | None] = [0.9, *[0.5] * (len(ids) - 2), 0.1]
    turn = Turn(view, [1, 2], ids, response, text, True, True, [0.0] * len(ids))
    if taught:
        turn.teacher_tokens, turn.token_gate, turn.token_gap = 30, gates, [0.25] * len(ids)
        turn.token_entropy, turn.token_logp = [0.5] * len(ids), [-0.5] * len(ids)
    return Episode(
        Task(f"train/{kind}-{index}", kind, "train"), 0, index, [turn], won=won,
        stop=StopReason.WON if won else StopReason.MAX_TURNS, skill_ids=("general",), skill_text=SKILL,
    )  # fmt: skip
