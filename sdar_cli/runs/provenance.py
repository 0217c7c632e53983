"""Where a number came from: command, code, packages, machine, and what a repetition would reproduce."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from typing import NotRequired, TypedDict

from sdar_cli import __version__
from sdar_cli.base.resources import PACKAGE
from sdar_cli.config.schema import RunConfig
from sdar_cli.envs.registry import benchmark, built_in

PACKAGES = (
    "torch", "transformers", "trl", "peft", "accelerate", "datasets", "tokenizers", "numpy", "vllm", "typer", "rich",
    "pydantic",
)  # fmt: skip

DETERMINISTIC = {
    "same": "task order, sampling seeds, initial adapters and evaluation panels derive from (seed, step); on one "
    "machine with the same versions and thread count a CPU run repeats bit for bit, resumed or not",
    "may differ": "GPU kernels, other thread counts, other package versions, and time-outs of environment workers",
}


class CodeState(TypedDict):
    """The checkout the package lies in: its commit, whether files differ from it, and files that git does not know."""

    commit: str | None
    dirty: bool | None
    untracked: NotRequired[list[str]]


def collect_provenance(config: RunConfig, argv: Sequence[str]) -> Mapping[str, object]:
    """The record of ``provenance.json``.  What is None is filled in once it is known."""
    return {
        "created": datetime.now(UTC).isoformat(timespec="microseconds"),
        "argv": list(argv),
        "cwd": os.getcwd(),  # noqa: PTH109 - the text is wanted, not a path
        "sdar": __version__,
        **code_state(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu_count": os.cpu_count(),
        "gpu": gpu_name(),
        "packages": package_versions(),
        "seeds": {"run": config.seed, "games": config.env.games_seed},
        "panel_sha256": None,
        "skill_bank_sha256": None,
        "model_revision": config.model.revision,
        "model_sha256": None,
        "deterministic": DETERMINISTIC,
    }


def package_versions() -> dict[str, str]:
    """Versions of the installed packages a result can depend on."""
    found = {}
    own = [package for name in built_in() for package in benchmark(name).packages]
    for name in [*PACKAGES, *own]:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue  # not installed: nothing to record
    return found


def code_state() -> CodeState:
    """Commit and dirtiness of the checkout the package lies in; None for both in an installed package."""
    commit = _git("rev-parse", "HEAD")
    if commit is None:
        return {"commit": None, "dirty": None}
    changed = _git("status", "--porcelain", "--untracked-files=normal") or ""
    untracked = [line[3:] for line in changed.splitlines() if line.startswith("??")]
    return {"commit": commit.strip(), "dirty": bool(changed.strip()), "untracked": untracked}


def working_tree_diff() -> str:
    """What differs from the commit; empty for a clean checkout or an installed package."""
    return _git("diff", "HEAD") or ""


def gpu_name() -> str | None:
    """The first GPU, if torch is loaded already (loading it takes seconds) and sees one."""
    torch = sys.modules.get("torch")
    return torch.cuda.get_device_name(0) if torch is not None and torch.cuda.is_available() else None


def _git(*arguments: str) -> str | None:
    """Output of a git command in the package's checkout; None where there is no checkout or no git."""
    root = PACKAGE.parent
    if not (root / ".git").exists():
        return None
    try:
        done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode("utf-8", errors="replace")
