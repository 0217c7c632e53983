"""Where presets, skill banks and bundled models are: next to the package in a checkout, inside it in a wheel."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from sdar_cli.base.errors import RunConflictError
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


def made_once(root: Path, make: Callable[[Path], object]) -> Path:
    """A folder of the cache: as it is, else made by ``make`` in a temporary folder and moved into place when complete.

    Of several processes that make the same folder at once, all find the first one's.  What a killed one left is
    removed.
    """
    if root.is_dir():
        return root
    root.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(root)
    with (
        tempfile.TemporaryDirectory(prefix=f"{root.name}.", dir=root.parent) as folder,
        locked(Path(folder), RunConflictError(f"{folder} is being made by another process")),
    ):
        partial = Path(folder) / root.name
        make(partial)
        try:
            partial.rename(root)
        except OSError:
            if not root.is_dir():
                raise
    return root


def _remove_abandoned(root: Path) -> None:
    """Delete the temporary folders of processes that were killed while they made ``root``: nobody holds those."""
    for folder in root.parent.glob(f"{root.name}.*"):
        if not folder.is_dir() or time.time() - folder.stat().st_mtime < JUST_MADE:
            continue
        lock = try_lock(folder)
        if lock is not None:
            with lock:
                shutil.rmtree(folder)
