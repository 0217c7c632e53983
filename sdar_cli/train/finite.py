"""Loss, gradients and weights that are not finite, found before an optimizer step and before a checkpoint."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from sdar_cli.base import distributed
from sdar_cli.base.errors import NotFiniteError

if TYPE_CHECKING:
    from sdar_cli.config.schema import RunConfig
    from sdar_cli.train.totals import StepTotals


def first_not_finite(named: Iterable[tuple[str, Tensor]]) -> str | None:
    """The name of the first tensor that holds NaN or an infinity; None where there is none."""
    pairs = list(named)
    if not pairs:
        return None
    # one number a tensor, and one look at all of them; a sum may overflow, so what it marks is looked at again
    marks = torch.stack([torch.isfinite(tensor.detach().sum()).cpu() for _, tensor in pairs])
    if bool(marks.all()):
        return None
    return next((name for name, tensor in pairs if not bool(torch.isfinite(tensor).all())), None)


def check_weights(named: Iterable[tuple[str, Tensor]], when: str) -> None:
    """Raises NotFiniteError that names a tensor of the weights; when: the moment, in words."""
    name = first_not_finite(named)
    if name is not None:
        raise NotFiniteError(
            f"{when}: the weight {name} is not finite",
            why="an update destroyed it: the learning rate is too high, or the dtype too narrow",
        )


def trainable(model: nn.Module) -> list[tuple[str, Tensor]]:
    """Every parameter that an optimizer step changes."""
    return [(name, p.data) for name, p in model.named_parameters() if p.requires_grad]


def update_problem(
    config: RunConfig, model: nn.Module, totals: StepTotals, before: StepTotals, loss: Tensor
) -> str | None:
    """Why an update must not be made, or None; the same in every process, and every process must call it.

    totals, before: the step's sums with this update's and without.  loss: 0-dim.  The first process with something to
    say is heard.
    """
    found = totals.not_finite(
        before, f"{config.algo.gate!r} (algo.gate)", f"{config.algo.objective!r} (algo.objective)"
    )
    if found is None and not bool(torch.isfinite(loss)):
        found = "the loss is not finite"
    if found is None:
        name = first_not_finite((name, p.grad) for name, p in model.named_parameters() if p.grad is not None)
        found = f"the gradient of {name} is not finite" if name else None
    return next((problem for problem in distributed.gather(found) if problem), None)
