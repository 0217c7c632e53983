"""Sweeps that really train: the bundled policy on a few generated games, two steps."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from commands.support import ROOT

from sdar_cli.runs.checkpoints import list_checkpoints, step_of
from sdar_cli.runs.metrics import read_metrics
from sdar_cli.runs.rundir import RunDir

from .conftest import CHILD, Sweep, results

METHODS = ("grpo", "opsd", "grpo-opsd", "skill-grpo", "skill-prompt", "skill-sd", "rlsd", "sdar")
STEPS = 2
SMALL = (
    "env.games_train=12", "env.games_eval=6", "env.max_turns=6", "train.group_size=3", "train.tasks_per_step=4",
)  # fmt: skip
SETS = [word for assignment in SMALL for word in ("--set", assignment)]


@pytest.fixture
def real(sweep: Sweep, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Sweep:
    """Without the training that takes no time; generated games are cached in the folder."""
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}:{tmp_path}")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("SDAR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert str(CHILD) not in str(tmp_path)
    return sweep


@pytest.mark.slow
def test_the_methods_of_the_paper_are_one_command(real: Sweep) -> None:
    done = real("method", "--seeds", "1", "--steps", str(STEPS), "--name", "m", "--slots", "2", *SETS)
    assert done.code == 0, done.err
    found = results("m")
    assert {point["point"] for point in found["points"]} == set(METHODS)
    for point in found["points"]:
        (run,) = point["runs"]
        path = RunDir(Path("sweeps/m/runs") / run["run"])
        steps = 0 if point["point"] == "skill-prompt" else STEPS
        assert path.status()["state"] == "done" and len(read_metrics(path.metrics)) == steps
        assert {each.name for each in path.eval.glob("*.json")} == {f"step-{step:06d}.json" for step in {0, steps}}
        assert [step_of(each) for each in list_checkpoints(path.checkpoints)] == ([steps] if steps else [])
        assert (point["steps"], point["early"] is None) == (steps, steps == 0)
        assert path.config().method == (point["point"] if steps else "untrained")


@pytest.mark.slow
def test_a_broken_hook_fails_its_point_and_the_fixed_one_resumes(real: Sweep) -> None:
    """Its step was not finished, so the run begins it again."""
    Path("my_gates.py").write_text("def gate(batch, beta):\n    raise ValueError('boom')\n")
    words = ("gate", "--values", "none,my_gates:gate", "--seeds", "1", "--steps", "1", "--name", "g", "--tries", "1")
    failed = real(*words, *SETS)
    assert failed.code == 1 and "ValueError: boom" in failed.out + failed.err
    assert results("g")["unfinished"] == {"gate-my-gates-gate-s0": "failed"}
    Path("my_gates.py").write_text("def gate(batch, beta):\n    return batch.mask.float()\n")
    again = real("--resume", "g")
    assert again.code == 0, again.err
    own, none = (Path("sweeps/g/runs", f"{name}-s0/metrics.jsonl") for name in ("gate-my-gates-gate", "gate-none"))
    # the hook is a weight of 1, which is what "none" is
    rows = [json.loads(path.read_text().splitlines()[0]) for path in (own, none)]
    assert all(rows[0][key] == rows[1][key] for key in ("distill_loss", "gate_mean", "success", "gap_mean"))
