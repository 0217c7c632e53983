"""A guest's package as if it were installed: its modules and the entry point that names its environment."""

from __future__ import annotations

import shutil
from pathlib import Path

from places import ROOT

EXAMPLE = ROOT / "examples" / "corridor"


def install(package: Path, name: str, site: Path) -> Path:
    """Put the package of the environment ``name`` into a folder that can stand on PYTHONPATH, with its metadata."""
    shutil.copytree(package / name, site / name, ignore=shutil.ignore_patterns("__pycache__"))
    metadata = site / f"sdar_{name}-0.1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: sdar-{name}\nVersion: 0.1.0\n")
    (metadata / "entry_points.txt").write_text(f"[sdar.environment]\n{name} = {name}:BENCHMARK\n")
    return site
