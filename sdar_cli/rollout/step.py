"""One step's groups: which tasks, their episodes, and the samples made of them.  Used by training and by the probe."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sdar_cli.base import distributed
from sdar_cli.base.seeds import seed_of
from sdar_cli.envs.base import Task, group_by_type
from sdar_cli.models.engine import Sampling
from sdar_cli.rollout.collect import Assignment, Collected, Collector, SkillFor, check_failures, no_skill
from sdar_cli.rollout.episode import Episode
from sdar_cli.rollout.samples import Sample, make_samples

Metrics = dict[str, float | str | list[float | None]]
"""Numbers of a step by name; a list has one value per turn."""


@dataclass(frozen=True)
class PlayedStep:
    """The groups of one step.  ``tasks[g]`` is the task of group g."""

    tasks: list[Task]
    episodes: list[Episode]
    """In the order of their groups, those of all processes."""
    samples: list[Sample]
    normaliser: float
    """Sum of the token weights over all samples."""
    failed: int
    """Episodes whose environment broke."""
    metrics: Metrics


def play_step(
    collector: Collector,
    train_tasks: Sequence[Task],
    step: int,
    skill_for: SkillFor,
    warn: Callable[[str], None],
    progress: Callable[[int], None] | None = None,
) -> PlayedStep:
    """Play ``train.group_size`` episodes of every task of a step (from 1) and make their samples.

    Several processes share the groups and gather the episodes: each returns the whole step.
    skill_for: the skill text of a task and goal, used where the policy is shown its skill (``train.with_skill``).
    warn: receives a sentence where some episodes failed.  progress: receives how many of this process's episodes have
    ended.  Raises RunFailedError where too many episodes failed, and what ``Collector.collect`` raises.
    """
    config = collector.config
    tasks = tasks_of_step(train_tasks, step, config.train.tasks_per_step, config.seed)
    groups = distributed.local_part(list(enumerate(tasks)))
    collected = collector.collect(
        [
            Assignment(task, group, (config.seed, "rollout", step, group, member))
            for group, task in groups
            for member in range(config.train.group_size)
        ],
        Sampling(config.model.max_response_tokens, config.model.temperature),
        skill_for if config.train.with_skill else no_skill,
        progress,
    )
    out = merge_collected(distributed.gather(collected))
    failures = [str(episode.failure) for episode in out.episodes if episode.failed]
    check_failures(failures, len(out.episodes), config.env.max_failed, "a step")
    if failures:
        warn(f"{len(failures)} of {len(out.episodes)} episodes failed, first: {failures[0]}")
    samples, normaliser = make_samples(out.episodes, config.env.context, config.algo)
    return PlayedStep(tasks, out.episodes, samples, normaliser, len(failures), rollout_metrics(out))


def tasks_of_step(tasks: Sequence[Task], step: int, count: int, seed: int) -> list[Task]:
    """The tasks of a step (from 1): a permutation per epoch without replacement, types in turn.

    A pure function of (tasks, step, count, seed): resuming needs no state.  An epoch's order interleaves the
    task types, each shuffled, so that a step has as many types as it can.
    """
    first = (step - 1) * count
    chosen: list[Task] = []
    order: list[Task] = []
    epoch = -1
    for position in range(first, first + count):
        if position // len(tasks) != epoch:
            epoch = position // len(tasks)
            order = epoch_order(tasks, seed_of(seed, "tasks", epoch))
        chosen.append(order[position % len(tasks)])
    return chosen


def epoch_order(tasks: Sequence[Task], seed: int) -> list[Task]:
    """Every task once, the types spread evenly."""
    rng = random.Random(seed)
    placed: list[tuple[float, str, Task]] = []
    for kind, members in group_by_type(tasks).items():
        shuffled = sorted(members, key=lambda t: t.id)
        rng.shuffle(shuffled)
        placed += [((i + 0.5) / len(shuffled), kind, task) for i, task in enumerate(shuffled)]
    return [task for _, _, task in sorted(placed, key=lambda item: item[:2])]


def merge_collected(parts: Sequence[Collected]) -> Collected:
    """The episodes of all processes in the order of their groups, numbered anew; seconds are the slowest's."""
    if len(parts) == 1:
        return parts[0]
    episodes = sorted((e for part in parts for e in part.episodes), key=lambda e: (e.group, e.index))
    for index, episode in enumerate(episodes):
        episode.index = index
    return Collected(
        episodes,
        seconds_env=max(part.seconds_env for part in parts),
        seconds_generate=max(part.seconds_generate for part in parts),
        tokens_generated=sum(part.tokens_generated for part in parts),
        cut_prompts=sum(part.cut_prompts for part in parts),
    )


def rollout_metrics(out: Collected) -> Metrics:
    """Metrics of the episodes of a step.  Failed episodes are counted apart and in no mean."""
    episodes = [e for e in out.episodes if not e.failed]
    turns = [turn for e in episodes for turn in e.turns]
    n, m = max(1, len(episodes)), max(1, len(turns))
    last = out.episodes[-1]
    return {
        "success": sum(e.won for e in episodes) / n,
        "reward": sum(e.reward for e in episodes) / n,
        "mixed_group_ratio": mixed_groups(episodes) / max(1, len(_rewards_by_group(episodes))),
        "turns": sum(len(e.turns) for e in episodes) / n,
        "invalid_ratio": sum(not t.valid for t in turns) / m,
        "inadmissible_ratio": sum(not t.admissible for t in turns) / m,
        "truncations": sum(t.truncated_response for t in turns) + out.cut_prompts,
        "failed_episodes": len(out.episodes) - len(episodes),
        "rows_tokens": sum(len(t.response_ids) for t in turns),
        "tokens_generated": out.tokens_generated,
        "tokens_per_s": out.tokens_generated / max(out.seconds_generate, 1e-9),
        "seconds_env": out.seconds_env,
        "seconds_generate": out.seconds_generate,
        "last_episode": f"{last.task.type}: {'won' if last.won else last.stop.value if last.stop else '?'} "
        f"in {len(last.turns)}",
    }


def mixed_groups(episodes: Sequence[Episode]) -> int:
    """The number of groups whose rewards differ: in the others every advantage of the outcome is zero."""
    return sum(len(rewards) > 1 for rewards in _rewards_by_group(episodes).values())


def _rewards_by_group(episodes: Sequence[Episode]) -> dict[int, set[float]]:
    """The different rewards of every group's episodes, failed ones left out."""
    groups: dict[int, set[float]] = {}
    for episode in episodes:
        if not episode.failed:
            groups.setdefault(episode.group, set()).add(episode.reward)
    return groups
