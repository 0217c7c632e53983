"""Gradients of several losses on the same samples, task by task: what ``sdar probe`` compares.  Nothing is trained.

A task's gradient is that of the SUM over its tokens of weight * loss, so the gradients of tasks add up to that of any
set of them; the caller divides by the sum of the weights.  All losses of a micro-batch share one forward pass.

Where the gradients themselves would not fit, a count sketch of each is kept (Charikar et al. 2002): every coordinate is
added, with a random sign, to one of ``BUCKETS`` sums.  Inner products of sketches are unbiased, with an error of about
|x| |y| / sqrt(BUCKETS), 0.2 %.  Sketching is linear, so micro-batches and tasks still add up.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from sdar_cli.algo.batch import TokenBatch, gap, hide
from sdar_cli.algo.distill import GAP_THRESHOLD, distillation
from sdar_cli.algo.gates import Gate, entropy_gate, gap_gate, soft_or_gate
from sdar_cli.algo.objectives import Objective
from sdar_cli.algo.registry import GATE, OBJECTIVE
from sdar_cli.algo.shaping import per_token_advantage
from sdar_cli.base.seeds import seed_of
from sdar_cli.rollout.samples import Sample
from sdar_cli.train.rows import Signals, collate, micro_batches

if TYPE_CHECKING:
    from sdar_cli.train.trainer import SDARTrainer

MEMORY = 2**30
"""Bytes of gradients kept; beyond, they are sketched."""
BUCKETS = 2**18
"""Sums of a sketch."""
PIECE = 2**22
"""Coordinates hashed at a time."""
COLUMNS = 2**15
"""Columns of the Gram matrix's factor taken at a time."""
TURN_SUMS = (
    "tokens",
    "gap",
    "gap_abs",
    "gap_negative",
    "gap_above",
    "gate_gap",
    "gate_entropy",
    "gate_soft_or",
    "gate_gap_active",
)
"""What is summed per turn index, over unmasked tokens without weights; ``gap_above`` counts gaps above 0.02 nats."""


@dataclass(frozen=True)
class Estimator:
    """A loss whose gradient is looked at.  ``gate`` None is the policy term.

    ``weigh``, ``loss``: the functions of gate and objective where the names alone do not identify them.
    """

    name: str
    objective: str
    gate: str | None
    weigh: Gate | None = None
    loss: Objective | None = None


def centred_gap_gate(batch: TokenBatch, beta: float) -> Tensor:
    """sigmoid(beta * Delta_t) - 1/2, (R, T): the gap gate without its constant part, which is noise."""
    return gap_gate(batch, beta) - 0.5


POLICY = Estimator("policy gradient", "policy", None)
EXACT = Estimator("reverse-kl", "reverse-kl", "none")
ESTIMATORS = (
    POLICY,
    Estimator("gap gate", "surrogate", "gap"),
    Estimator("gap gate - 1/2", "surrogate", "gap - 1/2", centred_gap_gate),
    Estimator("entropy gate", "surrogate", "entropy"),
    Estimator("soft-or gate", "surrogate", "soft-or"),
    Estimator("no gate", "surrogate", "none"),
    Estimator("signed", "signed", "none"),
    Estimator("k3", "k3", "none"),
    EXACT,
    Estimator("forward-kl", "forward-kl", "none"),
    Estimator("jsd", "jsd", "none"),
)


def estimators_with(
    gate: str,
    objective: str,
    gate_args: Mapping[str, Any] | None = None,
    objective_args: Mapping[str, Any] | None = None,
) -> tuple[list[Estimator], int]:
    """Every estimator, and which of them has this gate and objective: it is added where it is none of the usual.

    Raises ConfigError where the arguments do not fit.
    """
    found = list(ESTIMATORS)
    for index, each in enumerate(found):
        if (each.gate, each.objective) == (gate, objective) and not gate_args and not objective_args:
            return found, index
    weigh, loss = GATE.bind(gate, gate_args), OBJECTIVE.bind(objective, objective_args)
    return [*found, Estimator(f"{objective}, {gate} gate", objective, gate, weigh, loss)], len(found)


def loss_sum(estimator: Estimator, batch: TokenBatch, weights: Tensor, beta: float) -> Tensor:
    """Sum over tokens of weights (R, T) * loss, 0-dim with gradient, not normalised.

    The policy term is -sum(w A pi / sg(pi)): on the batch just sampled the ratio is 1 and no clip is active.
    """
    if estimator.gate is None:
        student = batch.visible("student")
        return -(hide(weights, batch.mask) * per_token_advantage(batch) * torch.exp(student - student.detach())).sum()
    gate, objective = estimator.weigh or estimator.gate, estimator.loss or estimator.objective
    return distillation(batch, gate=gate, objective=objective, beta=beta, weights=weights)[0]


class Compressor:
    """Turns a gradient (a tensor per parameter, or None) into one float32 vector: itself, or its sketch."""

    def __init__(self, sizes: Sequence[int], vectors: int, seed: int) -> None:
        self.size = sum(sizes)
        self.sketch = BUCKETS if 4 * self.size * vectors > MEMORY else None
        self.width = self.sketch or self.size
        self._sizes = sizes
        self._seed = seed

    def __call__(self, gradient: Sequence[Tensor | None]) -> Tensor:
        """(width,), on the gradient's device."""
        if self.sketch is None:
            device = next((g.device for g in gradient if g is not None), torch.device("cpu"))
            parts = [
                torch.zeros(size, device=device) if g is None else g.flatten().float()
                for g, size in zip(gradient, self._sizes, strict=True)
            ]
            return torch.cat(parts)
        present = [(number, g.flatten()) for number, g in enumerate(gradient) if g is not None]
        out = torch.zeros(self.sketch, device=present[0][1].device if present else "cpu")
        for number, flat in present:
            for start in range(0, len(flat), PIECE):
                self._add(out, flat[start : start + PIECE].float(), seed_of(self._seed, "sketch", number, start))
        return out

    def _add(self, out: Tensor, piece: Tensor, seed: int) -> None:
        """The hash is drawn anew each time: kept, it would be twice as large as the gradient."""
        generator = torch.Generator(device=piece.device).manual_seed(seed)
        drawn = torch.randint(2 * len(out), piece.shape, generator=generator, device=piece.device)
        sign = (1 - 2 * (drawn & 1)).to(piece.dtype)
        out.index_add_(0, drawn >> 1, sign * piece)


@dataclass
class TaskGradients:
    """E estimators' gradients on T tasks.

    vectors (E, T, W) float32; weights (T,) the sums of the token weights; sketch: W where it is a sketch, else None;
    turns (K, len(TURN_SUMS)) float64 sums per turn index.
    """

    vectors: Tensor
    weights: np.ndarray
    sketch: int | None
    parameters: int
    turns: Tensor

    def gram(self) -> np.ndarray:
        """Inner products of all (estimator, task) pairs, (E, T, E, T) float64."""
        estimators, tasks, width = self.vectors.shape
        flat = self.vectors.reshape(estimators * tasks, width)
        total = torch.zeros(len(flat), len(flat), dtype=torch.float64)
        for start in range(0, width, COLUMNS):
            part = flat[:, start : start + COLUMNS].double()
            total += part @ part.T
        return total.reshape(estimators, tasks, estimators, tasks).numpy()


def task_gradients(
    trainer: SDARTrainer,
    groups: Sequence[Sequence[Sample]],
    estimators: Sequence[Estimator],
    beta: float,
    seed: int,
    progress: Callable[[int], None] = lambda samples: None,
) -> TaskGradients:
    """The gradient of every estimator on every group of samples, with respect to the trainable parameters.

    The samples must hold the teacher's prompts; the first view is the teacher.  It scores group by group, so that
    hidden states of one group exist at a time.  No dropout, no parameter's ``grad`` is touched.  ``progress`` receives
    how many more samples are done.
    """
    parameters = [p for p in trainer.model.parameters() if p.requires_grad]
    compress = Compressor([p.numel() for p in parameters], len(estimators) * len(groups), seed)
    turns = 1 + max(max(sample.turn_of) for samples in groups for sample in samples)
    vectors = torch.zeros(len(estimators), len(groups), compress.width)
    weights = [sum(sum(sample.weight) for sample in samples) for samples in groups]
    found = TaskGradients(
        vectors,
        np.array(weights),
        compress.sketch,
        compress.size,
        torch.zeros(turns, len(TURN_SUMS), dtype=torch.float64),
    )
    for number, samples in enumerate(groups):
        teacher = trainer.score_teacher(samples)
        signals = {sample: Signals(sample.advantage, None, None, teacher[sample]) for sample in samples}
        _prepare(trainer)
        train = trainer.run_config.train
        for part in micro_batches(samples, train.micro_batch, train.micro_tokens):
            inputs = collate(part, signals, trainer.processing_class.pad_token_id, trainer.accelerator.device)
            batch = trainer.token_batch(inputs, trainer.forward_rows(inputs), 0)
            _add_turns(found.turns, batch, beta)
            for index, estimator in enumerate(estimators):
                loss = loss_sum(estimator, batch, inputs["tool_mask"], beta)
                last = index == len(estimators) - 1
                gradient = torch.autograd.grad(loss, parameters, retain_graph=not last, allow_unused=True)
                vectors[index, number] += compress(gradient).cpu()
            progress(len(part))
        del teacher, signals  # the hidden states of one group at a time
    return found


def _prepare(trainer: SDARTrainer) -> None:
    """Evaluation mode; but layers that trade compute for memory do so only while they believe to be training."""
    trainer.model.eval()
    if not trainer.args.gradient_checkpointing:
        return
    from transformers.modeling_layers import GradientCheckpointingLayer

    trainer.model.gradient_checkpointing_enable({"use_reentrant": False})
    for module in trainer.model.modules():
        if isinstance(module, GradientCheckpointingLayer):
            module.training = True  # itself, not the dropout inside it


@torch.no_grad()
def _add_turns(sums: Tensor, batch: TokenBatch, beta: float) -> None:
    delta, gate = gap(batch), gap_gate(batch, beta)
    columns = (
        torch.ones_like(delta),
        delta,
        delta.abs(),
        delta < 0,
        delta > GAP_THRESHOLD,
        gate,
        entropy_gate(batch, beta),
        soft_or_gate(batch, beta),
        gate > 0.5,
    )
    values = torch.stack([column[batch.mask].double().cpu() for column in columns], dim=1)
    sums.index_add_(0, batch.turns[batch.mask].cpu(), values)


def turn_statistics(sums: Tensor) -> dict[str, float | None]:
    """Means per token from sums (len(TURN_SUMS),) of ``TaskGradients.turns``; None without a token."""
    total = dict(zip(TURN_SUMS, sums.tolist(), strict=True))
    tokens = total.pop("tokens")
    names = {"gap": "gap_mean", "gap_abs": "gap_abs_mean", "gap_negative": "gap_negative_share",
             "gap_above": "gap_above_share", "gate_gap": "gate_gap_mean", "gate_entropy": "gate_entropy_mean",
             "gate_soft_or": "gate_soft_or_mean", "gate_gap_active": "gate_gap_active_share"}  # fmt: skip
    means = {names[name]: value / tokens if tokens else None for name, value in total.items()}
    return {"tokens": int(tokens), **means}
