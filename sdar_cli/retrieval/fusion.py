"""Rankings of two engines become one: by reciprocal ranks (Cormack, Clarke, Buettcher 2009) or by scaled scores."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Protocol, TypeVar

from sdar_cli.retrieval.passages import Passage
from sdar_cli.retrieval.store import PassageStore

K = 60
DEPTH = 100
"""Passages of each ranking that count."""
FUSED_K, DENSE_RANKS, DENSE_SCORES = 10, 0.5, 0.3
"""How an index of two engines is fused: the lexical ranking leads, and first places count more than with 60."""
FUSIONS = ("scores", "ranks")
Ranked = Sequence[tuple[int, float]]
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


def score_fusion(lexical: Ranked, dense: Ranked, weight: float = DENSE_SCORES) -> list[tuple[int, float]]:
    """Items with ``lexical / best + weight * (dense - last) / (best - last)``, best first; 0 for what is not ranked.

    A BM25 score has a zero that means something; a cosine has none, so it is scaled between the ends of its ranking.
    """
    scores = {item: score / lexical[0][1] for item, score in lexical}
    if dense:
        last, width = dense[-1][1], dense[0][1] - dense[-1][1]
        for item, score in dense:
            scores[item] = scores.get(item, 0.0) + weight * ((score - last) / width if width else 1.0)
    return sorted(scores.items(), key=lambda pair: -pair[1])


def rank_fusion(lexical: Ranked, dense: Ranked) -> list[tuple[int, float]]:
    """``reciprocal_rank_fusion`` of two engines as an index uses it."""
    numbers = [[number for number, _ in ranking] for ranking in (lexical, dense)]
    return reciprocal_rank_fusion(numbers, FUSED_K, (1.0, DENSE_RANKS))


class Fused:
    """A lexical and a dense engine over one store as one.  fusion: of ``FUSIONS``."""

    def __init__(self, lexical: Ranker, dense: Ranker, store: PassageStore, fusion: str = FUSIONS[0]) -> None:
        self._engines = (lexical, dense)
        self._store = store
        self._fuse = {"scores": score_fusion, "ranks": rank_fusion}[fusion]

    def search(self, queries: Sequence[str], k: int) -> list[list[Passage]]:
        """At most ``k`` passages per query by the fused ranks or scores."""
        found = [engine.ranked_batch(queries, max(k, DEPTH)) for engine in self._engines]
        fused = [self._fuse(lexical, dense)[:k] for lexical, dense in zip(*found, strict=True)]
        return [[self._store.get(number, score) for number, score in hits] for hits in fused]
