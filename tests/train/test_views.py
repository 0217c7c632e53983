"""Several contexts of the teacher: their prompts, their weights, their metrics, and how they are written down."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from math import nan
from pathlib import Path

import pytest
import torch
import toy
from choosing import retrieve
from toy import task

from sdar_cli.base.errors import ConfigError
from sdar_cli.config.presets import resolve
from sdar_cli.config.schema import View
from sdar_cli.rollout.prompt import encode_prompt
from sdar_cli.rollout.samples import Sample, make_samples
from sdar_cli.skills.bank import load_bank
from sdar_cli.skills.choose.retriever import Retriever
from sdar_cli.skills.choose.strategies import skill_text
from sdar_cli.train.teacher import TeacherPrompts

from .material import (
    assert_same,
    distribution,
    forward,
    gradient_of,
    handmade_rows,
    mean_over,
    policy_terms,
    settings,
    train,
)

TERMS = [{"objective": "surrogate"}, {"objective": "reverse-kl", "gate": "none"}, {"shaping": "rlsd"}]
"""A sampled objective, one of the whole vocabulary, a shaping."""
IDS = ["surrogate", "reverse-kl", "rlsd"]


@pytest.fixture(scope="module")
def bank():
    return load_bank("alfworld")


def viewed(rows: Sequence[Sample], *which: int) -> list[Sample]:
    """Copies of the rows with these prompts: 0 the teacher's, 1 another one, 2 the student's own."""
    copies = []
    for row in rows:
        prompts = [row.teacher_prompts[0], [7, 9, *row.teacher_prompts[0][::-1]], list(row.prompt_ids)]
        copies.append(replace(row, teacher_prompts=[list(prompts[k]) for k in which]))
    return copies


def config(algo: dict, *weights: float, **more):
    views = [{"weight": weight} for weight in weights]
    return settings(algo={"coef": 0.5, **algo}, teacher={"views": views, **more.pop("teacher", {})}, **more)


@pytest.mark.parametrize("algo", TERMS, ids=IDS)
def test_one_view_is_none_listed(model, tokenizer, tmp_path, algo: dict) -> None:
    """Bit for bit."""
    rows = handmade_rows(masked=True)
    options = {"updates_per_step": 2, "lr": 1e-3}
    none, one = (
        train(config(algo, *weights, train=options), model, rows, tmp_path, tokenizer) for weights in ((), (1.0,))
    )
    assert none.losses == one.losses
    assert all(torch.equal(one.weights[-1][name], value) for name, value in none.weights[-1].items())
    assert {key for key in none.metrics[0] if not key.startswith("seconds")} == {
        key for key, value in one.metrics[0].items() if not key.startswith("seconds") and none.metrics[0][key] == value
    }


@pytest.mark.parametrize("algo", TERMS, ids=IDS)
def test_two_equal_views_of_half_the_weight_are_one(model, tokenizer, tmp_path, algo: dict) -> None:
    rows = handmade_rows(masked=True)
    one = train(config(algo, 1.0), model, viewed(rows, 0), tmp_path, tokenizer)
    two = train(config(algo, 0.5, 0.5), model, viewed(rows, 0, 0), tmp_path, tokenizer)
    assert two.losses == pytest.approx(one.losses, abs=1e-6)
    assert_same(two.gradients[0], one.gradients[0])
    for key in ("gap_mean", "gap_abs_mean", "negative_gap_ratio"):
        assert two.metrics[0][key] == two.metrics[0][f"view1/{key}"] == pytest.approx(one.metrics[0][key], abs=1e-6)


@pytest.mark.parametrize("algo", TERMS, ids=IDS)
def test_the_weight_of_the_only_view_multiplies_the_coefficient(model, tokenizer, tmp_path, algo: dict) -> None:
    rows = handmade_rows(masked=True)
    heavy = train(config({**algo, "coef": 0.8}, 0.25), model, rows, tmp_path, tokenizer)
    light = train(config({**algo, "coef": 0.2}), model, rows, tmp_path, tokenizer)
    assert heavy.losses == pytest.approx(light.losses, abs=1e-6)
    assert_same(heavy.gradients[0], light.gradients[0])


@pytest.mark.parametrize("full", [False, True], ids=["surrogate", "forward-kl"])
def test_the_terms_of_views_are_added_by_weight(model, tokenizer, tmp_path, full: bool) -> None:
    """Each with its own gate; a weight may be negative: away from that context."""
    rows = viewed(handmade_rows(masked=True), 0, 1)
    terms: list[list[torch.Tensor]] = [[], []]
    gates: list[list[torch.Tensor]] = [[], []]
    students = []
    for row in rows:
        students.append(forward(model, row.prompt_ids, row)[0])
        for view, prompt in enumerate(row.teacher_prompts):
            with torch.no_grad():
                teacher = forward(model, prompt, row)[0]
                log_t = distribution(model, prompt, row)
            gates[view].append(torch.sigmoid(2 * (teacher - students[-1]).detach()))
            loss = teacher - students[-1]
            if full:
                loss = (log_t.exp() * (log_t - distribution(model, row.prompt_ids, row))).sum(-1)
            terms[view].append(gates[view][-1] * loss)
    losses = [mean_over(rows, values, "token") for values in terms]
    expected = mean_over(rows, policy_terms(rows, students), "token") + 0.5 * (1.5 * losses[0] - 0.4 * losses[1])
    algo = {"gate_beta": 2.0, "objective": "forward-kl" if full else "surrogate"}
    done = train(config(algo, 1.5, -0.4), model, rows, tmp_path, tokenizer)
    assert done.scored == [("teacher", 7)] * 2
    assert done.losses == pytest.approx([expected.item()], abs=1e-5)
    assert_same(done.gradients[0], gradient_of(expected, model), atol=2e-6)
    (metrics,) = done.metrics
    for prefix, loss, gate in zip(("", "view1/"), losses, gates, strict=True):
        assert metrics[f"{prefix}distill_loss"] == pytest.approx(loss.item(), abs=1e-5)
        assert metrics[f"{prefix}gate_mean"] == pytest.approx(mean_over(rows, gate, "token").item(), abs=1e-5)
    assert metrics["gate_mean"] != pytest.approx(metrics["view1/gate_mean"], abs=1e-3)
    assert not any(key.startswith("view2") for key in metrics)


def test_a_shapings_changes_are_added_by_weight(model, tokenizer, tmp_path) -> None:
    """A + sum over views of weight * (shaped - A), each view shaping the advantages as they were."""
    rows = handmade_rows()

    def advantages(weights: Sequence[float], *which: int) -> list[float]:
        done = train(config({"shaping": "rlsd"}, *weights), model, viewed(rows, *which), tmp_path, tokenizer)
        return [value for each in done.signals for value in each.advantage]

    before = [value for row in rows for value in row.advantage]
    first, second, both = advantages([1.0], 0), advantages([1.0], 1), advantages([1.5, -0.4], 0, 1)
    expected = [a + 1.5 * (x - a) - 0.4 * (y - a) for a, x, y in zip(before, first, second, strict=True)]
    assert both == pytest.approx(expected, abs=1e-5)
    assert first != pytest.approx(second, abs=1e-3)


def test_a_view_of_the_students_prompt_has_no_gap(model, tokenizer, tmp_path) -> None:
    """Under the gate of the gap its term is half a uniform imitation; the other view is as alone."""
    rows = handmade_rows()
    both = train(config({}, 1.0, 1.0), model, viewed(rows, 2, 0), tmp_path, tokenizer)
    alone = train(config({}), model, viewed(rows, 0), tmp_path, tokenizer)
    (metrics,) = both.metrics
    assert metrics["gap_abs_mean"] < 1e-5 and metrics["gate_mean"] == pytest.approx(0.5, abs=1e-5)
    for key in ("gap_mean", "gap_abs_mean", "gate_mean", "gate_active_ratio", "negative_gap_ratio", "distill_loss"):
        assert metrics[f"view1/{key}"] == pytest.approx(alone.metrics[0][key], abs=1e-6)


VIEWS = [{"retrieval": "none"}, {"form": "full", "placement": "system"}, {"retrieval": "full", "weight": 0.5}]


def test_every_row_gets_one_prompt_per_view(tokenizer, bank) -> None:
    """As its retrieval, form and placement say; what is left open comes from skills and teacher."""
    made = toy.config(teacher={"views": VIEWS, "max_prompt_tokens": 8000, "placement": "prefix"})
    assert made.views == (
        View("none", "brief", "prefix", 1.0),
        View("task-type", "full", "system", 1.0),
        View("full", "brief", "prefix", 0.5),
    )
    clean = "pick_clean_then_place_in_recep"
    episodes, _, _ = toy.collect(made, tokenizer, [(task(2), 0), (task(1, 0, clean), 1)])
    maker = TeacherPrompts(made, Retriever(bank, made.skills), tokenizer)
    rows, stats = maker.add_prompts(make_samples(episodes, "window", made.algo)[0], episodes, 1)
    tokens = skilled = 0
    for row in rows:
        episode, turn = episodes[row.trajectory], episodes[row.trajectory].turns[row.turn]
        assert len(row.teacher_prompts) == 3
        assert row.teacher_prompts[0] == row.prompt_ids
        for view, ids in zip(made.views, row.teacher_prompts, strict=True):
            text = skill_text(retrieve(bank, episode.task, toy.GOAL, view.retrieval), view.form)
            assert bool(text) == (view.retrieval != "none")
            encoded = encode_prompt(
                tokenizer, turn.view, style="compact", limit=8000, skill=text, placement=view.placement
            )
            assert ids == encoded.ids
            tokens, skilled = tokens + len(ids), skilled + bool(text)
        assert turn.teacher_tokens == len(row.teacher_prompts[0])  # the record of a turn is the first view's
        assert (episode.skill_text, episode.skill_ids) == ("", ())
    assert (stats.prompts, stats.with_skill, stats.tokens, stats.cut) == (15, 10, tokens, 0)
    assert skilled == 10
    assert stats.expected == 10, "a view without retrieval needs no skill"
    assert stats.metrics()["teacher/skill_present"] == 1.0
    assert stats.metrics()["teacher/prompt_tokens"] == pytest.approx(tokens / 15)
    assert maker.example is not None and maker.example.ids == rows[0].prompt_ids


def test_with_and_without_a_skill_side_by_side(model, tokenizer, bank, tmp_path) -> None:
    """Prompts of real episodes through the trainer: the view without a skill is the student, the other one is not."""
    made = config({}, train={}, teacher={"views": [{"retrieval": "none"}, {}]})
    episodes, _, _ = toy.collect(made, tokenizer, [(task(2), 0), (task(1), 1)])
    samples, _ = make_samples(episodes, "window", made.algo)
    rows, _ = TeacherPrompts(made, Retriever(bank, made.skills), tokenizer).add_prompts(samples, episodes, 1)
    length = [len(row.response_ids) for row in rows]  # a script wrote them, not the model: what sampled them is unknown
    rows = [replace(r, advantage=[1.0] * n, sampler_logps=[nan] * n) for r, n in zip(rows, length, strict=True)]
    (metrics,) = train(made, model, rows, tmp_path, tokenizer).metrics
    assert metrics["gap_abs_mean"] < 1e-5
    assert metrics["view1/gap_abs_mean"] > 0.05


LISTED = 'teacher.views=[{retrieval="full",weight=0.5},{form="full"}]'


def test_views_are_read_from_the_command_line() -> None:
    resolved = resolve(sets=[LISTED])
    assert resolved.sources["teacher.views"] == "--set"
    assert resolved.config.views == (View("full", "brief", "user", 0.5), View("task-type", "full", "user", 1.0))
    later = resolve(sets=[LISTED, "skills.form=full", "teacher.placement=system"])
    assert later.config.views == (View("full", "full", "system", 0.5), View("task-type", "full", "system", 1.0))
    assert resolve(sets=[LISTED, "teacher.views=[]"]).config.views == resolve().config.views


def test_views_survive_a_configuration_file(tmp_path: Path) -> None:
    first = resolve(sets=[LISTED]).config
    path = tmp_path / "config.json"
    path.write_text(json.dumps(first.model_dump(mode="json")))
    again = resolve(config_file=path)
    assert again.config == first
    assert again.config.views == first.views
    assert again.sources["teacher.views"] == f"--config {path}"


@pytest.mark.parametrize(
    "value, words",
    [
        ('[{retrieval="ful"}]', "task-type"),
        ('[{weight="much"}]', "number"),
        ('[{}, {placement="tail"}]', "prefix"),
        ('[{retreival="full"}]', "not permitted"),
        ("[1]", "ViewConfig"),
        ("full", "tuple"),
    ],
)
def test_a_bad_view_is_named(value: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve(sets=[f"teacher.views={value}", "algo.coef=-1"])
    text = caught.value.render()
    assert "--set: teacher.views = " in text and words in text
    assert "algo.coef = -1" in text, "every problem is reported, not the first alone"
