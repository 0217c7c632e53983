"""Generation engines: prompts in, sampled token ids with their log-probs out.

``engine.name`` names one: a class (or function) that is given model, tokenizer, the section ``engine`` and a context to
generate in, and returns an ``Engine``.  Requests are submitted one by one and answered in any order, so that no episode
waits for another; an engine never sees episodes.  Every request has a seed of its own: what is sampled for it depends
on weights, prompt, sampling and seed, and not on what else the engine is doing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn.  ``temperature`` is ignored when ``greedy``; ``max_tokens`` per response."""

    max_tokens: int
    temperature: float = 1.0
    greedy: bool = False


class Request(NamedTuple):
    """A prompt that waits for its response."""

    key: Hashable
    prompt_ids: Sequence[int]
    sampling: Sampling
    seed: int


class Reply(NamedTuple):
    """The response to a request."""

    key: Hashable
    ids: list[int]
    """Token ids up to and including the end token, or ``max_tokens`` of them."""
    logprobs: list[float]
    """Of each token, nats, under softmax(logits / temperature); greedy: under softmax(logits)."""
    weight_version: int
    """The version of the weights that sampled it (``Engine.push``)."""


class Engine(Protocol):
    """Anything that continues prompts."""

    tokens_generated: int
    """Response tokens returned so far, end tokens included."""
    ends: frozenset[int]
    """Token ids that end a response."""

    @property
    def busy(self) -> bool:
        """Whether ``poll(block=False)`` has something to do."""
        ...

    def submit(self, key: Hashable, prompt_ids: Sequence[int], sampling: Sampling, seed: int) -> None:
        """Ask for the response to a prompt.  key: names the request; none in flight may have it."""
        ...

    def poll(self, block: bool) -> list[Reply]:
        """The replies that are finished.  block: return at least one if any request is in flight; else do a bounded
        piece of work, or nothing where more requests would make a better batch.  Raises RunFailedError where a request
        takes longer than ``engine.timeout`` or the engine has died."""
        ...

    def abort(self, keys: Collection[Hashable]) -> None:
        """Forget these requests; those that are finished or unknown are ignored."""
        ...

    def push(self, weights: Iterable[tuple[str, Tensor]], version: int) -> None:
        """Sample with these weights from now on: (Hugging Face name, full tensor) of every parameter.  No request may
        be in flight.  An engine that shares the trained model reads none of them."""
        ...

    def sleep(self) -> None:
        """Free the memory of the accelerator until ``wake``; the weights must be pushed again then."""
        ...

    def wake(self) -> None:
        """Take the memory back."""
        ...


def generate(engine: Engine, prompts: Sequence[Sequence[int]], sampling: Sampling, seeds: Sequence[int]) -> list[Reply]:
    """The reply to each prompt, in the order of the prompts.  seeds: one per prompt.

    Raises what ``Engine.poll`` does.
    """
    for key, (prompt, seed) in enumerate(zip(prompts, seeds, strict=True)):
        engine.submit(key, prompt, sampling, seed)
    replies: dict[Hashable, Reply] = {}
    while len(replies) < len(prompts):
        replies |= {reply.key: reply for reply in engine.poll(block=True)}
    return [replies[key] for key in range(len(prompts))]


def end_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """The tokenizer's end token and those the model's generation settings name (some chat models have two)."""
    named = model.generation_config.eos_token_id
    more = named if isinstance(named, list) else [named]
    return frozenset(i for i in [tokenizer.eos_token_id, *more] if i is not None)


ENGINES: dict[str, str | Callable[..., Engine]] = {
    "hf": "sdar_cli.models.engines.hf:HuggingFaceEngine",
    "vllm": "sdar_cli.models.engines.vllm:VllmEngine",
    "server": "sdar_cli.models.engines.server:ServerEngine",
}
