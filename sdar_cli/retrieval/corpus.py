"""Passages from a corpus file: JSON lines (also .gz), parquet or TSV, checked row by row.

A row is ``{id, contents}``, where the first line of ``contents`` is the title in double quotes (Search-R1's layout),
or ``{id, title, text}``; a TSV file has these columns with a header line, or ``id, text, title`` without one (DPR's).
Errors: PrerequisiteError with file and line (from 1; a row's number in parquet).
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sdar_cli.base.errors import PrerequisiteError

LONGEST = 100_000
"""Characters of the longest passage."""
LONGEST_LINE = 16 << 20
"""Bytes of the longest line: a file that is one line is not read into memory."""
SKIP_CAP = 0.01
"""Largest share of rows that may be skipped."""
SHOWN = 5
SURROGATES = re.compile(r"[\ud800-\udfff]")
SUFFIXES = (".jsonl", ".jsonl.gz", ".parquet", ".tsv")


class Row(NamedTuple):
    """One passage before it is indexed."""

    id: str
    title: str
    text: str


@dataclass
class BadRows:
    """What happens to rows that cannot be used: an error, or with ``skip`` a count of at most one in a hundred.

    how: what a user gives to skip them.
    """

    skip: bool = False
    how: str = "--skip-bad"
    count: int = 0
    first: list[str] = field(default_factory=list)

    def note(self, where: str, reason: str) -> None:
        """A bad row.  Raises PrerequisiteError unless rows are skipped."""
        if not self.skip:
            fix = f"repair the row, or leave out up to {SKIP_CAP:.0%} of the rows with {self.how}"
            raise PrerequisiteError(f"{where} cannot be used", why=reason, fix=fix)
        self.count += 1
        if len(self.first) < SHOWN:
            self.first.append(f"{where}: {reason}")

    def check(self, rows: int) -> None:
        """After the last of ``rows`` rows.  Raises PrerequisiteError when too many were skipped."""
        if self.count > SKIP_CAP * rows:
            raise PrerequisiteError(
                f"{self.count} of {rows} rows cannot be used, and at most {SKIP_CAP:.0%} may be skipped",
                why="; ".join(self.first),
                fix="repair the file",
            )


class SeenIds:
    """Which ids have come before, in 8 bytes each beyond the latest million."""

    RECENT = 1_000_000

    def __init__(self) -> None:
        self._recent: set[int] = set()
        self._old = np.empty(0, dtype=np.uint64)

    def add(self, name: str) -> bool:
        """Remember an id; False when it was there before."""
        key = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little")
        if key in self._recent:
            return False
        place = int(np.searchsorted(self._old, np.uint64(key)))
        if place < len(self._old) and int(self._old[place]) == key:
            return False
        self._recent.add(key)
        if len(self._recent) >= self.RECENT:
            new = np.fromiter(self._recent, dtype=np.uint64, count=len(self._recent))
            self._old = np.sort(np.concatenate([self._old, new]))
            self._recent.clear()
        return True


def read_corpus(path: Path, bad: BadRows) -> Iterator[Row]:
    """The usable passages of a file, in order, in bounded memory; ``bad`` hears of the others."""
    seen = SeenIds()
    rows = 0
    for where, values in read_rows(path):
        rows += 1
        try:
            row = _row(values)
            if not seen.add(row.id):
                raise ValueError(f"the id {row.id!r} has come before")
        except ValueError as error:
            bad.note(where, str(error))
        else:
            yield row
    if rows == bad.count:
        raise PrerequisiteError(f"{path} holds no passage", fix="give a corpus of {id, contents} or {id, title, text}")
    bad.check(rows)


def _row(values: Any) -> Row:
    """A passage of a row's values.  Raises ValueError with the reason."""
    if isinstance(values, ValueError):
        raise values
    if not isinstance(values, dict):
        raise ValueError("it is no object")
    name = values.get("id")
    if isinstance(name, int) and not isinstance(name, bool):
        name = str(name)
    if not isinstance(name, str) or not name:
        raise ValueError("it has no id")
    _text("id", name)
    if "contents" in values:
        head, _, text = _text("contents", values["contents"]).partition("\n")
        title = head.strip().strip('"')
    else:
        title = _text("title", values["title"]) if values.get("title") is not None else ""
        text = _text("text", values.get("text"))
    if not text.strip() and not title.strip():
        raise ValueError("its text is empty")
    return Row(name, title.strip(), text.strip())


def _text(key: str, text: Any) -> str:
    if not isinstance(text, str):
        raise ValueError(f"its {key} is {'missing' if text is None else 'no text'}")
    if "\0" in text:
        raise ValueError(f"its {key} holds a NUL character")
    if len(text) > LONGEST:
        raise ValueError(f"its {key} has {len(text)} characters, at most {LONGEST}")
    if not text.isascii() and SURROGATES.search(text):
        raise ValueError(
            f"its {key} is not Unicode text: it holds half of a character pair, or a byte that is not UTF-8"
        )
    return text


def read_rows(path: Path) -> Iterator[tuple[str, Any]]:
    """(``file:line``, values) of every row of a file; values that cannot be read are a ValueError."""
    name = path.name
    if not path.is_file():
        raise PrerequisiteError(f"no file {path}", fix=f"give a file that ends in {', '.join(SUFFIXES)}")
    if name.endswith(".parquet"):
        return _parquet(path)
    if name.endswith(".tsv"):
        return _tsv(path)
    if name.endswith((".jsonl", ".jsonl.gz")):
        return _json_lines(path)
    raise PrerequisiteError(f"{path} is of no known kind", why=f"known: {', '.join(SUFFIXES)}", fix="rename or convert")


def _json_lines(path: Path) -> Iterator[tuple[str, Any]]:
    with gzip.open(path, "rb") if path.name.endswith(".gz") else path.open("rb") as file:
        number = 0
        try:
            while line := file.readline(LONGEST_LINE):
                number += 1
                if len(line) == LONGEST_LINE:
                    raise PrerequisiteError(
                        f"line {number} of {path} is longer than {LONGEST_LINE} bytes", fix="write a JSON object a line"
                    )
                if line.strip():
                    yield f"{path}:{number}", _parsed(line)
        except (EOFError, OSError) as error:
            raise PrerequisiteError(f"{path} breaks off after line {number}", why=str(error)) from error


def _parsed(line: bytes) -> Any:
    try:
        return json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        return ValueError(f"it is not UTF-8: {error.reason} at byte {error.start}")
    except (json.JSONDecodeError, RecursionError) as error:
        return ValueError(f"it is not JSON: {error}")


def _tsv(path: Path) -> Iterator[tuple[str, Any]]:
    csv.field_size_limit(LONGEST_LINE)
    with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        rows = csv.reader(file, delimiter="\t")
        columns = ["id", "text", "title"]
        try:
            for number, values in enumerate(rows, 1):
                if number == 1 and "id" in values:
                    columns = values
                elif len(values) > len(columns) or len(values) < 2:
                    yield f"{path}:{rows.line_num}", ValueError(f"it has {len(values)} columns")
                else:
                    yield f"{path}:{rows.line_num}", dict(zip(columns, values, strict=False))
        except csv.Error as error:
            raise PrerequisiteError(f"{path} breaks off at line {rows.line_num}", why=str(error)) from error


def _parquet(path: Path) -> Iterator[tuple[str, Any]]:
    import pyarrow
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(path)
        number = 0
        for batch in file.iter_batches(batch_size=1024):
            for values in batch.to_pylist():
                number += 1
                yield f"{path}:{number}", values
    except pyarrow.ArrowException as error:
        raise PrerequisiteError(f"{path} is no parquet file", why=str(error).splitlines()[0]) from error
