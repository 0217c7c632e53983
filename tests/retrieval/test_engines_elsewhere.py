"""OpenSearch's answers in the documented format, and dense engines where their packages are installed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from retrieval_material import listening, write_corpus

from sdar_cli.errors import ConfigError, PrerequisiteError
from sdar_cli.retrieval.dense import DenseParameters
from sdar_cli.retrieval.index import IndexRetriever, build_index
from sdar_cli.retrieval.open import open_retriever
from sdar_cli.retrieval.opensearch import read_msearch
from sdar_cli.retrieval.types import Passage, RetrieverUnavailableError


def response(*hits: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "took": 3,
        "timed_out": False,
        "_shards": {"total": 5, "successful": 5, "skipped": 0, "failed": 0},
        "hits": {"total": {"value": len(hits), "relation": "eq"}, "max_score": 7.5, "hits": list(hits)},
        "status": 200,
        **more,
    }


HITS = (
    {"_index": "wiki", "_id": "12", "_score": 7.5, "_source": {"title": "A", "text": "b"}},
    {"_index": "wiki", "_id": "13", "_score": 7.25, "_source": {"contents": '"C"\nd'}},
)


def test_an_msearch_answer_becomes_passages() -> None:
    found = read_msearch({"took": 4, "responses": [response(*HITS), response()]}, 2)
    assert found == [[Passage("12", "A", "b", 7.5), Passage("13", "C", "d", 7.25)], []]


@pytest.mark.parametrize(
    "answer",
    [
        {"responses": [response(*HITS)]},
        {"error": "no"},
        {"responses": [response(), {"error": {"type": "index_not_found_exception"}, "status": 404}]},
        {"responses": [response(), response(timed_out=True)]},
        {"responses": [response(), response(_shards={"total": 5, "successful": 4, "failed": 1})]},
    ],
)
def test_part_of_an_answer_is_none(answer: Any) -> None:
    with pytest.raises(RetrieverUnavailableError):
        read_msearch(answer, 2)


def test_the_client_sends_one_msearch_per_batch() -> None:
    pytest.importorskip("opensearchpy")

    def answer(path: str, body: Any) -> tuple[int, bytes]:
        if path.endswith("/_count"):
            return 200, b'{"count": 2}'
        return 200, json.dumps({"took": 1, "responses": [response(*HITS), response()]}).encode()

    with listening(answer) as site:
        retriever = open_retriever(f"opensearch+{site.url}/wiki")
        assert retriever.info()["passages"] == 2
        assert [len(hits) for hits in retriever.search(["who", "where"], 2)] == [2, 0]
        path, lines = site.asked[-1]
    assert path == "/_msearch" and len(lines) == 4
    assert (lines[0], lines[1]["size"]) == ({"index": "wiki"}, 2)
    assert [line["query"]["multi_match"]["query"] for line in lines[1::2]] == ["who", "where"]


def test_an_address_without_an_index() -> None:
    pytest.importorskip("opensearchpy")
    with pytest.raises(ConfigError, match="names no index"):
        open_retriever("opensearch+http://127.0.0.1:9200")


def test_prefixes_are_those_of_e5_only() -> None:
    e5, other = DenseParameters.of("intfloat/e5-base-v2"), DenseParameters.of("sentence-transformers/all-MiniLM-L6-v2")
    assert (e5.query_prefix, e5.passage_prefix) == ("query: ", "passage: ")
    assert (other.query_prefix, other.passage_prefix) == ("", "")
    assert DenseParameters.of("models/multilingual-e5-small").query_prefix == "query: "
    assert DenseParameters.of("some/the5s").query_prefix == ""


@pytest.fixture
def encoder(tmp_path: Path) -> Path:
    """A random BERT with a vocabulary of its own, as a plain transformers folder: mean pooling by default."""
    pytest.importorskip("sentence_transformers")
    pytest.importorskip("faiss")
    import torch
    from transformers import BertConfig, BertModel, BertTokenizerFast

    text = "[PAD] [UNK] [CLS] [SEP] [MASK] velmora is a port town on the river tarn ada brindle was born in query :"
    words = text.split()
    home = tmp_path / "e5-random"
    home.mkdir()
    (home / "vocab.txt").write_text("\n".join(words))
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32
    )
    BertModel(config).save_pretrained(home)
    BertTokenizerFast(vocab_file=str(home / "vocab.txt")).save_pretrained(home)
    return home


def test_a_dense_index_gives_the_exact_inner_products(tmp_path: Path, encoder: Path) -> None:
    from sdar_cli.retrieval.dense import Encoder

    corpus = write_corpus(tmp_path / "c.jsonl")
    parameters = DenseParameters.of(str(encoder))
    build_index(corpus, tmp_path / "i", engine="dense", dense=parameters, device="cpu")
    retriever = IndexRetriever(tmp_path / "i", device="cpu")
    found = retriever.search(["Velmora", "river Tarn"], 5)
    coder = Encoder(parameters, "cpu")
    passages = sorted(found[0], key=lambda p: p.id)
    vectors, asked = coder.passages(passages), coder.queries(["Velmora", "river Tarn"])
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(5), rel=1e-5)
    for hits, query in zip(found, asked, strict=True):
        expected = dict(zip([p.id for p in passages], vectors @ query, strict=True))
        assert [p.score for p in hits] == sorted((p.score for p in hits), reverse=True) and len(hits) == 5
        assert [p.score for p in hits] == pytest.approx([expected[p.id] for p in hits], abs=1e-5)


def test_an_index_of_search_r1_is_read_where_it_lies(tmp_path: Path, encoder: Path) -> None:
    """Their script writes a flat inner-product index of all passages, in order."""
    import faiss

    from sdar_cli.retrieval.dense import Encoder

    corpus = write_corpus(tmp_path / "c.jsonl")
    build_index(corpus, tmp_path / "plain")
    store = IndexRetriever(tmp_path / "plain")._store
    vectors = Encoder(DenseParameters.of(str(encoder)), "cpu").passages([store.get(n) for n in range(len(store))])
    flat = faiss.IndexFlatIP(16)
    flat.add(vectors)
    faiss.write_index(flat, str(tmp_path / "e5_Flat.index"))
    parameters = DenseParameters.of(str(encoder), tmp_path / "e5_Flat.index")
    build_index(corpus, tmp_path / "i", engine="fused", dense=parameters, device="cpu")
    assert not (tmp_path / "i" / "vectors.faiss").exists()
    assert len(IndexRetriever(tmp_path / "i", device="cpu").search(["Velmora"], 3)[0]) == 3
    short = write_corpus(tmp_path / "d.jsonl", [{"id": "a", "contents": "t\nx"}])
    with pytest.raises(PrerequisiteError, match="5 vectors and the corpus 1 passages"):
        build_index(short, tmp_path / "j", engine="dense", dense=parameters, device="cpu")
