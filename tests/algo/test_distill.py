"""The distillation term at its edges: functions for names, wrong shapes, empty batches, half precision."""

from __future__ import annotations

import pytest
import torch

from sdar_cli.algo.distill import combine, distillation
from sdar_cli.algo.gates import GATES
from sdar_cli.algo.objectives import OBJECTIVES

from .material import batch_of, load, one_row, tensor

ALGO = load("sdar_cli.algo")


def test_functions_may_stand_for_names() -> None:
    batch = one_row(ALGO, [-1.0, -2.0], teacher=[-1.5, -1.0])
    how = {"beta": 5.0, "weights": tensor([[1.0, 1.0]])}
    named, _ = distillation(batch, gate="gap", objective="surrogate", **how)
    direct, _ = distillation(batch, gate=GATES["gap"], objective=OBJECTIVES["surrogate"], **how)
    assert named.item() == direct.item()


@pytest.mark.parametrize(
    "wrong",
    [
        {"weights": torch.ones(2)},
        {"gate": lambda batch, beta: batch.student[0]},
        {"objective": lambda batch, weight: weight.sum()},
    ],
)
def test_wrong_shapes_are_refused(wrong: dict) -> None:
    batch = one_row(ALGO, [-1.0, -2.0], teacher=[-1.5, -1.0])
    how = {"gate": "gap", "objective": "surrogate", "beta": 5.0, "weights": torch.ones(1, 2), **wrong}
    with pytest.raises(ValueError, match=r"has shape .*, expected \(1, 2\)"):
        distillation(batch, **how)


def test_a_batch_of_fillers_adds_nothing() -> None:
    batch = one_row(ALGO, [float("nan")], [False], teacher=[float("nan")])
    how = {"gate": "gap", "objective": "surrogate", "beta": 5.0, "weights": torch.zeros(1, 1)}
    loss, sums = distillation(batch, **how)
    assert loss.item() == 0.0 and loss.requires_grad
    assert set(combine([sums]).values()) == {0.0} == set(combine([]).values())


def test_half_precision_does_not_round_the_sums() -> None:
    student = torch.full((1, 1001), -1.0, dtype=torch.bfloat16)  # bfloat16 holds no integer between 1000 and 1004
    batch = batch_of(ALGO, student, teacher=student + 0.5)
    how = {"gate": "none", "objective": "surrogate", "beta": 5.0, "weights": torch.ones(1, 1001)}
    loss, sums = distillation(batch, **how)
    assert sums["tokens"].item() == 1001.0 and combine([sums])["gap_mean"] == 0.5
    assert loss.item() == 500.5
