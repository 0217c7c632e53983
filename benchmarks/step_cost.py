"""What the distillation term costs: an SDAR step against a GRPO step on the same samples.

    python benchmarks/step_cost.py [--repeats 5] [--smallest]

One rollout of the bundled tiny policy gives the samples.  Both trainers then make the updates of a step on them, in
turn; the SDAR step includes the teacher's prompts and its forward pass.  Prints seconds and the ratio with and
without the rollout, which is the same for both.  ``--smallest``: two groups of two short episodes, to see that it runs.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from sdar_cli.config.presets import resolve
from sdar_cli.config.schema import RunConfig

if TYPE_CHECKING:
    from sdar_cli.rollout.episode import Episode
    from sdar_cli.rollout.samples import Sample
    from sdar_cli.rollout.step import Metrics, PlayedStep
    from sdar_cli.session import Session

SMALL = ("train.tasks_per_step=2", "train.group_size=2", "env.games_train=12", "env.games_eval=6", "env.max_turns=5")


def played_step(session: Session) -> tuple[PlayedStep, float]:
    """(the first step, seconds of its rollout with workers started and games read)."""
    from functools import partial

    from sdar_cli.rollout.step import play_step

    def play() -> PlayedStep:
        skill_for = partial(session.skill_for, step=1)
        return play_step(session.collector, session.train_tasks, 1, skill_for, session.reporter.warn)

    play()
    began = time.perf_counter()
    played = play()
    return played, time.perf_counter() - began


def with_contrast(samples: Sequence[Sample]) -> list[Sample]:
    """Advantages of both signs: a policy that wins nothing would have no policy gradient to compute."""
    return [replace(sample, advantage=[(-1.0) ** i] * len(sample.mask)) for i, sample in enumerate(samples)]


def update_seconds(
    config: RunConfig,
    session: Session,
    episodes: Sequence[Episode],
    samples: Sequence[Sample],
    normaliser: float,
    repeats: int,
) -> list[float]:
    """Seconds of each step's teacher prompts, teacher pass and updates; a first step is not counted."""
    from sdar_cli.models.loading import load_model
    from sdar_cli.train.teacher import TeacherPrompts
    from sdar_cli.train.trainer import SDARTrainer, StepData

    marks: list[float] = []
    seconds: list[float] = []

    def rollout(trainer: SDARTrainer, step: int) -> StepData:
        marks.append(time.perf_counter())
        if trainer.coef == 0:
            return StepData(samples, normaliser)
        teacher = TeacherPrompts(config, session.retriever, session.tokenizer)
        return StepData(teacher.add_prompts(samples, episodes, step)[0], normaliser)

    def after_step(trainer: SDARTrainer, step: int, metrics: Metrics) -> bool:
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
    parser.add_argument("--smallest", action="store_true", help="the smallest size, one repeat")
    given = parser.parse_args()
    sets, repeats = (SMALL, 1) if given.smallest else ((), given.repeats)
    sets = (*sets, "engine.allow_gap=true")  # the same samples train the policy again and again
    configs = {name: resolve(method=name, sets=sets).config for name in ("grpo", "sdar")}
    with Reporter(plain=True) as reporter, open_session(configs["sdar"], reporter) as session:
        played, rollout = played_step(session)
        samples = with_contrast(played.samples)
        both: dict[str, list[float]] = {name: [] for name in configs}
        for _ in range(2):  # in turn, so that a slow spell of the machine hits both
            for name, config in configs.items():
                both[name] += update_seconds(config, session, played.episodes, samples, played.normaliser, repeats)
    tokens = sum(sample.length for sample in samples)
    print(f"{platform.machine()}, {os.cpu_count()} cores; {len(samples)} samples, {tokens} tokens; ", end="")
    print(f"rollout {rollout:.2f} s")
    median = {name: statistics.median(values) for name, values in both.items()}
    for name, values in both.items():
        print(f"{name}: updates {median[name]:.2f} s (min {min(values):.2f}, max {max(values):.2f})")
    whole = (rollout + median["sdar"]) / (rollout + median["grpo"])
    print(f"ratio sdar / grpo: whole step {whole:.2f}, without the rollout {median['sdar'] / median['grpo']:.2f}")


if __name__ == "__main__":
    main()
