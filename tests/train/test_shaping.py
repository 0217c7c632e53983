"""Advantage shaping through the trainer, against the clipped loss with advantages shaped by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from sdar_cli.rollout.samples import Sample

from .material import (
    assert_same,
    forward,
    gradient_of,
    handmade_rows,
    mean_over,
    policy_terms,
    train,
    weighted,
    with_weights,
)
from .material import settings as plain_settings

SHAPINGS = ("rlsd", "belief", "grsd", "t-dur")
COEF, CLIP = 0.6, 0.3

Turn = tuple[int, int]
"""Trajectory and turn."""


def settings(shaping: str, coef: float = COEF, **sections):
    algo = {"coef": coef, "shaping": shaping, "shaping_clip": CLIP, **sections.pop("algo", {})}
    return plain_settings(algo=algo, **sections)


def mixed_rows(masked: bool = False, winners: tuple[int, ...] = (0, 2)) -> list[Sample]:
    """The handmade rows; the first trajectory of either group succeeded, unless stated otherwise."""
    return [replace(row, success=row.trajectory in winners) for row in handmade_rows(masked=masked)]


def scores(model, rows: Sequence[Sample], view: int = 0) -> tuple[list[list[float]], list[list[float]]]:
    """Log-probs of the sampling policy and of the teacher, per row and token."""
    with torch.no_grad():
        old = [forward(model, row.prompt_ids, row)[0].tolist() for row in rows]
        teacher = [forward(model, row.teacher_prompts[view], row)[0].tolist() for row in rows]
    return old, teacher


def sign(value: float) -> int:
    return (value > 0) - (value < 0)


def within(value: float, low: float, high: float) -> float:
    return max(low, min(high, value))


def turns_of(rows: Sequence[Sample], gaps: Sequence[Sequence[float]], old: Sequence[Sequence[float]]):
    """(trajectory, turn) to its tokens' (advantage, gap, old log-prob), in order of time."""
    found: dict[Turn, list[tuple[float, float, float]]] = {}
    for row, gap, logp in zip(rows, gaps, old, strict=True):
        for k, values in zip(row.turn_of, zip(row.advantage, gap, logp, strict=True), strict=True):
            if k >= 0:
                found.setdefault((row.trajectory, k), []).append(values)
    return dict(sorted(found.items()))


def rate(rows: Sequence[Sample], group: int) -> float:
    won = {row.trajectory: row.success for row in rows if row.group == group}
    return sum(won.values()) / len(won)


@dataclass(frozen=True)
class Turns:
    """The turns of a step, by (trajectory, turn) in order of time, and what the formulas read of them."""

    rows: Sequence[Sample]
    tokens: dict[Turn, list[tuple[float, float, float]]]
    """(advantage, gap, old log-prob) of every token."""

    @property
    def group_of(self) -> dict[int, int]:
        """Trajectory to its group."""
        return {row.trajectory: row.group for row in self.rows}

    @property
    def sum_gap(self) -> dict[Turn, float]:
        return {key: sum(gap for _, gap, _ in tokens) for key, tokens in self.tokens.items()}

    @property
    def outcome(self) -> dict[Turn, int]:
        """The sign of a turn's advantage."""
        return {key: sign(sum(advantage for advantage, _, _ in tokens)) for key, tokens in self.tokens.items()}

    def of(self, trajectory: int) -> list[Turn]:
        return [key for key in self.tokens if key[0] == trajectory]


def belief_factors(turns: Turns) -> dict[Turn, float]:
    """One factor per turn of a trajectory with two turns or more."""
    sum_gap, outcome, factor = turns.sum_gap, turns.outcome, {}
    for trajectory, group in turns.group_of.items():
        keys = turns.of(trajectory)
        if len(keys) < 2:
            continue
        prior = within(rate(turns.rows, group), 1e-3, 1 - 1e-3)
        belief, carried, q = prior, 0.0, []
        for key in keys:
            carried = 0.95 * carried + sum_gap[key]
            revised = 1 / (1 + math.exp(-math.log(prior / (1 - prior)) - carried))
            q.append(outcome[key] * (revised - belief))
            belief = revised
        mean = sum(q) / len(q)
        deviation = math.sqrt(sum((value - mean) ** 2 for value in q) / len(q))
        for key, value in zip(keys, q, strict=True):
            w = within(1 + CLIP * (value - mean) / (deviation + 1e-6), 1 - CLIP, 1 + CLIP)
            factor[key] = 1 - COEF + COEF * w
    return factor


def grsd_factors(turns: Turns) -> dict[Turn, float]:
    """One factor per turn of a group with won and lost trajectories."""
    sum_gap, outcome, factor = turns.sum_gap, turns.outcome, {}
    credit = {key: math.expm1(outcome[key] * (sum_gap[key] / len(tokens))) for key, tokens in turns.tokens.items()}
    for group in set(turns.group_of.values()):
        keys = [key for key in turns.tokens if turns.group_of[key[0]] == group]
        if 0 < rate(turns.rows, group) < 1:
            size = sum(abs(credit[key]) for key in keys) / len(keys) + 1e-6
            factor |= {key: max(0.1, 1 + COEF * within(credit[key] / size, -3, 3)) for key in keys}
    return factor


def t_dur_factors(turns: Turns) -> dict[Turn, float]:
    """One weight per turn of a trajectory with three turns or more."""
    apart = {key: sum(abs(gap) for _, gap, _ in tokens) / len(tokens) for key, tokens in turns.tokens.items()}
    unsure = {key: sum(-logp for _, _, logp in tokens) / len(tokens) for key, tokens in turns.tokens.items()}
    factor = {}
    for trajectory in turns.group_of:
        keys = turns.of(trajectory)
        if len(keys) < 3:
            continue

        def unit(values, key, keys=keys):
            low, high = min(values[k] for k in keys), max(values[k] for k in keys)
            return (values[key] - low) / (high - low)

        factor |= {key: 1 - (1 - unit(apart, key)) * (1 - unit(unsure, key)) for key in keys}
    return factor


FACTORS = {"belief": belief_factors, "grsd": grsd_factors, "t-dur": t_dur_factors}


def by_hand(shaping: str, model, rows: Sequence[Sample]) -> list[list[float]]:
    """The shaped advantages of every token, from the formulas, token by token."""
    old, teacher = scores(model, rows)
    gaps = [[t - o for t, o in zip(*pair, strict=True)] for pair in zip(teacher, old, strict=True)]
    turns = Turns(rows, turns_of(rows, gaps, old))
    factor = dict.fromkeys(turns.tokens, 1.0)
    if shaping in FACTORS:
        factor |= FACTORS[shaping](turns)
    made = []
    for row, gap in zip(rows, gaps, strict=True):
        shaped = []
        for k, advantage, delta in zip(row.turn_of, row.advantage, gap, strict=True):
            if shaping == "rlsd":
                w = within(math.exp(sign(advantage) * delta), 1 - CLIP, 1 + CLIP)
                shaped.append(advantage * (1 - COEF + COEF * w))
            elif k < 0:
                shaped.append(0.0)
            elif shaping == "t-dur":
                shaped.append(advantage + COEF * factor[row.trajectory, k] * delta)
            else:
                shaped.append(advantage * factor[row.trajectory, k])
        made.append(shaped)
    return made


def shaped_rows(shaping: str, model, rows: Sequence[Sample]) -> list[Sample]:
    """Copies of the rows that bear the advantages shaped by hand."""
    copies, _ = weighted(rows)
    shaped = by_hand(shaping, model, rows)
    return [replace(row, advantage=advantage) for row, advantage in zip(copies, shaped, strict=True)]


def students(model, rows: Sequence[Sample]) -> list[Tensor]:
    return [forward(model, row.prompt_ids, row)[0] for row in rows]


def of_policy(row: Sample, values: Sequence[float]) -> list[float]:
    return [value for value, kept in zip(values, row.mask, strict=True) if kept]


@pytest.mark.parametrize("masked, winners", [(False, (0, 2)), (True, (0, 2, 3))], ids=["turns", "transcript"])
@pytest.mark.parametrize("shaping", SHAPINGS)
def test_the_gradient_is_the_clipped_loss_with_shaped_advantages(
    model, tokenizer, tmp_path, shaping: str, masked: bool, winners: tuple[int, ...]
) -> None:
    """And nothing besides: a shaping adds no term of its own."""
    rows = mixed_rows(masked, winners)
    shaped = shaped_rows(shaping, model, rows)
    expected = mean_over(shaped, policy_terms(shaped, students(model, shaped)), "token")
    done = train(settings(shaping), model, rows, tmp_path, tokenizer)
    assert done.losses == pytest.approx([expected.item()], abs=1e-5)
    assert_same(done.gradients[0], gradient_of(expected, model), atol=2e-6)
    for signals, wanted in zip(done.signals, shaped, strict=True):
        assert of_policy(wanted, signals.advantage) == pytest.approx(of_policy(wanted, wanted.advantage), abs=1e-4)


@pytest.mark.parametrize("shaping", SHAPINGS)
def test_what_a_step_says_of_its_shaping(model, tokenizer, tmp_path, shaping: str) -> None:
    """How much it changed and how often it turned a sign; the gap; no gate and no loss, which it has not."""
    rows = mixed_rows(masked=True)
    before = [a for row in rows for a in of_policy(row, row.advantage)]
    after = [a for row in shaped_rows(shaping, model, rows) for a in of_policy(row, row.advantage)]
    done = train(settings(shaping), model, rows, tmp_path, tokenizer)
    (metrics,) = done.metrics
    change = sum(abs(b - a) for a, b in zip(before, after, strict=True)) / len(before)
    flipped = sum(a * b < 0 for a, b in zip(before, after, strict=True)) / len(before)
    assert metrics["shaping_change"] == pytest.approx(change, abs=1e-5) and change > 0.01
    assert metrics["shaping_flipped"] == pytest.approx(flipped, abs=1e-6)
    assert (flipped > 0) == (shaping == "t-dur")
    old, teacher = scores(model, rows)
    gaps = [
        t - o
        for row, log_t, log_o in zip(rows, teacher, old, strict=True)
        for t, o in zip(of_policy(row, log_t), of_policy(row, log_o), strict=True)
    ]
    assert metrics["gap_mean"] == pytest.approx(sum(gaps) / len(gaps), abs=1e-5)
    assert metrics["coef"] == COEF
    assert not {name for name in metrics if "gate" in name or "distill" in name}


@pytest.mark.parametrize("shaping", ["rlsd", "belief"])
def test_a_step_is_shaped_once_by_the_policy_that_sampled_it(model, tokenizer, tmp_path, shaping: str) -> None:
    """Both updates of a step have the advantages of before its first, and the second measures its ratio from there."""
    rows = mixed_rows()
    done = train(settings(shaping, train={"updates_per_step": 2, "lr": 3e-3}), model, rows, tmp_path, tokenizer)
    chunks = done.trainer._chunks
    assert done.scored == [("teacher", 7), ("old", len(chunks[0])), ("old", len(chunks[1]))]
    shaped = {row.turn: row for row in shaped_rows(shaping, model, rows)}
    first, second = ([shaped[row.turn] for row in chunk] for chunk in chunks)
    _, normaliser = weighted(rows)
    expected = 2 * torch.cat(policy_terms(first, students(model, first))).sum() / normaliser
    assert_same(done.gradients[0], gradient_of(expected, model), atol=2e-6)
    moved = with_weights(model, done.weights[0])
    with torch.no_grad():
        old = students(model, second)
    expected = 2 * torch.cat(policy_terms(second, students(moved, second), old)).sum() / normaliser
    assert_same(done.gradients[1], gradient_of(expected, moved), atol=2e-6)


def test_the_next_step_is_shaped_anew(model, tokenizer, tmp_path) -> None:
    """By the weights of then, from the advantages that were handed in."""
    rows = mixed_rows()
    done = train(settings("rlsd", train={"steps": 2, "lr": 3e-3}), model, rows, tmp_path, tokenizer)
    moved = with_weights(model, done.weights[0])
    shaped = shaped_rows("rlsd", moved, rows)
    expected = mean_over(shaped, policy_terms(shaped, students(moved, shaped)), "token")
    assert_same(done.gradients[1], gradient_of(expected, moved), atol=2e-6)


@pytest.mark.parametrize("size", [1, 3])
def test_batches_and_the_order_of_rows_change_nothing(model, tokenizer, tmp_path, size: int) -> None:
    """A belief runs over all turns of a trajectory, wherever its rows stand."""
    rows = mixed_rows(masked=True)
    whole = train(settings("belief"), model, rows, tmp_path, tokenizer)
    parts = train(settings("belief", train={"micro_batch": size}), model, rows[::-1], tmp_path, tokenizer)
    assert parts.losses == pytest.approx(whole.losses, abs=1e-6)
    assert_same(parts.gradients[0], whole.gradients[0])
    for key, value in whole.metrics[0].items():
        if not key.startswith("seconds"):
            assert parts.metrics[0][key] == pytest.approx(value, abs=1e-5), key


def test_a_group_without_contrast_keeps_its_advantages(model, tokenizer, tmp_path) -> None:
    """GRSD changes mixed groups only."""
    # Group 0: both won; group 1: one of two.
    rows = [replace(row, success=row.group == 0 or row.trajectory == 2) for row in handmade_rows()]
    done = train(settings("grsd"), model, rows, tmp_path, tokenizer)
    for signals, row in zip(done.signals, rows, strict=True):
        same = signals.advantage == pytest.approx(row.advantage, abs=1e-6)
        assert same == (row.group == 0)


@pytest.mark.parametrize("shaping", SHAPINGS)
def test_without_a_teacher_it_is_grpo_bit_for_bit(model, tokenizer, tmp_path, shaping: str) -> None:
    """``coef`` 0, and the end of a warm-down, where no teacher and no first old log-probs are scored any more."""
    rows = mixed_rows()
    options = {"updates_per_step": 2, "lr": 1e-3}
    grpo = train(plain_settings(algo={"coef": 0.0}, train=options), model, rows, tmp_path, tokenizer)
    down = {"coef_schedule": "warm-down", "coef_steps": 1}
    for config in (settings(shaping, 0.0, train=options), settings(shaping, 0.5, algo=down, train=options)):
        run = train(config, model, rows, tmp_path, tokenizer)
        assert run.scored == grpo.scored
        assert all(torch.equal(run.weights[-1][name], value) for name, value in grpo.weights[-1].items())
        assert "shaping_change" not in run.metrics[0] and "gap_mean" not in run.metrics[0]


def test_a_teacher_that_equals_the_student_changes_nothing(model, tokenizer, tmp_path) -> None:
    rows = [replace(row, teacher_prompts=[list(row.prompt_ids)]) for row in mixed_rows()]
    options = {"lr": 1e-3}
    grpo = train(plain_settings(algo={"coef": 0.0}, train=options), model, rows, tmp_path, tokenizer)
    rlsd = train(settings("rlsd", train=options), model, rows, tmp_path, tokenizer)
    assert_same(rlsd.gradients[0], grpo.gradients[0])
    assert rlsd.metrics[0]["shaping_change"] == pytest.approx(0.0, abs=1e-5)


def test_an_outsiders_shaping_must_give_one_advantage_per_token(model, tokenizer, tmp_path, monkeypatch) -> None:
    module = tmp_path / "my_shapings.py"
    module.write_text(
        "def doubled(batch, coef, clip):\n    return 2 * batch.advantage\n\n\n"
        "def rows_only(batch, coef, clip):\n    return batch.advantage[:, 0]\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    rows = mixed_rows()
    grpo = train(plain_settings(algo={"coef": 0.0}), model, rows, tmp_path, tokenizer)
    ours = train(settings("my_shapings:doubled"), model, rows, tmp_path, tokenizer)
    assert_same(ours.gradients[0], {name: 2 * value for name, value in grpo.gradients[0].items()})
    with pytest.raises(ValueError, match="the shaping's result has shape"):
        train(settings("my_shapings:rows_only"), model, rows, tmp_path, tokenizer)
