"""Samples and signals in padded batches, and their order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from rollout.handmade import episode, transcript_episodes, window_episodes  # noqa: F401  two fixtures
from toy import make_turn

from sdar_cli.config.schema import AlgoConfig
from sdar_cli.rollout.samples import Sample, make_samples
from sdar_cli.train.rows import PolicyScores, Signals, TeacherScores, collate, collate_tokens, micro_batches

PLAIN = AlgoConfig(adv_std=False, invalid_penalty=0.0, agg="token")
CPU = torch.device("cpu")


def unscored(samples: Sequence[Sample]) -> dict[Sample, Signals]:
    return {sample: Signals(sample.advantage, None, None, None) for sample in samples}


@pytest.mark.parametrize("size", [1, 2, 3, 64])
def test_micro_batches_hold_every_row_once(window, size: int) -> None:
    rows = make_samples(window, "window", PLAIN)[0]
    parts = micro_batches(rows, size)
    assert sorted(id(row) for part in parts for row in part) == sorted(map(id, rows))
    assert [len(part) for part in parts[:-1]] == [size] * (len(parts) - 1)
    assert 1 <= len(parts[-1]) <= size
    lengths = [row.length for part in parts for row in part]
    assert lengths == sorted(lengths, reverse=True) == [6, 5, 4, 3, 2]


def test_micro_batches_follow_the_prompt_that_is_scored(window) -> None:
    """The teacher's prompts have other lengths than the student's."""
    rows = make_samples(window, "window", PLAIN)[0]
    longest = rows[1]
    parts = micro_batches(rows, 1, prompt_of=lambda row: [0] * 90 if row is longest else row.prompt_ids)
    assert parts[0] == [longest]


def test_two_processes_share_the_micro_batches(window) -> None:
    rows = make_samples(window, "window", PLAIN)[0]
    first, second = (micro_batches(rows, 64, processes=2, process=rank) for rank in (0, 1))
    assert [len(part) for part in first + second] == [3, 2]
    assert {id(row) for part in first + second for row in part} == set(map(id, rows))


def test_the_order_of_micro_batches_does_not_depend_on_the_order_of_rows(window) -> None:
    """Rows of equal length are distinguished by trajectory and turn: a sum of floats depends on its order."""
    rows = make_samples([episode(i, 0, [make_turn([i]), make_turn([i, i])]) for i in range(6)], "window", PLAIN)[0]
    order = [id(row) for part in micro_batches(rows, 5) for row in part]
    assert order == [id(row) for part in micro_batches(rows[::-1], 5) for row in part]


def test_collate_pads_prompts_on_the_left_and_responses_on_the_right(transcript) -> None:
    rows, _ = make_samples(transcript, "transcript", PLAIN)
    batch = collate(rows, unscored(rows), 0, CPU)
    assert batch["prompt_ids"].tolist() == [[1, 2], [0, 3]]
    assert batch["prompt_mask"].tolist() == [[1, 1], [0, 1]]
    assert batch["completion_ids"].tolist() == [[11, 12, 90, 91, 13, 92, 14, 15, 16], [17] + [0] * 8]
    assert batch["completion_mask"].tolist() == [[1] * 9, [1] + [0] * 8]  # attention: environment tokens count
    assert batch["response_mask"].tolist() == [rows[0].mask, [True] + [False] * 8]
    assert batch["tool_mask"].tolist() == [[float(m) for m in rows[0].mask], [1.0] + [0.0] * 8]
    assert batch["advantages"].tolist() == [[0.5] * 9, [-0.5] + [0.0] * 8]
    assert batch["trajectory_ids"].tolist() == [0, 1] and batch["group_ids"].tolist() == [0, 0]
    teacher = collate_tokens([[5], [6, 7, 8]], [row.response_ids for row in rows], 0, CPU)
    assert teacher["prompt_ids"].tolist() == [[0, 0, 5], [6, 7, 8]]
    assert teacher["prompt_mask"].tolist() == [[0, 0, 1], [1, 1, 1]]
    assert torch.equal(teacher["completion_ids"], batch["completion_ids"])
    assert torch.equal(teacher["completion_mask"], batch["completion_mask"])


def test_collate_takes_the_advantage_of_the_signals(window) -> None:
    """A shaping has changed it there, never in the sample."""
    rows, _ = make_samples(window, "window", PLAIN)
    signals = {row: Signals([7.0] * len(row.response_ids), None, None, None) for row in rows}
    assert collate(rows, signals, 0, CPU)["advantages"][1].tolist() == [7.0, 7.0, 7.0, 0.0]


def test_collate_passes_log_probs_only_where_every_row_has_them(window) -> None:
    rows, _ = make_samples(window, "window", PLAIN)
    signals = {}
    for row in rows:
        old = torch.full((len(row.response_ids),), -float(row.response_ids[0]))
        signals[row] = Signals(row.advantage, PolicyScores(old, -old), None, None)
    signals[rows[0]] = replace(signals[rows[0]], teacher=TeacherScores((torch.zeros(2),), ()))
    batch = collate(rows, signals, 0, CPU)
    assert "teacher" not in batch and "reference" not in batch
    assert batch["old_per_token_logps"][1].tolist() == [-13.0, -13.0, -13.0, 0.0]
    assert batch["old_entropy"][1].tolist() == [13.0, 13.0, 13.0, 0.0]


def test_views_and_hidden_states_come_first(window) -> None:
    """(V, R, T) and (V, R, T, H), padded with zeros."""
    rows, _ = make_samples(window, "window", PLAIN)
    signals = {}
    for row in rows:
        size = len(row.response_ids)
        views, hidden = (torch.ones(size), torch.full((size,), 2.0)), (torch.ones(size, 3), torch.ones(size, 3))
        signals[row] = Signals(row.advantage, None, None, TeacherScores(views, hidden))
    batch = collate(rows, signals, 0, CPU)
    assert batch["teacher"].shape == (2, 5, 4) and batch["teacher_hidden"].shape == (2, 5, 4, 3)
    assert batch["teacher"][:, 0].tolist() == [[1.0, 1.0, 0.0, 0.0], [2.0, 2.0, 0.0, 0.0]]
    without = {row: replace(signals[row], teacher=TeacherScores(signals[row].teacher.logps, ())) for row in rows}
    assert "teacher_hidden" not in collate(rows, without, 0, CPU)


def test_signals_are_given_whole() -> None:
    with pytest.raises(TypeError, match="required positional arguments"):
        Signals([0.0])  # type: ignore[call-arg]
