"""A second set of weights for the same model: the initial ones, or a moving average of those that are trained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class ShadowWeights:
    """A second set of the trainable weights: the initial ones (decay 1) or their moving average.

    With LoRA only the adapter is shadowed.  ``update`` is called after every optimizer update.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.values = {name: p.detach().clone() for name, p in self.parameters.items()}

    @torch.no_grad()
    def update(self) -> None:
        """values = decay * values + (1 - decay) * weights."""
        if self.decay < 1.0:
            for name, p in self.parameters.items():
                self.values[name].lerp_(p.detach(), 1.0 - self.decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The model computes with the shadow inside this block."""
        live = {name: p.data for name, p in self.parameters.items()}
        for name, p in self.parameters.items():
            p.data = self.values[name]
        try:
            yield
        finally:
            for name, p in self.parameters.items():
                p.data = live[name]

    def load(self, values: Mapping[str, Tensor]) -> None:
        """Take over saved values.  Raises KeyError when a parameter is missing."""
        for name in self.values:
            self.values[name].copy_(values[name])
