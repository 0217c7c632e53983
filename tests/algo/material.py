"""What the tests share: the package as one object, random batches, close comparison, gradients."""

from __future__ import annotations

import importlib
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

MODULES = ("batch", "registry", "gates", "objectives", "advantages", "aggregate", "distill", "policy")


def load(package: str) -> SimpleNamespace:
    """The modules of ``package`` as attributes: ``algo.gates.gap_gate`` and so on."""
    return SimpleNamespace(**{name: importlib.import_module(f"{package}.{name}") for name in MODULES})


def tensor(values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def batch_of(algo: SimpleNamespace, student: Tensor, mask: Any = None, **fields: Any) -> Any:
    """A TokenBatch whose ids are all different unless given, and whose mask is full unless given."""
    rows = torch.arange(len(student))
    values: dict[str, Any] = {"turn_ids": rows, "trajectory_ids": rows, "group_ids": rows, **fields}
    values["mask"] = torch.ones(student.shape, dtype=torch.bool) if mask is None else torch.as_tensor(mask)
    return algo.batch.TokenBatch(student=student, **values)


def one_row(algo: SimpleNamespace, student: Any, mask: Any = None, **fields: Any) -> Any:
    """A TokenBatch of a single row given as lists; the student's log-probs are a leaf with gradient."""
    leaf = tensor([student]).requires_grad_()
    rows = {name: tensor([value]) for name, value in fields.items()}
    return batch_of(algo, leaf, None if mask is None else [mask], **rows)


def random_fields(seed: int, rows: int = 6, tokens: int = 5) -> dict[str, Tensor]:
    """Log-probs of a student and views near it, entropy, a ragged mask (last row a filler), ids of two groups."""
    generator = torch.Generator().manual_seed(seed)

    def noise() -> Tensor:
        return torch.randn(rows, tokens, generator=generator, dtype=torch.float64)

    student = -noise().abs() - 0.1
    lengths = torch.randint(1, tokens + 1, (rows,), generator=generator)
    lengths[-1] = 0
    return {
        "student": student,
        "teacher": student + 0.4 * noise(),
        "old": student + 0.1 * noise(),
        "reference": student + 0.2 * noise(),
        "entropy": noise().abs(),
        "mask": torch.arange(tokens) < lengths[:, None],
        "turn_ids": torch.arange(rows),
        "trajectory_ids": torch.arange(rows) // 2,
        "group_ids": torch.arange(rows) // 4,
    }


def gradient(value: Tensor, leaf: Tensor) -> Tensor:
    """d sum(value) / d leaf, keeping the graph; zero where ``value`` does not depend on ``leaf``."""
    if not value.requires_grad:
        return torch.zeros_like(leaf)
    (result,) = torch.autograd.grad(value.sum(), leaf, retain_graph=True, allow_unused=True)
    return torch.zeros_like(leaf) if result is None else result


def close(actual: Any, expected: Any, atol: float = 1e-9) -> None:
    """Equal to an absolute ``atol``, shapes included; NaN never equals anything."""
    left = torch.as_tensor(actual, dtype=torch.float64).detach()
    right = torch.as_tensor(expected, dtype=torch.float64).detach()
    torch.testing.assert_close(left, right, rtol=0.0, atol=atol)
