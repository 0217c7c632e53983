"""Generation engines: prompts in, sampled token ids out.

``train.engine`` names one: a function (or class) that is given model, tokenizer, prompts per call and a context to
generate in, and returns an ``Engine``.  ``HuggingFaceEngine`` runs ``model.generate`` on a CPU or GPU;
``ScriptedEngine`` replays given responses in tests.  An engine never sees episodes: who is still
active is the collector's business.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from sdar_cli.base.errors import ConfigError, NotFiniteError

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn.  ``temperature`` is ignored when ``greedy``; ``max_tokens`` per response."""

    max_tokens: int
    temperature: float = 1.0
    greedy: bool = False


class Engine(Protocol):
    """Anything that continues prompts."""

    tokens_generated: int
    """Response tokens returned so far, end tokens included."""
    ends: frozenset[int]
    """Token ids that end a response."""

    def generate(self, prompts: Sequence[list[int]], sampling: Sampling, seed: int) -> list[list[int]]:
        """One response per prompt: token ids up to and including the end token, or ``max_tokens`` of them."""
        ...


class HuggingFaceEngine:
    """``model.generate`` in batches of prompts sorted by length (padding is the waste to avoid).

    The result depends on (prompts, weights, seed) only: the global random state is left as it was.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        batch: int,
        around: Callable[[], AbstractContextManager] = nullcontext,
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.batch = batch
        self.around = around
        self.tokens_generated = 0
        self.ends = end_ids(model, tokenizer)

    def generate(self, prompts: Sequence[list[int]], sampling: Sampling, seed: int) -> list[list[int]]:
        """See ``Engine``.

        Raises ConfigError for a token that the model has no embedding of, NotFiniteError where a next token's
        distribution is not finite.
        """
        import torch

        self._refuse_unknown(prompts)
        order = sorted(range(len(prompts)), key=lambda i: (len(prompts[i]), i))
        out: list[list[int]] = [[] for _ in prompts]
        devices = [self.model.device] if self.model.device.type == "cuda" else []
        was_training = self.model.training
        self.model.eval()
        try:
            with torch.no_grad(), torch.random.fork_rng(devices=devices), self.around():
                torch.manual_seed(seed)
                for start in range(0, len(order), self.batch):
                    part = order[start : start + self.batch]
                    for index, ids in zip(part, self._batch([prompts[i] for i in part], sampling), strict=True):
                        out[index] = ids
        finally:
            self.model.train(was_training)
        self.tokens_generated += sum(map(len, out))
        return out

    def _refuse_unknown(self, prompts: Sequence[list[int]]) -> None:
        """A token outside the embedding is a bare index error on a CPU, and ends the process on a GPU."""
        rows = self.model.get_input_embeddings().weight.shape[0]
        highest = max((max(ids, default=0) for ids in prompts), default=0)
        if highest >= rows:
            raise ConfigError(
                f"a prompt holds {self.tokenizer.convert_ids_to_tokens(highest)}, which has no row of the embedding",
                why=f"the tokenizer has {len(self.tokenizer)} tokens, the embedding {rows} rows",
                fix="resize the embedding (model.resize_token_embeddings) and save the model again",
            )

    def _batch(self, prompts: list[list[int]], sampling: Sampling) -> list[list[int]]:
        import torch

        longest = max(map(len, prompts))
        pad = self.tokenizer.pad_token_id
        ids = torch.tensor([[pad] * (longest - len(p)) + p for p in prompts], device=self.model.device)
        mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts], device=self.model.device)
        settings: dict[str, object] = {"do_sample": False, "temperature": None, "top_k": None, "top_p": None}
        if not sampling.greedy:
            settings = {"do_sample": True, "temperature": sampling.temperature, "top_k": 0, "top_p": 1.0}
        result = self.model.generate(
            input_ids=ids,
            attention_mask=mask,
            max_new_tokens=sampling.max_tokens,
            pad_token_id=pad,
            eos_token_id=sorted(self.ends),
            logits_processor=[_refuse_not_finite],
            use_cache=True,
            repetition_penalty=1.0,
            **settings,
        )
        return [_until_end(row, self.ends) for row in result[:, longest:].tolist()]


def _refuse_not_finite(ids: Tensor, logits: Tensor) -> Tensor:
    """The logits (R, V) as they are.  Raises NotFiniteError where a row has no distribution: NaN, or infinite."""
    import torch

    if not torch.isfinite(logits.max(dim=-1).values).all():
        raise NotFiniteError(
            "the policy's distribution over the next token is not finite",
            why="its weights are destroyed, or overflow in their dtype",
            fix="use an earlier checkpoint, or --set model.dtype=float32",
        )
    return logits


def end_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """The tokenizer's end token and those the model's generation settings name (some chat models have two)."""
    named = model.generation_config.eos_token_id
    more = named if isinstance(named, list) else [named]
    return frozenset(i for i in [tokenizer.eos_token_id, *more] if i is not None)


def _until_end(ids: list[int], ends: frozenset[int]) -> list[int]:
    last = next((k for k, i in enumerate(ids) if i in ends), len(ids))
    return ids[: last + 1]


class ScriptedEngine:
    """Answers from a function of the prompt's text; for tests and for replaying a policy."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, respond: Callable[[str], str]) -> None:
        self.tokenizer = tokenizer
        self.respond = respond
        self.tokens_generated = 0
        self.ends = frozenset([tokenizer.eos_token_id])
        self.calls: list[int] = []
        """Number of prompts of each call."""

    def generate(self, prompts: Sequence[list[int]], sampling: Sampling, seed: int) -> list[list[int]]:
        """See ``Engine``."""
        self.calls.append(len(prompts))
        out = []
        for prompt in prompts:
            text = self.respond(self.tokenizer.decode(prompt))
            ids = self.tokenizer(text, add_special_tokens=False)["input_ids"] + [self.tokenizer.eos_token_id]
            out.append(ids[: sampling.max_tokens])
        self.tokens_generated += sum(map(len, out))
        return out


ENGINES: dict[str, Callable[..., Engine]] = {
    "hf": HuggingFaceEngine,
}
