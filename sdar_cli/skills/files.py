"""The files of a skill bank: which ones count, read whole, and what makes a folder unreadable.

Links to files inside the bank are read; links to folders are refused, because they can run in a circle.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from sdar_cli.base.errors import ConfigError

HEADER = "bank.toml"
MAX_BYTES = 256 * 1024
"""Largest file of a bank, in bytes."""


def read_folder(folder: Path) -> dict[str, bytes]:
    """(relative name, content) of bank.toml and every Markdown file, sorted; hidden files are left out.

    Raises ConfigError for a file that is too large, unreadable or no file, and for links that lead outside or in a
    circle.
    """
    root = folder.resolve()
    found = {}
    for name, path in sorted(_walk(folder, "", root)):
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise bad(path, f"{size} bytes; at most {MAX_BYTES} (256 KiB) are allowed", "split or shorten it")
        try:
            found[name] = path.read_bytes()
        except OSError as error:
            raise bad(path, f"it cannot be read: {error.strerror}", "correct its permissions") from error
    return found


def _walk(folder: Path, prefix: str, root: Path) -> Iterator[tuple[str, Path]]:
    """(relative name, path) of the files that count, in no order."""
    try:
        entries = list(os.scandir(folder))
    except OSError as error:
        raise bad(folder, f"it cannot be read: {error.strerror}", "correct its permissions") from error
    for entry in entries:
        name, path = prefix + entry.name, Path(entry.path)
        if entry.name.startswith("."):
            continue
        if entry.is_symlink():
            _check_link(path, root)
        if entry.is_dir():
            yield from _walk(path, f"{name}/", root)
        elif name == HEADER or path.suffix == ".md":
            if not entry.is_file():
                raise bad(path, "it is no regular file", "remove it, or put a text file in its place")
            if not _encodable(name):
                raise bad(folder, f"the file name {entry.name!a} is not UTF-8", "rename it")
            yield name, path


def _check_link(path: Path, root: Path) -> None:
    try:
        target = path.resolve(strict=True)
    except (OSError, RuntimeError) as error:  # RuntimeError: links in a circle, before Python 3.13
        circle = isinstance(error, RuntimeError) or "Too many levels" in str(error)
        why = "its links run in a circle" if circle else "it is a link to nothing"
        raise bad(path, why, "remove the link, or copy the file into the bank") from error
    if not target.is_relative_to(root):
        raise bad(path, "it leads outside the bank's folder", "copy the file into the bank")
    if target.is_dir():
        raise bad(path, "it is a link to a folder, which can run in a circle", "copy the files into the bank")


def _encodable(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def content_hash(files: Mapping[str, bytes]) -> str:
    """SHA-256 (hex) over names and bytes, sorted by name; lengths are included, so no two banks collide by shifting
    bytes from one file to the next."""
    digest = hashlib.sha256()
    for name in sorted(files):
        encoded = name.encode()
        digest.update(f"{len(encoded)} {len(files[name])}\n".encode() + encoded + files[name])
    return digest.hexdigest()


def bad(path: Path, why: str, fix: str) -> ConfigError:
    """The error about one file of a bank."""
    return ConfigError(f"bad skill bank: {path}", why=why, fix=fix)
