"""Scoring rows: log-probs, entropies and last hidden states of their completions under the present weights.

A mixin of the trainer, above TRL's class: it wraps the one hook through which TRL scores tokens, so that the policy
term, the teacher and the full-vocabulary objectives all see the same numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sdar_cli.algo.batch import Head, TokenBatch, normalised_entropy
from sdar_cli.algo.divergence import log_softmax
from sdar_cli.base.errors import ConfigError
from sdar_cli.config.schema import RunConfig
from sdar_cli.train.rows import Row, collate, micro_batches
from sdar_cli.train.teacher import ShadowWeights

DENSE_LOGITS = 2**26
"""Logits of a micro-batch up to which a CPU computes them all at once (256 MB in float32)."""
HEAD_TOLERANCE = {torch.float32: 1e-3, torch.float64: 1e-6}
"""Nats by which a linear output layer may differ from the forward pass; more in half precision."""
HALF_TOLERANCE = 0.25


@dataclass
class Scored:
    """What one forward pass says of R rows' T completion tokens."""

    logps: Tensor
    entropy: Tensor
    hidden: Tensor | None
    """(R, T, H), kept only for full-vocabulary objectives."""


class Scoring:
    """See the module's text.  The class below it in the order of inheritance is TRL's trainer."""

    if TYPE_CHECKING:
        model: Any
        accelerator: Any
        processing_class: Any
        temperature: float
        run_config: RunConfig
        shadow: ShadowWeights | None

        @property
        def updates(self) -> int:
            """Optimizer updates per step."""

    keeps_hidden = False
    """Whether hidden states are kept: for full-vocabulary objectives only."""
    _captured: Scored | None = None
    _capturing = False
    _hidden: Tensor | None = None
    _teacher_head: tuple[Tensor, Tensor | None] | None = None
    _head_checked = False

    def score_teacher(self, rows: Sequence[Row]) -> None:
        """Every view's log-probs of the rows (and hidden states, where the objective needs them)."""
        for row in rows:
            row.teacher, row.teacher_hidden = [], []
        with self.shadow.applied() if self.shadow else nullcontext():
            for view in range(len(self.run_config.views)):
                self.score(rows, "teacher", view)
            if self.keeps_hidden:  # the weights move between the updates of a step; its teacher does not
                head = self.model.get_output_embeddings()
                bias = getattr(head, "bias", None)
                moves = head.weight.requires_grad and (self.updates > 1 or self.shadow is not None)
                weight = head.weight.detach()
                self._teacher_head = (
                    weight.clone() if moves else weight,
                    None if bias is None else bias.detach().clone(),
                )

    @torch.no_grad()
    def score(self, rows: Sequence[Row], field_name: str, view: int | None = None) -> None:
        """Log-probs of the rows' completions under the present weights, into ``row.<field_name>``, (T,) each."""
        training = self.model.training
        self.model.eval()
        try:
            same: dict[tuple[tuple[int, ...], ...], list[Row]] = {}
            for row in rows:  # a group often repeats a turn; each distinct sequence is scored once
                prompt = row.prompt_ids if view is None else row.teacher_prompts[view]
                same.setdefault((tuple(prompt), tuple(row.completion_ids)), []).append(row)
            twins = {id(group[0]): group for group in same.values()}
            distinct = [group[0] for group in same.values()]
            for part in micro_batches(distinct, self.run_config.train.micro_batch):
                batch = collate(part, self.processing_class.pad_token_id, self.accelerator.device, view)
                scored = self.forward_rows(batch)
                for i, row in enumerate(part):
                    for twin in twins[id(row)]:
                        keep(twin, field_name, scored, i)
        finally:
            self.model.train(training)

    def forward_rows(self, batch: dict[str, Tensor]) -> Scored:
        """Log-probs, entropies and, where kept, hidden states of the completions of a collated batch."""
        with self.capturing():
            self._get_per_token_logps_and_entropies(
                self.model,
                torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1),
                torch.cat([batch["prompt_mask"], batch["completion_mask"]], dim=1),
                batch["completion_ids"].size(1),
                compute_entropy=True,
            )
        return self.captured()

    @contextmanager
    def capturing(self) -> Iterator[None]:
        """The next forward pass made inside this block is kept for ``captured``."""
        self._capturing = True
        try:
            yield
        finally:
            self._capturing = False

    def captured(self) -> Scored:
        """What the last forward pass inside ``capturing`` gave."""
        assert self._captured is not None
        scored, self._captured = self._captured, None
        return scored

    def _get_per_token_logps_and_entropies(
        self, model: Any, input_ids: Tensor, attention_mask: Tensor, logits_to_keep: int, *args: Any, **kwargs: Any
    ) -> Any:
        values = input_ids.shape[0] * logits_to_keep * self.model.config.get_text_config().vocab_size
        with self._hidden_states():
            if input_ids.device.type == "cpu" and values <= DENSE_LOGITS:
                out = dense_logps(model, input_ids, attention_mask, logits_to_keep, self.temperature)
            else:
                out = super()._get_per_token_logps_and_entropies(  # type: ignore[misc]
                    model, input_ids, attention_mask, logits_to_keep, *args, **kwargs
                )
        if self._capturing:
            hidden = None if self._hidden is None else self._hidden[:, -logits_to_keep - 1 : -1]
            self._captured = Scored(out[0], out[1], hidden)
            if hidden is not None and not self._head_checked:
                self._check_head(hidden, out[0], input_ids[:, -logits_to_keep:], attention_mask[:, -logits_to_keep:])
        self._hidden = None
        return out

    @contextmanager
    def _hidden_states(self) -> Iterator[None]:
        """Note the backbone's last hidden states in ``_hidden`` while an objective needs them."""
        if not (self.keeps_hidden and self._capturing):
            yield
            return
        base = self.accelerator.unwrap_model(self.model)
        base = base.get_base_model() if hasattr(base, "get_base_model") else base

        def note(module: Any, inputs: Any, output: Any) -> None:
            self._hidden = output[0]

        handle = base.get_decoder().register_forward_hook(note)
        try:
            yield
        finally:
            handle.remove()

    def _check_head(self, hidden: Tensor, logps: Tensor, ids: Tensor, mask: Tensor) -> None:
        """The output layer must be linear: its log-probs of a few tokens are those of the forward pass."""
        head = self.model.get_output_embeddings()
        at = torch.nonzero(mask.bool())[:4]
        few, chosen = hidden[at[:, 0], at[:, 1]].detach(), ids[at[:, 0], at[:, 1]]
        own = log_softmax(few, head.weight.detach(), getattr(head, "bias", None), self.temperature)
        error = (own.gather(1, chosen[:, None])[:, 0] - logps[at[:, 0], at[:, 1]].detach()).abs().max()
        if not error < HEAD_TOLERANCE.get(hidden.dtype, HALF_TOLERANCE):
            raise ConfigError(
                f"algo.objective = {self.run_config.algo.objective} cannot be used with this model",
                why=f"its output layer is not a plain linear map: log-probs differ by {error:.3g} nats",
                fix="--objective signed, the sampled form of reverse-kl",
            )
        self._head_checked = True

    def token_batch(self, inputs: dict[str, Tensor], scored: Scored, view: int) -> TokenBatch:
        """What gates and objectives see of a collated batch and its forward pass, for one view of the teacher."""
        entropy, student_head, teacher_head = scored.entropy, None, None
        if self.run_config.algo.gate_entropy == "log-vocab":
            entropy = normalised_entropy(entropy, self.model.get_output_embeddings().weight.shape[0])
        if scored.hidden is not None and "teacher_hidden" in inputs and self._teacher_head is not None:
            head = self.model.get_output_embeddings()
            student_head = Head(scored.hidden, head.weight, getattr(head, "bias", None), self.temperature)
            teacher_head = Head(inputs["teacher_hidden"][view], *self._teacher_head, self.temperature)
        return TokenBatch(
            student=scored.logps,
            mask=inputs["response_mask"],
            turn_ids=inputs["turn_ids"],
            trajectory_ids=inputs["trajectory_ids"],
            group_ids=inputs["group_ids"],
            teacher=inputs["teacher"][view],
            old=inputs.get("old_per_token_logps"),
            entropy=entropy,
            advantage=inputs["advantages"],
            views=inputs["teacher"],
            student_head=student_head,
            teacher_head=teacher_head,
        )


def dense_logps(
    model: Any, input_ids: Tensor, attention_mask: Tensor, keep: int, temperature: float
) -> tuple[Tensor, Tensor, None]:
    """Log-probs and entropies (nats) of the last ``keep`` tokens, (R, keep), from their logits; no auxiliary loss.

    Equal to TRL's fused head, which on a CPU scores every prompt position as well.
    """
    logits = model(input_ids=input_ids, attention_mask=attention_mask, logits_to_keep=keep + 1).logits[:, :-1]
    log_probs = torch.log_softmax(logits.float() / temperature, dim=-1)
    entropy = -(log_probs.exp() * log_probs).sum(-1)
    return log_probs.gather(-1, input_ids[:, -keep:, None]).squeeze(-1), entropy, None


def keep(row: Row, field_name: str, scored: Scored, index: int) -> None:
    """Store one row of a forward pass, without its gradient, on the CPU."""
    length = len(row.completion_ids)
    logps = scored.logps[index, :length].detach().float().cpu()
    if field_name == "teacher":
        row.teacher.append(logps)
        if scored.hidden is not None:
            row.teacher_hidden.append(scored.hidden[index, :length].cpu())
        return
    setattr(row, field_name, logps)
    if field_name == "old":
        row.old_entropy = scored.entropy[index, :length].detach().float().cpu()
