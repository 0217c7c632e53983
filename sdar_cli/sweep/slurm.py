"""A sweep as a Slurm array: one task per run that is not done, each of which starts, continues or finds it done.

The script needs the sweep's directory and Python on a file system that the nodes share.  A task that Slurm stops and
puts back into the queue continues its run; submitting again submits what is not done by then.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from sdar_cli.base.errors import PrerequisiteError, RunFailedError

GRACE = 180
"""Seconds before the time limit at which a task gets the signal to save."""


def script(path: Path, tasks: Sequence[int], gpu: bool, slots: int | None, tries: int, options: Sequence[str]) -> str:
    """The array script.  tasks: positions of the runs; options: more lines for sbatch, as ``--time=4:00:00``."""
    path = path.resolve()
    at_a_time = f"%{slots}" if slots else ""
    own = [
        f"--job-name=sdar-{path.name}",
        f"--array={ranges(tasks)}{at_a_time}",
        f"--output={path}/logs/slurm-%A_%a.log",
        "--open-mode=append",
        "--requeue",
        f"--signal=B:TERM@{GRACE}",
        "--cpus-per-task=1",
        *(["--gpus-per-task=1", "--ntasks=1"] if gpu else []),
    ]
    given = {option.partition("=")[0] for option in options}
    lines = [*(line for line in own if line.partition("=")[0] not in given), *options]
    task = [sys.executable, "-m", "sdar_cli", "sweep", "--resume", str(path), "--tries", str(tries), "--task"]
    return "\n".join([
        "#!/bin/bash",
        *(f"#SBATCH {line}" for line in lines),
        "",
        'export OMP_NUM_THREADS="${OMP_NUM_THREADS:-${SLURM_CPUS_PER_TASK:-1}}"',
        f"cd {shlex.quote(str(Path.cwd()))}",
        f'exec {shlex.join(task)} "$SLURM_ARRAY_TASK_ID"',
        "",
    ])  # fmt: skip


def ranges(numbers: Sequence[int]) -> str:
    """``0-2,5`` of 0, 1, 2, 5."""
    ordered = sorted(numbers)
    starts = [ordered[0], *(b for a, b in pairwise(ordered) if b != a + 1)]
    ends = [*(a for a, b in pairwise(ordered) if b != a + 1), ordered[-1]]
    return ",".join(f"{a}" if a == b else f"{a}-{b}" for a, b in zip(starts, ends, strict=True))


def require_sbatch() -> str:
    """The path of sbatch.  Raises PrerequisiteError where there is none."""
    found = shutil.which("sbatch")
    if found is None:
        raise PrerequisiteError(
            "sbatch is not on this machine",
            why="--executor slurm submits an array job with it",
            fix="run the command on a login node of the cluster, or add --dry-run to see the script",
        )
    return found


def submit(path: Path, text: str) -> str:
    """Write ``slurm.sh`` and submit it; what sbatch answered.  Raises RunFailedError where it refused."""
    sbatch = require_sbatch()
    file = path / "slurm.sh"
    file.write_text(text, encoding="utf-8")
    done = subprocess.run([sbatch, str(file)], capture_output=True, text=True)
    if done.returncode:
        raise RunFailedError(
            f"sbatch refused {file}", why=done.stderr.strip(), fix="--sbatch OPTION adds what the cluster asks for"
        )
    return done.stdout.strip()
