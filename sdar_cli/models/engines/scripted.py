"""Answers from a function of the prompt's text; for tests and for replaying a policy."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from sdar_cli.models.engine import Reply, Request
from sdar_cli.models.engines.queued import QueuedEngine

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class ScriptedEngine(QueuedEngine):
    """Every call of ``poll`` answers all that was submitted.  Its log-probs are 0: the text was certain."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, respond: Callable[[str], str]) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.respond = respond
        self.ends = frozenset([tokenizer.eos_token_id])
        self.calls: list[int] = []
        """Number of prompts that each call answered."""

    @property
    def busy(self) -> bool:
        """See ``Engine``."""
        return False

    def answer(self, request: Request) -> list[int]:
        """Token ids of a response, before the limit of ``max_tokens``."""
        text = self.respond(self.tokenizer.decode(list(request.prompt_ids)))
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return [*ids, self.tokenizer.eos_token_id]

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
