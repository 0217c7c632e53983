"""The teacher: what it reads, what it scores, which weights it has, and what it never does."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
import toy
from choosing import retrieve
from toy import task

from sdar_cli.rollout.prompt import encode_prompt
from sdar_cli.rollout.samples import make_samples
from sdar_cli.skills.bank import load_bank
from sdar_cli.skills.choose.retriever import Retriever
from sdar_cli.skills.choose.strategies import skill_text
from sdar_cli.train.shadow import ShadowWeights
from sdar_cli.train.teacher import TeacherPrompts

from .material import assert_same, forward, gradient_of, handmade_rows, prepare, settings, train


@pytest.fixture(scope="module")
def bank():
    return load_bank("alfworld")


def with_weights(model, values):
    """A copy of the model with these weights."""
    made = copy.deepcopy(model)
    made.load_state_dict(values, strict=False)
    made.tie_weights()
    return made


def teacher_scores(model, rows) -> list[torch.Tensor]:
    """Log-probs of the rows' own completion ids after the teacher's prompts."""
    with torch.no_grad():
        return [forward(model, row.teacher_prompts[0], row)[0] for row in rows]


def assert_scores(signals, expected) -> None:
    for each, values in zip(signals, expected, strict=True):
        torch.testing.assert_close(each.teacher.logps[0], values, rtol=0, atol=2e-5)


def test_it_scores_the_same_ids_after_the_skill_prompt_without_gradient(model, tokenizer, tmp_path) -> None:
    rows = handmade_rows(masked=True)
    done = train(settings(), model, rows, tmp_path, tokenizer)
    scores = [each.teacher.logps[0] for each in done.signals]
    assert [row.response_ids for row in done.trainer.given] == [row.response_ids for row in rows]
    assert [each.shape for each in scores] == [(len(row.response_ids),) for row in rows]
    assert not any(each.requires_grad for each in scores)
    assert_scores(done.signals, teacher_scores(model, rows))
    student = [forward(model, row.prompt_ids, row)[0].detach() for row in rows]
    gaps = torch.cat([(t - s)[torch.tensor(row.mask)] for row, t, s in zip(rows, scores, student, strict=True)])
    assert done.metrics[0]["gap_mean"] == pytest.approx(gaps.mean().item(), abs=1e-5)
    assert done.metrics[0]["gap_abs_mean"] == pytest.approx(gaps.abs().mean().item(), abs=1e-5)
    assert gaps.abs().mean() > 0.1


def test_with_the_students_prompt_there_is_no_gap(model, tokenizer, tmp_path) -> None:
    """The two passes differ in padding and gradient only: any other difference would enter every gate."""
    rows = [replace(row, teacher_prompts=[list(row.prompt_ids)]) for row in handmade_rows()]
    done = train(settings(train={"micro_batch": 2}), model, rows, tmp_path, tokenizer)
    assert done.metrics[0]["gap_abs_mean"] < 1e-5
    assert done.metrics[0]["gate_mean"] == pytest.approx(0.5, abs=1e-5)


def test_a_live_teacher_is_the_policy_of_each_step(model, tokenizer, tmp_path) -> None:
    rows = handmade_rows()
    config = settings(algo={"coef": 0.5}, train={"steps": 2, "lr": 1e-3})
    done = train(config, model, rows, tmp_path, tokenizer)
    assert_scores(done.signals, teacher_scores(with_weights(model, done.weights[0]), rows))


@pytest.mark.parametrize("weights, decay", [("frozen", 1.0), ("ema", 0.7)])
def test_the_shadow_after_each_update_is_the_formula(model, tokenizer, tmp_path, weights: str, decay: float) -> None:
    """s_k = d s_(k-1) + (1 - d) w_k after every update, from the initial weights; ``frozen`` is d = 1."""
    rows = handmade_rows()
    config = settings(
        algo={"coef": 0.5},
        teacher={"weights": weights, "ema_decay": 0.7},
        train={"steps": 2, "updates_per_step": 2, "lr": 1e-3},
    )
    run = prepare(config, model, rows, tmp_path, tokenizer)
    shadow = {name: p.detach().clone() for name, p in model.named_parameters()}
    before_last_step = None
    run.trainer.train()
    assert len(run.weights) == 4
    for k, live in enumerate(run.weights):
        if k == 2:
            before_last_step = dict(shadow)
        shadow = {name: decay * value + (1 - decay) * live[name] for name, value in shadow.items()}
    assert run.trainer.shadow.values.keys() == shadow.keys()
    for name, value in shadow.items():
        torch.testing.assert_close(run.trainer.shadow.values[name], value, rtol=0, atol=1e-6)
    # The second step's teacher had the shadow's weights, and the model has its own back.
    assert_scores(run.signals, teacher_scores(with_weights(model, before_last_step), rows))
    moved = max(float((run.weights[3][name] - value).abs().max()) for name, value in shadow.items())
    assert moved > 1e-4
    final = dict(run.model.named_parameters())
    assert all(torch.equal(final[name], run.weights[3][name]) for name in shadow)


def test_the_shadow_is_applied_inside_its_block_only(model) -> None:
    live = copy.deepcopy(model)
    shadow = ShadowWeights(live, 0.5)
    first = live.lm_head.weight.detach().clone()
    with torch.no_grad():
        live.lm_head.weight.add_(1.0)
    pointer = live.lm_head.weight.data_ptr()
    with pytest.raises(RuntimeError), shadow.applied():
        assert torch.equal(live.lm_head.weight, first)
        raise RuntimeError("the live weights come back all the same")
    assert live.lm_head.weight.data_ptr() == pointer
    assert torch.equal(live.lm_head.weight, first + 1.0)
    shadow.update()
    torch.testing.assert_close(shadow.values["model.embed_tokens.weight"], first + 0.5)


def test_the_shadow_is_saved_and_loaded(model, tokenizer, tmp_path) -> None:
    config = settings(teacher={"weights": "ema"}, train={"lr": 1e-3})
    run = train(config, model, handmade_rows(), tmp_path / "a", tokenizer)
    saved = run.trainer.save_step(1)
    again = prepare(config, model, handmade_rows(), tmp_path / "b", tokenizer)
    assert not torch.equal(
        again.trainer.shadow.values["model.norm.weight"], run.trainer.shadow.values["model.norm.weight"]
    )
    again.trainer.resume_from(saved)
    for name, value in run.trainer.shadow.values.items():
        assert torch.equal(again.trainer.shadow.values[name], value)


LORA = {"lora": {"rank": 4, "alpha": 8.0}}


def test_lora_trains_the_adapter_alone_and_the_teacher_shares_it(model, tokenizer, tmp_path) -> None:
    rows = handmade_rows()
    config = settings(algo={"coef": 0.5}, model=LORA, train={"steps": 3, "lr": 1e-2})
    done = train(config, model, rows, tmp_path, tokenizer)
    trainable = {name for name, p in done.model.named_parameters() if p.requires_grad}
    assert trainable and all("lora_" in name for name in trainable)
    for before, after in zip(done.weights, done.weights[1:], strict=False):
        changed = {name for name in after if not torch.equal(before[name], after[name])}
        assert changed == trainable
    base = dict(model.named_parameters())
    for name, value in done.weights[-1].items():
        if "lora_" not in name:
            original = name.removeprefix("base_model.model.").replace(".base_layer", "")
            assert torch.equal(value, base[original]), name
    # The last step's teacher is the adapted model of after two updates, not the base model.
    adapted = done.model
    with torch.no_grad():
        for name, p in adapted.named_parameters():
            p.copy_(done.weights[1][name])
    adapted.eval()
    assert_scores(done.signals, teacher_scores(adapted, rows))
    with adapted.disable_adapter():
        plain = torch.cat(teacher_scores(adapted, rows))
    assert (plain - torch.cat([each.teacher.logps[0] for each in done.signals])).abs().max() > 1e-3


def test_the_gradient_of_an_adapter(model, tokenizer, tmp_path) -> None:
    """The same loss, seen by the adapter's parameters."""
    rows = handmade_rows()
    config = settings(algo={"coef": 0.5}, model=LORA)
    run = prepare(config, model, rows, tmp_path, tokenizer)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, p in run.model.named_parameters():
            if "lora_B" in name:  # zero at first, which hides half of the gradient
                p.normal_(std=0.05, generator=generator)
    student = [forward(run.model, row.prompt_ids, row)[0] for row in rows]
    teacher = teacher_scores(run.model, rows)
    parts = [
        -torch.tensor(row.advantage) * torch.exp(s - s.detach()) + 0.5 * torch.sigmoid(5 * (t - s)).detach() * (t - s)
        for row, s, t in zip(rows, student, teacher, strict=True)
    ]
    expected = gradient_of(torch.cat(parts).mean(), run.model)
    run.trainer.train()
    assert_same(run.gradients[0], expected)


def test_a_shadowed_adapter_leaves_the_base_alone(model, tokenizer, tmp_path) -> None:
    config = settings(model=LORA, teacher={"weights": "ema"})
    run = prepare(config, model, handmade_rows(), tmp_path, tokenizer)
    assert run.trainer.shadow.values and all("lora_" in name for name in run.trainer.shadow.values)


def test_no_distillation_means_no_shadow(model, tokenizer, tmp_path) -> None:
    config = settings(algo={"coef": 0.0}, teacher={"weights": "ema"})
    assert prepare(config, model, handmade_rows(), tmp_path, tokenizer).trainer.shadow is None


def test_prompts_of_turn_rows_show_the_skill_of_their_task(tokenizer, bank) -> None:
    """Every row gets the student's prompt with the skill of its episode's task type in it, and nothing else."""
    config = toy.config()
    clean = "pick_clean_then_place_in_recep"
    episodes, _, _ = toy.collect(config, tokenizer, [(task(2), 0), (task(1, 0, clean), 1)])
    maker = TeacherPrompts(config, Retriever(bank, config.skills), tokenizer)
    rows, stats = maker.add_prompts(make_samples(episodes, "window", config.algo)[0], episodes, 1)
    metrics = stats.metrics()
    assert len(rows) == 5
    for row in rows:
        episode = episodes[row.trajectory]
        found = retrieve(bank, episode.task, toy.GOAL, "task-type")
        skill = skill_text(found, "brief")
        view = episode.turns[row.turn].view
        expected = encode_prompt(tokenizer, view, style="compact", limit=640, skill=skill)
        assert row.teacher_prompts[0] == expected.ids
        assert skill in tokenizer.decode(row.teacher_prompts[0])
        assert episode.skill_ids == tuple(each.id for each in found)
        assert episode.skill_text == skill
        turn = episode.turns[row.turn]
        assert (turn.teacher_tokens, turn.teacher_cut) == (len(expected.ids), ())
    assert episodes[0].skill_ids != episodes[1].skill_ids
    assert metrics["teacher/skill_present"] == 1.0 and metrics["teacher/truncated_prompts"] == 0.0
    mean = sum(len(row.teacher_prompts[0]) for row in rows) / 5
    assert metrics["teacher/prompt_tokens"] == pytest.approx(mean)
    assert maker.example.ids == rows[0].teacher_prompts[0]


def test_a_transcripts_skill_stands_in_front_once(tokenizer, bank) -> None:
    config = toy.config(env={"context": "transcript"})
    episodes, _, _ = toy.collect(config, tokenizer, [(task(2), 0)])
    samples, _ = make_samples(episodes, "transcript", config.algo)
    (row,), _ = TeacherPrompts(config, Retriever(bank, config.skills), tokenizer).add_prompts(samples, episodes, 1)
    skill = skill_text(retrieve(bank, task(2), toy.GOAL, "task-type"), "brief")
    assert tokenizer.decode([*row.teacher_prompts[0], *row.response_ids]).count(skill) == 1
    assert tokenizer.decode(row.teacher_prompts[0]).replace(f"Skill: {skill}\n", "") == tokenizer.decode(row.prompt_ids)


def test_a_cut_prompt_is_counted(tokenizer, bank) -> None:
    """The budget holds the first turn with its skill; the third turn's history does not fit any more."""
    config = toy.config()
    episodes, _, _ = toy.collect(config, tokenizer, [(task(9), 0)])
    samples, _ = make_samples(episodes, "window", config.algo)
    rows, _ = TeacherPrompts(config, Retriever(bank, config.skills), tokenizer).add_prompts(samples, episodes, 1)
    needed = [len(row.teacher_prompts[0]) for row in rows]
    tight = toy.config(teacher={"max_prompt_tokens": needed[0]})
    rows, stats = TeacherPrompts(tight, Retriever(bank, tight.skills), tokenizer).add_prompts(samples, episodes, 1)
    metrics = stats.metrics()
    assert needed[0] < needed[1]
    assert metrics["teacher/truncated_prompts"] == 3 / 4
    assert metrics["teacher/truncated_tokens"] > 0 and metrics["teacher/skill_present"] == 1.0
    assert all(len(row.teacher_prompts[0]) <= needed[0] for row in rows)
    cuts = [turn.teacher_cut for turn in episodes[0].turns]
    assert cuts[0] == () and all(cut[0] == "history" for cut in cuts[1:])
