"""One or two processes (torchrun, gloo): the same rows give the same update, and a run through the CLI agrees."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from sdar_cli.base import distributed

from .material import assert_same
from .parallel_worker import CASES

UCB = ("--retrieval", "ucb")
HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]


def torchrun(*words: str, processes: int = 2, **environment: str) -> subprocess.CompletedProcess[str]:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    start = [sys.executable, "-m", "torch.distributed.run", f"--nproc_per_node={processes}", f"--master_port={port}"]
    paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.run(
        [*start, *words],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", **environment},
    )


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What a single process, and the first and second of two, made of the same rows."""
    folder = tmp_path_factory.mktemp("outcomes")
    worker = str(HERE / "parallel_worker.py")
    alone = subprocess.run([sys.executable, worker, str(folder / "alone")], capture_output=True, text=True, check=False)
    assert alone.returncode == 0, alone.stderr
    together = torchrun(worker, str(folder / "two"))
    assert together.returncode == 0, together.stderr
    return [torch.load(folder / name) for name in ("alone-0", "two-0", "two-1")]


@pytest.mark.parametrize("case", CASES)
def test_two_processes_make_the_update_of_one(outcomes: list[dict[str, Any]], case: str) -> None:
    alone, first, second = (outcome[case] for outcome in outcomes)
    assert (first["rows"], second["rows"]) != (alone["rows"], alone["rows"])
    assert first["rows"] + second["rows"] == alone["rows"] == 7
    for each in (first, second):
        assert len(each["gradients"]) == len(alone["gradients"])
        for found, expected in zip(each["gradients"], alone["gradients"], strict=True):
            assert_same(found, expected, atol=2e-6)
        for found, expected in zip(each["metrics"], alone["metrics"], strict=True):
            assert found == pytest.approx(expected, abs=1e-5)
        assert len(each["tokens"]) == 7 * (3 if case in ("rlsd", "belief, two updates") else 4)
        assert_same(each["tokens"], alone["tokens"], atol=2e-5)
    for name, value in first["weights"].items():
        assert torch.equal(value, second["weights"][name]), name


def test_two_processes_learn_of_skills_what_one_does(outcomes: list[dict[str, Any]]) -> None:
    """The same statistics and the same dropped skills in each, though the first alone asks the hook."""
    alone, first, second = (outcome["bandit"] for outcome in outcomes)
    assert alone == first == second
    assert alone[0] != alone[1] != alone[2]
    (arms,) = alone[2]["ucb"].values()
    assert arms["general"] == [4, 1.5] and sum(n for n, _ in arms.values()) == 8  # 0 + 1/4 + 2/4 + 3/4
    assert sum(map(len, alone[2]["dropped"].values())) > 0


def test_the_parts_are_put_together_again(monkeypatch: pytest.MonkeyPatch) -> None:
    for size in (1, 2, 3):
        parts = []
        for rank in range(size):
            monkeypatch.setattr(distributed, "_group", distributed._Group(rank, size))
            parts.append(distributed.local_part(range(7)))
        assert distributed.interleave(parts) == list(range(7))


def test_only_training_runs_in_several_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    from sdar_cli.base.errors import PrerequisiteError
    from sdar_cli.config.presets import resolve
    from sdar_cli.session import _require_one_device

    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(PrerequisiteError, match="only sdar train"):
        _require_one_device(resolve().config)


@pytest.mark.slow
def test_a_run_of_two_processes_through_the_cli(tmp_path: Path) -> None:
    """Trains, resumes, writes once; more processes than groups are refused."""
    small = {
        "env.games_train": 12, "env.games_eval": 6, "train.group_size": 3, "train.tasks_per_step": 4,
        "env.max_turns": 8,
    }  # fmt: skip
    sets = [word for key, value in small.items() for word in ("--set", f"{key}={value}")]
    train = ["-m", "sdar_cli", "train", "--runs-dir", str(tmp_path / "runs")]
    done = torchrun(*train, *sets, "--steps", "1", "--name", "two", "--method", "rlsd", *UCB, "--json")
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    outer = [event["event"] for event in events if event["event"] not in ("step", "evaluation")]
    assert outer == ["launch", "done"]
    again = torchrun(*train, "--resume", "two", "--steps", "2")
    assert again.returncode == 0, again.stderr
    run = tmp_path / "runs" / "two"
    metrics = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [step["step"] for step in metrics] == [1, 2]
    assert json.loads((run / "provenance.json").read_text())["processes"] == 2
    episodes = [json.loads(line) for line in (run / "episodes" / "step-000002.jsonl").read_text().splitlines()]
    assert [(e["index"], e["group"]) for e in episodes] == [(i, i // 3) for i in range(12)]
    lines = [json.loads(line) for line in (run / "skills.jsonl").read_text().splitlines()]
    assert [(line["step"], line["group"]) for line in lines] == [(step, group) for step in (1, 2) for group in range(4)]
    by_group = {(e["group"], tuple(e["skill_ids"])) for e in episodes}
    assert by_group == {(line["group"], tuple(line["skills"])) for line in lines[4:]}
    state = json.loads((run / "checkpoints" / "step-000002" / "skills.json").read_text())["ucb"]
    assert sum(n for arms in state.values() for n, _ in arms.values()) == 8, "once per group, not once per process"
    few = torchrun(*train, *sets, "--set", "train.tasks_per_step=1", "--steps", "1", "--name", "few")
    assert few.returncode != 0 and "2 processes share 1 groups" in few.stderr
