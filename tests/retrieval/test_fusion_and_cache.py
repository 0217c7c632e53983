"""Fused ranks by hand; answers that are not asked for twice."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from sdar_cli.retrieval.cache import CachedRetriever
from sdar_cli.retrieval.corpus import Row
from sdar_cli.retrieval.fusion import Fused, reciprocal_rank_fusion, score_fusion
from sdar_cli.retrieval.passages import Passage
from sdar_cli.retrieval.store import PassageStore, StoreWriter


def test_reciprocal_ranks_by_hand() -> None:
    # a: 1/61 + 1/63; b: 1/62 + 1/61; c: 1/63; d: 1/62
    fused = dict(reciprocal_rank_fusion([["a", "b", "c"], ["b", "d", "a"]]))
    assert fused == pytest.approx({"b": 1 / 62 + 1 / 61, "a": 1 / 61 + 1 / 63, "d": 1 / 62, "c": 1 / 63})
    assert list(fused) == ["b", "a", "d", "c"]


def test_one_ranking_keeps_its_order_and_equal_sums_the_first_rankings() -> None:
    assert [item for item, _ in reciprocal_rank_fusion([["x", "y", "z"]])] == ["x", "y", "z"]
    assert [item for item, _ in reciprocal_rank_fusion([["a"], ["b"]])] == ["a", "b"]
    assert reciprocal_rank_fusion([]) == []
    # A small k trusts first places: two second places (2/3) lose to one first and nothing else (1) only at k = 0 or 1.
    lists = [["a", "b"], ["c", "b"]]
    assert [item for item, _ in reciprocal_rank_fusion(lists, k=0)][:1] == ["a"]
    assert [item for item, _ in reciprocal_rank_fusion(lists, k=60)][:1] == ["b"]
    weighted = dict(reciprocal_rank_fusion(lists, k=1, weights=(1.0, 0.5)))
    assert weighted == pytest.approx({"a": 1 / 2, "b": 1 / 3 + 0.5 / 3, "c": 0.5 / 2})


class Ranking:
    """An engine with one answer."""

    def __init__(self, *hits: tuple[int, float]) -> None:
        self._hits = hits

    def ranked_batch(self, queries: Sequence[str], k: int) -> list[list[tuple[int, float]]]:
        return [list(self._hits[:k]) for _ in queries]


def test_scaled_scores_by_hand() -> None:
    # lexical / 8: 1, 1/2, 1/4; dense from .5 to .9: 1, 3/4, 0, times .4
    fused = dict(score_fusion([(0, 8.0), (1, 4.0), (2, 2.0)], [(1, 0.9), (3, 0.8), (0, 0.5)], 0.4))
    assert fused == pytest.approx({0: 1.0, 1: 0.9, 3: 0.3, 2: 0.25})
    assert list(fused) == [0, 1, 3, 2]
    assert score_fusion([], [(5, 0.2), (4, 0.1)], 1.0) == [(5, 1.0), (4, 0.0)]
    assert score_fusion([], [(5, 0.2)], 0.5) == [(5, 0.5)]
    assert score_fusion([(1, 3.0)], []) == [(1, 1.0)]
    assert score_fusion([], []) == []


@pytest.mark.parametrize(
    ("fusion", "expected"),
    [
        # k 10, the dense ranking half: c: 1/13 + 1/22; a: 1/11; b: 1/12; d: 1/24
        ("ranks", [("c", 1 / 13 + 1 / 22), ("a", 1 / 11), ("b", 1 / 12)]),
        # a: 4/4; b: 3/4; c: 2/4 + .3; d: 0
        ("scores", [("a", 1.0), ("c", 0.8), ("b", 0.75)]),
    ],
)
def test_the_lexical_ranking_leads(tmp_path: Path, fusion: str, expected: list[tuple[str, float]]) -> None:
    writer = StoreWriter(tmp_path)
    for name in "abcd":
        writer.add(Row(name, "", f"text {name}"))
    writer.close()
    engines = Ranking((0, 4.0), (1, 3.0), (2, 2.0)), Ranking((2, 0.7), (3, 0.6))
    found = Fused(*engines, PassageStore(tmp_path), fusion).search(["q", "r"], 3)
    for hits in found:
        assert [p.id for p in hits] == [name for name, _ in expected]
        assert [p.score for p in hits] == pytest.approx([score for _, score in expected])


class Counting:
    """A retriever that remembers what it was asked."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.corpus = "one"

    def search(self, queries: Sequence[str], k: int) -> list[list[Passage]]:
        self.batches.append(list(queries))
        return [[Passage(f"{self.corpus}/{query}/{n}", "", "", -n) for n in range(k)] for query in queries]

    def info(self) -> dict[str, Any]:
        return {"engine": "counting", "corpus_sha256": self.corpus}

    def close(self) -> None:
        pass


def test_a_group_asks_once() -> None:
    inner = Counting()
    cached = CachedRetriever(inner)
    found = cached.search(["who", "where", "who", " who  "], 2)
    assert inner.batches == [["who", "where"]]
    assert [hits[0].id for hits in found] == ["one/who/0", "one/where/0", "one/who/0", "one/who/0"]
    assert cached.search(["where"], 2) == [found[1]] and len(inner.batches) == 1
    cached.search(["where"], 3)
    assert inner.batches[1:] == [["where"]]
    assert (cached.asked, cached.answered) == (6, 3)


def test_answers_of_another_corpus_are_not_given() -> None:
    inner = Counting()
    cached = CachedRetriever(inner)
    cached.info()
    assert cached.search(["who"], 1)[0][0].id == "one/who/0"
    inner.corpus = "two"
    cached.info()
    assert cached.search(["who"], 1)[0][0].id == "two/who/0"


def test_the_latest_answers_are_kept_and_cannot_be_spoiled() -> None:
    inner = Counting()
    cached = CachedRetriever(inner, answers=2)
    cached.search(["a", "b"], 1)
    cached.search(["a"], 1)[0].clear()
    assert len(cached.search(["a"], 1)[0]) == 1
    cached.search(["c"], 1)  # drops b, the least recently used
    cached.search(["a"], 1)
    assert inner.batches == [["a", "b"], ["c"]]
    cached.search(["b"], 1)
    assert inner.batches[-1] == ["b"]
