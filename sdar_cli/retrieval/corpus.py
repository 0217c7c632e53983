"""Passages from a corpus file (``rows``), checked row by row.

A row is ``{id, contents}``, where the first line of ``contents`` is the title in double quotes (Search-R1's layout),
or ``{id, title, text}``; a TSV file has these columns with a header line, or ``id, text, title`` without one (DPR's).
Other names of these keys are known (``rows.NAMES``), in any capitals; further keys are counted as unread.
Errors: PrerequisiteError with file and line (from 1; a row's number in parquet).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sdar_cli.base.errors import PrerequisiteError
from sdar_cli.retrieval.rows import COLUMNS, read_rows

LONGEST = 100_000
"""Characters of the longest passage."""
SKIP_CAP = 0.01
"""Largest share of rows that may be skipped."""
SHOWN = 5
SURROGATES = re.compile(r"[\ud800-\udfff]")


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
    unread: set[str] = field(default_factory=set)
    """Keys of rows that nothing reads."""

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
            row = _row(values, bad.unread)
            if not seen.add(row.id):
                raise ValueError(f"the id {row.id!r} has come before")
        except ValueError as error:
            bad.note(where, str(error))
        else:
            yield row
    if rows == bad.count:
        raise PrerequisiteError(f"{path} holds no passage", fix="give a corpus of {id, contents} or {id, title, text}")
    bad.check(rows)


def _row(values: Any, unread: set[str]) -> Row:
    """A passage of a row's values; keys that are not read go to ``unread``.  Raises ValueError with the reason."""
    if isinstance(values, ValueError):
        raise values
    if not isinstance(values, dict):
        raise ValueError("it is no object")
    found: dict[str, Any] = {}
    for key, value in values.items():
        column = COLUMNS.get(str(key).lower())
        if column is None or column in found:
            unread.add(str(key))
        else:
            found[column] = value
    name = found.get("id")
    if isinstance(name, int) and not isinstance(name, bool):
        name = str(name)
    if not isinstance(name, str) or not name:
        raise ValueError(f"it has no id (a text or a number); its keys are {', '.join(map(str, values))[:200]}")
    _text("id", name)
    title = _text("title", found["title"]) if found.get("title") is not None else ""
    if "contents" in found:
        unread.update({"text"} & found.keys())
        head, _, rest = _text("contents", found["contents"]).partition("\n")
        own = head.strip().strip('"')
        if not title or own.strip() == title.strip():
            title, text = own, rest
        else:
            text = found["contents"]
    else:
        text = _text("text", found.get("text"))
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
