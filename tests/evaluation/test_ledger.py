"""What an evaluation has played so far: kept, torn, foreign, held."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sdar_cli.base.errors import RunConflictError, RunFailedError
from sdar_cli.envs.base import StopReason, Task
from sdar_cli.evaluation.ledger import SAMPLE, Ledger, digest, fingerprint, flat
from sdar_cli.runs.records import EpisodeRecord, TurnRecord

KEY = {"model": {"files": "abc"}, "panel": {"tasks": 2}}
FIRST, SECOND = ("no skill", 0, 0), ("no skill", 0, 256)
TURNS = (TurnRecord("ä", "go", True, False),)
PLAYED = [
    EpisodeRecord(Task("a", "t", "eval"), "g", True, 1.0, 0.5, {"r": 1}, StopReason.WON, None, TURNS, "no skill", 0),
    EpisodeRecord(Task("b", "t", "eval"), "g", False, label="no skill", seed=0),
]


def test_what_was_added_is_found_again(tmp_path: Path) -> None:
    path = tmp_path / "evals" / "x.jsonl"
    with Ledger(path, KEY) as ledger:
        assert ledger.played(FIRST) is None
        ledger.add(FIRST, PLAYED, 3)
    with Ledger(path, KEY) as ledger:
        assert ledger.played(FIRST) == (PLAYED, 3)
        assert ledger.played(SECOND) is None
        ledger.add(SECOND, PLAYED[:1], 0)
    with Ledger(path, KEY) as ledger:
        assert list(ledger.found) == [FIRST, SECOND]
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert rows[0] == {"key": KEY}
    assert [row.get("chunk") for row in rows] == [None, None, None, list(FIRST), None, list(SECOND)]
    assert {row["label"] for row in rows if "task" in row} == {"no skill"}


@pytest.mark.parametrize("lost", [1, 30, 75, 240])
def test_an_unfinished_chunk_is_cut_off(tmp_path: Path, lost: int) -> None:
    """A kill leaves any number of bytes; what is written next makes the file it would have been."""
    path, whole = tmp_path / "x.jsonl", tmp_path / "whole.jsonl"
    for file in (path, whole):
        with Ledger(file, KEY) as ledger:
            ledger.add(FIRST, PLAYED, 0)
            ledger.add(SECOND, PLAYED, 0)
    path.write_bytes(path.read_bytes()[:-lost])
    with Ledger(path, KEY) as ledger:
        assert list(ledger.found) == [FIRST]
        ledger.add(SECOND, PLAYED, 0)
    assert path.read_bytes() == whole.read_bytes()


def test_a_torn_key_starts_again(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text('{"key": {"mod')
    Ledger(path, KEY).close()
    assert json.loads(path.read_text()) == {"key": KEY}


def test_another_evaluation_is_refused_by_what_differs(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    Ledger(path, KEY).close()
    with pytest.raises(RunConflictError) as caught:
        Ledger(path, {"model": {"files": "other"}, "panel": {"tasks": 2}})
    assert "model.files: 'abc' then, 'other' now" in caught.value.why and "panel" not in caught.value.why
    Ledger(path, KEY).close()  # the refusal let go of the file and changed nothing


def test_two_at_a_time_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    with Ledger(path, KEY), pytest.raises(RunConflictError, match="another process"):
        Ledger(path, KEY)


def test_damage_in_the_middle_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    with Ledger(path, KEY) as ledger:
        ledger.add(FIRST, PLAYED, 0)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text(lines[0] + "nonsense\n" + "".join(lines[2:]))
    with pytest.raises(RunFailedError, match="line 2"):
        Ledger(path, KEY)


@pytest.mark.parametrize(
    "line",
    [b"[1]", b"9" * 5000, b"[" * 100_000, b'{"chunk": 3, "cut": 0}', b'{"chunk": ["a", 0, 0], "cut": null}',
     b'{"chunk": ["a", [], 0], "cut": 0}', b"{}", b'{"task": 3}'],
)  # fmt: skip
def test_a_line_of_another_kind_is_reported(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "e.jsonl"
    path.write_bytes(b'{"key": {"a": 1}}\n' + line + b"\n")
    with pytest.raises(RunFailedError, match="line 2") as caught:
        Ledger(path, {"a": 1})
    assert f"rm {path}" in caught.value.fix


def test_fingerprint_sees_names_sizes_and_content(tmp_path: Path) -> None:
    def folder(name: str, **files: bytes) -> str:
        (tmp_path / name).mkdir()
        for file, content in files.items():
            (tmp_path / name / file).write_bytes(content)
        return fingerprint(tmp_path / name)

    base = folder("a", weights=b"123", config=b"{}")
    assert folder("b", weights=b"123", config=b"{}") == base
    assert folder("c", weights=b"124", config=b"{}") != base
    assert folder("d", heavier=b"123", config=b"{}") != base
    large = bytearray(4 * SAMPLE)
    reference = folder("e", weights=bytes(large))
    for n, place in enumerate((0, 2 * SAMPLE, len(large) - 1)):
        changed = bytearray(large)
        changed[place] = 1
        assert folder(f"f{n}", weights=bytes(changed)) != reference


def test_digest_and_names() -> None:
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1}) != digest({"a": 2, "b": 2})
    assert flat({"a": {"b": 1, "c": {"d": 2}}, "e": [3]}) == {"a.b": 1, "a.c.d": 2, "e": [3]}
