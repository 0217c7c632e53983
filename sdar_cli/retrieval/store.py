"""The passages of an index on disk: a JSON line each and their offsets, mapped into memory and read in place."""

from __future__ import annotations

import hashlib
import json
import mmap
import os
from pathlib import Path
from typing import IO

import numpy as np

from sdar_cli.retrieval.corpus import Row
from sdar_cli.retrieval.passages import Passage

PASSAGES, OFFSETS = "passages.jsonl", "offsets.bin"


class StoreWriter:
    """Appends passages.  ``sha256`` is of all lines so far: the name of the corpus, whatever file it came from.

    A folder with the first ``kept`` passages of an interrupted build is resumed; what follows them is cut off.
    """

    def __init__(self, folder: Path, kept: int = 0) -> None:
        self._sha256 = hashlib.sha256()
        self.passages = kept
        self._lines: IO[bytes] = (folder / PASSAGES).open("r+b" if kept else "wb")
        self._offsets: IO[bytes] = (folder / OFFSETS).open("r+b" if kept else "wb")
        self._end = 0
        if kept:
            self._offsets.seek(8 * kept)
            self._end = int.from_bytes(self._offsets.read(8), "little")
            self._offsets.truncate(8 * (kept + 1))
            self._offsets.seek(8 * (kept + 1))
            self._lines.truncate(self._end)
            for block in iter(lambda: self._lines.read(1 << 20), b""):
                self._sha256.update(block)
        else:
            self._offsets.write((0).to_bytes(8, "little"))

    def add(self, row: Row) -> None:
        """Append one passage."""
        line = encode(row)
        self._lines.write(line)
        self._sha256.update(line)
        self._end += len(line)
        self._offsets.write(self._end.to_bytes(8, "little"))
        self.passages += 1

    def sync(self) -> None:
        """Everything so far survives a crash."""
        for file in (self._lines, self._offsets):
            file.flush()
            os.fsync(file.fileno())

    def close(self) -> str:
        """The corpus's sha256."""
        self.sync()
        self._lines.close()
        self._offsets.close()
        return self._sha256.hexdigest()


def encode(row: Row) -> bytes:
    """A passage's line."""
    return json.dumps(list(row), ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


class PassageStore:
    """Passages by their number, from 0 in the corpus's order."""

    def __init__(self, folder: Path) -> None:
        self._offsets = np.memmap(folder / OFFSETS, dtype="<u8", mode="r")
        with (folder / PASSAGES).open("rb") as file:
            self._lines = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def is_whole(self) -> bool:
        """Whether the lines end where the offsets are."""
        return int(self._offsets[-1]) == len(self._lines)

    def line(self, number: int) -> bytes:
        """A passage as it was written."""
        return self._lines[int(self._offsets[number]) : int(self._offsets[number + 1])]

    def get(self, number: int, score: float = 0.0) -> Passage:
        """A passage with the score of a search."""
        name, title, text = json.loads(self.line(number))
        return Passage(name, title, text, score)

    def close(self) -> None:
        """Unmap the lines."""
        self._lines.close()
