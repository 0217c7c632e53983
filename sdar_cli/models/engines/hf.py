"""``model.generate`` on a CPU or GPU, with the model that is trained: no second copy, and no weights to send."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from sdar_cli.base.errors import ConfigError, NotFiniteError, RunFailedError
from sdar_cli.models.engine import Reply, Request, Sampling, end_ids
from sdar_cli.models.engines.queued import QueuedEngine

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from sdar_cli.config.schema import EngineConfig


class HuggingFaceEngine(QueuedEngine):
    """Batches of at most ``engine.batch`` prompts of similar length (padding is the waste to avoid).

    around: a context in which the model is ready to generate.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        settings: EngineConfig,
        around: Callable[[], AbstractContextManager] = nullcontext,
    ) -> None:
        super().__init__()
        self.model = model
        self.tokenizer = tokenizer
        self.settings = settings
        self.around = around
        self.ends = end_ids(model, tokenizer)

    @property
    def busy(self) -> bool:
        """Whether a batch is full; one that is not waits until ``poll`` must block."""
        return len(self._queue) >= self.settings.batch

    def submit(self, key: Hashable, prompt_ids: Sequence[int], sampling: Sampling, seed: int) -> None:
        """See ``Engine``.  Raises ConfigError for a token that the model has no embedding of."""
        self._refuse_unknown(prompt_ids)
        super().submit(key, prompt_ids, sampling, seed)

    def poll(self, block: bool) -> list[Reply]:
        """See ``Engine``: one batch, the shortest prompts first.

        Raises NotFiniteError where a next token's distribution is not finite.
        """
        if not self._queue or not (block or self.busy):
            return []
        alike = [request for request in self._queue if request.sampling == self._queue[0].sampling]
        batch = sorted(alike, key=lambda request: len(request.prompt_ids))[: self.settings.batch]
        chosen = {request.key for request in batch}
        self._queue = [request for request in self._queue if request.key not in chosen]
        replies = self._generate(batch)
        self.tokens_generated += sum(len(reply.ids) for reply in replies)
        return replies

    def _refuse_unknown(self, prompt: Sequence[int]) -> None:
        """A token outside the embedding is a bare index error on a CPU, and ends the process on a GPU."""
        rows = self.model.get_input_embeddings().weight.shape[0]
        highest = max(prompt, default=0)
        if highest >= rows:
            raise ConfigError(
                f"a prompt holds {self.tokenizer.convert_ids_to_tokens(highest)}, which has no row of the embedding",
                why=f"the tokenizer has {len(self.tokenizer)} tokens, the embedding {rows} rows",
                fix="resize the embedding (model.resize_token_embeddings) and save the model again",
            )

    def _generate(self, batch: Sequence[Request]) -> list[Reply]:
        import torch

        longest = max(len(request.prompt_ids) for request in batch)
        pad, device = self.tokenizer.pad_token_id, self.model.device
        fill = [longest - len(request.prompt_ids) for request in batch]
        rows = [[pad] * n + list(request.prompt_ids) for n, request in zip(fill, batch, strict=True)]
        mask = [[0] * n + [1] * (longest - n) for n in fill]
        draws = _Draws(batch, device, self.settings.timeout)
        was_training = self.model.training
        self.model.eval()
        try:
            with torch.no_grad(), self.around():
                result = self.model.generate(
                    input_ids=torch.tensor(rows, device=device),
                    attention_mask=torch.tensor(mask, device=device),
                    max_new_tokens=batch[0].sampling.max_tokens,
                    pad_token_id=pad,
                    eos_token_id=sorted(self.ends),
                    logits_processor=[draws],
                    use_cache=True,
                    repetition_penalty=1.0,
                    do_sample=False,  # ``draws`` has made the drawn token the likeliest
                    temperature=None,
                    top_k=None,
                    top_p=None,
                )
        finally:
            self.model.train(was_training)
        written = [_until_end(row, self.ends) for row in result[:, longest:].tolist()]
        logprobs = torch.stack(draws.logprobs, dim=1).tolist()
        return [
            Reply(request.key, ids, values[: len(ids)], self.weight_version)
            for request, ids, values in zip(batch, written, logprobs, strict=True)
        ]


class _Draws:
    """A logits processor that draws the next token of every row, and keeps its log-prob.

    The Gumbel-max trick: argmax over v of log p(v) - log(-log u(v)), or of p(v) / -log u(v), with u uniform in [0, 1)
    is a draw from p.  A row's u come from a generator with the request's seed, |V| of them per token, so that what is
    drawn for a request does not depend on the other rows.  Double precision: in single precision u near 1 is too coarse
    for rare tokens.
    """

    def __init__(self, batch: Sequence[Request], device: torch.device, timeout: float) -> None:
        import torch

        self.sampling = batch[0].sampling
        self.generators = [torch.Generator(device).manual_seed(request.seed) for request in batch]
        self.uniform: Tensor | None = None
        self.logprobs: list[Tensor] = []
        """Of the drawn token, (R,), one per token."""
        self.timeout = timeout
        self.began = time.monotonic()

    def __call__(self, ids: Tensor, logits: Tensor) -> Tensor:
        """Logits (R, V) to scores (R, V) whose argmax is the token drawn.

        Raises NotFiniteError where a row has no distribution (NaN, or infinite), RunFailedError past the time limit.
        """
        import torch

        if not torch.isfinite(logits.max(dim=-1).values).all():
            raise NotFiniteError(
                "the policy's distribution over the next token is not finite",
                why="its weights are destroyed, or overflow in their dtype",
                fix="use an earlier checkpoint, or --set model.dtype=float32",
            )
        if time.monotonic() - self.began > self.timeout:
            raise RunFailedError(
                f"{len(self.generators)} prompts were not answered within {self.timeout:g} s",
                why=f"{len(self.logprobs)} of {self.sampling.max_tokens} tokens per response were written",
                fix="raise --set engine.timeout, or lower engine.batch or model.max_response_tokens",
            )
        if self.sampling.greedy:
            probability, scores = logits.softmax(dim=-1), logits
        else:
            probability = (logits / self.sampling.temperature).softmax(dim=-1)
            scores = probability / self._waiting_times(logits)
        chosen = scores.argmax(dim=-1, keepdim=True)
        self.logprobs.append(probability.gather(1, chosen).log().squeeze(1))
        return scores

    def _waiting_times(self, logits: Tensor) -> Tensor:
        """-log u, (R, V)."""
        import torch

        if self.uniform is None:
            self.uniform = torch.empty(logits.shape, dtype=torch.float64, device=logits.device)
        for row, generator in zip(self.uniform, self.generators, strict=True):
            row.uniform_(generator=generator)
        return self.uniform.log_().neg_()


def _until_end(ids: list[int], ends: frozenset[int]) -> list[int]:
    last = next((k for k, i in enumerate(ids) if i in ends), len(ids))
    return ids[: last + 1]
