"""Schedules of the coefficients, through the trainer."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from .material import (
    assert_same,
    forward,
    gradient_of,
    handmade_rows,
    policy_terms,
    prepare,
    settings,
    train,
)

SCHEDULES = [
    # coef 0.6 over 4 steps, or over coef_steps: the first step already has p = 1 / over.
    ({}, [0.6, 0.6, 0.6, 0.6], [1, 1, 1, 1]),
    ({"coef_schedule": "linear", "coef_end": 0.2}, [0.5, 0.4, 0.3, 0.2], [1, 1, 1, 1]),
    ({"coef_schedule": "linear", "coef_end": 0.2, "coef_steps": 2}, [0.4, 0.2, 0.2, 0.2], [1, 1, 1, 1]),
    ({"coef_schedule": "warm-down", "coef_steps": 3}, [0.4, 0.2, 0.0, 0.0], [1, 1, 1, 1]),
    ({"policy_coef_end": 2.0}, [0.6, 0.6, 0.6, 0.6], [1.25, 1.5, 1.75, 2.0]),
    ({"policy_coef_end": 0.0, "coef_steps": 2, "coef_schedule": "linear"}, [0.3, 0, 0, 0], [0.5, 0, 0, 0]),
    # kappa 0.5, 0.4, 0.3, 0.2 over rho 1.25, 1.5, 1.75, 2
    (
        {"coef_schedule": "atod", "coef_end": 0.2, "policy_coef_end": 2.0},
        [0.5 / 1.25, 0.4 / 1.5, 0.3 / 1.75, 0.1],
        [1.25, 1.5, 1.75, 2.0],
    ),
]


@pytest.mark.parametrize("algo, coefs, policy_coefs", SCHEDULES, ids=lambda value: str(value)[:40])
def test_schedules_set_the_coefficients_of_every_step(
    model, tokenizer, tmp_path, algo, coefs: list[float], policy_coefs: list[float]
) -> None:
    """As logged and as felt: at (nearly) fixed weights a step's gradient is their combination of the two terms'."""
    rows = handmade_rows()
    config = settings(algo={"coef": 0.6, "gate": "none", "objective": "signed", **algo}, train={"steps": 4})
    done = train(config, model, rows, tmp_path, tokenizer)
    assert [step["coef"] for step in done.metrics] == pytest.approx(coefs, abs=1e-12)
    student = [forward(model, row.prompt_ids, row)[0] for row in rows]
    policy = gradient_of(torch.cat(policy_terms(rows, student)).mean(), model)
    student = [forward(model, row.prompt_ids, row)[0] for row in rows]
    teacher = [forward(model, row.teacher_prompts[0], row)[0] for row in rows]
    signed = torch.cat([-(t - s).detach() * s for s, t in zip(student, teacher, strict=True)]).mean()
    distilled = gradient_of(signed, model)
    for found, coef, policy_coef in zip(done.gradients, coefs, policy_coefs, strict=True):
        expected = {name: policy_coef * policy[name] + coef * distilled[name] for name in policy}
        if coef or policy_coef:
            assert_same(found, expected, atol=5e-6)
        else:
            assert not any(value.any() for value in found.values())
    # Once the coefficient is 0 no teacher is scored, and nothing is reported of one.
    assert done.scored == [("teacher", len(rows)) for coef in coefs if coef]
    for name in ("gap_mean", "distill_loss"):
        assert [name in step for step in done.metrics] == [coef > 0 for coef in coefs]


def test_the_last_step_of_a_warm_down_is_grpo_bit_for_bit(model, tokenizer, tmp_path) -> None:
    rows = handmade_rows()
    options = {"updates_per_step": 2, "lr": 1e-3}
    down, grpo = (
        train(settings(algo=algo, train=options), model, rows, tmp_path, tokenizer)
        for algo in ({"coef": 0.5, "coef_schedule": "warm-down", "coef_steps": 1}, {"coef": 0.0})
    )
    assert all(torch.equal(down.weights[-1][name], value) for name, value in grpo.weights[-1].items())
    assert down.metrics[0]["coef"] == 0.0 and "coef" not in grpo.metrics[0]


def test_a_schedule_that_goes_below_zero_is_an_error(model, tokenizer, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "my_schedule.py").write_text("def sinking(step, over, start, end):\n    return start - 0.5 * step\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    config = settings(algo={"coef": 0.6, "coef_schedule": "my_schedule:sinking"}, train={"steps": 2})
    run = prepare(config, model, handmade_rows(), tmp_path, tokenizer)
    with pytest.raises(ValueError, match=r"gave -0\.4 at step 2"):
        run.trainer.train()
    assert [step["coef"] for step in run.metrics] == pytest.approx([0.1])
