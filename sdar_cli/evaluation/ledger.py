"""What an evaluation has played so far, so that an interrupted one is resumed where it stopped.

A JSON-lines file: first the key (everything the outcome depends on), then for every finished chunk its episodes and a
line that closes it.  Each chunk is on disk before the next one starts; what a kill left of an unfinished chunk is cut
off.  The draws of an episode depend on the evaluation's seed and the task only, so the file of an evaluation that
was killed and resumed is, byte for byte, that of one that was not.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from sdar_cli.base.errors import RunConflictError, RunFailedError
from sdar_cli.base.files import parse_json
from sdar_cli.base.locks import lock_open_file
from sdar_cli.base.typed import check_fields
from sdar_cli.runs.records import EpisodeRecord

Chunk = tuple[str, int, int]
"""Label of the setting, sampling seed, place of the first task in the panel."""
Played = tuple[list[EpisodeRecord], int]
"""The episodes of a chunk and the number of their cut prompts."""
SAMPLE = 1 << 20
"""Bytes read at the start, the middle and the end of a large file for its fingerprint."""


class Ledger:
    """The file, held by this process until ``close``.

    Raises RunConflictError where another process holds it or it belongs to another evaluation, naming what differs.
    """

    def __init__(self, path: Path, key: Mapping[str, Any]) -> None:
        self.path = path
        self.found: dict[Chunk, Played] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a+b")
        try:
            if not lock_open_file(self._file.fileno(), path):
                raise RunConflictError(f"{path} is being written by another process", fix="wait for it or end it")
            self._take_over(json.loads(json.dumps(key)))
        except BaseException:
            self._file.close()
            raise

    def played(self, chunk: Chunk) -> Played | None:
        """A finished chunk."""
        return self.found.get(chunk)

    def add(self, chunk: Chunk, episodes: Sequence[EpisodeRecord], cut: int) -> None:
        """Write a finished chunk."""
        self._write([*(episode.to_json() for episode in episodes), {"chunk": list(chunk), "cut": cut}])

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def _write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        self._file.write(text.encode())
        self._file.flush()
        os.fsync(self._file.fileno())

    def _take_over(self, key: Mapping[str, object]) -> None:
        self._file.seek(0)
        content = self._file.read()
        lines = content.split(b"\n")[:-1]  # what follows the last newline was not finished
        if not lines:
            self._file.truncate(0)
            self._write([{"key": key}])
            return
        rows = [self._row(line, number) for number, line in enumerate(lines, 1)]
        _refuse_other(rows[0].get("key"), key, self.path)
        pending: list[EpisodeRecord] = []
        whole = position = len(lines[0]) + 1
        for number, (line, row) in enumerate(zip(lines[1:], rows[1:], strict=True), 2):
            position += len(line) + 1
            if "chunk" in row:
                self.found[self._chunk(row, number)] = (pending, row["cut"])
                pending, whole = [], position
            else:
                pending.append(self._episode(row, number))
        self._file.truncate(whole)

    def _chunk(self, row: Mapping[str, Any], number: int) -> Chunk:
        match row:
            case {"chunk": [str(label), int(seed), int(start)], "cut": int()}:
                return label, seed, start
        raise RunFailedError(f"{self.path}, line {number}, closes no chunk", why=str(row)[:80], fix=f"rm {self.path}")

    def _episode(self, row: Mapping[str, Any], number: int) -> EpisodeRecord:
        try:
            record = EpisodeRecord.from_json(row)
            check_fields(record)
            return record
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise RunFailedError(
                f"{self.path}, line {number}, is no episode", why=f"{type(error).__name__}: {error}",
                fix=f"rm {self.path}",
            ) from error  # fmt: skip

    def _row(self, line: bytes, number: int) -> Mapping[str, Any]:
        try:
            row = parse_json(line)
            if not isinstance(row, dict):
                raise ValueError(f"it holds {type(row).__name__} and not an object")
            return row
        except ValueError as error:
            raise RunFailedError(
                f"{self.path}, line {number}, is not JSON", why=str(error), fix=f"rm {self.path}"
            ) from error


def _refuse_other(old: object, new: Mapping[str, object], path: Path) -> None:
    """The file must be of the same evaluation."""
    if old == new:
        return
    before, after = flat(old if isinstance(old, dict) else {}), flat(new)
    changed = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    listed = "".join(f"\n  - {name}: {before.get(name)!r} then, {after.get(name)!r} now" for name in changed)
    raise RunConflictError(
        f"{path} holds another evaluation", why=listed, fix=f"another --name, or delete it: rm {path}"
    )


def flat(tree: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """Dotted names of the leaves."""
    out: dict[str, object] = {}
    for name, value in tree.items():
        out |= flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value}
    return out


def digest(key: Mapping[str, Any]) -> str:
    """Eight hexadecimal digits that stand for a key."""
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:8]


def fingerprint(folder: Path) -> str:
    """sha256 over a model folder's files: names, sizes, and of large files three samples of their content."""
    hashed = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        size = path.stat().st_size
        hashed.update(f"{path.relative_to(folder)} {size}\n".encode())
        with path.open("rb") as file:
            starts = [0] if size <= 3 * SAMPLE else [0, (size - SAMPLE) // 2, size - SAMPLE]
            for start in starts:
                file.seek(start)
                hashed.update(file.read(3 * SAMPLE if len(starts) == 1 else SAMPLE))
    return hashed.hexdigest()
