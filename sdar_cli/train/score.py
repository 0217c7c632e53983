"""Scoring samples: log-probs, entropies and last hidden states of their responses under the present weights.

A mixin of the trainer, above TRL's class: it wraps the one hook through which TRL scores tokens, so that the policy
term, the teacher and the full-vocabulary objectives all see the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor

from sdar_cli.algo.batch import Head, TokenBatch, normalised_entropy
from sdar_cli.algo.divergence import log_softmax
from sdar_cli.base.errors import ConfigError
from sdar_cli.config.schema import RunConfig
from sdar_cli.models.loading import base_model
from sdar_cli.rollout.samples import Sample
from sdar_cli.train.rows import PolicyScores, TeacherScores, collate_tokens, micro_batches
from sdar_cli.train.shadow import ShadowWeights

T = TypeVar("T")
DENSE_LOGITS = 2**26
"""Logits of a micro-batch up to which a CPU computes them all at once (256 MB in float32)."""
HEAD_TOLERANCE = {torch.float32: 1e-3, torch.float64: 1e-6}
"""Nats by which a linear output layer may differ from the forward pass; more in half precision."""
HALF_TOLERANCE = 0.25


@dataclass
class ForwardPass:
    """What one forward pass gives for R samples' T response tokens."""

    logps: Tensor
    """(R, T), nats."""
    entropy: Tensor
    """(R, T), nats."""
    hidden: Tensor | None
    """(R, T, H), kept only for full-vocabulary objectives."""

    def policy_scores(self, index: int, sample: Sample) -> PolicyScores:
        """Those of one row, (T,) each, without gradient, on the CPU."""
        length = len(sample.response_ids)
        return PolicyScores(
            self.logps[index, :length].detach().float().cpu(), self.entropy[index, :length].detach().float().cpu()
        )


class Scoring:
    """See the module's text.  The class below it in the order of inheritance is TRL's trainer."""

    if TYPE_CHECKING:
        model: Any
        accelerator: Any
        processing_class: Any
        temperature: float
        run_config: RunConfig
        shadow: ShadowWeights | None
        initial: ShadowWeights | None
        updates: int
        """Optimizer updates per step."""

    keeps_hidden = False
    """Whether hidden states are kept: for full-vocabulary objectives only."""
    _captured: ForwardPass | None = None
    _capturing = False
    _hidden: Tensor | None = None
    _teacher_head: tuple[Tensor, Tensor | None] | None = None
    _head_checked = False

    def score_teacher(self, samples: Sequence[Sample]) -> dict[Sample, TeacherScores]:
        """Every view's log-probs of the samples (and hidden states, where the objective needs them).

        The samples must hold the teacher's prompts.
        """
        with self.shadow.applied() if self.shadow else nullcontext():
            views = [self.score_view(samples, view) for view in range(len(self.run_config.views))]
            if self.keeps_hidden:  # the weights move between the updates of a step; its teacher does not
                head = self.model.get_output_embeddings()
                bias = getattr(head, "bias", None)
                moves = head.weight.requires_grad and (self.updates > 1 or self.shadow is not None)
                weight = head.weight.detach()
                self._teacher_head = (
                    weight.clone() if moves else weight,
                    None if bias is None else bias.detach().clone(),
                )
        return {
            sample: TeacherScores(
                tuple(view[sample][0] for view in views),
                tuple(hidden for view in views if (hidden := view[sample][1]) is not None),
            )
            for sample in samples
        }

    def score_view(self, samples: Sequence[Sample], view: int) -> dict[Sample, tuple[Tensor, Tensor | None]]:
        """Log-probs (T,) of the responses after one view's prompts, and hidden states (T, H) where they are kept."""

        def kept(scored: ForwardPass, index: int, sample: Sample) -> tuple[Tensor, Tensor | None]:
            hidden = None if scored.hidden is None else scored.hidden[index, : len(sample.response_ids)].cpu()
            return scored.policy_scores(index, sample).logps, hidden

        return self._score(samples, lambda sample: sample.teacher_prompts[view], kept)

    def score_old(self, samples: Sequence[Sample]) -> dict[Sample, PolicyScores]:
        """Signals of the samples under the present weights, those that sampled."""
        return self._score(samples, lambda sample: sample.prompt_ids, ForwardPass.policy_scores)

    def score_reference(self, samples: Sequence[Sample]) -> dict[Sample, Tensor]:
        """Log-probs of the samples under the initial weights, (T,) each."""
        assert self.initial is not None
        with self.initial.applied():
            found = self._score(samples, lambda sample: sample.prompt_ids, ForwardPass.policy_scores)
        return {sample: scores.logps for sample, scores in found.items()}

    @torch.no_grad()
    def _score(
        self,
        samples: Sequence[Sample],
        prompt_of: Callable[[Sample], Sequence[int]],
        kept: Callable[[ForwardPass, int, Sample], T],
    ) -> dict[Sample, T]:
        """``kept`` of every sample's row in a forward pass with the weights that the model has now.

        A group often repeats a turn: each distinct sequence is scored once.
        """
        training = self.model.training
        self.model.eval()
        try:
            same: dict[tuple[tuple[int, ...], ...], list[Sample]] = {}
            for sample in samples:
                same.setdefault((tuple(prompt_of(sample)), tuple(sample.response_ids)), []).append(sample)
            twins = {group[0]: group for group in same.values()}
            found: dict[Sample, T] = {}
            train = self.run_config.train
            for part in micro_batches(list(twins), train.micro_batch, train.micro_tokens, prompt_of=prompt_of):
                responses = [sample.response_ids for sample in part]
                pad, device = self.processing_class.pad_token_id, self.accelerator.device
                scored = self.forward_rows(collate_tokens(list(map(prompt_of, part)), responses, pad, device))
                for i, sample in enumerate(part):
                    found |= dict.fromkeys(twins[sample], kept(scored, i, sample))
            return found
        finally:
            self.model.train(training)

    def forward_rows(self, batch: dict[str, Tensor], model: Any = None) -> ForwardPass:
        """Log-probs, entropies and, where kept, hidden states of the responses of a collated batch.

        model: the wrapped model of an update; None for the policy itself.
        """
        with self.capturing():
            self._get_per_token_logps_and_entropies(
                self.model if model is None else model,
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

    def captured(self) -> ForwardPass:
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
            self._captured = ForwardPass(out[0], out[1], hidden)
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
        base = base_model(self.accelerator.unwrap_model(self.model))

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

    def token_batch(self, inputs: dict[str, Tensor], scored: ForwardPass, view: int) -> TokenBatch:
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
