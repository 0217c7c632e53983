"""One step's groups: its tasks, its metrics, what it makes of broken episodes, and its samples."""

from __future__ import annotations

from typing import Any

import pytest
import toy

from sdar_cli.base.errors import RunFailedError
from sdar_cli.base.seeds import seed_of
from sdar_cli.envs.alfworld.games.layout import TASK_TYPES
from sdar_cli.envs.base import StopReason
from sdar_cli.models.engines.scripted import ScriptedEngine
from sdar_cli.rollout.collect import Collected, Collector, check_failures
from sdar_cli.rollout.episode import Episode
from sdar_cli.rollout.samples import make_samples
from sdar_cli.rollout.step import epoch_order, merge_collected, play_step, rollout_metrics, tasks_of_step


def test_tasks_of_steps_are_epochs_without_replacement() -> None:
    """Every task once per epoch whatever the step size, in another order each time, the same in every process."""
    tasks = toy.tasks(12)
    stream = [t.id for step in range(1, 10) for t in tasks_of_step(tasks, step, 8, seed=7)]
    epochs = [stream[i : i + 12] for i in range(0, 72, 12)]
    assert all(sorted(epoch) == sorted(t.id for t in tasks) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 3
    assert tasks_of_step(tasks, 5, 8, seed=7) == tasks_of_step(tasks[::-1], 5, 8, seed=7)
    assert tasks_of_step(tasks, 5, 8, seed=7) != tasks_of_step(tasks, 5, 8, seed=8)


def test_a_step_has_as_many_task_types_as_it_can() -> None:
    """Twelve tasks of six types, two each: every step of six has all types."""
    tasks = toy.tasks(12)
    for seed in range(5):
        for step in (1, 2, 3):
            assert {t.type for t in tasks_of_step(tasks, step, 6, seed)} == set(TASK_TYPES)
    assert len({tuple(t.id for t in epoch_order(tasks, seed)) for seed in range(5)}) == 5


def test_metrics_of_a_rollout() -> None:
    """Means over episodes that did not fail; ratios over their turns."""
    won = Episode(toy.task(0), 0, 0, [toy.make_turn([1, 2]), toy.make_turn([3], valid=False)], 1.0, True)
    lost = Episode(toy.task(1), 0, 1, [toy.make_turn([4])], 0.0)
    broken = Episode(toy.task(2), 0, 2, [toy.make_turn([5, 6, 7, 8], valid=False)], 0.0)
    won.stop, lost.stop, broken.stop = StopReason.WON, StopReason.MAX_TURNS, StopReason.ENV_FAILED
    won.turns[0].truncated_response = True
    out = rollout_metrics(Collected([broken, won, lost], 1.0, 2.0, tokens_generated=8, cut_prompts=3))
    expected: dict[str, Any] = {
        "success": 1 / 2,
        "reward": 1 / 2,
        "mixed_group_ratio": 1 / 1,  # all of one group
        "turns": 3 / 2,
        "invalid_ratio": 1 / 3,
        "inadmissible_ratio": 1 / 3,
        "truncations": 1 + 3,
        "failed_episodes": 1,
        "rows_tokens": 4,
        "tokens_generated": 8,
        "tokens_per_s": 4.0,
    }
    assert {key: out[key] for key in expected} == pytest.approx(expected)
    assert out["last_episode"] == "pick_and_place_simple: max_turns in 1"


def test_a_group_is_mixed_where_rewards_differ() -> None:
    """Of the groups (0, 1), (0, 0), (1, 1) and (0, failed) one."""
    rewards = {0: (0.0, 1.0), 1: (0.0, 0.0), 2: (1.0, 1.0), 3: (0.0, 1.0)}
    episodes = [Episode(toy.task(0), g, i, [], r) for g, pair in rewards.items() for i, r in enumerate(pair)]
    episodes[-1].stop, episodes[-1].failure = StopReason.ENV_FAILED, "lost"
    assert rollout_metrics(Collected(episodes, 1.0, 1.0))["mixed_group_ratio"] == 1 / 4


STEP = {"train": {"tasks_per_step": 3, "group_size": 2}, "env": {"max_turns": 3}}


def collector(tokenizer, respond=toy.walker, **sections: Any) -> Collector:
    settings = toy.config(**{**STEP, **sections})
    return Collector(settings, toy.Corridor(toy.tasks(6)), ScriptedEngine(tokenizer, respond), tokenizer)


def test_a_step_is_played_and_its_samples_are_made(tokenizer) -> None:
    """The groups of the step's tasks, in order, with the seed of the step; the samples are those of its episodes."""
    seeds, ended = [], []

    class Noting(ScriptedEngine):
        def answer(self, request):
            seeds.append(request.seed)
            return super().answer(request)

    player = collector(tokenizer)
    player.engine = Noting(tokenizer, toy.walker)
    tasks = player.environment.tasks("train")
    played = play_step(player, tasks, 2, lambda task, goal: "never shown", pytest.fail, ended.append)
    assert played.tasks == tasks_of_step(tasks, 2, 3, player.config.seed)
    assert [(e.task, e.group, e.index) for e in played.episodes] == [
        (played.tasks[i // 2], i // 2, i) for i in range(6)
    ]
    first = [seed_of(player.config.seed, "rollout", 2, group, member, 0) for group in range(3) for member in range(2)]
    assert seeds[:6] == first and len(set(seeds)) == len(seeds)
    samples, normaliser = make_samples(played.episodes, "window", player.config.algo)
    assert list(map(vars, played.samples)) == list(map(vars, samples)) and played.normaliser == normaliser
    assert (played.failed, played.metrics["success"], ended[-1]) == (0, 1.0, 6)
    assert not any("never shown" in tokenizer.decode(sample.prompt_ids) for sample in played.samples)


def test_the_policy_is_shown_its_skill_where_it_is_wanted(tokenizer) -> None:
    player = collector(tokenizer, train={**STEP["train"], "with_skill": True}, algo={"coef": 0.0})
    tasks = player.environment.tasks("train")
    played = play_step(player, tasks, 1, lambda task, goal: "Open every door.", pytest.fail)
    assert all("Open every door." in tokenizer.decode(sample.prompt_ids) for sample in played.samples)


def test_broken_episodes_are_counted_and_make_no_samples(tokenizer) -> None:
    calls = iter(range(99))

    def respond(prompt: str) -> str:
        return toy.say("break 1") if next(calls) == 0 else toy.walker(prompt)

    warnings: list[str] = []
    player = collector(tokenizer, respond, env={"max_turns": 3, "max_failed": 0.2})
    played = play_step(player, player.environment.tasks("train"), 1, lambda task, goal: "", warnings.append)
    assert warnings == ["1 of 6 episodes failed, first: the corridor fell down"]
    assert played.failed == 1 and 0 not in {sample.trajectory for sample in played.samples}
    everything = collector(tokenizer, lambda prompt: toy.say("break 1"), env={"max_turns": 3, "max_failed": 1.0})
    with pytest.raises(RunFailedError, match="6 of 6 episodes of a step failed"):
        play_step(everything, toy.tasks(6), 1, lambda task, goal: "", warnings.append)


@pytest.mark.parametrize(
    "broken, total, share, stops",
    [(0, 4, 0.0, False), (0, 0, 0.0, False), (1, 4, 0.25, False), (2, 4, 0.25, True), (4, 4, 1.0, True)],
)
def test_too_many_failures_stop_the_run(broken: int, total: int, share: float, stops: bool) -> None:
    """More than the share, or all of them; the error says how many and why the first."""
    failures = [f"reason {i}" for i in range(broken)]
    if not stops:
        check_failures(failures, total, share, "a step")
        return
    with pytest.raises(RunFailedError, match=f"{broken} of {total} episodes of a step failed") as stopped:
        check_failures(failures, total, share, "a step")
    assert stopped.value.why == "the first: reason 0" and "env.max_failed" in stopped.value.fix


def test_the_parts_of_all_processes_become_one_step() -> None:
    """Each process has every second group: they come in the order of groups, numbered anew."""
    parts = []
    for rank in (0, 1):
        groups = [g for g in range(3) if g % 2 == rank]
        episodes = [Episode(toy.task(0, g), g, i) for i, g in enumerate(g for g in groups for _ in range(2))]
        parts.append(Collected(episodes, 1.0 + rank, 2.0 - rank, tokens_generated=5, cut_prompts=rank))
    out = merge_collected(parts)
    assert [(e.group, e.index) for e in out.episodes] == [(i // 2, i) for i in range(6)]
    assert (out.seconds_env, out.seconds_generate, out.tokens_generated, out.cut_prompts) == (2.0, 2.0, 10, 1)
