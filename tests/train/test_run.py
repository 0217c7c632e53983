"""Training runs on the corridor: what a run records and keeps, and what it depends on."""

from __future__ import annotations

import json
import random

import pytest
import torch
import toy

from sdar_cli.base.errors import RunFailedError
from sdar_cli.envs.base import Step
from sdar_cli.runs.checkpoints import list_checkpoints, step_of
from sdar_cli.runs.metrics import read_metrics
from sdar_cli.runs.rundir import RunDir

from .toyruns import SETTINGS, STEPS, TASKS, assert_same_record, config, play


def test_the_run_depends_on_its_seed_and_settings(whole, walker_model, tokenizer, tmp_path) -> None:
    """Else every comparison above would hold for nothing."""
    play(tmp_path / "a", SETTINGS["plain"].model_copy(update={"seed": 1}), walker_model, tokenizer)
    for other in (tmp_path / "a", whole("everything")):
        with pytest.raises(AssertionError):
            assert_same_record(other, whole("plain"), STEPS)


def test_only_the_newest_checkpoints_are_kept(walker_model, tokenizer, tmp_path) -> None:
    settings = config(train={"keep": 2}, algo={"coef": 0.0}, env={"max_turns": 1})
    play(tmp_path, settings, walker_model, tokenizer)
    assert [step_of(path) for path in list_checkpoints(tmp_path / "checkpoints")] == [2, 3]
    assert "gap_mean" not in read_metrics(tmp_path / "metrics.jsonl")[0]
    lines = (tmp_path / "episodes" / "step-000001.jsonl").read_text().splitlines()
    assert all(json.loads(line)["skill_ids"] == [] for line in lines)


def test_a_run_records_episodes_metrics_and_evaluations(whole) -> None:
    run = RunDir(whole("plain"))
    rows = read_metrics(run.metrics)
    for step in range(1, STEPS + 1):
        lines = (run.episodes / f"step-{step:06d}.jsonl").read_text().splitlines()
        episodes = [json.loads(line) for line in lines]
        assert [e["group"] for e in episodes] == [0, 0, 1, 1, 2, 2, 3, 3]
        assert rows[step - 1]["success"] == sum(e["won"] for e in episodes) / 8
        assert rows[step - 1]["rows_tokens"] == sum(len(t["response_ids"]) for e in episodes for t in e["turns"])
        assert all(e["skill_ids"] for e in episodes)
    assert any(0 < row["success"] < 1 for row in rows), "a run where nothing is at stake proves little"
    for step in (0, STEPS):
        report = json.loads((run.eval / f"step-{step:06d}.json").read_text())
        assert report["results"][0]["overall"]["of"] == 3
        assert len((run.eval / f"step-{step:06d}.jsonl").read_text().splitlines()) == 3


class Breaking(toy.Corridor):
    """The first ``count`` episodes of every training step break."""

    def __init__(self, count: int) -> None:
        super().__init__(TASKS)
        self.count = count
        self.training = False

    def reset(self, assignment) -> dict[int, Step]:
        """See ``Corridor``."""
        self.training = len(assignment) == 8  # a panel has three tasks
        return super().reset(assignment)

    def step(self, actions) -> dict[int, Step]:
        """See ``Corridor``."""
        wrong = {slot: "break 1" for slot in actions if slot < self.count and self.training}
        return super().step({**actions, **wrong})


def test_some_broken_episodes_are_left_out(walker_model, tokenizer, tmp_path, capsys) -> None:
    """Two of eight is the bound: they are no part of the metrics' means and of the loss."""
    settings = config(train={"steps": 1}, env={"max_failed": 0.25})
    play(tmp_path, settings, walker_model, tokenizer, environment=Breaking(2))
    (row,) = read_metrics(tmp_path / "metrics.jsonl")
    assert row["failed_episodes"] == 2
    lines = (tmp_path / "episodes" / "step-000001.jsonl").read_text().splitlines()
    good = [e for e in map(json.loads, lines) if e["stop"] != "env_failed"]
    assert len(good) == 6
    assert row["success"] == pytest.approx(sum(e["won"] for e in good) / 6)
    assert "2 of 8 episodes failed, first: the corridor fell down" in capsys.readouterr().out


def test_too_many_broken_episodes_stop_the_run(walker_model, tokenizer, tmp_path) -> None:
    settings = config(env={"max_failed": 0.25})
    with pytest.raises(RunFailedError, match="3 of 8 episodes of a step failed"):
        play(tmp_path, settings, walker_model, tokenizer, environment=Breaking(3))
    every = config(env={"max_failed": 1.0})
    with pytest.raises(RunFailedError, match="8 of 8"):
        play(tmp_path, every, walker_model, tokenizer, environment=Breaking(8))


def test_the_global_random_state_has_no_influence(whole, walker_model, tokenizer, tmp_path) -> None:
    """Whatever a library has drawn before, the run is the same: its new adapter, its dropout and its samples."""
    torch.manual_seed(99)
    random.seed(99)
    play(tmp_path, SETTINGS["adapter"], walker_model, tokenizer)
    assert_same_record(tmp_path, whole("adapter"), STEPS)
