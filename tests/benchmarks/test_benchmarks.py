"""Every script of benchmarks/ still runs: each has ``--smallest``, which takes seconds."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from places import ROOT

SCRIPTS = sorted((ROOT / "benchmarks").glob("*.py"))


def test_there_are_scripts() -> None:
    assert SCRIPTS


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_a_script_runs_on_its_smallest_size(script: Path, tmp_path: Path) -> None:
    own = {
        "PYTHONPATH": str(ROOT),
        "SDAR_CACHE": str(tmp_path / "cache"),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
    }
    words = [sys.executable, str(script), "--smallest"]
    done = subprocess.run(words, cwd=tmp_path, env={**os.environ, **own}, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, f"{script.name} --smallest exits with {done.returncode}:\n{done.stdout}{done.stderr}"
    assert done.stdout.strip(), "it prints nothing"
