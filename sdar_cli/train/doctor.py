"""The checks of ``sdar doctor``.  Needed versions are read from the package's own requirements."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tempfile
import tomllib
from importlib import metadata, util
from pathlib import Path
from typing import NamedTuple

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion

from sdar_cli.base.resources import PACKAGE, cache_dir
from sdar_cli.envs.benchmark import Check
from sdar_cli.envs.registry import benchmark, built_in

DISTRIBUTION = "sdar"
TEMPORARY_SPACE = 500_000_000
"""Bytes: generated games and the copies the engines make of them."""


class Needs(NamedTuple):
    """What the package states of itself.  ``installed``: whether pip knows it; else it is run from ``source``."""

    python: SpecifierSet
    packages: list[Requirement]
    installed: bool
    source: Path


def all_checks() -> list[Check]:
    """Every check, in the order shown."""
    needs = read_needs()
    packages = [check_package(requirement) for requirement in needs.packages] if needs else []
    engines = {name for env in built_in() for name in benchmark(env).packages}
    engine_missing = any(check.state == "missing" and check.name in engines for check in packages)
    return [
        check_sdar(needs),
        *([check_python(needs.python)] if needs else []),
        *packages,
        *([check_compiler()] if engine_missing else []),
        check_gpu(),
        check_writable("cache", cache_dir(), "export SDAR_CACHE=FOLDER"),
        check_temporary_space(),
        *(check for name in built_in() for check in benchmark(name).checks()),
    ]


def read_needs(source: Path = PACKAGE.parent) -> Needs | None:
    """Of the installed package, else of the checkout ``source``; None where there is neither."""
    try:
        about = metadata.metadata(DISTRIBUTION)
        python, stated, installed = about["Requires-Python"], metadata.requires(DISTRIBUTION) or [], True
    except metadata.PackageNotFoundError:
        file = source / "pyproject.toml"
        if not file.is_file():
            return None
        project = tomllib.loads(file.read_text(encoding="utf-8"))["project"]
        python, stated, installed = project["requires-python"], project["dependencies"], False
    every = map(Requirement, stated)
    packages = [each for each in every if each.marker is None or each.marker.evaluate({"extra": ""})]
    return Needs(SpecifierSet(python), packages, installed, source)


def check_sdar(needs: Needs | None) -> Check:
    """Whether sdar itself is installed: a checkout works, too, and a folder that is neither is not checked further."""
    if needs is None:
        fix = "pip install sdar, or run it from a checkout"
        return Check("missing", DISTRIBUTION, "not installed: its requirements are unknown", "installed", fix)
    if needs.installed:
        return Check("ok", DISTRIBUTION, metadata.version(DISTRIBUTION), "installed")
    found = f"not installed: run from {needs.source}"
    return Check("optional", DISTRIBUTION, found, "installed", f"pip install -e {needs.source}")


def check_python(needed: SpecifierSet) -> Check:
    """The version of this interpreter."""
    fits = needed.contains(platform.python_version(), prereleases=True)
    state, fix = ("ok", "") if fits else ("missing", "install a later Python")
    return Check(state, "python", platform.python_version(), readable(needed), fix)


def check_package(requirement: Requirement) -> Check:
    """Installed, and in the supported range.  The package is not imported."""
    name, needed = requirement.name, readable(requirement.specifier)
    fix = f'pip install "{name}{needed}"'
    try:
        found = metadata.version(name)
    except metadata.PackageNotFoundError:
        return Check("missing", name, "not installed", needed, fix)
    try:
        fits = requirement.specifier.contains(found, prereleases=True)
    except InvalidVersion:
        fits = False
    return Check("ok", name, found, needed) if fits else Check("missing", name, found, needed, fix)


def readable(specifiers: SpecifierSet) -> str:
    """``>=2.11,<2.14``: the lower bound first."""
    return ",".join(sorted(map(str, specifiers), reverse=True))


def check_compiler() -> Check:
    """textworld's planner is compiled when it is installed."""
    tools = {"C++ compiler": ("c++", "g++", "clang++"), "make": ("make",), "cmake": ("cmake",)}
    absent = [tool for tool, names in tools.items() if not any(shutil.which(name) for name in names)]
    found = f"no {', no '.join(absent)}" if absent else "found"
    fix = "apt install build-essential cmake, or your system's equivalent" if absent else ""
    return Check("missing" if absent else "ok", "build tools", found, "to install textworld", fix)


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
