"""Text for terminals and records: no passwords, no half characters, and errors of the system with their place."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest

from sdar_cli.base.errors import RunFailedError, place_error
from sdar_cli.base.files import rewrite_json, to_json, write_json_atomic
from sdar_cli.base.text import mask, presentable, whole_characters
from sdar_cli.cli import main


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://me:secret@host:80/x", "http://***@host:80/x"),
        ("opensearch+https://me:se%40c@host/i", "opensearch+https://***@host/i"),
        ("https://:secret@a, http://token@b", "https://***@a, http://***@b"),
        ("https://host/@name and me@host", "https://host/@name and me@host"),
        ('["http://a","x@y"]', '["http://a","x@y"]'),
    ],
)
def test_addresses_lose_their_passwords(text: str, shown: str) -> None:
    assert mask(text) == shown


def test_errors_are_shown_without_control_characters_and_passwords() -> None:
    error = RunFailedError("a\x1b[2J http://u:secret@h", why="\x07bell")
    assert error.render() == "error: a[2J http://***@h\nwhy: bell"
    assert presentable("tab\tand\nline") == "tab\tand\nline"


def test_half_characters_are_written_as_json_and_shown_as_replacements(tmp_path: Path) -> None:
    write_json_atomic(tmp_path / "a.json", {"text": "\ud83d", "value": float("nan")})
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == {"text": "\ud83d", "value": None}
    assert whole_characters("a\udcffb") == "a\ufffdb"


def test_a_full_disk_still_takes_the_last_status(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "status.json"
    write_json_atomic(path, {"state": "running", "more": "x" * 100})

    def full(target: Path, value: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(target))

    monkeypatch.setattr("sdar_cli.base.files.write_json_atomic", full)
    rewrite_json(path, {"state": "failed"})
    assert json.loads(path.read_text()) == {"state": "failed"}
    with pytest.raises(OSError, match="No space"):
        rewrite_json(tmp_path / "new.json", {})


def test_a_refusal_of_the_system_names_path_reason_and_flag(tmp_path: Path) -> None:
    error = place_error(OSError(errno.ENOSPC, "No space left", str(tmp_path / "out/x")), ["x", "--out", str(tmp_path)])
    assert (error.what, error.why) == (f"no room for {tmp_path / 'out/x'}", "No space left")
    assert error.fix.endswith("choose another --out") and error.exit_code == 3
    unnamed = place_error(OSError(errno.EROFS, "Read-only file system"), [f"--runs-dir={tmp_path}"], tmp_path / "a")
    assert str(tmp_path / "a") in unnamed.what and unnamed.fix.endswith("another --runs-dir")


def test_a_failed_write_leaves_nothing_and_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(OSError) as caught:
        write_json_atomic(tmp_path / "none" / "a.json", {})
    assert caught.value.filename == str(tmp_path / "none" / "a.json")
    assert list(tmp_path.iterdir()) == []


def test_a_command_that_cannot_write_ends_with_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "c.jsonl").write_text(to_json({"id": "1", "title": "a", "text": "b"}) + "\n")
    with pytest.raises(SystemExit) as caught:
        main(["retriever", "index", str(tmp_path / "c.jsonl"), "--out", str(tmp_path / "file" / "index")])
    shown = capsys.readouterr().err
    assert caught.value.code == 3 and str(tmp_path / "file") in shown
    assert "fix: choose another --out" in shown and "NotADirectoryError" not in shown


def test_values_without_end_are_no_record() -> None:
    value: object = 1
    for _ in range(5000):
        value = [value]
    with pytest.raises(RunFailedError, match="cannot be written"):
        to_json({"a": value})
