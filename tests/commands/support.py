"""Running the command line: in this process, or in one of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from places import ROOT

from sdar_cli.cli import main


@dataclass
class Result:
    code: int
    out: str
    err: str


def environment(**more: str) -> dict[str, str]:
    """The environment of a child process that finds this checkout first."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]), **more}


def sdar(capsys: pytest.CaptureFixture[str], *words: str) -> Result:
    """``sdar WORDS`` in this process."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as caught:
        main(words)
    captured = capsys.readouterr()
    code = caught.value.code
    return Result(code if isinstance(code, int) else 0, captured.out, captured.err)


def sdar_process(*words: str, cwd: Path | None = None) -> Result:
    """``sdar WORDS`` in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "sdar_cli", *words], capture_output=True, text=True, env=environment(), cwd=cwd
    )
    return Result(done.returncode, done.stdout, done.stderr)
