"""Handmade rows, the quantities of the loss computed row by row without padding, and short trainings."""

from __future__ import annotations

import copy
import functools
import gc
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import toy
from torch import Tensor, nn
from transformers import TrainerCallback

from sdar_cli.algo.policy import clipped_policy_loss
from sdar_cli.config.schema import RunConfig
from sdar_cli.rollout.samples import Sample, weights_of
from sdar_cli.session import Session
from sdar_cli.train.rows import PolicyScores, Signals
from sdar_cli.train.trainer import SDARTrainer, StepData

END = 2


def handmade_rows(seed: int = 0, masked: bool = False) -> list[Sample]:
    """Seven rows of four trajectories in two groups: ragged, advantages of both signs, one of them zero.

    masked: some tokens are the environment's.  Token ids are random, the teacher's prompts differ from the student's.
    """
    generator = torch.Generator().manual_seed(seed)

    def ids(low: int, high: int) -> list[int]:
        length = int(torch.randint(low, high + 1, (1,), generator=generator))
        return torch.randint(3, 400, (length,), generator=generator).tolist()

    advantages = (1.2, -0.7, 0.0, 0.4, -1.5, 0.9, -0.2)
    rows = []
    for k, (trajectory, advantage) in enumerate(zip((0, 0, 1, 2, 2, 2, 3), advantages, strict=True)):
        completion = [*ids(1, 6), END]
        mask = [not (masked and k % 2 and t == 1) for t in range(len(completion))]
        prompt = ids(2, 9)
        rows.append(
            Sample(
                prompt_ids=prompt,
                response_ids=completion,
                mask=mask,
                turn_of=[k if m else -1 for m in mask],
                trajectory=trajectory,
                group=trajectory // 2,
                turn=k,
                sampler_logps=[math.nan] * len(completion),  # written by hand
                success=False,
                advantage=[advantage - 0.05 * (t == 0) for t in range(len(completion))],
                weight=[],
                teacher_prompts=[[*ids(3, 8), *prompt]],
            )
        )
    return rows


def weighted(rows: Sequence[Sample], agg: str = "token") -> tuple[list[Sample], float]:
    """Copies of the rows with their weights, and the normaliser."""
    weights, normaliser = weights_of(rows, agg)
    return [replace(row, weight=weight) for row, weight in zip(rows, weights, strict=True)], normaliser


def distribution(model: nn.Module, prompt: Sequence[int], row: Sample, temperature: float = 1.0) -> Tensor:
    """log softmax at every completion token of a row after ``prompt``, (T, V): one row, no padding."""
    ids = torch.tensor([[*prompt, *row.response_ids]])
    logits = model(input_ids=ids).logits[0, len(prompt) - 1 : -1] / temperature
    return torch.log_softmax(logits.float(), dim=-1)


def forward(model: nn.Module, prompt: Sequence[int], row: Sample, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
    """(log-probs, entropies) of a row's completion after ``prompt``."""
    logp = distribution(model, prompt, row, temperature)
    chosen = logp.gather(1, torch.tensor(row.response_ids)[:, None])[:, 0]
    return chosen, -(logp.exp() * logp).sum(-1)


def mean_over(rows: Sequence[Sample], values: Sequence[Tensor], agg: str) -> Tensor:
    """The mean that ``agg`` names of per-token values, by its definition and not by weights."""
    kept = [v[torch.tensor(row.mask)] for row, v in zip(rows, values, strict=True)]
    if agg == "token":
        return torch.cat(kept).mean()
    if agg == "turn":
        return torch.stack([v.mean() for v in kept]).mean()
    owners = sorted({row.trajectory for row in rows})
    return torch.stack(
        [torch.cat([v for row, v in zip(rows, kept, strict=True) if row.trajectory == i]).mean() for i in owners]
    ).mean()


def gradient_of(value: Tensor, model: nn.Module) -> dict[str, Tensor]:
    """d value / d parameters, by name."""
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    found = torch.autograd.grad(value, list(parameters.values()))
    return {name: g.detach().clone() for name, g in zip(parameters, found, strict=True)}


def policy_terms(rows: Sequence[Sample], student: Sequence[Tensor], old: Any = None, dual: Any = 3.0) -> list[Tensor]:
    """Clipped losses by the definition; without old log-probs the ratio is 1 in value."""
    old = [s.detach() for s in student] if old is None else old
    return [
        clipped_policy_loss(s[None], o[None], torch.tensor([row.advantage]), 0.2, dual)[0]
        for row, s, o in zip(rows, student, old, strict=True)
    ]


def with_weights(model: nn.Module, values: dict[str, Tensor]) -> nn.Module:
    """A copy of the model with these weights."""
    made = copy.deepcopy(model)
    made.load_state_dict(values, strict=False)
    made.tie_weights()  # type: ignore[operator]
    return made


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor], atol: float = 1e-6) -> None:
    """Equal tensors under equal names, and not all of them zero."""
    assert found.keys() == expected.keys()
    assert max(float(value.abs().max()) for value in expected.values()) > 100 * atol, "nothing to compare"
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-4, atol=atol, msg=lambda m, n=name: f"{n}: {m}")


@dataclass
class Trained:
    """A finished training: per optimizer update its loss, gradients and the weights after it; per step its metrics."""

    trainer: SDARTrainer
    model: nn.Module
    losses: list[float] = field(default_factory=list)
    gradients: list[dict[str, Tensor]] = field(default_factory=list)
    weights: list[dict[str, Tensor]] = field(default_factory=list)
    metrics: list[dict[str, Any]] = field(default_factory=list)
    scored: list[tuple[str, int]] = field(default_factory=list)
    """What was scored without gradient: (which log-probs, number of rows)."""

    @property
    def signals(self) -> list[Signals]:
        """Those of the last step, in the order in which its rows were handed in."""
        return [self.trainer._signals[sample] for sample in self.trainer.given]  # type: ignore[attr-defined]


class _Watch(TrainerCallback):
    def __init__(self, record: Trained) -> None:
        self.record = record

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, model: Any = None, **more: Any) -> None:
        named = {n: p for n, p in model.named_parameters() if p.requires_grad}
        self.record.gradients.append(
            {n: torch.zeros_like(p) if p.grad is None else p.grad.clone() for n, p in named.items()}
        )

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **more: Any) -> None:
        self.record.weights.append({n: p.detach().clone() for n, p in model.named_parameters()})


@functools.cache
def quick_collections() -> None:
    """Every training begins with a full garbage collection; without the libraries' objects it is quick."""
    gc.collect()
    gc.freeze()


def prepare(
    config: RunConfig,
    model: nn.Module,
    rows: Sequence[Sample] | list[list[Sample]],
    folder: Path,
    tokenizer: Any,
    old: Sequence[Tensor] | None = None,
) -> Trained:
    """A trainer that gets these rows at every step (or a list of rows per step), ready to train.

    The model is copied.  The rows of the last step, with their weights, are ``trainer.given``.
    old: log-probs of the rows in place of those of the first update's own forward pass.
    """
    quick_collections()
    record = Trained(None, copy.deepcopy(model))  # type: ignore[arg-type]

    def rollout(trainer: SDARTrainer, step: int) -> StepData:
        per_step = rows[step - 1] if rows and isinstance(rows[0], list) else rows
        made, normaliser = weighted(per_step, config.algo.agg)
        trainer.given = made  # type: ignore[attr-defined]
        return StepData(made, normaliser, {"step": step})

    def after_step(trainer: SDARTrainer, step: int, metrics: dict[str, Any]) -> bool:
        record.metrics.append(metrics)
        return False

    torch.manual_seed(config.seed)
    peft = Session.peft_config(SimpleNamespace(config=config))  # type: ignore[arg-type]
    trainer = SDARTrainer(config, record.model, tokenizer, folder, rollout, after_step, peft_config=peft)
    record.trainer, record.model = trainer, trainer.model
    trainer.add_callback(_Watch(record))
    step_of_trl, score_chunks = trainer.training_step, trainer._score_chunks

    def noting_loss(*args: Any, **kwargs: Any) -> Tensor:
        loss = step_of_trl(*args, **kwargs)
        record.losses.append(float(loss))
        return loss

    def noting(name: str, score: Any) -> Any:
        def noted(scored: Sequence[Sample], *view: int) -> Any:
            record.scored.append((name, len(scored)))
            return score(scored, *view)

        return noted

    def with_old() -> dict[Sample, Signals]:
        found = score_chunks()
        for sample, values in zip(trainer.given, old or (), strict=old is not None):  # type: ignore[attr-defined]
            found[sample] = replace(found[sample], old=PolicyScores(values, torch.zeros_like(values)))
        return found

    trainer.training_step, trainer._score_chunks = noting_loss, with_old  # type: ignore[method-assign]
    for name, method in (("teacher", "score_view"), ("old", "score_old"), ("reference", "score_reference")):
        setattr(trainer, method, noting(name, getattr(trainer, method)))
    return record


def train(
    config: RunConfig, model: nn.Module, rows: Any, folder: Path, tokenizer: Any, old: Sequence[Tensor] | None = None
) -> Trained:
    """``prepare`` and train to the end."""
    record = prepare(config, model, rows, folder, tokenizer, old)
    record.trainer.train()
    return record


def settings(**sections: Any) -> RunConfig:
    """One step of one update, no clipping of the gradient, a learning rate that is next to nothing."""
    sections["train"] = {"steps": 1, "lr": 1e-9, **sections.get("train", {})}
    return toy.config(**sections)
