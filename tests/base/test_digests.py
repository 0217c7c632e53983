"""Digests of files: what the quick check sees of a large file, and what only reading all of it does."""

from __future__ import annotations

from pathlib import Path

import pytest

from sdar_cli.base import digests
from sdar_cli.base.digests import FileDigest, digest_of, problems_of


def test_a_large_file_is_sampled_and_verified_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digests, "WHOLE", 1000)
    monkeypatch.setattr(digests, "BLOCK", 10)
    path = tmp_path / "large"
    path.write_bytes(bytes(range(256)) * 40)
    files = {"large": digest_of(path)}
    assert FileDigest.from_json(files["large"].to_json()) == files["large"]
    for place, seen_at_once in ((0, True), (10_239, True), (100, False)):
        content = bytearray(bytes(range(256)) * 40)
        content[place] ^= 1
        path.write_bytes(content)
        assert bool(problems_of(tmp_path, files, whole=False)) is seen_at_once
        assert problems_of(tmp_path, files, whole=True) == ["large holds other bytes than were written"]
    path.write_bytes(b"short")
    assert problems_of(tmp_path, files, whole=False) == ["large has 5 bytes in place of 10240"]
    path.unlink()
    assert problems_of(tmp_path, files, whole=False) == ["large is missing"]
