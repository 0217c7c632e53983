"""Data sets that ``sdar data make`` has made before."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from sdar_cli.base.errors import ConfigError
from sdar_cli.base.files import read_json_object


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
    found = read_json_object(out / manifest)
    files = found.pop("files", None)
    if not isinstance(files, list) or not all(isinstance(name, str) for name in files):
        raise ConfigError(f"{out / manifest} is damaged", why="it names no files", fix=fix)
    if found != wanted:
        parameters = ", ".join(f"{name} {value}" for name, value in found.items())
        raise ConfigError(f"{out} already holds another {what}", why=f"it was made with {parameters}", fix=fix)
    missing = set(files) - set(present)
    if missing:
        raise ConfigError(f"the {what} in {out} is incomplete: {', '.join(sorted(missing))} missing", fix=fix)
    return files
