"""Nouns of titles: the file next to the catalogue, spaCy's tagger, and the word list."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path

import pytest
import webshop_material as material

from sdar_cli.base.errors import PrerequisiteError
from sdar_cli.envs.webshop.catalogue import nouns as module
from sdar_cli.envs.webshop.catalogue.nouns import (
    HEURISTIC_ID,
    NOUNS_FILE,
    Nouns,
    Tagger,
    heuristic,
    open_nouns,
    read_nouns,
    spacy_tagger,
    write_nouns,
)


def never() -> tuple[Tagger, str]:
    raise AssertionError("the tagger is not needed")


def capitals() -> tuple[Tagger, str]:
    return lambda title: [word.lower() for word in title.split() if word[0].isupper()], "capitals"


def test_the_word_list_leaves_out_small_words_and_numbers() -> None:
    assert heuristic("Men's Non-Slip Shoes (Pack of 2), for the Gym 60\" x 5") == [
        "men",
        "slip",
        "shoes",
        "pack",
        "gym",
    ]


def test_known_titles_need_no_tagger() -> None:
    nouns = Nouns({"A b": ["b", "b"]}, "file", never)
    assert nouns("A b") == ("b", "b")
    assert nouns.tagger_id == "file"


def test_the_tagger_is_named_once_it_was_needed() -> None:
    nouns = Nouns({"A b": ["b"]}, "file", capitals)
    assert nouns("One Two three") == ("one", "two")
    assert nouns.tagger_id == "file+capitals"
    assert Nouns(tagger=capitals).tagger_id == "capitals"


def test_the_word_list_is_warned_of(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "spacy_tagger", lambda: None)
    warnings: list[str] = []
    nouns = open_nouns(tmp_path, warnings.append)
    assert nouns("red table") == ("red", "table")
    assert nouns.tagger_id == HEURISTIC_ID
    nouns("blue table")
    assert len(warnings) == 1 and "pip install" in warnings[0]


def test_the_word_list_is_warned_of_at_the_first_title_missing_in_a_noun_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(module, "spacy_tagger", lambda: None)
    write_nouns(tmp_path / NOUNS_FILE, ["A b"], Nouns(tagger=capitals))
    warnings: list[str] = []
    nouns = open_nouns(tmp_path, warnings.append)
    nouns("A b")
    assert not warnings
    nouns("c d")
    assert len(warnings) == 1 and nouns.tagger_id == f"capitals+{HEURISTIC_ID}"


def test_a_noun_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    write_nouns(tmp_path / NOUNS_FILE, ["Größe L", "x"], Nouns(tagger=capitals))
    nouns = open_nouns(tmp_path)
    assert (nouns("Größe L"), nouns("x"), nouns.tagger_id) == (("größe", "l"), (), "capitals")
    assert [path.name for path in tmp_path.iterdir()] == [NOUNS_FILE]


@pytest.mark.parametrize("content", [b"{}", b"[]", b"nope", b'{"tagger": 1, "nouns": {}}', b"[" * 100_000, None])
def test_a_broken_noun_file_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / NOUNS_FILE
    path.write_bytes(b"not packed" if content is None else gzip.compress(content))
    with pytest.raises(PrerequisiteError) as caught:
        read_nouns(path)
    assert str(path) in caught.value.what


def test_a_noun_file_with_other_bytes_is_named(tmp_path: Path) -> None:
    path = tmp_path / NOUNS_FILE
    whole = gzip.compress(b'{"tagger": "t", "nouns": {"a b": ["a"]}}')
    for at in range(10, len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
        with pytest.raises(PrerequisiteError, match="cannot be read"):
            read_nouns(path)


def _factor(bought: list[str], wanted: list[str]) -> float:
    """The type's factor when neither query nor categories match."""
    share = len(set(bought) & set(wanted)) / len(wanted) if wanted else 0.2
    return (0.1 if share else 0.0) if share < 0.1 else 1.0 if share > 0.2 else 0.5


@material.needs_golden
def test_the_word_list_agrees_with_the_originals_factor_in_nine_of_ten_real_pairs() -> None:
    rows = material.golden("golden_nouns_real_titles.jsonl")
    rng = random.Random(0)
    pairs = [rng.sample(rows, 2) for _ in range(5000)]
    same = [
        _factor(one["nouns"], two["nouns"]) == _factor(heuristic(one["name"]), heuristic(two["name"]))
        for one, two in pairs
    ]
    assert sum(same) / len(same) > 0.92


@material.needs_golden
def test_spacys_tagger_alone_finds_the_originals_nouns() -> None:
    found = spacy_tagger()
    if found is None or not found[1].endswith(" 3.8.0"):
        pytest.skip(f"needs spaCy with en_core_web_sm 3.8.0; {module.INSTALL}")
    rows = material.golden("golden_nouns_real_titles.jsonl") + material.golden("golden_nouns.jsonl")[:100]
    assert [found[0](row["name"]) for row in rows] == [row["nouns"] for row in rows]


def test_the_file_is_json_with_its_tagger(tmp_path: Path) -> None:
    path = tmp_path / NOUNS_FILE
    write_nouns(path, ["A"], Nouns(tagger=capitals))
    assert json.loads(gzip.decompress(path.read_bytes())) == {"tagger": "capitals", "nouns": {"A": ["a"]}}
