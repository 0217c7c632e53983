"""Reciprocal-rank fusion (Cormack, Clarke, Buettcher 2009): rankings of several engines become one."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Protocol, TypeVar

from sdar_cli.retrieval.store import PassageStore
from sdar_cli.retrieval.types import Passage

K = 60
DEPTH = 100
"""Passages of each ranking that count."""
FUSED_K, DENSE_WEIGHT = 10, 0.5
"""How an index of two engines is fused: the lexical ranking leads, and first places count more than with 60."""
Item = TypeVar("Item", bound=Hashable)


class Ranker(Protocol):
    """An engine over the passages of one store."""

    def ranked_batch(self, queries: Sequence[str], k: int) -> list[list[tuple[int, float]]]:
        """(number, score) of the best ``k`` passages of each query."""
        ...


def reciprocal_rank_fusion(
    rankings: Sequence[Sequence[Item]], k: int = K, weights: Sequence[float] | None = None
) -> list[tuple[Item, float]]:
    """Items with ``sum over rankings of weight / (k + rank)``, ranks from 1, best first.

    weights: one per ranking; 1 each by default.  Equal sums keep the order in which the items first appear, the first
    ranking before the second.
    """
    scores: dict[Item, float] = {}
    for ranking, weight in zip(rankings, weights or [1.0] * len(rankings), strict=True):
        for rank, item in enumerate(ranking, 1):
            scores[item] = scores.get(item, 0.0) + weight / (k + rank)
    return sorted(scores.items(), key=lambda pair: -pair[1])


class Fused:
    """A lexical and a dense engine over one store as one."""

    def __init__(self, lexical: Ranker, dense: Ranker, store: PassageStore) -> None:
        self._engines = (lexical, dense)
        self._store = store

    def search(self, queries: Sequence[str], k: int) -> list[list[Passage]]:
        """At most ``k`` passages per query by the fused ranks."""
        found = [engine.ranked_batch(queries, max(k, DEPTH)) for engine in self._engines]
        out = []
        for rankings in zip(*found, strict=True):
            numbers = [[number for number, _ in ranking] for ranking in rankings]
            fused = reciprocal_rank_fusion(numbers, FUSED_K, (1.0, DENSE_WEIGHT))
            out.append([self._store.get(number, score) for number, score in fused[:k]])
        return out
