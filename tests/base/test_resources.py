"""Folders of the cache that are made once, whole, by whoever comes first."""

from __future__ import annotations

from pathlib import Path

import pytest

from sdar_cli.base.resources import made_once


def write(text: str):
    def make(folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        (folder / "a").write_text(text)

    return make


def test_a_folder_is_made_once(tmp_path: Path) -> None:
    root = tmp_path / "deep" / "root"
    assert made_once(root, write("first")) == made_once(root, write("second")) == root
    assert (root / "a").read_text() == "first"
    assert sorted(path.name for path in root.parent.iterdir()) == ["root", "root-digests.json"]


def test_a_maker_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        write("half")(folder)
        raise RuntimeError("disk")

    with pytest.raises(RuntimeError, match="disk"):
        made_once(tmp_path / "root", fail)
    assert list(tmp_path.iterdir()) == []
    assert made_once(tmp_path / "root", write("whole")).is_dir()


def test_the_later_process_takes_what_exists(tmp_path: Path) -> None:
    def slow(folder: Path) -> None:
        write("late")(folder)
        write("early")(tmp_path / "root")  # another process is done first

    assert (made_once(tmp_path / "root", slow) / "a").read_text() == "early"


@pytest.mark.parametrize("damage", ["empty", "cut", "gone", "changed"])
def test_a_damaged_folder_is_made_again_and_that_is_said(tmp_path: Path, damage: str) -> None:
    root, said = tmp_path / "made", []
    made_once(root, write("first"), said.append)
    (file,) = (path for path in root.rglob("*") if path.is_file())
    whole = file.read_bytes()
    {
        "empty": lambda: file.write_bytes(b""),
        "cut": lambda: file.write_bytes(whole[:-1]),
        "gone": file.unlink,
        "changed": lambda: file.write_bytes(whole[:-1] + b"#"),
    }[damage]()
    made_once(root, write("first"), said.append)
    assert file.read_bytes() == whole and len(said) == 1 and file.name in said[0]
    made_once(root, write("second"), said.append)
    assert file.read_bytes() == whole and len(said) == 1
