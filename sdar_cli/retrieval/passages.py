"""What every retriever offers: passages for questions, many questions at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from sdar_cli.base.errors import RunFailedError

MAX_K = 50
"""Most passages per query."""


@dataclass(frozen=True)
class Passage:
    """One passage of the corpus.  ``score`` is the engine's own; higher is better, within one query only."""

    id: str
    title: str
    text: str
    score: float = 0.0


class Retriever(Protocol):
    """A search engine over one corpus.  A batch is the only way to ask."""

    def search(self, queries: Sequence[str], k: int) -> list[list[Passage]]:
        """For every query at most ``k`` passages, best first; fewer, or none, where fewer match.

        Raises RetrieverUnavailableError when no answer can be had.
        """
        ...

    def info(self) -> Mapping[str, object]:
        """At least ``engine``, ``passages`` (their number) and ``corpus_sha256`` (None where it is not known)."""
        ...

    def close(self) -> None:
        """Give back files, connections and processes."""
        ...


class RetrieverUnavailableError(RunFailedError):
    """The retriever gave no usable answer within its budget."""


def no_answer(budget: float, why: str) -> RetrieverUnavailableError:
    """The error of a retriever that did not answer within ``budget`` seconds."""
    fix = "sdar retriever serve --index DIR, or give another address"
    return RetrieverUnavailableError(f"no retriever answered within {budget:g} s", why=why, fix=fix)
