"""The loss and its gradient through the trainer, against the same quantities computed row by row by hand."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from transformers import TrainerCallback

from sdar_cli.algo.policy import clipped_policy_loss, kl_k3
from sdar_cli.config.presets import resolve
from sdar_cli.runs.rundir import differences
from sdar_cli.train import score as ours

from .material import assert_same, forward, gradient_of, handmade_rows, mean_over, prepare, settings, train, weighted

AGGS = ("token", "turn", "trajectory")


def student_and_teacher(model, rows):
    """Per row: log-probs with gradient, entropies, and the teacher's log-probs without."""
    student, entropy = zip(*(forward(model, row.prompt_ids, row) for row in rows), strict=True)
    with torch.no_grad():
        teacher = [forward(model, row.teacher_prompts[0], row)[0] for row in rows]
    return list(student), list(entropy), teacher


def policy_terms(rows, student, old=None, dual_clip=3.0):
    """Clipped losses by the definition; without old log-probs the ratio is 1 in value."""
    old = [s.detach() for s in student] if old is None else old
    return [
        clipped_policy_loss(s[None], o[None], torch.tensor([row.advantage]), 0.2, dual_clip)[0]
        for row, s, o in zip(rows, student, old, strict=True)
    ]


def off_policy(model, rows):
    """Old log-probs far from the present ones, so that every branch of the clipped loss is met."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        students = [forward(model, row.prompt_ids, row)[0] for row in rows]
    return [student + 1.2 * torch.randn(student.shape, generator=generator) for student in students]


@pytest.mark.parametrize("dual_clip", [3.0, None])
def test_the_policy_term_is_the_clipped_loss(model, tokenizer, tmp_path, dual_clip) -> None:
    """TRL's two-sided clipping with ``delta`` equals the dual clip, in value and gradient, far off policy."""
    rows = handmade_rows()
    old = off_policy(model, rows)
    student, _, _ = student_and_teacher(model, rows)
    terms = policy_terms(rows, student, old, dual_clip)
    expected = torch.cat(terms).mean()
    # Every branch: beyond the dual clip with a negative advantage, and clipped on both sides.
    ratio = torch.cat([(s - o).exp() for s, o in zip(student, old, strict=True)])
    advantage = torch.cat([torch.tensor(row.advantage) for row in rows])
    for branch in ((ratio > 3) & (advantage < 0), (ratio > 1.2) & (advantage > 0), (ratio < 0.8) & (advantage < 0)):
        assert branch.any()
    done = train(settings(algo={"coef": 0.0, "dual_clip": dual_clip}), model, rows, tmp_path, tokenizer, old)
    assert done.losses == pytest.approx([expected.item()], abs=1e-6)
    assert_same(done.gradients[0], gradient_of(expected, model))
    assert done.metrics[0]["policy_loss"] == pytest.approx(expected.item(), abs=1e-6)
    clipped = ((ratio < 0.8) & (advantage < 0)) | ((ratio > 1.2) & (advantage > 0))
    assert done.metrics[0]["clip_ratio"] == pytest.approx(float(clipped.float().mean()), abs=1e-6)


def hand_written(gate: str, objective: str, beta: float, student, entropy, teacher):
    """The distillation loss per token, from the formulas and not from the package."""
    gap = (teacher - student).detach()
    h = entropy.detach()
    weight = {
        "gap": torch.sigmoid(beta * gap),
        "entropy": torch.sigmoid(beta * h),
        "soft-or": torch.sigmoid(beta * (h + gap - h * gap)),
        "none": torch.ones_like(gap),
    }[gate]
    d = student - teacher
    return {
        "surrogate": weight * (teacher - student),
        "signed": -(weight * gap) * student,
        "k3": weight * torch.exp(student - student.detach()) * (torch.exp(-d) - 1 + d),
    }[objective]


@pytest.mark.parametrize("masked", [False, True], ids=["turns", "transcript"])
@pytest.mark.parametrize(
    "gate, objective", [("gap", "surrogate"), ("soft-or", "signed"), ("entropy", "k3"), ("none", "surrogate")]
)
def test_the_total_gradient_is_grpos_and_the_distillation_terms(
    model, tokenizer, tmp_path, gate: str, objective: str, masked: bool
) -> None:
    rows = handmade_rows(masked=masked)
    student, entropy, teacher = student_and_teacher(model, rows)
    parts = [hand_written(gate, objective, 2.0, *values) for values in zip(student, entropy, teacher, strict=True)]
    expected = mean_over(rows, policy_terms(rows, student), "token") + 0.7 * mean_over(rows, parts, "token")
    config = settings(algo={"coef": 0.7, "gate": gate, "objective": objective, "gate_beta": 2.0})
    done = train(config, model, rows, tmp_path, tokenizer)
    assert done.losses == pytest.approx([expected.item()], abs=1e-5)
    assert_same(done.gradients[0], gradient_of(expected, model))
    assert done.metrics[0]["distill_loss"] == pytest.approx(mean_over(rows, parts, "token").item(), abs=1e-5)


def test_both_ways_to_score_tokens_give_the_same(model, tokenizer, tmp_path, monkeypatch) -> None:
    """TRL's fused head, and the logits of the response all at once (small batches on a CPU)."""
    rows = handmade_rows(masked=True)
    config = settings(algo={"coef": 0.5, "entropy_coef": 0.1}, model={"temperature": 0.7})
    dense = train(config, model, rows, tmp_path, tokenizer)
    monkeypatch.setattr(ours, "DENSE_LOGITS", 0)
    calls = []
    monkeypatch.setattr(ours, "dense_logps", lambda *arguments: calls.append(arguments))
    fused = train(config, model, rows, tmp_path, tokenizer)
    assert not calls
    assert fused.losses == pytest.approx(dense.losses, abs=1e-6)
    assert_same(fused.gradients[0], dense.gradients[0])


def test_the_policy_term_can_be_left_out(model, tokenizer, tmp_path) -> None:
    rows = handmade_rows()
    student, entropy, teacher = student_and_teacher(model, rows)
    parts = [hand_written("gap", "surrogate", 5.0, *values) for values in zip(student, entropy, teacher, strict=True)]
    done = train(settings(algo={"coef": 0.3, "policy_coef": 0.0}), model, rows, tmp_path, tokenizer)
    assert_same(done.gradients[0], gradient_of(0.3 * torch.cat(parts).mean(), model))


@pytest.mark.parametrize("agg", AGGS)
def test_aggregation_is_the_mean_it_is_named_after(model, tokenizer, tmp_path, agg: str) -> None:
    """``trajectory``: the mean over trajectories of their token means (the paper's), for both terms."""
    rows = handmade_rows(masked=True)
    student, entropy, teacher = student_and_teacher(model, rows)
    parts = [hand_written("gap", "surrogate", 5.0, *values) for values in zip(student, entropy, teacher, strict=True)]
    expected = mean_over(rows, policy_terms(rows, student), agg) + 0.5 * mean_over(rows, parts, agg)
    done = train(settings(algo={"coef": 0.5, "agg": agg}), model, rows, tmp_path, tokenizer)
    assert done.losses == pytest.approx([expected.item()], abs=1e-5)
    assert_same(done.gradients[0], gradient_of(expected, model))


def test_the_three_means_differ_here(model) -> None:
    """Else the test above would not distinguish them."""
    rows = handmade_rows(masked=True)
    student, _, _ = student_and_teacher(model, rows)
    values = {round(mean_over(rows, student, agg).item(), 3) for agg in AGGS}
    assert len(values) == 3


def test_the_size_of_micro_batches_changes_nothing(model, tokenizer, tmp_path) -> None:
    """Loss, gradient and metrics with 1, 3 and 64 rows per forward pass, with every term switched on."""
    algo = {"coef": 0.5, "entropy_coef": 0.1, "kl_coef": 0.2, "agg": "trajectory"}
    rows = handmade_rows(masked=True)
    old = off_policy(model, rows)
    runs = [
        train(settings(algo=algo, train={"micro_batch": size}), model, rows, tmp_path, tokenizer, old)
        for size in (1, 3, 64)
    ]
    for run in runs[1:]:
        assert run.losses == pytest.approx(runs[0].losses, abs=1e-6)
        assert_same(run.gradients[0], runs[0].gradients[0])
        for key, value in runs[0].metrics[0].items():
            if not key.startswith("seconds"):
                assert run.metrics[0][key] == pytest.approx(value, abs=1e-5), key


def test_entropy_is_a_bonus(model, tokenizer, tmp_path) -> None:
    """Subtracted from the loss, with the normaliser of all terms: its gradient raises the entropy."""
    rows = handmade_rows(masked=True)
    student, entropy, _ = student_and_teacher(model, rows)
    bonus = mean_over(rows, entropy, "token")
    expected = mean_over(rows, policy_terms(rows, student), "token") - 0.3 * bonus
    done = train(settings(algo={"coef": 0.0, "entropy_coef": 0.3}), model, rows, tmp_path, tokenizer)
    assert done.losses == pytest.approx([expected.item()], abs=1e-5)
    assert_same(done.gradients[0], gradient_of(expected, model))
    assert done.metrics[0]["entropy"] == pytest.approx(bonus.item(), abs=1e-5)


def test_kl_pulls_back_to_the_initial_model(model, tokenizer, tmp_path) -> None:
    """Against the weights the trainer was made with, after they have moved; added to the loss."""
    rows = handmade_rows(masked=True)
    moved = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in moved.parameters():
            p.add_(0.02 * torch.randn(p.shape, generator=generator))
    with torch.no_grad():
        reference = [forward(model, row.prompt_ids, row)[0] for row in rows]
    student, _, _ = student_and_teacher(moved, rows)
    divergence = mean_over(rows, [kl_k3(s, r) for s, r in zip(student, reference, strict=True)], "token")
    assert divergence.item() > 0.001
    expected = mean_over(rows, policy_terms(rows, student), "token") + 0.4 * divergence
    run = prepare(settings(algo={"coef": 0.0, "kl_coef": 0.4}), model, rows, tmp_path, tokenizer)
    run.model.load_state_dict(moved.state_dict())
    run.trainer.train()
    assert run.scored == [("reference", len(rows))]
    assert run.losses == pytest.approx([expected.item()], abs=1e-5)
    assert_same(run.gradients[0], gradient_of(expected, moved))
    assert run.metrics[0]["kl"] == pytest.approx(divergence.item(), abs=1e-5)


def test_no_kl_means_no_reference(model, tokenizer, tmp_path) -> None:
    done = train(settings(algo={"coef": 0.0}), model, handmade_rows(), tmp_path, tokenizer)
    assert done.scored == [] and "kl" not in done.metrics[0]


def test_temperature_divides_the_logits_of_student_and_teacher(model, tokenizer, tmp_path) -> None:
    """Log-probs are those of the distribution that was sampled from."""
    rows = handmade_rows()
    student = [forward(model, row.prompt_ids, row, 0.5)[0] for row in rows]
    with torch.no_grad():
        teacher = [forward(model, row.teacher_prompts[0], row, 0.5)[0] for row in rows]
    parts = [torch.sigmoid(5 * (t - s)).detach() * (t - s) for s, t in zip(student, teacher, strict=True)]
    expected = torch.cat(policy_terms(rows, student)).mean() + 0.5 * torch.cat(parts).mean()
    done = train(settings(algo={"coef": 0.5}, model={"temperature": 0.5}), model, rows, tmp_path, tokenizer)
    assert_same(done.gradients[0], gradient_of(expected, model))


def test_the_updates_of_a_step_share_its_rows_and_its_normaliser(model, tokenizer, tmp_path) -> None:
    """At (nearly) fixed weights the gradients of two updates average to that of one update on all rows."""
    rows = handmade_rows()
    algo = {"coef": 0.5, "kl_coef": 0.1, "entropy_coef": 0.1}
    one = train(settings(algo=algo), model, rows, tmp_path, tokenizer)
    two = train(settings(algo=algo, train={"updates_per_step": 2}), model, rows, tmp_path, tokenizer)
    assert len(two.gradients) == 2 and len(two.metrics) == 1
    assert sorted(len(chunk) for chunk in two.trainer._chunks) == [3, 4]
    assert sorted(row.turn for chunk in two.trainer._chunks for row in chunk) == list(range(7))
    mean = {name: (g + two.gradients[1][name]) / 2 for name, g in two.gradients[0].items()}
    assert_same(mean, one.gradients[0])
    assert max(float((two.gradients[0][n] - g).abs().max()) for n, g in one.gradients[0].items()) > 1e-3
    for key, value in one.metrics[0].items():
        if not key.startswith("seconds"):
            assert two.metrics[0][key] == pytest.approx(value, abs=1e-4), key


def test_later_updates_of_a_step_measure_the_ratio_from_its_beginning(model, tokenizer, tmp_path) -> None:
    """Old and teacher log-probs are those of the weights before the first update of the step."""
    rows = handmade_rows()
    config = settings(algo={"coef": 0.5}, train={"updates_per_step": 2, "lr": 3e-3})
    done = train(config, model, rows, tmp_path, tokenizer)
    second = done.trainer._chunks[1]
    assert done.scored == [("teacher", 7), ("old", len(second))]
    moved = copy.deepcopy(model)
    moved.load_state_dict({**done.weights[0]}, strict=False)
    moved.tie_weights()
    with torch.no_grad():
        old = [forward(model, row.prompt_ids, row)[0] for row in second]
        teacher = [forward(model, row.teacher_prompts[0], row)[0] for row in second]
    student = [forward(moved, row.prompt_ids, row)[0] for row in second]
    ratio = torch.cat([(s - o).exp() for s, o in zip(student, old, strict=True)])
    assert (ratio - 1).abs().max().item() > 0.05
    parts = [torch.sigmoid(5 * (t - s)).detach() * (t - s) for s, t in zip(student, teacher, strict=True)]
    _, normaliser = weighted(rows)
    expected = 2 * (torch.cat(policy_terms(second, student, old)).sum() + 0.5 * torch.cat(parts).sum()) / normaliser
    assert_same(done.gradients[1], gradient_of(expected, moved), atol=2e-6)


def test_rows_are_dealt_to_updates_by_seed_and_step(model, tokenizer, tmp_path) -> None:
    """Anew at every step, and the same in every process."""
    deals = []

    def dealt(seed: int):
        done = prepare(
            settings(algo={"coef": 0.0}, seed=seed, train={"steps": 2, "updates_per_step": 2}),
            model,
            handmade_rows(),
            tmp_path,
            tokenizer,
        )
        begin, seen = done.trainer._begin_step, []

        def note(step):
            begin(step)
            seen.append([[row.turn for row in chunk] for chunk in done.trainer._chunks])

        done.trainer._begin_step = note
        done.trainer.train()
        return seen

    deals = [dealt(0), dealt(0), dealt(1)]
    assert deals[0] == deals[1] != deals[2]
    assert deals[0][0] != deals[0][1]


def test_coef_zero_is_the_method_grpo(model, tokenizer, tmp_path) -> None:
    """The same weights after two updates, bit for bit, and no teacher is evaluated."""
    sets = ["train.steps=2", "train.updates_per_step=1", "train.tasks_per_step=2", "train.group_size=2"]

    def resolved(method: str, *more: str):
        return resolve(env="alfworld", model="tiny-alfworld", method=method, sets=[*sets, *more]).config

    grpo, zero = resolved("grpo"), resolved("sdar", "algo.coef=0")
    assert set(differences(grpo, zero)) == {"method"}
    runs = {
        name: train(config, model, handmade_rows(), tmp_path, tokenizer)
        for name, config in {"grpo": grpo, "zero": zero, "sdar": resolved("sdar")}.items()
    }
    final = {name: run.weights[-1] for name, run in runs.items()}
    assert len(runs["grpo"].weights) == 2
    assert all(torch.equal(final["grpo"][name], final["zero"][name]) for name in final["grpo"])
    assert not all(torch.equal(final["grpo"][name], final["sdar"][name]) for name in final["grpo"])
    assert runs["grpo"].scored == runs["zero"].scored == []
    assert runs["sdar"].scored == [("teacher", 7)] * 2
    assert "gate_mean" in runs["sdar"].metrics[0] and "gate_mean" not in runs["zero"].metrics[0]


def sampled(model, rows) -> float:
    """Mean log-prob of the tokens the policy wrote."""
    with torch.no_grad():
        return float(torch.cat([forward(model, row.prompt_ids, row)[0] for row in rows]).mean())


def test_the_surrogate_raises_the_sampled_tokens(model, tokenizer, tmp_path) -> None:
    """The sign check: with all advantages zero, training makes the sampled tokens likelier, never less likely."""
    rows = [replace(row, advantage=[0.0] * len(row.response_ids)) for row in handmade_rows()]
    config = settings(algo={"coef": 10.0}, train={"steps": 3, "lr": 1e-3, "grad_clip": 1.0})
    done = train(config, model, rows, tmp_path, tokenizer)
    assert sampled(done.model, rows) > sampled(model, rows) + 0.05


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_policy_term_follows_the_advantage(model, tokenizer, tmp_path, sign: float) -> None:
    rows = [replace(row, advantage=[sign] * len(row.response_ids)) for row in handmade_rows()]
    config = settings(algo={"coef": 0.0}, train={"steps": 3, "lr": 1e-3, "grad_clip": 1.0})
    done = train(config, model, rows, tmp_path, tokenizer)
    assert sign * (sampled(done.model, rows) - sampled(model, rows)) > 0.05


def test_the_gradient_norm_is_bounded(model, tokenizer, tmp_path) -> None:
    config = settings(train={"grad_clip": 0.01})
    done = train(config, model, handmade_rows(), tmp_path, tokenizer)
    norm = torch.cat([g.flatten() for g in done.gradients[0].values()]).norm()
    assert float(norm) == pytest.approx(0.01, rel=1e-3)


def test_an_update_may_be_left_without_rows(model, tokenizer, tmp_path) -> None:
    """Broken episodes can leave fewer rows than updates: nothing is learned then, and nothing breaks."""
    config = settings(algo={"coef": 0.5}, train={"updates_per_step": 2, "lr": 1e-3})
    done = train(config, model, handmade_rows()[:1], tmp_path, tokenizer)
    assert sorted(map(len, done.trainer._chunks)) == [0, 1]
    assert len(done.weights) == 2 and len(done.metrics) == 1
    assert all(torch.isfinite(value).all() for value in done.weights[1].values())


@pytest.mark.parametrize(
    "schedule, warmup, factors",
    [
        ("constant", 0, [1, 1, 1, 1]),
        ("constant", 2, [0, 1 / 2, 1, 1]),
        ("linear", 0, [1, 3 / 4, 1 / 2, 1 / 4]),
        ("linear", 2, [0, 1 / 2, 1, 1 / 2]),
        ("cosine", 0, [1, (2 + 2**0.5) / 4, 1 / 2, (2 - 2**0.5) / 4]),
    ],
)
def test_the_learning_rate_counts_updates(model, tokenizer, tmp_path, schedule, warmup, factors) -> None:
    """Two steps of two updates: the rate of each, and the weight decay asked for."""
    options = {"steps": 2, "updates_per_step": 2, "lr": 1e-3, "weight_decay": 0.03}
    config = settings(algo={"coef": 0.0}, train={**options, "lr_schedule": schedule, "warmup_steps": warmup})
    run = prepare(config, model, handmade_rows(), tmp_path, tokenizer)
    rates = []

    class Note(TrainerCallback):
        def on_pre_optimizer_step(self, *arguments, optimizer=None, **more):
            rates.append(optimizer.param_groups[0]["lr"])
            assert optimizer.param_groups[0]["weight_decay"] == 0.03

    run.trainer.add_callback(Note)
    run.trainer.train()
    assert rates == pytest.approx([1e-3 * factor for factor in factors], abs=1e-9)
