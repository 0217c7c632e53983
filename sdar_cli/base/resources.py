"""Where presets, skill banks and bundled models are: next to the package in a checkout, inside it in a wheel."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from sdar_cli.base.digests import FileDigest, digest_of, problems_of
from sdar_cli.base.errors import RunConflictError
from sdar_cli.base.files import parse_json, write_json_atomic
from sdar_cli.base.locks import locked, try_lock

JUST_MADE = 60.0
"""Seconds in which a folder that nobody holds may be one that is about to be held."""
PACKAGE = Path(__file__).resolve().parents[1]


def resource_dir(kind: str) -> Path:
    """The folder of ``presets``, ``skillbanks`` or ``examples``.

    A checkout holds them at the top level; the wheel maps them to ``sdar_cli/_resources``.
    """
    installed = PACKAGE / "_resources" / kind
    return installed if installed.is_dir() else PACKAGE.parent / kind


def core_count() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cache_dir() -> Path:
    """``$SDAR_CACHE`` or ``~/.cache/sdar``; not created here."""
    override = os.environ.get("SDAR_CACHE")
    return Path(override).expanduser() if override else Path.home() / ".cache" / "sdar"


def print_warning(text: str) -> None:
    """A line on standard error, where nobody reports."""
    print(f"warning: {text}", file=sys.stderr)


def made_once(root: Path, make: Callable[[Path], object], report: Callable[[str], None] = print_warning) -> Path:
    """A folder of the cache: as it is, else made by ``make`` in a temporary folder and moved into place when complete.

    Of several processes that make the same folder at once, all find the first one's.  What a killed one left is
    removed.  A folder whose files are not what was written is made again, and ``report`` is called with the reason.
    """
    if root.is_dir():
        if not (damage := _damage(root)):
            return root
        report(f"{root} is damaged and is made again: {damage[0]}")
        shutil.rmtree(root)
    root.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(root)
    with (
        tempfile.TemporaryDirectory(prefix=f"{root.name}.", dir=root.parent) as folder,
        locked(Path(folder), RunConflictError(f"{folder} is being made by another process")),
    ):
        partial = Path(folder) / root.name
        make(partial)
        files = sorted(path for path in partial.rglob("*") if path.is_file())
        digests = {path.relative_to(partial).as_posix(): digest_of(path).to_json() for path in files}
        try:
            partial.rename(root)
        except OSError:
            if not root.is_dir():
                raise
            return root
    write_json_atomic(_digests_of(root), digests)
    return root


def _digests_of(root: Path) -> Path:
    """The file next to a made folder that holds the digests of its files."""
    return root.with_name(f"{root.name}-digests.json")


def _damage(root: Path) -> list[str]:
    """What differs from what was written; empty for a folder of an earlier version, which has no digests."""
    path = _digests_of(root)
    if not path.is_file():
        return []
    try:
        files = {name: FileDigest.from_json(row) for name, row in parse_json(path.read_bytes()).items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return [f"{path.name} cannot be read: {error}"]
    return problems_of(root, files, whole=False)


def _remove_abandoned(root: Path) -> None:
    """Delete the temporary folders of processes that were killed while they made ``root``: nobody holds those."""
    for folder in root.parent.glob(f"{root.name}.*"):
        if not folder.is_dir() or time.time() - folder.stat().st_mtime < JUST_MADE:
            continue
        lock = try_lock(folder)
        if lock is not None:
            with lock:
                shutil.rmtree(folder)
