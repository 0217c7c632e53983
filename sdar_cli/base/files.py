"""Files that are written whole or not at all, JSON lines read back, and values that JSON can hold."""

from __future__ import annotations

import errno
import json
import os
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, TypeVar

from sdar_cli.base.errors import FULL, ConfigError, RunFailedError, naming
from sdar_cli.base.text import SURROGATES

Row = TypeVar("Row", bound=Mapping[str, Any])
TEMPORARY = ".*.tmp"
"""Names of what a kill leaves beside a file that was being written."""


def write_text_atomic(path: Path, text: str) -> None:
    """Replace a file in one go: a reader or a crash sees the old or the new content, never a part.

    Raises OSError that names a file, and leaves no part of it behind.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with naming(path), temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):  # it may not be there, and the first error is the one to show
            temporary.unlink()
        error.filename = str(path)
        raise


def write_json_atomic(path: Path, value: Any) -> None:
    """``write_text_atomic`` of indented JSON."""
    write_text_atomic(path, to_json(value, indent=2) + "\n")


def rewrite_json(path: Path, value: Any) -> None:
    """``write_json_atomic``; on a full disk in place of the old content, whose room is there already."""
    try:
        write_json_atomic(path, value)
    except OSError as error:
        if error.errno not in FULL or not path.is_file():
            raise
        with naming(path), path.open("r+", encoding="utf-8") as file:
            file.write(to_json(value) + "\n")
            file.truncate()


def to_json(value: Any, indent: int | None = None) -> str:
    """JSON that UTF-8 can hold: NaN and infinities as null, halves of character pairs escaped, others as they are.

    Raises RunFailedError for values that are nested too deeply.
    """
    try:
        text = json.dumps(finite(value), indent=indent, ensure_ascii=False, allow_nan=False)
    except RecursionError as error:
        raise RunFailedError("a record cannot be written", why="its values are nested too deeply") from error
    return SURROGATES.sub(lambda half: f"\\u{ord(half[0]):04x}", text)


def remove_temporary(folder: Path) -> None:
    """Delete what kills left of files that were being written in a folder."""
    for path in folder.glob(TEMPORARY):
        path.unlink(missing_ok=True)


def read_json_object(path: Path) -> dict[str, Any]:
    """A JSON object of a file.  Raises RunFailedError where it cannot be read or is another value."""
    try:
        value = parse_json(read_regular(path))
    except OSError as error:
        raise RunFailedError(f"{path} cannot be read", why=error.strerror or str(error)) from error
    except ValueError as error:
        raise RunFailedError(f"{path} cannot be read", why=f"it is no JSON: {error}") from error
    if not isinstance(value, dict):
        raise RunFailedError(f"{path} cannot be read", why="its top level is not an object")
    return value


def check_types(path: Path, row: Row, types: Mapping[str, type | tuple[type, ...]]) -> Row:
    """The object of a file, whose known keys have these types or are null.  Raises RunFailedError for another value."""
    for key, wanted in types.items():
        value = row.get(key)
        if value is not None and (not isinstance(value, wanted) or (isinstance(value, bool) and wanted is not bool)):
            raise RunFailedError(f"{path} cannot be read", why=f"{key} is {type(value).__name__}")
    return row


def open_regular(path: Path) -> IO[bytes]:
    """Open a file to read its bytes.  Raises OSError also for a pipe or a device, which could wait for ever."""
    if path.exists() and not path.is_file() and not path.is_dir():
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
    return path.open("rb")


def read_regular(path: Path) -> bytes:
    """The bytes of a file.  Raises OSError also for a pipe or a device."""
    with open_regular(path) as file:
        return file.read()


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text, with or without a byte order mark.

    Raises ValueError for everything that cannot be read: bad JSON, bad UTF-8, nesting without end, numbers of thousands
    of digits.
    """
    try:
        return json.loads(text.decode("utf-8-sig") if isinstance(text, bytes) else text.removeprefix("\ufeff"))
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def parse_toml(text: str) -> dict[str, Any]:
    """The table of a TOML text, with or without a byte order mark.  Raises ValueError for everything that cannot be
    read, as ``parse_json`` does."""
    try:
        return tomllib.loads(text.removeprefix("\ufeff"))
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def refuse_taken(out: Path) -> None:
    """Raises ConfigError where ``out`` exists and is not an empty folder."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"{out} exists and is not empty", fix="give another folder with --out")


def finite(value: Any) -> Any:
    """NaN and infinities become None: they are not JSON."""
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else None
    if isinstance(value, Mapping):
        return {key: finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [finite(inner) for inner in value]
    return value


def read_json_lines(path: Path, torn_tail: bool = False) -> Iterator[dict[str, Any]]:
    """The objects of a file with one per line; only a newline ends a line, whatever characters a model wrote.

    torn_tail: a last line without its newline that cannot be read is left out.
    Raises RunFailedError naming the line where another one is damaged.
    """
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                value = parse_json(line)
            except ValueError as error:  # bad JSON, or a character cut in two
                if torn_tail and not line.endswith(b"\n"):
                    return
                what = f"{path}, line {number}, is not JSON"
                raise RunFailedError(what, why=str(error), fix="delete that line") from error
            if not isinstance(value, dict):
                why = f"it holds {type(value).__name__} and not an object"
                raise RunFailedError(f"{path}, line {number}, is no record", why=why, fix="delete that line")
            yield value
