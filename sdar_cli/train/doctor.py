"""The checks of ``sdar doctor``.  Needed versions are read from the package's own requirements."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from importlib import metadata, util
from pathlib import Path

from sdar_cli.base.resources import cache_dir
from sdar_cli.envs.benchmark import Check
from sdar_cli.envs.registry import benchmark, built_in

Version = tuple[int, ...]
PYTHON: Version = (3, 11)
NEEDED: dict[str, tuple[Version, Version | None]] = {
    "torch": ((2, 11), (2, 14)),
    "trl": ((1, 16), (1, 17)),
    "transformers": ((5, 10), (6,)),
    "peft": ((0, 18), None),
    "numpy": ((2,), None),
    "textworld": ((1, 7, 0), (1, 7, 1)),
    "alfworld": ((0, 4, 2), (0, 4, 3)),
}
"""From, and below; a test keeps them equal to pyproject.toml."""
GAMES = ("textworld", "alfworld")
TEMPORARY_SPACE = 500_000_000
"""Bytes: generated games and the copies the engines make of them."""


def all_checks() -> list[Check]:
    """Every check, in the order shown."""
    packages = [check_package(name, low, below) for name, (low, below) in NEEDED.items()]
    lacking_games = any(check.state == "missing" and check.name in GAMES for check in packages)
    compiler = [check_compiler()] if lacking_games else []
    return [
        check_python(),
        *packages,
        *compiler,
        check_gpu(),
        check_writable("cache", cache_dir(), "export SDAR_CACHE=FOLDER"),
        check_temporary_space(),
        *(check for name in built_in() for check in benchmark(name).checks()),
    ]


def check_python() -> Check:
    fits = sys.version_info >= PYTHON
    fix = "" if fits else "install a later Python"
    return Check("ok" if fits else "missing", "python", platform.python_version(), f">={dotted(PYTHON)}", fix)


def check_package(name: str, low: Version, below: Version | None) -> Check:
    """Installed, and in the supported range.  The package is not imported."""
    needed = f">={dotted(low)}" + (f",<{dotted(below)}" if below else "")
    fix = f'pip install "{name}{needed}"'
    try:
        found = metadata.version(name)
    except metadata.PackageNotFoundError:
        return Check("missing", name, "not installed", needed, fix)
    numbers = parse_version(found)
    fits = numbers >= low and (below is None or numbers < below)
    return Check("ok", name, found, needed) if fits else Check("missing", name, found, needed, fix)


def parse_version(text: str) -> Version:
    """``2.13.0+cpu`` to (2, 13, 0): the release numbers."""
    match = re.match(r"\d+(\.\d+)*", text)
    return tuple(int(number) for number in match.group().split(".")) if match else ()


def dotted(version: Version) -> str:
    return ".".join(str(number) for number in version)


def check_compiler() -> Check:
    """textworld's planner is compiled when it is installed."""
    tools = {"C++ compiler": ("c++", "g++", "clang++"), "make": ("make",), "cmake": ("cmake",)}
    lacking = [tool for tool, names in tools.items() if not any(shutil.which(name) for name in names)]
    found = f"no {', no '.join(lacking)}" if lacking else "found"
    fix = "apt install build-essential cmake, or your system's equivalent" if lacking else ""
    return Check("missing" if lacking else "ok", "build tools", found, "to install textworld", fix)


def check_gpu() -> Check:
    """Asked in a process of its own: a broken driver can hang or crash."""
    if util.find_spec("torch") is None:
        return Check("optional", "GPU", "unknown without torch", "optional", "install torch first")
    code = "import torch; print(torch.cuda.get_device_name(0) if torch.cuda.is_available() else '')"
    try:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=90, check=True)
    except subprocess.SubprocessError as error:
        return Check("missing", "GPU", f"torch does not start: {type(error).__name__}", "optional", "reinstall torch")
    name = done.stdout.strip()
    if name:
        return Check("ok", "GPU", name, "optional")
    return Check("optional", "GPU", "none", "optional", "the tiny policy trains on a CPU; larger models need a GPU")


def check_writable(name: str, folder: Path, fix: str) -> Check:
    """Whether a folder, or its nearest existing parent, may be written to."""
    nearest = next(path for path in (folder, *folder.parents) if path.exists())
    fits = nearest.is_dir() and os.access(nearest, os.W_OK)
    found = str(folder) if fits else f"{folder}: not writable"
    return Check("ok" if fits else "missing", name, found, "writable", "" if fits else fix)


def check_temporary_space() -> Check:
    folder = tempfile.gettempdir()
    free = shutil.disk_usage(folder).free
    fits = free >= TEMPORARY_SPACE
    found = f"{folder}, {free / 1e9:.1f} GB free"
    needed = f"{TEMPORARY_SPACE / 1e9:.1f} GB"
    return Check("ok" if fits else "missing", "temporary space", found, needed, "" if fits else "export TMPDIR=FOLDER")
