"""The Slurm script: what it asks for, and that its command runs a task of the array in a plain shell."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
from pathlib import Path

import pytest

from sdar_cli.sweep.slurm import ranges, script

from .conftest import Sweep, behave, results, starts

ONE = ("beta", "--values", "5", "--seeds", "2", "--steps", "1", "--name", "s", "--executor", "slurm")


@pytest.mark.parametrize(
    "numbers, text", [([3], "3"), ([0, 1, 2], "0-2"), ([5, 0, 1, 2, 7, 8], "0-2,5,7-8"), ([1, 3], "1,3")]
)
def test_ranges(numbers: list[int], text: str) -> None:
    assert ranges(numbers) == text


def test_the_script_can_be_requeued_and_takes_the_clusters_options(tmp_path: Path) -> None:
    text = script(tmp_path / "my-sweep", [0, 1, 4], True, 2, 3, ["--time=4:00:00", "--cpus-per-task=8"])
    lines = [line.removeprefix("#SBATCH ") for line in text.splitlines() if line.startswith("#SBATCH")]
    assert {"--job-name=sdar-my-sweep", "--array=0-1,4%2", "--requeue", "--open-mode=append", "--time=4:00:00",
            "--gpus-per-task=1", "--cpus-per-task=8", "--signal=B:TERM@180"} <= set(lines)  # fmt: skip
    assert "--cpus-per-task=1" not in lines
    assert text.splitlines()[-1].endswith(f'--resume {tmp_path}/my-sweep --tries 3 --task "$SLURM_ARRAY_TASK_ID"')
    assert "gpus" not in script(tmp_path / "s", [0], False, None, 1, [])


def test_a_dry_run_prints_it_and_writes_nothing(sweep: Sweep) -> None:
    shown = sweep(*ONE, "--dry-run", "--sbatch=--partition=gpu", "--slots", "5")
    assert shown.code == 0, shown.err
    assert "#SBATCH --array=0-2%5" in shown.out and "#SBATCH --partition=gpu" in shown.out
    assert not Path("sweeps").exists()
    assert "#SBATCH --array=0-2" in json.loads(sweep(*ONE, "--dry-run", "--json").out)["script"]


def test_without_sbatch_nothing_is_made(sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    refused = sweep(*ONE)
    assert refused.code == 3 and "sbatch is not on this machine" in refused.err
    assert not Path("sweeps").exists()


def fake_sbatch(folder: Path, monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
    tool = folder / "sbatch"
    tool.write_text(f"#!/bin/bash\n{answer}\n")
    tool.chmod(tool.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


def run_task(number: int) -> subprocess.CompletedProcess[str]:
    """What a node does with the script, by hand."""
    return subprocess.run(
        ["bash", "sweeps/s/slurm.sh"], capture_output=True, text=True,
        env={**os.environ, "SLURM_ARRAY_TASK_ID": str(number), "SLURM_CPUS_PER_TASK": "1"},
    )  # fmt: skip


def test_the_tasks_of_the_array_do_the_sweep(sweep: Sweep, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_sbatch(place, monkeypatch, "echo Submitted batch job 17")
    submitted = sweep(*ONE, "--tries", "1")
    assert submitted.code == 0, submitted.err
    assert "Submitted batch job 17; when it has ended: sdar sweep --show sweeps/s" in submitted.out
    assert not Path("starts.txt").exists()
    behave(gate_beta_5_s0="fail")
    assert run_task(0).returncode == 0
    failed = run_task(1)
    assert failed.returncode == 1 and "run gate-beta-5-s0 of sweep s is not done: failed" in failed.stderr
    behave()
    again = sweep("--resume", "s", "--executor", "slurm")  # only what is open
    assert again.code == 0 and re.search(r"--array=1-2$", Path("sweeps/s/slurm.sh").read_text(), re.MULTILINE)
    assert [run_task(1).returncode, run_task(2).returncode] == [0, 0]
    once_more = run_task(1)
    assert once_more.returncode == 0 and "done already" in once_more.stdout
    assert starts() == ["untrained new", "gate-beta-5-s0 new", "gate-beta-5-s0 resumed", "gate-beta-5-s1 new"]
    assert sweep("--show", "s").code == 0 and results("s")["unfinished"] == {}


def test_what_sbatch_refuses_is_an_error(sweep: Sweep, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_sbatch(place, monkeypatch, "echo no partition >&2; exit 1")
    refused = sweep(*ONE)
    assert refused.code == 1 and "why: no partition" in refused.err and "--sbatch OPTION" in refused.err
