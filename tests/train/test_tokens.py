"""What is recorded of every token: log-probs, entropies, gaps and gates of the policy before the step's updates."""

from __future__ import annotations

import json
import math

import pytest
import torch
import toy

from sdar_cli.rollout.episode import Episode
from sdar_cli.train.rows import Row, build_rows
from sdar_cli.train.tokens import note_tokens, turn_metrics

from .material import forward, handmade_rows, settings, train
from .toyruns import config, play


def scored_row(turn_of: list[int], old: list[float], teacher: list[float] | None = None, trajectory: int = 0) -> Row:
    """A row of which only the scores matter."""
    row = Row([1], [5] * len(turn_of), [k >= 0 for k in turn_of], turn_of, trajectory, 0, max(turn_of))
    row.old, row.old_entropy = torch.tensor(old), torch.tensor(old).abs() / 2
    row.teacher = [] if teacher is None else [torch.tensor(teacher)]
    return row


@pytest.mark.parametrize("updates", [1, 3])
def test_scores_are_those_before_the_updates(updates, model, tokenizer, tmp_path) -> None:
    """Whatever the updates do to the weights: gap, gate, entropy and log-prob are of the first weights, row by row."""
    chosen = settings(
        train={"updates_per_step": updates, "lr": 1e-2}, algo={"gate": "soft-or", "gate_beta": 3.0, "coef": 0.5}
    )
    done = train(chosen, model, handmade_rows(masked=True), tmp_path, tokenizer)
    done.trainer.share_tokens()
    moved = 0.0
    for row in done.trainer.rows:
        with torch.no_grad():
            student, entropy = forward(model, row.prompt_ids, row)
            teacher, _ = forward(model, row.teacher_prompts[0], row)
            moved += float((forward(done.model, row.prompt_ids, row)[0] - student).abs().sum())
        shown, gap = torch.tensor(row.mask), teacher - student
        torch.testing.assert_close(row.old, student, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(row.old_entropy, entropy, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(row.gap, gap, atol=2e-5, rtol=1e-5)
        expected = torch.sigmoid(3.0 * (entropy + gap - entropy * gap))
        torch.testing.assert_close(row.gate[shown], expected[shown], atol=1e-4, rtol=1e-4)
    assert moved > 0.5, "the updates must move the weights, or nothing is told apart"


def test_entropies_of_the_gate_are_normalised_where_the_loss_does(model, tokenizer, tmp_path) -> None:
    chosen = settings(algo={"gate": "entropy", "gate_entropy": "log-vocab", "gate_beta": 2.0})
    done = train(chosen, model, handmade_rows(), tmp_path, tokenizer)
    done.trainer.share_tokens()
    vocabulary = model.get_output_embeddings().weight.shape[0]
    row = done.trainer.rows[0]
    share = row.old_entropy / torch.log(torch.tensor(float(vocabulary)))
    torch.testing.assert_close(row.gate, torch.sigmoid(2.0 * share))


def test_no_teacher_no_gap_and_a_shaping_no_gate(model, tokenizer, tmp_path) -> None:
    for name, algo, has_gap in (("grpo", {"coef": 0}, False), ("rlsd", {"shaping": "rlsd"}, True)):
        done = train(settings(algo=algo), model, handmade_rows(), tmp_path / name, tokenizer)
        done.trainer.share_tokens()
        for row in done.trainer.rows:
            assert row.old is not None and row.gate is None
            assert (row.gap is not None) is has_gap


def test_tokens_go_to_their_turns() -> None:
    """A transcript row of two turns with an environment token between; rounded to four decimals."""
    turns = [toy.make_turn([5, 6], [1]), toy.make_turn([7], [1, 5, 6, 9])]
    episodes = [Episode(toy.task(1), 0, 4, turns)]
    (row,) = build_rows(episodes, "transcript")
    row.old = torch.tensor([-1.0, -2.0, -9.0, -0.123456])
    row.old_entropy = torch.tensor([0.5, 0.25, 9.0, 1.0])
    row.teacher = [torch.tensor([-0.5, -2.5, -1.0, -0.123460])]
    row.gate = torch.tensor([0.9, 0.1, 9.0, 0.33333])
    note_tokens([row], episodes)
    assert turns[0].token_logp == [-1.0, -2.0] and turns[1].token_logp == [-0.1235]
    assert turns[0].token_entropy == [0.5, 0.25] and turns[1].token_entropy == [1.0]
    assert turns[0].token_gap == [0.5, -0.5]
    assert str(turns[1].token_gap) == "[0.0]", "no negative zero"
    assert turns[0].token_gate == [0.9, 0.1] and turns[1].token_gate == [0.3333]
    row.gate = torch.tensor([float("nan"), float("inf"), 0.0, 0.0])
    note_tokens([row], episodes)
    assert turns[0].token_gate == [None, None]


def test_means_by_turn() -> None:
    """Over the tokens of a turn in all rows, and None for a turn nobody had; KL is k3 of reference and policy."""
    rows = [
        scored_row([0, 0], [-1.0, -2.0], [-0.5, -2.5]),  # gaps 0.5, -0.5
        scored_row([0], [-1.0], [0.0], trajectory=1),  # gap 1
        scored_row([-1, 2], [-9.0, -2.0], [-1.0, -2.25]),  # gap -0.25; the first token is the environment's
    ]
    assert turn_metrics(rows) == {"gap_by_turn": pytest.approx([1 / 3, None, -0.25])}
    for row in rows:
        row.teacher, row.reference = [], row.old + 0.5
    k3 = math.exp(0.5) - 1 - 0.5
    assert turn_metrics(rows) == {"kl_by_turn": pytest.approx([k3, None, k3])}
    assert turn_metrics([]) == {}


def test_the_file_of_a_run(walker_model, tokenizer, tmp_path) -> None:
    """Every turn of an episode that counts has a value per token; step 1's gaps average to the metrics."""
    play(tmp_path, config(train={"steps": 2}, algo={"kl_coef": 0.1}), walker_model, tokenizer)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    for step, metrics in enumerate(lines, 1):
        text = (tmp_path / "episodes" / f"step-{step:06d}.jsonl").read_text()
        turns = [(k, t) for line in text.splitlines() for k, t in enumerate(json.loads(line)["turns"])]
        for _, turn in turns:
            for name in ("logp", "entropy", "gap", "gate"):
                assert len(turn[f"token_{name}"]) == len(turn["response_ids"]) > 0
        gaps = [gap for _, turn in turns for gap in turn["token_gap"]]
        assert any(gaps)
        assert metrics["gap_mean"] == pytest.approx(sum(gaps) / len(gaps), abs=1e-4)  # one update per step
        gates = [gate for _, turn in turns for gate in turn["token_gate"]]
        assert metrics["gate_mean"] == pytest.approx(sum(gates) / len(gates), abs=1e-4)
        assert metrics["negative_gap_ratio"] == pytest.approx(sum(g < 0 for g in gaps) / len(gaps), abs=0.02)
        first = [gap for k, turn in turns if k == 0 for gap in turn["token_gap"]]
        assert metrics["gap_by_turn"][0] == pytest.approx(sum(first) / len(first), abs=1e-4)
        assert len(metrics["kl_by_turn"]) == len(metrics["gap_by_turn"])
    grpo = config(train={"steps": 1}, algo={"coef": 0})
    play(tmp_path / "grpo", grpo, walker_model, tokenizer)
    turn = json.loads((tmp_path / "grpo/episodes/step-000001.jsonl").read_text().splitlines()[0])["turns"][0]
    assert turn["token_gap"] is None and turn["token_gate"] is None and turn["token_logp"]
