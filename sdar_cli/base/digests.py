"""Whether files are still what was written: their size, a digest of everything, and one of samples of large files."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WHOLE = 32 << 20
"""Files up to this many bytes are read whole by the quick check, too."""
BLOCK, BLOCKS = 64 << 10, 64
"""Bytes of a sample, and samples of a larger file, spread evenly; the first and the last block are among them."""


@dataclass(frozen=True)
class FileDigest:
    """Size in bytes, sha256 of everything, sha256 of the samples (of everything for a small file)."""

    size: int
    sha256: str
    sample: str

    def to_json(self) -> Mapping[str, object]:
        """JSON-ready."""
        own: Mapping[str, object] = {"bytes": self.size, "sha256": self.sha256}
        return own if self.sample == self.sha256 else {**own, "sample": self.sample}

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> FileDigest:
        """Raises KeyError or TypeError for a row that is none."""
        return cls(row["bytes"], row["sha256"], row.get("sample", row["sha256"]))


def digest_of(path: Path) -> FileDigest:
    """Of a file as it is now."""
    size, sha256 = path.stat().st_size, _sha256(path)
    return FileDigest(size, sha256, sha256 if size <= WHOLE else _sample(path, size))


def problems_of(folder: Path, files: Mapping[str, FileDigest], *, whole: bool) -> list[str]:
    """What differs from the digests of the files of a folder, a text each.

    whole: every byte is read; else the sizes, small files and samples of large ones.
    """
    found = []
    for name, wanted in files.items():
        path = folder / name
        if not path.is_file():
            found.append(f"{name} is missing")
        elif (size := path.stat().st_size) != wanted.size:
            found.append(f"{name} has {size} bytes in place of {wanted.size}")
        elif (_sha256(path) != wanted.sha256) if whole or size <= WHOLE else (_sample(path, size) != wanted.sample):
            found.append(f"{name} holds other bytes than were written")
    return found


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sample(path: Path, size: int) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for number in range(BLOCKS):
            file.seek((size - BLOCK) * number // (BLOCKS - 1))
            digest.update(file.read(BLOCK))
    return digest.hexdigest()
