"""Files that are written whole or not at all, JSON lines read back, and values that JSON can hold."""

from __future__ import annotations

import errno
import json
import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from sdar_cli.base.errors import ConfigError, RunFailedError


def write_text_atomic(path: Path, text: str) -> None:
    """Replace a file in one go: a reader or a crash sees the old or the new content, never a part."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def write_json_atomic(path: Path, value: Any) -> None:
    """``write_text_atomic`` of indented JSON."""
    write_text_atomic(path, json.dumps(finite(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


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
                yield parse_json(line)
            except ValueError as error:  # bad JSON, or a character cut in two
                if torn_tail and not line.endswith(b"\n"):
                    return
                what = f"{path}, line {number}, is not JSON"
                raise RunFailedError(what, why=str(error), fix="delete that line") from error
