"""Sweeps whose runs are real processes of the command line with a training that takes no time."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from commands.support import ROOT, Result, sdar

CHILD = ROOT / "tests" / "sweep" / "child"
Sweep = Callable[..., Result]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, current; child processes find this checkout, the tests and the quick training."""
    monkeypatch.chdir(tmp_path)
    path = os.pathsep.join([str(CHILD), str(ROOT), os.environ.get("PYTHONPATH", "")])
    monkeypatch.setenv("PYTHONPATH", path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for name in ("SDAR_DEBUG", "ALFWORLD_DATA", "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("sdar_cli.sweep.drive.POLL", 0.05)
    return tmp_path


@pytest.fixture
def sweep(place: Path, capsys: pytest.CaptureFixture[str]) -> Sweep:
    """``sdar sweep`` there, in this process."""
    return lambda *words: sdar(capsys, "sweep", *words)


def behave(**runs: str) -> None:
    """What the runs of this folder do, by name with ``_`` for ``-``; the others train."""
    Path("behaviour.json").write_text(json.dumps({name.replace("_", "-"): how for name, how in runs.items()}))


def starts() -> list[str]:
    """``RUN new`` and ``RUN resumed``, in order of their start."""
    return Path("starts.txt").read_text().splitlines()


def results(name: str) -> dict[str, Any]:
    return json.loads(Path("sweeps", name, "results.json").read_text())
