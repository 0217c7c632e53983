"""What is recorded of every token: log-probs, entropies, gaps and gates of the policy before the step's updates."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
import torch
import toy

from sdar_cli.rollout.episode import Episode
from sdar_cli.rollout.samples import Sample, make_samples
from sdar_cli.train.rows import PolicyScores
from sdar_cli.train.tokens import TokenRecord, note_tokens, turn_metrics

from .material import forward, handmade_rows, settings, train
from .toyruns import config, play


def sample_of(turn_of: list[int], trajectory: int = 0) -> Sample:
    """A sample of which only the turns matter."""
    return Sample(
        prompt_ids=[1],
        response_ids=[5] * len(turn_of),
        mask=[k >= 0 for k in turn_of],
        turn_of=turn_of,
        trajectory=trajectory,
        group=0,
        turn=max(turn_of),
        sampler_logps=[0.0] * len(turn_of),
        success=False,
        advantage=[],
        weight=[],
    )


def record_of(old: list[float], teacher: list[float] | None = None) -> TokenRecord:
    logps = torch.tensor(old)
    views = () if teacher is None else (torch.tensor(teacher),)
    return TokenRecord(PolicyScores(logps, logps.abs() / 2), None, views, None)


@pytest.mark.parametrize("updates", [1, 3])
def test_scores_are_those_before_the_updates(updates, model, tokenizer, tmp_path) -> None:
    """Whatever the updates do to the weights: gap, gate, entropy and log-prob are of the first weights, row by row."""
    chosen = settings(
        train={"updates_per_step": updates, "lr": 1e-2}, algo={"gate": "soft-or", "gate_beta": 3.0, "coef": 0.5}
    )
    done = train(chosen, model, handmade_rows(masked=True), tmp_path, tokenizer)
    moved = 0.0
    for row, record in done.trainer.token_records().items():
        with torch.no_grad():
            student, entropy = forward(model, row.prompt_ids, row)
            teacher, _ = forward(model, row.teacher_prompts[0], row)
            moved += float((forward(done.model, row.prompt_ids, row)[0] - student).abs().sum())
        shown, gap = torch.tensor(row.mask), teacher - student
        torch.testing.assert_close(record.old.logps, student, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(record.old.entropy, entropy, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(record.gap, gap, atol=2e-5, rtol=1e-5)
        expected = torch.sigmoid(3.0 * (entropy + gap - entropy * gap))
        torch.testing.assert_close(record.gate[shown], expected[shown], atol=1e-4, rtol=1e-4)
    assert moved > 0.5, "the updates must move the weights, or nothing is distinguished"


def test_entropies_of_the_gate_are_normalised_where_the_loss_does(model, tokenizer, tmp_path) -> None:
    chosen = settings(algo={"gate": "entropy", "gate_entropy": "log-vocab", "gate_beta": 2.0})
    done = train(chosen, model, handmade_rows(), tmp_path, tokenizer)
    vocabulary = model.get_output_embeddings().weight.shape[0]
    record = next(iter(done.trainer.token_records().values()))
    share = record.old.entropy / torch.log(torch.tensor(float(vocabulary)))
    torch.testing.assert_close(record.gate, torch.sigmoid(2.0 * share))


def test_no_teacher_no_gap_and_a_shaping_no_gate(model, tokenizer, tmp_path) -> None:
    for name, algo, has_gap in (("grpo", {"coef": 0}, False), ("rlsd", {"shaping": "rlsd"}, True)):
        done = train(settings(algo=algo), model, handmade_rows(), tmp_path / name, tokenizer)
        records = done.trainer.token_records()
        assert len(records) == 7
        for record in records.values():
            assert record.old is not None and record.gate is None
            assert (record.gap is not None) is has_gap


def test_tokens_go_to_their_turns() -> None:
    """A transcript row of two turns with an environment token between; rounded to four decimals."""
    turns = [toy.make_turn([5, 6], [1]), toy.make_turn([7], [1, 5, 6, 9])]
    episodes = [Episode(toy.task(1), 0, 4, turns)]
    (sample,), _ = make_samples(episodes, "transcript", toy.config().algo)
    record = TokenRecord(
        PolicyScores(torch.tensor([-1.0, -2.0, -9.0, -0.123456]), torch.tensor([0.5, 0.25, 9.0, 1.0])),
        None,
        (torch.tensor([-0.5, -2.5, -1.0, -0.123460]),),
        torch.tensor([0.9, 0.1, 9.0, 0.33333]),
    )
    note_tokens({sample: record}, episodes)
    assert turns[0].token_logp == [-1.0, -2.0] and turns[1].token_logp == [-0.1235]
    assert turns[0].token_entropy == [0.5, 0.25] and turns[1].token_entropy == [1.0]
    assert turns[0].token_gap == [0.5, -0.5]
    assert str(turns[1].token_gap) == "[0.0]", "no negative zero"
    assert turns[0].token_gate == [0.9, 0.1] and turns[1].token_gate == [0.3333]
    broken = replace(record, gate=torch.tensor([float("nan"), float("inf"), 0.0, 0.0]))
    note_tokens({sample: broken}, episodes)
    assert turns[0].token_gate == [None, None]


def test_means_by_turn() -> None:
    """Over the tokens of a turn in all rows, and None for a turn nobody had; KL is k3 of reference and policy.

    The sampler gave every token a log-prob of 0.
    """
    sampler = {"sampler_gap_by_turn": pytest.approx([-4 / 3, None, -2.0])}
    records = {
        sample_of([0, 0]): record_of([-1.0, -2.0], [-0.5, -2.5]),  # gaps 0.5, -0.5
        sample_of([0], trajectory=1): record_of([-1.0], [0.0]),  # gap 1
        sample_of([-1, 2]): record_of([-9.0, -2.0], [-1.0, -2.25]),  # gap -0.25; the first token is the environment's
    }
    assert turn_metrics(records) == {"gap_by_turn": pytest.approx([1 / 3, None, -0.25]), **sampler}
    for sample, record in records.items():
        records[sample] = replace(record, teacher=(), reference=record.old.logps + 0.5)
    k3 = math.exp(0.5) - 1 - 0.5
    assert turn_metrics(records) == {"kl_by_turn": pytest.approx([k3, None, k3]), **sampler}
    assert turn_metrics({}) == {}


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
