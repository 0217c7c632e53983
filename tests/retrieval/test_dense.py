"""Dense engines, where their packages are installed."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from retrieval_material import write_corpus

from sdar_cli.base.errors import PrerequisiteError
from sdar_cli.retrieval import dense
from sdar_cli.retrieval.dense import DenseParameters, VectorWriter
from sdar_cli.retrieval.index import IndexRetriever, build_index


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


def test_vectors_are_means_over_tokens_behind_the_prefix(encoder: Path) -> None:
    import torch
    from transformers import AutoModel, AutoTokenizer

    from sdar_cli.retrieval.dense import Encoder
    from sdar_cli.retrieval.passages import Passage

    coder = Encoder(DenseParameters.of(str(encoder)), "cpu")
    tokenizer, model = AutoTokenizer.from_pretrained(encoder), AutoModel.from_pretrained(encoder).eval()

    def by_hand(text: str) -> np.ndarray:
        with torch.no_grad():
            mean = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].mean(0)
        return (mean / mean.norm()).numpy()

    asked = coder.queries(["velmora town", "tarn"])  # of unlike length: padding must not count
    assert asked[0] == pytest.approx(by_hand("query: velmora town"), abs=1e-5)
    assert asked[1] == pytest.approx(by_hand("query: tarn"), abs=1e-5)
    assert asked[1] != pytest.approx(by_hand("tarn"), abs=1e-3)
    encoded = coder.passages([Passage("p", "velmora", "a port")])[0]
    assert encoded == pytest.approx(by_hand("passage: velmora\na port"), abs=1e-5)


def test_the_vector_file_is_a_flat_faiss_file_and_is_resumed(tmp_path: Path) -> None:
    faiss = pytest.importorskip("faiss")
    vectors = np.random.default_rng(0).normal(size=(7, 3)).astype(np.float32)
    flat = faiss.IndexFlatIP(3)
    flat.add(vectors)
    faiss.write_index(flat, str(tmp_path / "theirs"))
    path = tmp_path / "ours"
    writer = VectorWriter(path, 3)
    writer.add(vectors[:2])
    writer.add(vectors[2:4])
    writer._file.close()  # killed: the head says 0 vectors
    with path.open("ab") as file:
        file.write(b"half")
    writer = VectorWriter(path, 3)
    assert writer.vectors == 4
    writer.add(vectors[4:])
    writer.close()
    assert path.read_bytes() == (tmp_path / "theirs").read_bytes()
    again = VectorWriter(path, 3)
    assert again.vectors == 7
    again.close()
    assert path.read_bytes() == (tmp_path / "theirs").read_bytes()


def test_an_interrupted_encoding_is_resumed(tmp_path: Path, encoder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dense, "CHUNK", 2)
    corpus, parameters = write_corpus(tmp_path / "c.jsonl"), DenseParameters.of(str(encoder))
    build_index(corpus, tmp_path / "whole", engine="dense", dense=parameters, device="cpu")
    real, encoded = dense.Encoder.passages, []

    def passages(self: dense.Encoder, given: list) -> np.ndarray:
        if len(encoded) == 2:
            encoded.append([])
            raise KeyboardInterrupt
        encoded.append([passage.id for passage in given])
        return real(self, given)

    monkeypatch.setattr(dense.Encoder, "passages", passages)
    with pytest.raises(KeyboardInterrupt):
        build_index(corpus, tmp_path / "i", engine="dense", dense=parameters, device="cpu")
    build_index(corpus, tmp_path / "i", engine="dense", dense=parameters, device="cpu")
    assert encoded == [["p1", "p2"], ["p3", "p4"], [], ["p5"]]
    for name in ("vectors.faiss", "passages.jsonl", "manifest.json"):
        assert (tmp_path / "i" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


def write_flat(path: Path, vectors: np.ndarray, l2: bool = False) -> Path:
    """What Search-R1's script leaves: a flat index of all passages, in order."""
    import faiss

    flat = (faiss.IndexFlatL2 if l2 else faiss.IndexFlatIP)(vectors.shape[1])
    flat.add(vectors)
    faiss.write_index(flat, str(path))
    return path


def test_an_index_of_search_r1_is_read_where_it_lies(tmp_path: Path, encoder: Path) -> None:
    corpus = write_corpus(tmp_path / "c.jsonl")
    vectors = np.eye(5, 16, dtype=np.float32)
    path = write_flat(tmp_path / "e5_Flat.index", vectors)
    parameters = DenseParameters.of(str(encoder), path)
    for engine in ("dense", "fused"):
        manifest = build_index(corpus, tmp_path / engine, engine=engine, dense=parameters, device="cpu", fusion="ranks")
        assert manifest.get("fusion") == ("ranks" if engine == "fused" else None)
        assert not (tmp_path / engine / "vectors.faiss").exists()
    retriever = IndexRetriever(tmp_path / "dense", device="cpu")
    asked = dense.Encoder(parameters, "cpu").queries(["velmora"])[0]
    scores = {passage.id: passage.score for passage in retriever.search(["velmora"], 5)[0]}
    assert scores == pytest.approx({f"p{n + 1}": asked[n] for n in range(5)}, abs=1e-6)  # vector n is of passage n
    # It is mapped, not read: what is written into the file now is found.
    with path.open("r+b") as file:
        file.seek(45)
        file.write((2 * asked).tobytes())
    best = retriever.search(["velmora"], 1)[0][0]
    assert (best.id, best.score) == ("p1", pytest.approx(2.0, abs=1e-5))


def test_vectors_that_do_not_fit_are_refused(tmp_path: Path, encoder: Path) -> None:
    corpus = write_corpus(tmp_path / "c.jsonl")
    (tmp_path / "text").write_text("no vectors")
    vectors = np.eye(5, 16, dtype=np.float32)
    for path, words in {
        write_flat(tmp_path / "short", vectors[:4]): "4 vectors and the corpus 5 passages",
        write_flat(tmp_path / "narrow", vectors[:, :8].copy()): "does not fit",
        write_flat(tmp_path / "l2", vectors, l2=True): "does not fit",
        tmp_path / "text": "is no faiss index",
        tmp_path / "none": "no vectors at",
    }.items():
        with pytest.raises(PrerequisiteError, match=words):
            build_index(
                corpus, tmp_path / "i", engine="dense", dense=DenseParameters.of(str(encoder), path), device="cpu"
            )
        assert not (tmp_path / "i").exists()


def test_models_and_devices_that_are_none(tmp_path: Path, encoder: Path) -> None:
    import torch

    with pytest.raises(PrerequisiteError, match="cannot load the encoder"):
        dense.Encoder(DenseParameters.of(str(tmp_path / "nothing")), "cpu")
    with pytest.raises(PrerequisiteError, match="no device"):
        dense.Encoder(DenseParameters.of(str(encoder)), "nonsense")
    if not torch.cuda.is_available():
        with pytest.raises(PrerequisiteError, match="no device cuda"):
            dense.Encoder(DenseParameters.of(str(encoder)), "cuda")


@pytest.mark.parametrize("package", ["sentence_transformers", "faiss"])
def test_without_the_extra_its_installation_is_shown(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(PrerequisiteError, match="dense retrieval needs") as caught:
        dense._faiss() if package == "faiss" else dense.Encoder(DenseParameters.of("e5"))
    assert caught.value.fix == "pip install 'sdar[dense]'"
