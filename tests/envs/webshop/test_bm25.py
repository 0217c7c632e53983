"""The search index: Lucene's rankings, scores by hand, what is refused, and what a failed build leaves behind."""

from __future__ import annotations

import errno
import json
import math
import pickle
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from places import SHARED

from sdar_cli.base.errors import PrerequisiteError, RunConflictError, RunFailedError
from sdar_cli.envs.webshop.lucene import bm25, bm25_build
from sdar_cli.envs.webshop.lucene.analyzer import analyze
from sdar_cli.envs.webshop.lucene.bm25 import Index
from sdar_cli.envs.webshop.lucene.bm25_build import length_norm, norm_length

DATA = SHARED / "data" / "webshop"
THREE = ["red shoe", "red red hat", "blue"]
WORDS = ["red", "blue", "shoe", "hat", "sole", "lace", "the", "w1"]


def contents(row: dict[str, Any]) -> str:
    """What WebShop indexes of a product: title, description, first bullet, options; in lower case."""
    options = row["customization_options"] or {}
    values = {
        name.lower(): ", ".join(value["value"].strip().replace("/", " | ").lower() for value in listed)
        for name, listed in options.items()
        if listed is not None
    }
    options = ", and ".join(f"{name}: {value}" for name, value in values.items())
    bullets = row["small_description"]
    first = bullets[0] if isinstance(bullets, list) else bullets
    return " ".join([row["name"], row["full_description"], first, options]).lower()


def products() -> dict[str, str]:
    """Asin to contents, of the rows that WebShop keeps."""
    kept: dict[str, str] = {}
    for row in json.loads((DATA / "synthetic_1000" / "items_shuffle_1000.json").read_text()):
        if row["asin"] != "nan" and len(row["asin"]) <= 10 and row["asin"] not in kept:
            kept[row["asin"]] = contents(row)
    return kept


@pytest.mark.skipif(not DATA.is_dir(), reason=f"no golden files at {DATA}; set SDAR_SHARED to their folder")
@pytest.mark.parametrize("run_postings", [bm25_build.RUN_POSTINGS, 3000])
def test_golden_rankings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_postings: int) -> None:
    """Lucene's top 50 of each query, from an index of one run and from one of many."""
    monkeypatch.setattr(bm25_build, "RUN_POSTINGS", run_postings)
    kept = products()
    asins = list(kept)
    index = Index.build(kept.values(), tmp_path / "index", keys=asins)
    rows = [json.loads(line) for line in (DATA / "golden_search.jsonl").read_text().splitlines()]
    assert len(rows) == 710
    wrong = [row["query"] for row in rows if [asins[hit] for hit in index.search(row["query"])] != row["asins"]]
    assert wrong == []


def test_scores_by_hand(tmp_path: Path) -> None:
    """Mean length (2 + 3 + 1) / 3 = 2, so k1 (1 - b + b length / mean) is 0.9, 1.08 and 0.72.

    red: idf ln(1 + 1.5 / 2.5) = 0.4700036; 1 / (1 + 0.9) = 0.5263158 and 2 / (2 + 1.08) = 0.6493506.
    blue: idf ln(1 + 2.5 / 1.5) = 0.9808293; 1 / (1 + 0.72) = 0.5813953.
    """
    index = Index.build(THREE, tmp_path / "index")
    red = {1: 0.4700036 * 0.6493506, 0: 0.4700036 * 0.5263158}  # 0.3051971, 0.2473703
    blue = 0.9808293 * 0.5813953  # 0.5702496
    for query, expected in {
        "red": [(1, red[1]), (0, red[0])],
        "Red the REDS": [(1, 2 * red[1]), (0, 2 * red[0])],
        "blue red": [(2, blue), (1, red[1]), (0, red[0])],
        "red blue red": [(1, 2 * red[1]), (2, blue), (0, 2 * red[0])],
    }.items():
        found = index.search_scores(query)
        assert [hit for hit, _ in found] == [hit for hit, _ in expected] == index.search(query)
        assert [score for _, score in found] == pytest.approx([score for _, score in expected], rel=1e-6)


def test_float32_arithmetic(tmp_path: Path) -> None:
    """The same numbers, each step rounded as Java's float: the score must be this very float."""
    index = Index.build(THREE, tmp_path / "index")
    f = np.float32
    inverse = f(1) / (f(0.9) * ((f(1) - f(0.4)) + f(0.4) * f(3) / f(2)))
    weight = f(math.log(1 + 1.5 / 2.5))
    assert index.search_scores("red", 1) == [(1, float(weight - weight / (f(1) + f(2) * inverse)))]


@pytest.mark.parametrize(
    ("length", "norm", "stands_for"),
    [
        (0, 0, 0),
        (23, 23, 23),
        (39, 39, 39),  # 24 + 15: the last that is exact
        (40, 40, 40),  # 24 + 16 = 24 + (8 << 1)
        (41, 40, 40),
        (110, 58, 104),  # 86 = 1010110 in binary, 4 leading bits: 10 << 3 = 80; 24 + (4 << 3 | 2)
        (1000, 87, 984),  # 976 = 1111010000, 15 << 6 = 960; 24 + (7 << 3 | 7)
        (2**31 - 1, 255, 2013265944),  # 24 + (15 << 27)
    ],
)
def test_byte_norms(length: int, norm: int, stands_for: int) -> None:
    assert length_norm(length) == norm
    assert norm_length(norm) == stands_for


def test_byte_norms_are_the_least_lengths() -> None:
    lengths = [norm_length(norm) for norm in range(256)]
    assert lengths == sorted(set(lengths))
    assert [length_norm(length) for length in lengths] == list(range(256))
    assert [length_norm(length - 1) for length in lengths[1:]] == list(range(255))


def test_ties_go_by_key_and_by_number_without_keys(tmp_path: Path) -> None:
    texts = ["red"] * 60
    keys = [f"B{(7 * number) % 60:02}" for number in range(60)]
    by_key = sorted(range(60), key=lambda number: keys[number])
    assert Index.build(texts, tmp_path / "keyed", keys=keys).search("red", 50) == by_key[:50]
    assert Index.build(texts, tmp_path / "plain").search("red", 50) == list(range(50))


def test_keys_may_be_filled_while_the_texts_stream(tmp_path: Path) -> None:
    keys: list[str] = []

    def texts() -> Iterator[str]:
        for key in ("b", "a"):
            keys.append(key)
            yield "red"

    assert Index.build(texts(), tmp_path / "index", keys=keys).search("red") == [1, 0]
    with pytest.raises(ValueError, match="1 keys for 2 texts"):
        Index.build(["red", "red"], tmp_path / "other", keys=["a"])
    assert [path.name for path in tmp_path.iterdir()] == ["index"]


@pytest.mark.parametrize("query", ["", "the of", "unknown", "– !", "\ud800"])
def test_queries_without_hits(tmp_path: Path, query: str) -> None:
    assert Index.build(THREE, tmp_path / "index").search(query) == []


@pytest.mark.parametrize("texts", [[], ["", "the"], ["red\ud800"]])
def test_texts_with_little_in_them(tmp_path: Path, texts: list[str]) -> None:
    """Documents without a term count as documents, and not for the mean length or an idf."""
    index = Index.build(texts, tmp_path / "index")
    assert index.documents == len(texts)
    assert index.search("red") == ([0] if any("red" in text for text in texts) else [])
    whole = Index.build(["", *THREE, "the"], tmp_path / "whole").search_scores("red")
    assert [score for _, score in whole] == [
        score for _, score in Index.build(THREE, tmp_path / "three").search_scores("red")
    ]


def test_number_of_hits(tmp_path: Path) -> None:
    index = Index.build(["red"] * 3, tmp_path / "index")
    assert [index.search("red", k) for k in (-1, 0, 1, 3, 9)] == [[], [], [0], [0, 1, 2], [0, 1, 2]]


def test_answers_are_the_callers_own(tmp_path: Path) -> None:
    """Hits are remembered; a caller that changes its list changes no later answer."""
    index = Index.build(THREE, tmp_path / "index")
    index.search("red").clear()
    assert index.search("red") == [1, 0]


def test_a_sent_index_is_opened_again(tmp_path: Path) -> None:
    index = Index.build(THREE, tmp_path / "index")
    assert pickle.loads(pickle.dumps(index)).search("red") == [1, 0]


def test_runs_make_no_difference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files are the same to the byte however often the postings were spilled."""
    texts = [" ".join(WORDS[(number * step) % 8] for step in range(number % 9)) for number in range(200)]
    files = []
    for run_postings in (10**6, 1, 17):
        monkeypatch.setattr(bm25_build, "RUN_POSTINGS", run_postings)
        files.append(Index.build(texts, tmp_path / f"index{run_postings}").manifest["files"])
    assert files[0] == files[1] == files[2]


def test_many_pairs_take_wider_codes(tmp_path: Path) -> None:
    """More than 65,536 kinds of (frequency, norm) do not fit 16 bits; hits and scores do not care."""
    words = [f"w{number}" for number in range(400)]
    texts = [" ".join(word for place, word in enumerate(words[:370]) for _ in range(place + 1))]
    narrow = Index.build(texts, tmp_path / "narrow").search_scores("w300")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bm25_build, "NARROW_CODES", 100)
        index = Index.build(texts, tmp_path / "wide")
    assert index._codes.dtype == np.uint32
    assert index.search_scores("w300") == narrow


def flip_last_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def change(**values: Any) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        manifest = json.loads((folder / "manifest.json").read_text())
        (folder / "manifest.json").write_text(json.dumps({**manifest, **values}))

    return edit


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda folder: shutil.rmtree(folder), "manifest.json"),
        (lambda folder: (folder / "manifest.json").unlink(), "manifest.json"),
        (lambda folder: (folder / "manifest.json").write_text('{"format": 1'), "manifest.json cannot be read"),
        (lambda folder: (folder / "manifest.json").write_text("[]"), "no object"),
        (lambda folder: (folder / "docs.npy").unlink(), "docs.npy"),
        (lambda folder: (folder / "docs.npy").write_bytes(b""), "docs.npy has 0 bytes"),
        (lambda folder: flip_last_byte(folder / "codes.npy"), "codes.npy have changed"),
        (change(format=0), "its format is 0"),
        (change(k1=1.2), "its k1 is 1.2"),
        (change(analyzer="other"), "its analyzer is 'other'"),
        (change(source="elsewhere"), "its source is 'elsewhere'"),
        (change(files={}), "does not list its files"),
        (change(files=3), "does not list its files"),
        (change(documents="many", tokens=None), ""),
    ],
)
def test_damaged_and_foreign_folders_are_refused(tmp_path: Path, damage: Callable[[Path], Any], reason: str) -> None:
    folder = tmp_path / "index"
    Index.build(THREE, folder, source="here")
    assert Index.open(folder, source="here").search("red") == [1, 0]
    damage(folder)
    with pytest.raises(PrerequisiteError) as raised:
        Index.open(folder, source="here")
    assert str(folder) in raised.value.what
    assert reason in raised.value.why
    assert raised.value.fix


def test_contents_of_a_large_index_are_compared_when_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "index"
    Index.build(THREE, folder)
    monkeypatch.setattr(bm25, "SMALL", 0)
    flip_last_byte(folder / "ranks.npy")
    Index.open(folder)
    with pytest.raises(PrerequisiteError, match="cannot be used"):
        Index.open(folder, check=True)


@pytest.mark.parametrize("failure", [KeyboardInterrupt(), RuntimeError("bad row"), OSError(errno.ENOSPC, "disk full")])
def test_a_failed_build_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: BaseException) -> None:
    monkeypatch.setattr(bm25_build, "RUN_POSTINGS", 2)

    def texts() -> Iterator[str]:
        yield from THREE
        raise failure

    full = isinstance(failure, OSError)
    with pytest.raises(RunFailedError if full else type(failure)):
        Index.build(texts(), tmp_path / "new" / "index")
    assert not list((tmp_path / "new").iterdir())
    Index.build(THREE, tmp_path / "old")
    with pytest.raises(RunFailedError if full else type(failure)):
        Index.build(texts(), tmp_path / "old")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "old"]
    assert Index.open(tmp_path / "old").search("red") == [1, 0]


def test_an_older_index_is_replaced_and_an_equal_one_kept(tmp_path: Path) -> None:
    folder = tmp_path / "index"
    Index.build(["blue"], folder)
    Index.build(THREE, folder)
    place = folder.stat().st_ino
    assert Index.build(THREE, folder).search("red") == [1, 0]
    assert folder.stat().st_ino == place
    flip_last_byte(folder / "docs.npy")
    assert Index.build(THREE, folder).search("red") == [1, 0]
    assert folder.stat().st_ino != place
    assert [path.name for path in tmp_path.iterdir()] == ["index"]


def test_another_folder_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("…")
    with pytest.raises(RunConflictError, match="in the way"):
        Index.build(THREE, tmp_path / "thesis")
    assert (tmp_path / "thesis" / "chapter.tex").is_file()
    (tmp_path / "empty").mkdir()
    assert Index.build(THREE, tmp_path / "empty").documents == 3


def test_the_manifest(tmp_path: Path) -> None:
    progress: list[None] = []
    manifest = Index.build(["", *THREE], tmp_path / "index", lambda: progress.append(None), source="here").manifest
    assert len(progress) == 4
    expected = {"format": 1, "k1": 0.9, "b": 0.4, "documents": 4, "documents_with_terms": 3, "tokens": 6, "postings": 5}
    assert {name: manifest[name] for name in expected} == expected
    other = Index.build(["", *THREE[:-1], "blues"], tmp_path / "other", source="here").manifest
    assert manifest["input_sha256"] != other["input_sha256"]
    assert manifest["files"] == other["files"]


def naive_scores(texts: list[str], query: str) -> dict[int, float]:
    """BM25 as in the textbooks, in float64, over the lengths that bytes can hold."""
    bags = [Counter(analyze(text)) for text in texts]
    lengths = [norm_length(length_norm(bag.total())) for bag in bags]
    filled = sum(map(bool, bags))
    mean = sum(bag.total() for bag in bags) / max(filled, 1)
    scores: dict[int, float] = {}
    for word in analyze(query):
        having = sum(word in bag for bag in bags)
        idf = math.log(1 + (filled - having + 0.5) / (having + 0.5))
        for number, bag in enumerate(bags):
            if word in bag:
                rest = 0.9 * (0.6 + 0.4 * lengths[number] / mean)
                scores[number] = scores.get(number, 0) + idf * bag[word] / (bag[word] + rest)
    return scores


TEXTS = st.lists(st.lists(st.sampled_from(WORDS), max_size=60).map(" ".join), max_size=12)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=TEXTS, query=st.lists(st.sampled_from([*WORDS, "unknown"]), max_size=6).map(" ".join))
def test_naive_scorer_agrees(tmp_path: Path, texts: list[str], query: str) -> None:
    found = Index.build(texts, tmp_path / "index").search_scores(query)
    expected = naive_scores(texts, query)
    assert dict(found) == pytest.approx(expected, rel=1e-5)
    exact = [expected[number] for number, _ in found]
    assert all(after <= before * (1 + 1e-5) for before, after in pairwise(exact))
