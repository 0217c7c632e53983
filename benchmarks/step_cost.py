"""What the distillation term costs: an SDAR step against a GRPO step on the same rows.

    python benchmarks/step_cost.py [--repeats 5]

One rollout of the bundled tiny policy gives the rows.  Both trainers then make the updates of a step on them, in
turn; the SDAR step includes the teacher's prompts and its forward pass.  Prints seconds and the ratio with and
without the rollout, which is the same for both.
"""

from __future__ import annotations

import argparse
import copy
import os
import platform
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from sdar_cli.config.presets import resolve
from sdar_cli.config.schema import RunConfig


def rollout_rows(config: RunConfig, session: Any) -> tuple[list[Any], list[Any], float]:
    """(episodes, rows, seconds of the rollout)."""
    from sdar_cli.models.engine import Sampling
    from sdar_cli.train.rows import assign_advantages, build_rows
    from sdar_cli.train.run import tasks_of_step

    tasks = tasks_of_step(session.environment.tasks("train"), 1, config.train.tasks_per_step, config.seed)
    assignment = [(task, g) for g, task in enumerate(tasks) for _ in range(config.train.group_size)]
    session.collector.collect(assignment, Sampling(config.model.max_response_tokens), 0)  # workers started, games read
    began = time.perf_counter()
    out = session.collector.collect(assignment, Sampling(config.model.max_response_tokens), 1)
    seconds = time.perf_counter() - began
    rows = build_rows(out.episodes, config.env.context)
    assign_advantages(rows, out.episodes, config.algo)
    for i, row in enumerate(rows):  # a policy that wins nothing would have no policy gradient to compute
        row.advantage = [(-1.0) ** i] * len(row.advantage)
    return out.episodes, rows, seconds


def update_seconds(config: RunConfig, session: Any, episodes: list[Any], rows: list[Any], repeats: int) -> list[float]:
    """Seconds of each step's teacher pass and updates."""
    from sdar_cli.models.loading import load_model
    from sdar_cli.train.rows import assign_weights
    from sdar_cli.train.teacher import TeacherPrompts
    from sdar_cli.train.trainer import SDARTrainer, StepData

    marks: list[float] = []
    seconds: list[float] = []

    def rollout(trainer: SDARTrainer, step: int) -> StepData:
        marks.append(time.perf_counter())
        fresh = [copy.copy(row) for row in rows]
        normaliser = assign_weights(fresh, config.algo.agg)
        data = StepData(fresh, normaliser)
        if trainer.distils:
            TeacherPrompts(config, session.retriever, session.tokenizer).fill(fresh, episodes)
        return data

    def after_step(trainer: SDARTrainer, step: int, metrics: dict[str, Any]) -> bool:
        seconds.append(time.perf_counter() - marks[-1])
        return False

    with tempfile.TemporaryDirectory() as folder:
        steps = config.model_copy(update={"train": config.train.model_copy(update={"steps": repeats + 1})})
        model = load_model(config.model)
        SDARTrainer(steps, model, session.tokenizer, Path(folder), rollout, after_step).train()
    return seconds[1:]


def main() -> None:
    """Measure and print."""
    from sdar_cli.base.display import Reporter
    from sdar_cli.session import open_session

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    sdar, grpo = resolve(method="sdar").config, resolve(method="grpo").config
    with Reporter(plain=True) as reporter, open_session(sdar, reporter) as session:
        episodes, rows, rollout = rollout_rows(sdar, session)
        both: dict[str, list[float]] = {"grpo": [], "sdar": []}
        for _ in range(2):  # in turn, so that a slow spell of the machine hits both
            both["grpo"] += update_seconds(grpo, session, episodes, rows, repeats)
            both["sdar"] += update_seconds(sdar, session, episodes, rows, repeats)
    tokens = sum(row.length for row in rows)
    print(f"{platform.machine()}, {os.cpu_count()} cores; {len(rows)} rows, {tokens} tokens; rollout {rollout:.2f} s")
    median = {name: statistics.median(values) for name, values in both.items()}
    for name, values in both.items():
        print(f"{name}: updates {median[name]:.2f} s (min {min(values):.2f}, max {max(values):.2f})")
    whole = (rollout + median["sdar"]) / (rollout + median["grpo"])
    print(f"ratio sdar / grpo: whole step {whole:.2f}, without the rollout {median['sdar'] / median['grpo']:.2f}")


if __name__ == "__main__":
    main()
