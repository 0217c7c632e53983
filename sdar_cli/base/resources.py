"""Where presets, skill banks and bundled models are: next to the package in a checkout, inside it in a wheel."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

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

    Of several processes that make the same folder at once, all find the first one's.
    """
    if root.is_dir():
        return root
    root.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f"{root.name}.", dir=root.parent) as folder:
        partial = Path(folder) / root.name
        make(partial)
        try:
            partial.rename(root)
        except OSError:
            if not root.is_dir():
                raise
    return root
