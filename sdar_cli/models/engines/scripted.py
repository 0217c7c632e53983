"""Answers from a function of the prompt's text; for tests and for replaying a policy."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Sequence
from typing import TYPE_CHECKING

from sdar_cli.models.engine import Reply, Request, Sampling

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase


class ScriptedEngine:
    """Every call of ``poll`` answers all that was submitted.  Its log-probs are 0: the text was certain."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, respond: Callable[[str], str]) -> None:
        self.tokenizer = tokenizer
        self.respond = respond
        self.tokens_generated = 0
        self.weight_version = 0
        self.ends = frozenset([tokenizer.eos_token_id])
        self.calls: list[int] = []
        """Number of prompts that each call answered."""
        self._queue: list[Request] = []

    @property
    def busy(self) -> bool:
        """See ``Engine``."""
        return False

    def answer(self, request: Request) -> list[int]:
        """Token ids of a response, before the limit of ``max_tokens``."""
        text = self.respond(self.tokenizer.decode(list(request.prompt_ids)))
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return [*ids, self.tokenizer.eos_token_id]

    def submit(self, key: Hashable, prompt_ids: Sequence[int], sampling: Sampling, seed: int) -> None:
        """See ``Engine``."""
        self._queue.append(Request(key, prompt_ids, sampling, seed))

    def poll(self, block: bool) -> list[Reply]:
        """See ``Engine``; nothing unless ``block``."""
        if not block or not self._queue:
            return []
        asked, self._queue = self._queue, []
        self.calls.append(len(asked))
        replies = []
        for request in asked:
            ids = self.answer(request)[: request.sampling.max_tokens]
            replies.append(Reply(request.key, ids, [0.0] * len(ids), self.weight_version))
        self.tokens_generated += sum(len(reply.ids) for reply in replies)
        return replies

    def abort(self, keys: Collection[Hashable]) -> None:
        """See ``Engine``."""
        self._queue = [request for request in self._queue if request.key not in keys]

    def push(self, weights: Iterable[tuple[str, Tensor]], version: int) -> None:
        """See ``Engine``; there are no weights."""
        self.weight_version = version

    def sleep(self) -> None:
        """Nothing to free."""

    def wake(self) -> None:
        """Nothing to take back."""
