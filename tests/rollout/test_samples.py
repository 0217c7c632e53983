"""From episodes to samples: token ids, masks, advantages and weights, with the arithmetic written out."""

from __future__ import annotations

import math
from dataclasses import FrozenInstanceError

import pytest
from toy import make_turn

from sdar_cli.config.schema import AlgoConfig
from sdar_cli.envs.base import StopReason
from sdar_cli.rollout.samples import advantages_of, make_samples, token_rows, weights_of

from .handmade import episode, transcript_episodes, window_episodes  # noqa: F401  two fixtures

EPS = 1e-6
"""Added to a group's standard deviation."""


def test_turn_rows(window) -> None:
    rows = token_rows(window, "window")
    assert [row.prompt_ids for row in rows] == [[1, 2, 3], [1], [4, 5], [6], [7, 8]]
    assert [row.response_ids for row in rows] == [[11, 12], [13, 14, 15], [16], [17], [18, 19, 20, 21]]
    assert [(row.trajectory, row.group, row.turn) for row in rows] == [
        (0, 0, 0),
        (0, 0, 1),
        (1, 0, 0),
        (2, 1, 0),
        (3, 1, 0),
    ]
    assert all(row.mask == [True] * len(row.response_ids) for row in rows)
    assert [row.turn_of for row in rows] == [[0, 0], [1, 1, 1], [0], [0], [0, 0, 0, 0]]


def test_a_transcript_is_one_row_with_the_environments_tokens_masked(transcript) -> None:
    first, second = token_rows(transcript, "transcript")
    assert first.prompt_ids == [1, 2]
    assert first.response_ids == [11, 12, 90, 91, 13, 92, 14, 15, 16]
    assert first.turn_of == [0, 0, -1, -1, 1, -1, 2, 2, 2]
    assert first.mask == [True, True, False, False, True, False, True, True, True]
    assert (second.prompt_ids, second.response_ids, second.turn) == ([3], [17], 0)
    assert first.sampler_logps == [-0.5, -0.5, 0, 0, -0.5, 0, -0.5, -0.5, -0.5]


def test_a_transcript_that_was_tokenised_again_is_refused(transcript) -> None:
    transcript[0].turns[1].prompt_ids[2] = 99
    with pytest.raises(ValueError, match=r"turn 1 of .* does not continue"):
        token_rows(transcript, "transcript")


@pytest.mark.parametrize("context", ["window", "transcript"])
def test_failed_episodes_and_those_without_a_turn_make_no_rows(context: str) -> None:
    good = episode(0, 0, [make_turn([11])])
    broken = episode(1, 0, [make_turn([12])], stop=StopReason.ENV_FAILED)
    empty = episode(2, 0, [], stop=StopReason.CONTEXT_FULL)
    assert [row.trajectory for row in token_rows([broken, good, empty], context)] == [0]


def close(advantages, expected) -> None:
    for found, values in zip(advantages, expected, strict=True):
        assert found == pytest.approx(values, abs=1e-12)


def test_episode_statistics_and_a_penalty_on_the_advantage(window) -> None:
    """Group 0 has returns 1 and 0: mean 1/2, deviation sqrt(1/2).  The penalty falls on that turn's tokens only."""
    rows = token_rows(window, "window")
    found = advantages_of(rows, window, AlgoConfig(adv_stats="episode", penalty_on="advantage", invalid_penalty=0.1))
    won = 0.5 / (math.sqrt(0.5) + EPS)
    close(found, [[won] * 2, [won - 0.1] * 3, [-won], [0 - 0.1], [0.0] * 4])


def test_turn_statistics_and_a_penalty_on_the_reward(window) -> None:
    """Group 0 has rows 1, 1 - 0.1, 0: mean 1.9/3; group 1 has -0.1, 0: mean -0.05, deviation 0.1 / sqrt(2)."""
    rows = token_rows(window, "window")
    found = advantages_of(rows, window, AlgoConfig(adv_stats="turn", penalty_on="reward", invalid_penalty=0.1))
    mean = 1.9 / 3
    deviation = math.sqrt(((1 - mean) ** 2 + (0.9 - mean) ** 2 + mean**2) / 2)
    first, second, third = ((value - mean) / (deviation + EPS) for value in (1.0, 0.9, 0.0))
    low = 0.05 / (0.1 / math.sqrt(2) + EPS)
    close(found, [[first] * 2, [second] * 3, [third], [-low], [low] * 4])


def test_turn_statistics_and_a_penalty_on_the_advantage(window) -> None:
    """Rows of group 0 are 1, 1, 0: mean 2/3, deviation sqrt((1/9 + 1/9 + 4/9) / 2) = sqrt(1/3)."""
    rows = token_rows(window, "window")
    found = advantages_of(rows, window, AlgoConfig(adv_stats="turn", penalty_on="advantage", invalid_penalty=0.1))
    scale = math.sqrt(1 / 3) + EPS
    close(found, [[(1 / 3) / scale] * 2, [(1 / 3) / scale - 0.1] * 3, [(-2 / 3) / scale], [-0.1], [0.0] * 4])


def test_without_the_deviation_the_advantage_is_the_centred_return(window) -> None:
    rows = token_rows(window, "window")
    found = advantages_of(rows, window, AlgoConfig(adv_std=False, invalid_penalty=0.0))
    close(found, [[0.5] * 2, [0.5] * 3, [-0.5], [0.0], [0.0] * 4])


@pytest.mark.parametrize("stats", ["episode", "turn"])
def test_a_transcript_bears_the_penalties_of_all_its_turns(transcript, stats: str) -> None:
    """Two invalid turns cost 0.2 of the return 1: rows 0.8 and 0, mean 0.4, deviation 0.8 / sqrt(2)."""
    rows = token_rows(transcript, "transcript")
    found = advantages_of(rows, transcript, AlgoConfig(adv_stats=stats, penalty_on="reward", invalid_penalty=0.1))
    value = 0.4 / (0.8 / math.sqrt(2) + EPS)
    close(found, [[value] * 9, [-value]])


def test_in_a_transcript_the_penalty_on_the_advantage_falls_on_its_turns_tokens(transcript) -> None:
    rows = token_rows(transcript, "transcript")
    found = advantages_of(rows, transcript, AlgoConfig(penalty_on="advantage", invalid_penalty=0.1))
    value = 0.5 / (math.sqrt(0.5) + EPS)
    less = value - 0.1
    close(found, [[value, value, value, value, less, value, less, less, less], [-value]])


def test_a_failed_episode_takes_no_part_in_its_groups_statistics(window) -> None:
    """With the lost one broken, the won one is alone: mean 0 and deviation 1, its advantage is its return."""
    window[1].stop = StopReason.ENV_FAILED
    rows = token_rows(window, "window")
    found = advantages_of(rows, window, AlgoConfig(adv_stats="episode", invalid_penalty=0.0))
    assert [row.trajectory for row in rows] == [0, 0, 2, 3]
    # Alone as an episode, whatever its number of turns: 1 / (1 + eps).
    close(found[:2], [[1 / (1 + EPS)] * 2, [1 / (1 + EPS)] * 3])


@pytest.mark.parametrize(
    "agg, expected, total",
    [
        ("token", [[1, 1], [1, 1, 1], [1], [1], [1] * 4], 11),  # 5 + 1 + 1 + 4 tokens
        ("turn", [[1 / 2] * 2, [1 / 3] * 3, [1], [1], [1 / 4] * 4], 5),  # rows
        ("trajectory", [[1 / 5] * 2, [1 / 5] * 3, [1], [1], [1 / 4] * 4], 4),  # episodes
    ],
)
def test_weights_of_turn_rows(window, agg: str, expected, total: int) -> None:
    rows = token_rows(window, "window")
    weights, normaliser = weights_of(rows, agg)
    assert normaliser == pytest.approx(total, abs=1e-6)
    for found, values in zip(weights, expected, strict=True):
        assert found == pytest.approx(values, abs=1e-7)


@pytest.mark.parametrize(
    "agg, first, second, third, total",
    [("token", 1.0, 1.0, 1.0, 7), ("turn", 1 / 2, 1.0, 1 / 3, 4), ("trajectory", 1 / 6, 1 / 6, 1 / 6, 2)],
)
def test_the_environments_tokens_weigh_nothing(transcript, agg, first, second, third, total) -> None:
    """Turns of 2, 1 and 3 tokens in the first transcript, one turn of 1 token in the second."""
    rows = token_rows(transcript, "transcript")
    weights, normaliser = weights_of(rows, agg)
    assert normaliser == pytest.approx(total, abs=1e-6)
    expected = [first, first, 0, 0, second, 0, third, third, third]
    assert weights[0] == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize("agg", ["token", "turn", "trajectory"])
def test_a_sample_is_its_row_with_advantages_and_weights(window, agg: str) -> None:
    """What is known once the episodes are played, and it does not change any more."""
    algo = AlgoConfig(agg=agg, invalid_penalty=0.1)
    rows = token_rows(window, "window")
    advantages, (weights, total) = advantages_of(rows, window, algo), weights_of(rows, agg)
    samples, normaliser = make_samples(window, "window", algo)
    assert normaliser == total
    for sample, row, advantage, weight in zip(samples, rows, advantages, weights, strict=True):
        assert vars(sample) == {**vars(row), "advantage": advantage, "weight": weight, "teacher_prompts": ()}
    with pytest.raises(FrozenInstanceError):
        samples[0].advantage = [0.0, 0.0]  # type: ignore[misc]


def test_samples_are_distinguished_by_identity_only(window) -> None:
    """They are keys of what scoring finds: two equal turns of a group are two samples."""
    first, second = make_samples(window, "window", AlgoConfig())[0], make_samples(window, "window", AlgoConfig())[0]
    assert len({*first, *second}) == 2 * len(first)
