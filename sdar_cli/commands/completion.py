"""Values the shell completes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sdar_cli.base.plugins import Kind


def preset_names(kind: str) -> Callable[[str], list[str]]:
    """Names of the presets of a kind."""

    def complete(incomplete: str) -> list[str]:
        from sdar_cli.config.presets import list_presets

        return [name for name in list_presets(kind) if name.startswith(incomplete)]

    return complete


def preset_references(incomplete: str) -> list[str]:
    """``methods/grpo`` and the like."""
    from sdar_cli.config.presets import KINDS, list_presets

    names = [f"{kind}/{name}" for kind in KINDS for name in list_presets(kind)]
    return [name for name in names if name.startswith(incomplete)]


def plugs(kind: Kind) -> Callable[[str], list[str]]:
    """Names of a kind of plug, those of installed packages included."""

    def complete(incomplete: str) -> list[str]:
        return [name for name in kind.names() if name.startswith(incomplete)]

    return complete


def keys(incomplete: str) -> list[str]:
    """``algo.gate=`` and the like."""
    from sdar_cli.config.merge import field_table

    return [f"{key}=" for key in field_table() if key.startswith(incomplete)]


def run_names(incomplete: str) -> list[str]:
    """Runs under the usual directory, the newest first."""
    runs = Path("runs")
    found = sorted(runs.glob(f"{incomplete}*/config.json"), reverse=True) if runs.is_dir() else []
    return [path.parent.name for path in found]


def sweeps(incomplete: str) -> list[str]:
    """Names of the shipped sweeps."""
    from sdar_cli.sweep.grid import list_sweeps

    return [name for name in list_sweeps() if name.startswith(incomplete)]


def sweep_names(incomplete: str) -> list[str]:
    """Sweeps under the usual directory, the newest first."""
    found = sorted(Path("sweeps").glob(f"{incomplete}*/sweep.json"), reverse=True)
    return [path.parent.name for path in found]
