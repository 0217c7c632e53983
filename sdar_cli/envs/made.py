"""Data sets that ``sdar data make`` has made before."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from sdar_cli.base.errors import ConfigError


def made_before(out: Path, wanted: Mapping[str, object], manifest: str, what: str) -> list[str]:
    """The files of a ``what`` that was made with these parameters; none when the folder is empty or missing.

    manifest: the name of the file that records the parameters.
    Raises ConfigError when the folder holds anything else.
    """
    present = sorted(path.name for path in out.iterdir()) if out.is_dir() else []
    if not present:
        return []
    fix = "choose another --out"
    if manifest not in present:
        shown = ", ".join(present[:5]) + (", …" if len(present) > 5 else "")
        raise ConfigError(f"{out} already holds files", why=f"a {what} needs its own folder; found {shown}", fix=fix)
    found = json.loads((out / manifest).read_text(encoding="utf-8"))
    files: list[str] = found.pop("files")
    if found != wanted:
        parameters = ", ".join(f"{name} {value}" for name, value in found.items())
        raise ConfigError(f"{out} already holds another {what}", why=f"it was made with {parameters}", fix=fix)
    missing = set(files) - set(present)
    if missing:
        raise ConfigError(f"the {what} in {out} is incomplete: {', '.join(sorted(missing))} missing", fix=fix)
    return files
