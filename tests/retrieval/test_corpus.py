"""Corpus files of every kind, and rows that cannot be used."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from retrieval_material import ROWS, write_corpus

from sdar_cli.base.errors import PrerequisiteError
from sdar_cli.retrieval import rows
from sdar_cli.retrieval.corpus import BadRows, Row, SeenIds, read_corpus

FIRST = Row("p1", "Velmora", "Velmora is a port town on the river Tarn.")


def read(path: Path, skip: bool = False) -> list[Row]:
    return list(read_corpus(path, BadRows(skip)))


def test_every_kind_of_file_holds_the_same_passages(tmp_path: Path) -> None:
    lines = write_corpus(tmp_path / "c.jsonl")
    expected = read(lines)
    assert (expected[0], len(expected)) == (FIRST, 5)
    (tmp_path / "c.jsonl.gz").write_bytes(gzip.compress(lines.read_bytes()))
    fields = [{"id": r.id, "title": r.title, "text": r.text} for r in expected]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(fields), tmp_path / "c.parquet")
    headed = ["id\ttitle\ttext", *(f"{r.id}\t{r.title}\t{r.text}" for r in expected)]
    (tmp_path / "headed.tsv").write_text("\n".join(headed), encoding="utf-8")
    (tmp_path / "dpr.tsv").write_text("\n".join(f"{r.id}\t{r.text}\t{r.title}" for r in expected), encoding="utf-8")
    for name in ("c.jsonl.gz", "c.parquet", "headed.tsv", "dpr.tsv"):
        assert read(tmp_path / name) == expected, name


def test_titles_may_be_missing_and_ids_numbers(tmp_path: Path) -> None:
    rows = [{"id": 7, "text": "only a text"}, {"id": "b", "title": None, "text": "x"}, {"id": "c", "contents": "T\nx"}]
    assert read(write_corpus(tmp_path / "c.jsonl", rows)) == [
        Row("7", "", "only a text"),
        Row("b", "", "x"),
        Row("c", "T", "x"),
    ]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("{broken", "it is not JSON"),
        ("[1, 2]", "it is no object"),
        ({"contents": "no id"}, "it has no id"),
        ({"id": "", "contents": "x"}, "it has no id"),
        ({"id": True, "contents": "x"}, "it has no id"),
        ({"id": "p1", "contents": "again"}, "the id 'p1' has come before"),
        ({"id": "x", "contents": '""\n  '}, "its text is empty"),
        ({"id": "x", "contents": 5}, "its contents is no text"),
        ({"id": "x", "title": "t"}, "its text is missing"),
        ({"id": "x", "contents": "a\0b"}, "its contents holds a NUL character"),
        (r'{"id": "x", "contents": "half \ud800 of a pair"}', "its contents is not Unicode text"),
        (r'{"id": "\udfff", "contents": "x"}', "its id is not Unicode text"),
        ({"id": "x", "title": 5, "text": "x"}, "its title is no text"),
        ({"id": "x", "contents": "a" * 100_001}, "its contents has 100001 characters, at most 100000"),
    ],
)
def test_a_bad_row_is_named_with_file_and_line(tmp_path: Path, row: object, reason: str) -> None:
    path = write_corpus(tmp_path / "c.jsonl", [*ROWS, row])
    with pytest.raises(PrerequisiteError) as caught:
        read(path)
    assert caught.value.what == f"{path}:6 cannot be used"
    assert reason in caught.value.why
    assert "--skip-bad" in caught.value.fix


def test_bad_rows_are_skipped_up_to_one_in_a_hundred(tmp_path: Path) -> None:
    good = [{"id": f"p{n}", "contents": f"t\ntext {n}"} for n in range(99)]
    bad = BadRows(skip=True)
    path = write_corpus(tmp_path / "c.jsonl", ["{broken", *good])
    assert len(list(read_corpus(path, bad))) == 99
    assert (bad.count, bad.first) == (1, [f"{path}:1: it is not JSON: {_why('{broken')}"])
    path = write_corpus(tmp_path / "d.jsonl", ["{broken", "{broken", *good])
    with pytest.raises(PrerequisiteError, match="2 of 101 rows cannot be used"):
        read(path, skip=True)


def _why(text: str) -> str:
    with pytest.raises(json.JSONDecodeError) as caught:
        json.loads(text)
    return str(caught.value)


def test_files_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "c.txt").write_text("x")
    (tmp_path / "c.parquet").write_text("x")
    (tmp_path / "empty.jsonl").write_text("\n")
    (tmp_path / "cut.jsonl.gz").write_bytes(gzip.compress(b'{"id": "a", "contents": "t"}\n' * 50)[:-9])
    for name, words in {
        "none.jsonl": "no file",
        "c.txt": "no known kind",
        "c.parquet": "no parquet file",
        "empty.jsonl": "no passage",
    }.items():
        with pytest.raises(PrerequisiteError, match=words):
            read(tmp_path / name)
    with pytest.raises(PrerequisiteError, match=r"breaks off|has come before|cannot be used"):
        read(tmp_path / "cut.jsonl.gz")


def test_not_utf8_is_a_bad_row(tmp_path: Path) -> None:
    (tmp_path / "c.jsonl").write_bytes(b'{"id": "a", "contents": "t"}\n\xff\xfe\n')
    with pytest.raises(PrerequisiteError) as caught:
        read(tmp_path / "c.jsonl")
    assert "c.jsonl:2" in caught.value.what and "UTF-8" in caught.value.why


def test_tsv_rows_that_cannot_be_used(tmp_path: Path) -> None:
    for row, reason in {
        b"a\tb\tc\td": "it has 4 columns",
        b"alone": "it has 1 columns",
        b"p9\tcaf\xe9\tt": "its text is not Unicode text",
        b"p1\tagain\tt": "has come before",
    }.items():
        (tmp_path / "c.tsv").write_bytes(b"p1\tone\tt\np2\ttwo\tt\n" + row + b"\n")
        with pytest.raises(PrerequisiteError) as caught:
            read(tmp_path / "c.tsv")
        assert caught.value.what == f"{tmp_path / 'c.tsv'}:3 cannot be used" and reason in caught.value.why


def test_a_file_that_is_one_line_is_not_read_into_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "LONGEST_LINE", 64)
    (tmp_path / "c.jsonl").write_text('{"id": "a", "contents": "t"}\n' + json.dumps(ROWS))
    with pytest.raises(PrerequisiteError, match=r"line 2 of .*c\.jsonl is longer than 64 bytes"):
        read(tmp_path / "c.jsonl", skip=True)
    (tmp_path / "c.tsv").write_text("p1\tone\tt\np2\t" + '"two\t' + "x" * 64)
    with pytest.raises(PrerequisiteError, match=r"line 2 of .*c\.tsv is longer than 64 bytes"):
        read(tmp_path / "c.tsv", skip=True)


def test_ids_are_remembered_beyond_the_latest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SeenIds, "RECENT", 10)
    seen = SeenIds()
    assert all(seen.add(f"id{n}") for n in range(95))
    assert not any(seen.add(f"id{n}") for n in range(95))
    assert seen.add("new")
