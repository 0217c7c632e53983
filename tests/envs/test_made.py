"""Folders of data that were made before."""

from __future__ import annotations

from pathlib import Path

import pytest

from sdar_cli.base.errors import SdarError
from sdar_cli.envs.made import made_before


@pytest.mark.parametrize("content", ["", "[" * 100_000, "[]", "{}", '{"files": 3}', '{"files": [3]}', "9" * 5000])
def test_a_damaged_list_of_files_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "made.json").write_text(content)
    with pytest.raises(SdarError, match=r"made\.json"):
        made_before(tmp_path, {}, "made.json", "world")


def test_what_was_made_is_found(tmp_path: Path) -> None:
    (tmp_path / "made.json").write_text('{"files": ["a"], "seed": 1}')
    (tmp_path / "a").touch()
    assert made_before(tmp_path, {"seed": 1}, "made.json", "world") == ["a"]
