"""Sums over the micro-batches of one step's updates, and the metrics made of them."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sdar_cli.algo.distill import combine
from sdar_cli.base import distributed


class StepTotals:
    """The sums of one process, or of all after ``over_processes``.

    ``sums``: of the un-normalised losses, of token weights, tokens, clipped tokens and seconds.  ``parts``: per view of
    the teacher the sums of every call of ``distillation``.
    """

    def __init__(self, views: int) -> None:
        names = ("policy_loss", "kl", "entropy", "clipped", "weight", "tokens", "seconds_update")
        self.sums = dict.fromkeys(names, 0.0)
        self.parts: list[list[dict[str, Tensor]]] = [[] for _ in range(views)]

    @torch.no_grad()
    def count(self, inputs: dict[str, Tensor], student: Tensor, policy: Tensor, entropy: Tensor, eps: float) -> None:
        """Add a micro-batch: student log-probs (R, T), the un-normalised policy loss and entropy (0-dim).

        A token counts as clipped where its importance ratio has left [1 - eps, 1 + eps] in the direction that its
        advantage asks for.
        """
        advantage, weights, mask = inputs["advantages"], inputs["tool_mask"], inputs["response_mask"]
        ratio = torch.exp(student - inputs.get("old_per_token_logps", student))
        clipped = ((ratio < 1 - eps) & (advantage < 0)) | ((ratio > 1 + eps) & (advantage > 0))
        self.sums["clipped"] += (clipped & mask).sum().item()
        self.sums["tokens"] += mask.sum().item()
        self.sums["policy_loss"] += policy.item()
        self.sums["entropy"] += entropy.item()
        self.sums["weight"] += weights.sum().item()

    def copy(self) -> StepTotals:
        """The sums so far."""
        out = StepTotals(0)
        out.sums, out.parts = dict(self.sums), [list(parts) for parts in self.parts]
        return out

    def not_finite(self, before: StepTotals, gate: str, objective: str) -> str | None:
        """What of the sums added since ``before`` (all of them finite) is not finite, in words with the name of the
        gate or objective that made it; None where everything is finite."""
        for key, words in (
            ("entropy", "the entropy of the policy is"),
            ("policy_loss", "the policy loss is"),
            ("kl", "the KL to the initial model is"),
        ):
            if not math.isfinite(self.sums[key]):
                return f"{words} not finite"
        named = {
            "gap_sum": "the log-probs of the teacher are",
            "gate_sum": f"the values of the gate {gate} are",
            "loss_sum": f"the loss of the objective {objective} is",
        }
        for parts, old in zip(self.parts, before.parts, strict=True):
            for part in parts[len(old) :]:
                for key, words in named.items():
                    if not math.isfinite(float(part[key])):
                        return f"{words} not finite"
        return None

    def over_processes(self) -> StepTotals:
        """The totals of all processes; seconds are the slowest's.  Every process must call it."""
        every = distributed.gather((self.sums, self.parts))
        out = StepTotals(0)
        out.sums = {name: sum(sums[name] for sums, _ in every) for name in self.sums}
        out.sums["seconds_update"] = max(sums["seconds_update"] for sums, _ in every)
        out.parts = [[part for _, parts in every for part in parts[view]] for view in range(len(self.parts))]
        return out

    def loss_metrics(self, reference: bool) -> dict[str, float]:
        """Means per token weight and the share of clipped tokens.  reference: whether there is a KL to report."""
        weight, tokens = max(self.sums["weight"], 1e-12), max(self.sums["tokens"], 1.0)
        return {
            "policy_loss": self.sums["policy_loss"] / weight,
            **({"kl": self.sums["kl"] / weight} if reference else {}),
            "entropy": self.sums["entropy"] / weight,
            "clip_ratio": self.sums["clipped"] / tokens,
            "seconds_update": self.sums["seconds_update"],
        }

    def teacher_metrics(self, shapes: bool) -> dict[str, float]:
        """Those of the first view by their names, those of further ones under ``view1/`` and so on.

        shapes: the teacher shapes advantages, so there is no gate and no loss.
        """
        out: dict[str, float] = {}
        for index, parts in enumerate(self.parts):
            found = combine(parts)
            if shapes:
                found = {name: value for name, value in found.items() if "gate" not in name and "loss" not in name}
            out |= {f"view{index}/{name}" if index else name: value for name, value in found.items()}
        return out
