"""From the episodes of a setting to its result: success and metrics, overall and per task type."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from sdar_cli.envs.base import group_by_type
from sdar_cli.envs.benchmark import Rates
from sdar_cli.envs.panels import Panel
from sdar_cli.evaluation.metrics import METRICS, Metric, measure
from sdar_cli.evaluation.setting import Setting
from sdar_cli.runs.records import EpisodeRecord
from sdar_cli.runs.results import EvaluationResult, Internalisation, PanelRecord, Rate
from sdar_cli.stats import mean_sd, paired, wilson


def summarise(
    panel: Panel,
    setting: Setting,
    episodes: Sequence[EpisodeRecord],
    cut: int,
    *,
    metrics: Sequence[Metric] = (),
    tagger: str | None = None,
    means: Callable[[Rates], Mapping[str, float]] = lambda rates: {},
) -> EvaluationResult:
    """Success overall and per type.  Failed episodes count as lost and are also counted apart.

    cut: prompts that were cut.  metrics: shown besides success, and besides the score where an episode has one.
    tagger: what the scores depend on, in an environment that has one.  means: further means over the task types.
    """
    shown = _shown(episodes, metrics)
    types = {name: {t.id for t in tasks} for name, tasks in group_by_type(panel.tasks).items()}
    rates = {name: rate_of([e for e in episodes if e.task.id in ids], shown) for name, ids in types.items()}
    overall = rate_of(episodes, shown)
    per_seed = tuple(measure("success", [e for e in episodes if e.seed == seed]) for seed in setting.seeds)
    mean, sd = mean_sd(per_seed)
    return EvaluationResult(
        label=setting.label,
        with_skill=setting.with_skill,
        decoding=setting.decoding,
        temperature=None if setting.decoding == "greedy" else setting.temperature,
        seeds=setting.seeds,
        panel=PanelRecord(panel.split, len(panel.tasks), panel.sha256),
        overall=overall,
        per_seed=per_seed,
        mean=mean,
        sd_over_sampling_seeds=sd,
        types=rates,
        means=means(Rates({name: rate.success for name, rate in rates.items()}, overall.success)) or None,
        mean_turns=measure("turns", episodes),
        invalid_ratio=measure("invalid_ratio", episodes),
        failed=int(measure("failed", episodes)),
        cut_prompts=cut,
        tagger=tagger,
        metrics=tuple(metric.label for metric in shown),
    )


def _shown(episodes: Sequence[EpisodeRecord], more: Sequence[Metric]) -> list[Metric]:
    """The score where an episode has one, then ``more``."""
    scored = any(episode.score is not None for episode in episodes)
    found = {metric.name: metric for metric in ([METRICS["score"]] if scored else [])} | {m.name: m for m in more}
    return [metric for name, metric in found.items() if name != "success"]


def rate_of(episodes: Sequence[EpisodeRecord], metrics: Sequence[Metric] = ()) -> Rate:
    """Success with its interval, and metrics, over episodes."""
    won = sum(e.won for e in episodes)
    tasks = len({e.task.id for e in episodes})  # seeds repeat tasks: they are no new draws of the task population
    low, high = wilson(won * tasks / max(1, len(episodes)), tasks)
    means = {metric.name: metric.mean(episodes) for metric in metrics}
    return Rate(won, len(episodes), measure("success", episodes), low, high, means)


def internalisation(
    results: Sequence[EvaluationResult], episodes: Sequence[Sequence[EpisodeRecord]]
) -> tuple[Internalisation, ...]:
    """How much of the success with skills is there without them, per way of decoding played in both ways.

    episodes: those of each result.
    """
    found = []
    for without, played in zip(results, episodes, strict=True):
        for shown, played_shown in zip(results, episodes, strict=True):
            if _decoded(without) == _decoded(shown) and shown.with_skill and not without.with_skill:
                gain = paired(_wins(played), _wins(played_shown), len(without.seeds))
                rates = (without.overall.success, shown.overall.success)
                share = rates[0] / rates[1] if rates[1] else None
                found.append(Internalisation(without.label.partition(", ")[2], *rates, share, gain))
    return tuple(found)


def _decoded(result: EvaluationResult) -> tuple[object, ...]:
    return result.decoding, result.temperature, tuple(result.seeds)


def _wins(episodes: Sequence[EpisodeRecord]) -> list[int]:
    """Wins of each task, tasks sorted."""
    wins: dict[str, int] = {}
    for episode in episodes:
        wins[episode.task.id] = wins.get(episode.task.id, 0) + episode.won
    return [count for _, count in sorted(wins.items())]
