"""From episodes to rows: token ids, masks, advantages and weights, with the arithmetic written out."""

from __future__ import annotations

import math

import pytest
import torch
from toy import make_turn, task

from sdar_cli.config.schema import AlgoConfig
from sdar_cli.envs.base import StopReason
from sdar_cli.rollout.episode import Episode
from sdar_cli.train.rows import assign_advantages, assign_weights, build_rows, collate, micro_batches

EPS = 1e-6
"""Added to a group's standard deviation."""


def episode(index: int, group: int, turns, reward: float = 0.0, stop: StopReason = StopReason.MAX_TURNS) -> Episode:
    made = Episode(task(0, group), group, index, list(turns), reward, reward > 0)
    made.stop = stop
    return made


@pytest.fixture
def window() -> list[Episode]:
    """Group 0: a won episode of two turns, the second invalid, and a lost one of one turn.  Group 1: two lost
    ones, the first with an invalid turn.  2 + 3, 1, 1 and 4 tokens."""
    return [
        episode(0, 0, [make_turn([11, 12], (1, 2, 3)), make_turn([13, 14, 15], (1,), valid=False)], 1.0),
        episode(1, 0, [make_turn([16], (4, 5))]),
        episode(2, 1, [make_turn([17], (6,), valid=False)]),
        episode(3, 1, [make_turn([18, 19, 20, 21], (7, 8))]),
    ]


@pytest.fixture
def transcript() -> list[Episode]:
    """Group 0: a won episode of three turns (the last two invalid) with 2 and 1 environment tokens between, and a
    lost one of one turn."""
    first = make_turn([11, 12], (1, 2))
    second = make_turn([13], (1, 2, 11, 12, 90, 91), valid=False)
    third = make_turn([14, 15, 16], (1, 2, 11, 12, 90, 91, 13, 92), valid=False)
    return [episode(0, 0, [first, second, third], 1.0), episode(1, 0, [make_turn([17], (3,))])]


def test_turn_rows(window) -> None:
    rows = build_rows(window, "window")
    assert [row.prompt_ids for row in rows] == [[1, 2, 3], [1], [4, 5], [6], [7, 8]]
    assert [row.completion_ids for row in rows] == [[11, 12], [13, 14, 15], [16], [17], [18, 19, 20, 21]]
    assert [(row.trajectory, row.group, row.turn) for row in rows] == [
        (0, 0, 0),
        (0, 0, 1),
        (1, 0, 0),
        (2, 1, 0),
        (3, 1, 0),
    ]
    assert all(row.mask == [True] * len(row.completion_ids) for row in rows)
    assert [row.turn_of for row in rows] == [[0, 0], [1, 1, 1], [0], [0], [0, 0, 0, 0]]


def test_a_transcript_is_one_row_with_the_environments_tokens_masked(transcript) -> None:
    first, second = build_rows(transcript, "transcript")
    assert first.prompt_ids == [1, 2]
    assert first.completion_ids == [11, 12, 90, 91, 13, 92, 14, 15, 16]
    assert first.turn_of == [0, 0, -1, -1, 1, -1, 2, 2, 2]
    assert first.mask == [True, True, False, False, True, False, True, True, True]
    assert (second.prompt_ids, second.completion_ids, second.turn) == ([3], [17], 0)


def test_a_transcript_that_was_tokenised_again_is_refused(transcript) -> None:
    transcript[0].turns[1].prompt_ids[2] = 99
    with pytest.raises(ValueError, match=r"turn 1 of .* does not continue"):
        build_rows(transcript, "transcript")


@pytest.mark.parametrize("context", ["window", "transcript"])
def test_failed_episodes_and_those_without_a_turn_make_no_rows(context: str) -> None:
    good = episode(0, 0, [make_turn([11])])
    broken = episode(1, 0, [make_turn([12])], stop=StopReason.ENV_FAILED)
    empty = episode(2, 0, [], stop=StopReason.CONTEXT_FULL)
    assert [row.trajectory for row in build_rows([broken, good, empty], context)] == [0]


def advantages(rows) -> list[list[float]]:
    return [row.advantage for row in rows]


def close(rows, expected) -> None:
    for row, values in zip(rows, expected, strict=True):
        assert row.advantage == pytest.approx(values, abs=1e-12)


def test_episode_statistics_and_a_penalty_on_the_advantage(window) -> None:
    """Group 0 has returns 1 and 0: mean 1/2, deviation sqrt(1/2).  The penalty falls on that turn's tokens only."""
    rows = build_rows(window, "window")
    assign_advantages(rows, window, AlgoConfig(adv_stats="episode", penalty_on="advantage", invalid_penalty=0.1))
    won = 0.5 / (math.sqrt(0.5) + EPS)
    close(rows, [[won] * 2, [won - 0.1] * 3, [-won], [0 - 0.1], [0.0] * 4])


def test_turn_statistics_and_a_penalty_on_the_reward(window) -> None:
    """Group 0 has rows 1, 1 - 0.1, 0: mean 1.9/3; group 1 has -0.1, 0: mean -0.05, deviation 0.1 / sqrt(2)."""
    rows = build_rows(window, "window")
    assign_advantages(rows, window, AlgoConfig(adv_stats="turn", penalty_on="reward", invalid_penalty=0.1))
    mean = 1.9 / 3
    deviation = math.sqrt(((1 - mean) ** 2 + (0.9 - mean) ** 2 + mean**2) / 2)
    first, second, third = ((value - mean) / (deviation + EPS) for value in (1.0, 0.9, 0.0))
    low = 0.05 / (0.1 / math.sqrt(2) + EPS)
    close(rows, [[first] * 2, [second] * 3, [third], [-low], [low] * 4])


def test_turn_statistics_and_a_penalty_on_the_advantage(window) -> None:
    """Rows of group 0 are 1, 1, 0: mean 2/3, deviation sqrt((1/9 + 1/9 + 4/9) / 2) = sqrt(1/3)."""
    rows = build_rows(window, "window")
    assign_advantages(rows, window, AlgoConfig(adv_stats="turn", penalty_on="advantage", invalid_penalty=0.1))
    scale = math.sqrt(1 / 3) + EPS
    close(rows, [[(1 / 3) / scale] * 2, [(1 / 3) / scale - 0.1] * 3, [(-2 / 3) / scale], [-0.1], [0.0] * 4])


def test_without_the_deviation_the_advantage_is_the_centred_return(window) -> None:
    rows = build_rows(window, "window")
    assign_advantages(rows, window, AlgoConfig(adv_std=False, invalid_penalty=0.0))
    close(rows, [[0.5] * 2, [0.5] * 3, [-0.5], [0.0], [0.0] * 4])


@pytest.mark.parametrize("stats", ["episode", "turn"])
def test_a_transcript_bears_the_penalties_of_all_its_turns(transcript, stats: str) -> None:
    """Two invalid turns cost 0.2 of the return 1: rows 0.8 and 0, mean 0.4, deviation 0.8 / sqrt(2)."""
    rows = build_rows(transcript, "transcript")
    assign_advantages(rows, transcript, AlgoConfig(adv_stats=stats, penalty_on="reward", invalid_penalty=0.1))
    value = 0.4 / (0.8 / math.sqrt(2) + EPS)
    close(rows, [[value] * 9, [-value]])


def test_in_a_transcript_the_penalty_on_the_advantage_falls_on_its_turns_tokens(transcript) -> None:
    rows = build_rows(transcript, "transcript")
    assign_advantages(rows, transcript, AlgoConfig(penalty_on="advantage", invalid_penalty=0.1))
    value = 0.5 / (math.sqrt(0.5) + EPS)
    less = value - 0.1
    close(rows, [[value, value, value, value, less, value, less, less, less], [-value]])


def test_a_failed_episode_takes_no_part_in_its_groups_statistics(window) -> None:
    """With the lost one broken, the won one is alone: mean 0 and deviation 1, its advantage is its return."""
    window[1].stop = StopReason.ENV_FAILED
    rows = build_rows(window, "window")
    assign_advantages(rows, window, AlgoConfig(adv_stats="episode", invalid_penalty=0.0))
    assert [row.trajectory for row in rows] == [0, 0, 2, 3]
    # Alone as an episode, whatever its number of turns: 1 / (1 + eps).
    close(rows[:2], [[1 / (1 + EPS)] * 2, [1 / (1 + EPS)] * 3])


@pytest.mark.parametrize(
    "agg, expected, total",
    [
        ("token", [[1, 1], [1, 1, 1], [1], [1], [1] * 4], 11),  # 5 + 1 + 1 + 4 tokens
        ("turn", [[1 / 2] * 2, [1 / 3] * 3, [1], [1], [1 / 4] * 4], 5),  # rows
        ("trajectory", [[1 / 5] * 2, [1 / 5] * 3, [1], [1], [1 / 4] * 4], 4),  # episodes
    ],
)
def test_weights_of_turn_rows(window, agg: str, expected, total: int) -> None:
    rows = build_rows(window, "window")
    assert assign_weights(rows, agg) == pytest.approx(total, abs=1e-6)
    for row, values in zip(rows, expected, strict=True):
        assert row.weight == pytest.approx(values, abs=1e-7)


@pytest.mark.parametrize(
    "agg, first, second, third, total",
    [("token", 1.0, 1.0, 1.0, 7), ("turn", 1 / 2, 1.0, 1 / 3, 4), ("trajectory", 1 / 6, 1 / 6, 1 / 6, 2)],
)
def test_the_environments_tokens_weigh_nothing(transcript, agg, first, second, third, total) -> None:
    """Turns of 2, 1 and 3 tokens in the first transcript, one turn of 1 token in the second."""
    rows = build_rows(transcript, "transcript")
    assert assign_weights(rows, agg) == pytest.approx(total, abs=1e-6)
    expected = [first, first, 0, 0, second, 0, third, third, third]
    assert rows[0].weight == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize("size", [1, 2, 3, 64])
def test_micro_batches_hold_every_row_once(window, size: int) -> None:
    rows = build_rows(window, "window")
    parts = micro_batches(rows, size)
    assert sorted(id(row) for part in parts for row in part) == sorted(map(id, rows))
    assert [len(part) for part in parts[:-1]] == [size] * (len(parts) - 1)
    assert 1 <= len(parts[-1]) <= size
    lengths = [row.length for part in parts for row in part]
    assert lengths == sorted(lengths) == [2, 3, 4, 5, 6]


def test_the_order_of_micro_batches_does_not_depend_on_the_order_of_rows(window) -> None:
    """Rows of equal length are told apart by trajectory and turn: a sum of floats depends on its order."""
    rows = build_rows([episode(i, 0, [make_turn([i]), make_turn([i, i])]) for i in range(6)], "window")
    order = [id(row) for part in micro_batches(rows, 5) for row in part]
    assert order == [id(row) for part in micro_batches(rows[::-1], 5) for row in part]


def test_collate_pads_prompts_on_the_left_and_completions_on_the_right(transcript) -> None:
    rows = build_rows(transcript, "transcript")
    assign_advantages(rows, transcript, AlgoConfig(adv_std=False, invalid_penalty=0.0))
    assign_weights(rows, "token")
    rows[0].teacher_prompts, rows[1].teacher_prompts = [[5]], [[6, 7, 8]]
    batch = collate(rows, 0, torch.device("cpu"))
    assert batch["prompt_ids"].tolist() == [[1, 2], [0, 3]]
    assert batch["prompt_mask"].tolist() == [[1, 1], [0, 1]]
    assert batch["completion_ids"].tolist() == [[11, 12, 90, 91, 13, 92, 14, 15, 16], [17] + [0] * 8]
    assert batch["completion_mask"].tolist() == [[1] * 9, [1] + [0] * 8]  # attention: environment tokens count
    assert batch["response_mask"].tolist() == [rows[0].mask, [True] + [False] * 8]
    assert batch["tool_mask"].tolist() == [[float(m) for m in rows[0].mask], [1.0] + [0.0] * 8]
    assert batch["advantages"].tolist() == [[0.5] * 9, [-0.5] + [0.0] * 8]
    assert batch["trajectory_ids"].tolist() == [0, 1] and batch["group_ids"].tolist() == [0, 0]
    teacher = collate(rows, 0, torch.device("cpu"), view=0)
    assert teacher["prompt_ids"].tolist() == [[0, 0, 5], [6, 7, 8]]
    assert teacher["prompt_mask"].tolist() == [[0, 0, 1], [1, 1, 1]]
    assert torch.equal(teacher["completion_ids"], batch["completion_ids"])
    assert torch.equal(teacher["completion_mask"], batch["completion_mask"])


def test_collate_passes_log_probs_only_where_every_row_has_them(window) -> None:
    rows = build_rows(window, "window")
    assign_weights(rows, "token")
    for row in rows:
        row.advantage = [0.0] * len(row.completion_ids)
        row.old = torch.full((len(row.completion_ids),), -float(row.completion_ids[0]))
    rows[0].teacher = [torch.zeros(2)]
    batch = collate(rows, 0, torch.device("cpu"))
    assert "teacher" not in batch and "reference" not in batch
    assert batch["old_per_token_logps"][1].tolist() == [-13.0, -13.0, -13.0, 0.0]
