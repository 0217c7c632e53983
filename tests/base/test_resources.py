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
    assert list(root.parent.iterdir()) == [root]


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
