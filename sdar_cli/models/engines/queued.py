"""What engines share that answer in this process, when they are polled, and have no weights of their own to renew."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Sequence
from typing import TYPE_CHECKING

from sdar_cli.models.engine import Request, Sampling

if TYPE_CHECKING:
    from torch import Tensor


class QueuedEngine:
    """Requests wait in ``_queue`` until ``poll``, which each engine has its own of, takes them out."""

    def __init__(self) -> None:
        self.tokens_generated = 0
        self.weight_version = 0
        self._queue: list[Request] = []

    def submit(self, key: Hashable, prompt_ids: Sequence[int], sampling: Sampling, seed: int) -> None:
        """See ``Engine``."""
        self._queue.append(Request(key, prompt_ids, sampling, seed))

    def abort(self, keys: Collection[Hashable]) -> None:
        """See ``Engine``."""
        self._queue = [request for request in self._queue if request.key not in keys]

    def push(self, weights: Iterable[tuple[str, Tensor]], version: int) -> None:
        """See ``Engine``: nothing is read, only the version changes."""
        self.weight_version = version

    def sleep(self) -> None:
        """Nothing to free."""

    def wake(self) -> None:
        """Nothing to take back."""
