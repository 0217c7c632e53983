"""Rows of a data file: JSON lines (also .gz), parquet or TSV, each with its place.  What they mean is read elsewhere.

A line of a TSV file is a row, whatever quotes it holds.  A field is taken out of its quotes only where it was written
by a CSV writer: quotes at both ends, and every quote inside doubled.  A byte order mark is left out.
Errors: PrerequisiteError with file and line (from 1; a row's number in parquet).
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sdar_cli.base.errors import PrerequisiteError
from sdar_cli.base.files import parse_json

LONGEST_LINE = 16 << 20
"""Bytes of the longest line: a file that is one line is not read into memory."""
SUFFIXES = (".jsonl", ".jsonl.gz", ".parquet", ".tsv")
NAMES = {
    "id": ("id", "_id", "pid", "docid", "doc_id", "docno", "passage_id"),
    "title": ("title",),
    "text": ("text", "passage", "body"),
    "contents": ("contents",),
}
"""What a column is called, by what it holds."""
COLUMNS = {name: column for column, names in NAMES.items() for name in names}
WITHOUT_HEADER = ("id", "text", "title")
"""The order of DPR's files, which have no header; the title may be missing."""
MARK = b"\xef\xbb\xbf"
QUOTED = re.compile(r'"((?:[^"]|"")*)"')
WORD = re.compile(r"[A-Za-z][A-Za-z_ -]{0,30}")


def read_rows(path: Path) -> Iterator[tuple[str, Any]]:
    """(``file:line``, values) of every row of a file; values that cannot be read are a ValueError."""
    name = path.name
    if not path.is_file():
        what = f"{path} is no regular file" if path.exists() else f"no file {path}"
        raise PrerequisiteError(what, fix=f"give a file that ends in {', '.join(SUFFIXES)}")
    if name.endswith(".parquet"):
        return _parquet(path)
    if name.endswith(".tsv"):
        return _tsv(path)
    if name.endswith((".jsonl", ".jsonl.gz")):
        return _json_lines(path)
    raise PrerequisiteError(f"{path} is of no known kind", why=f"known: {', '.join(SUFFIXES)}", fix="rename or convert")


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """(number from 1, line) of every line that is not blank, without its end."""
    number = 0
    with gzip.open(path, "rb") if path.name.endswith(".gz") else path.open("rb") as file:
        try:
            while line := file.readline(LONGEST_LINE):
                number += 1
                if len(line) == LONGEST_LINE:
                    raise PrerequisiteError(
                        f"line {number} of {path} is longer than {LONGEST_LINE} bytes", fix="write one row a line"
                    )
                if number == 1:
                    line = line.removeprefix(MARK)
                if line.strip():
                    yield number, line.rstrip(b"\r\n")
        except (EOFError, OSError, zlib.error) as error:
            what = f"{path} breaks off after line {number}"
            raise PrerequisiteError(what, why=str(error), fix="get the file again") from error


def _json_lines(path: Path) -> Iterator[tuple[str, Any]]:
    for number, line in _lines(path):
        yield f"{path}:{number}", _parsed(line)


def _parsed(line: bytes) -> Any:
    try:
        return parse_json(line)
    except UnicodeDecodeError as error:
        return ValueError(f"it is not UTF-8: {error.reason} at byte {error.start}")
    except ValueError as error:
        return ValueError(f"it is not JSON: {error}")


def _tsv(path: Path) -> Iterator[tuple[str, Any]]:
    columns: Sequence[str] = ()
    width = 0
    for number, line in _lines(path):
        fields = line.decode("utf-8", "surrogateescape").split("\t")
        if not columns:
            header = _header(path, number, fields)
            columns, width = header or WITHOUT_HEADER, len(header or fields)
            if header:
                continue
        where = f"{path}:{number}"
        if len(fields) > len(columns) or len(fields) < 2:
            yield where, ValueError(f"it has {len(fields)} columns")
        elif len(fields) < width and _opens(fields[-1]):
            yield where, ValueError("a quote is not closed on its line: fields of several lines are not read")
        else:
            yield where, dict(zip(columns, map(_field, fields), strict=False))


def _header(path: Path, number: int, fields: Sequence[str]) -> list[str]:
    """The columns that a first line names; none where it is a passage.  Raises PrerequisiteError for a doubtful one."""
    names = [_field(field).strip() for field in fields]
    known = [COLUMNS.get(name.lower(), name) for name in names]
    kinds = {name for name in known if name in NAMES}
    if "id" in kinds and kinds & {"text", "contents"} and len(set(known)) == len(known):
        return known
    if (kinds and all(WORD.fullmatch(name) for name in names)) or len(names) > len(WITHOUT_HEADER):
        why = f"its first line is {', '.join(names)[:200]!r}; a header names id and text, perhaps title"
        raise PrerequisiteError(
            f"{path}:{number}: the columns are not known",
            why=why,
            fix="begin the file with the line id<TAB>title<TAB>text",
        )
    if len(names) > 1 and all(WORD.fullmatch(name) and " " not in name for name in names):
        raise PrerequisiteError(
            f"{path}:{number} looks like a header, and none of its columns is known",
            why=f"its first line is {', '.join(names)!r}",
            fix="call the columns id, title and text; for a file without a header put that line first",
        )
    return []


def _field(text: str) -> str:
    """A field's text, out of the quotes of a CSV writer."""
    found = QUOTED.fullmatch(text)
    return found[1].replace('""', '"') if found else text


def _opens(text: str) -> bool:
    return text.startswith('"') and not QUOTED.fullmatch(text)


def _parquet(path: Path) -> Iterator[tuple[str, Any]]:
    import pyarrow
    import pyarrow.parquet

    number = 0
    try:
        file = pyarrow.parquet.ParquetFile(path)
        for batch in file.iter_batches(batch_size=1024):
            for values in batch.to_pylist():
                number += 1
                yield f"{path}:{number}", values
    except (pyarrow.ArrowException, OSError, ValueError, OverflowError) as error:
        what = f"{path} is no parquet file" if number == 0 else f"{path} cannot be read after row {number}"
        why = (str(error).splitlines() or [type(error).__name__])[0]
        raise PrerequisiteError(what, why=why, fix="get the file again") from error
