"""Reciprocal-rank fusion (Cormack, Clarke, Buettcher 2009): rankings of several engines become one."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Protocol, TypeVar

from sdar_cli.retrieval.store import PassageStore
from sdar_cli.retrieval.types import Passage

K = 60
DEPTH = 100
"""Passages of each ranking that count."""
Item = TypeVar("Item", bound=Hashable)


class Ranker(Protocol):
    """An engine over the passages of one store."""

    def ranked_batch(self, queries: Sequence[str], k: int) -> list[list[tuple[int, float]]]:
        """(number, score) of the best ``k`` passages of each query."""
        ...


def reciprocal_rank_fusion(rankings: Sequence[Sequence[Item]], k: int = K) -> list[tuple[Item, float]]:
    """Items with ``sum over rankings of 1 / (k + rank)``, ranks from 1, best first.

    Equal sums keep the order in which the items first appear, the first ranking before the second.
    """
    scores: dict[Item, float] = {}
    for ranking in rankings:
        for rank, item in enumerate(ranking, 1):
            scores[item] = scores.get(item, 0.0) + 1.0 / (k + rank)
    return sorted(scores.items(), key=lambda pair: -pair[1])


class Fused:
    """Several engines over one store as one."""

    def __init__(self, engines: Sequence[Ranker], store: PassageStore) -> None:
        self._engines = engines
        self._store = store

    def search(self, queries: Sequence[str], k: int) -> list[list[Passage]]:
        """At most ``k`` passages per query by the fused ranks."""
        found = [engine.ranked_batch(queries, max(k, DEPTH)) for engine in self._engines]
        out = []
        for rankings in zip(*found, strict=True):
            fused = reciprocal_rank_fusion([[number for number, _ in ranking] for ranking in rankings])
            out.append([self._store.get(number, score) for number, score in fused[:k]])
        return out
