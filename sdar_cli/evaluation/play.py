"""Playing a fixed panel in one setting, chunk by chunk, on draws that depend on the task and a seed only."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from sdar_cli.base import distributed
from sdar_cli.envs.base import Task
from sdar_cli.envs.panels import Panel
from sdar_cli.envs.registry import benchmark
from sdar_cli.evaluation.ledger import Ledger
from sdar_cli.evaluation.metrics import load_metrics
from sdar_cli.evaluation.setting import Setting
from sdar_cli.evaluation.summary import summarise
from sdar_cli.models.engine import Sampling
from sdar_cli.rollout.collect import Assignment, Collector, SkillFor, check_failures, no_skill
from sdar_cli.runs.records import EpisodeRecord
from sdar_cli.runs.results import EvaluationResult

CHUNK = 256
"""Episodes played side by side."""


def evaluate(
    collector: Collector,
    panel: Panel,
    setting: Setting,
    skill_for: SkillFor,
    progress: Callable[[int], None] | None = None,
    ledger: Ledger | None = None,
) -> tuple[EvaluationResult, list[EpisodeRecord]]:
    """(result, episodes): each task of the panel once per seed.

    A task is sampled with seeds made of the evaluation's seed and the task's id, never of the training run's, so that
    runs are compared on the same draws.  ``progress`` is called with the number of episodes that have ended
    since the last call.  ledger: chunks that it holds are not played again, others are added.
    """
    record = benchmark(collector.config.env.name)
    metrics = load_metrics([*record.metrics, *collector.config.eval.metrics])
    episodes: list[EpisodeRecord] = []
    cut = 0
    advance = progress or (lambda number: None)
    for seed in setting.seeds:
        for start, tasks in _chunks(panel.tasks):
            chunk = (setting.label, seed, start)
            played = ledger.played(chunk) if ledger else None
            if played is None:
                played = _play(collector, setting, seed, tasks, skill_for, advance)
                if ledger:
                    refuse_broken(played[0], collector.config.env.max_failed)
                    ledger.add(chunk, *played)
            else:
                advance(len(tasks))
            episodes += played[0]
            cut += played[1]
    tagger = getattr(collector.environment, "tagger_id", None)
    result = summarise(panel, setting, episodes, cut, metrics=metrics, tagger=tagger, means=record.means)
    return result, episodes


def _play(
    collector: Collector,
    setting: Setting,
    seed: int,
    tasks: Sequence[Task],
    skill_for: SkillFor,
    progress: Callable[[int], None],
) -> tuple[list[EpisodeRecord], int]:
    """The episodes of one chunk and the number of their cut prompts."""
    sampling = Sampling(collector.config.model.max_response_tokens, setting.temperature, setting.decoding == "greedy")
    done = 0

    def advance(finished: int) -> None:
        nonlocal done
        progress(finished - done)
        done = finished

    out = collector.collect(
        [Assignment(task, i, ("evaluate", seed, task.id)) for i, task in enumerate(distributed.local_part(tasks))],
        sampling,
        skill_for if setting.with_skill else no_skill,
        advance,
    )
    records = [episode.record().brief(setting.label, seed) for episode in out.episodes]
    played = distributed.gather((records, out.cut_prompts))
    advance(len(tasks))
    return distributed.interleave([part[0] for part in played]), sum(part[1] for part in played)


def refuse_broken(episodes: Sequence[EpisodeRecord], max_failed: float) -> int:
    """The number of failed episodes.  A broken environment must not look like a policy that fails: raises
    RunFailedError where all failed or more than ``max_failed`` of them."""
    failures = [episode.failure for episode in episodes if episode.failure is not None]
    check_failures(failures, len(episodes), max_failed, "an evaluation")
    return len(failures)


def _chunks(tasks: Sequence[Task]) -> Iterator[tuple[int, Sequence[Task]]]:
    for start in range(0, len(tasks), CHUNK):
        yield start, tasks[start : start + CHUNK]
