"""The truncated ratio in the loss, and the alarm for a sampler that has other weights than the trainer."""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import pytest
import torch
import toy

from sdar_cli.base.errors import RunFailedError
from sdar_cli.train.mismatch import check_gap, gap_metrics, largest_gap
from sdar_cli.train.rows import PolicyScores
from sdar_cli.train.tokens import TokenRecord

from .material import assert_same, forward, gradient_of, handmade_rows, mean_over, policy_terms, settings, train


def sampled(model, rows, shift: float):
    """The rows as a sampler wrote them whose log-probs are those of the model, alternately ``shift`` up and down."""
    out = []
    for row in rows:
        with torch.no_grad():
            logps = forward(model, row.prompt_ids, row)[0].tolist()
        signs = [1 if t % 2 else -1 for t in range(len(logps))]
        out.append(replace(row, sampler_logps=[p + s * shift for p, s in zip(logps, signs, strict=True)]))
    return out


@pytest.mark.parametrize("distill", [False, True])
def test_the_policy_term_is_weighted_and_the_distillation_if_asked(model, tokenizer, tmp_path, distill: bool) -> None:
    """Ratios e^1, cut to 2, and e^-1 in turn."""
    rows = sampled(model, handmade_rows(), 1.0)
    student, teacher, ratios = [], [], []
    for row in rows:
        student.append(forward(model, row.prompt_ids, row)[0])
        with torch.no_grad():
            teacher.append(forward(model, row.teacher_prompts[0], row)[0])
        e = torch.tensor(1.0).exp()
        ratios.append(torch.tensor([2.0, 1 / e])[torch.arange(len(row.mask)) % 2])
    policy = [r * term for r, term in zip(ratios, policy_terms(rows, student), strict=True)]
    factors = ratios if distill else [torch.ones_like(r) for r in ratios]
    distilled = [
        f * torch.sigmoid(5 * (t - s)).detach() * (t - s) for f, s, t in zip(factors, student, teacher, strict=True)
    ]
    expected = mean_over(rows, policy, "token") + 0.5 * mean_over(rows, distilled, "token")
    algo = {"coef": 0.5, "tis": "token", "tis_distill": distill}
    done = train(settings(algo=algo, engine={"allow_gap": True}), model, rows, tmp_path, tokenizer)
    assert_same(done.gradients[0], gradient_of(expected, model))


def test_equal_log_probs_change_nothing(model, tokenizer, tmp_path) -> None:
    rows = handmade_rows()
    runs = [
        train(settings(algo={"tis": tis}), model, sampled(model, rows, 0.0), tmp_path / tis, tokenizer)
        for tis in ("token", "sequence-mask", "off")
    ]
    for run in runs[:2]:
        assert_same(run.gradients[0], runs[2].gradients[0])


def test_other_weights_stop_the_run_before_its_update(model, tokenizer, tmp_path) -> None:
    rows = sampled(model, handmade_rows(), 0.01)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    with pytest.raises(RunFailedError, match=r"disagree by 0\.01 nats") as caught:
        train(settings(train={"lr": 1.0}), model, rows, tmp_path, tokenizer)
    assert "stale" in caught.value.render() and "engine.allow_gap" in caught.value.render()
    for name, p in model.named_parameters():
        assert torch.equal(p, before[name]), name
    train(settings(engine={"allow_gap": True}), model, rows, tmp_path / "allowed", tokenizer)
    train(settings(), model, sampled(model, handmade_rows(), 1e-4), tmp_path / "rounding", tokenizer)


def test_rounding_in_half_precision_is_larger(model) -> None:
    rows = sampled(model, handmade_rows(), 0.05)
    with torch.no_grad():
        old = {row: PolicyScores(*forward(model, row.prompt_ids, row)) for row in rows}
    check_gap(old, toy.config(), largest_gap(model, half=True))
    with pytest.raises(RunFailedError):
        check_gap(old, toy.config(), largest_gap(model, half=False))
    records = {row: TokenRecord(scores, None, (), None) for row, scores in old.items()}
    found = gap_metrics(records, 2.0)
    assert found["sampler_gap_abs"] == pytest.approx(0.05, abs=1e-5)
    assert found["sampler_gap_max"] == pytest.approx(0.05, abs=1e-5)


def test_dropout_is_no_rounding(model) -> None:
    """Each pass of the trainer then draws another mask: nothing can be said of the sampler."""
    assert largest_gap(model, half=False) == 1e-3
    assert largest_gap(torch.nn.Sequential(model, torch.nn.Dropout(0.1)), half=False) == math.inf
    assert largest_gap(torch.nn.Sequential(model, torch.nn.Dropout(0.0)), half=False) == 1e-3
    copied = copy.deepcopy(model)
    copied.config.attention_dropout = 0.1
    assert largest_gap(copied, half=False) == math.inf


def test_nothing_is_known_of_a_sampler_that_says_nothing(tokenizer, model) -> None:
    rows = handmade_rows()  # NaN throughout
    with torch.no_grad():
        old = {row: PolicyScores(*forward(model, row.prompt_ids, row)) for row in rows}
    check_gap(old, toy.config(), largest_gap(model, half=False))
    assert gap_metrics({row: TokenRecord(s, None, (), None) for row, s in old.items()}, 2.0) == {}


def test_auto_corrects_for_engines_of_their_own() -> None:
    assert toy.config().correction == "off"
    assert toy.config(engine={"name": "toy:make_engine"}).correction == "token"
    assert toy.config(algo={"tis": "sequence-mask"}).correction == "sequence-mask"
