"""``sdar train`` around the training itself: settings, dry runs, run directories, resuming, failures."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from commands.support import Result, sdar, sdar_process
from sdar_cli.base.display import Reporter
from sdar_cli.base.errors import RunFailedError
from sdar_cli.config.schema import RunConfig
from sdar_cli.runs.metrics import MetricsWriter, read_metrics
from sdar_cli.runs.rundir import RunDir

Body = Callable[[RunConfig, RunDir, Reporter, bool], dict[str, Any]]
Command = Callable[..., Result]


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """``sdar train`` in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SDAR_DEBUG", raising=False)
    monkeypatch.delenv("ALFWORLD_DATA", raising=False)
    return lambda *words: sdar(capsys, "train", *words)


@pytest.fixture
def training(monkeypatch: pytest.MonkeyPatch) -> Callable[[Body], None]:
    """Replaces the training by a function."""

    def replace(body: Body) -> None:
        module = ModuleType("sdar_cli.train.run")
        module.train = body  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "sdar_cli.train.run", module)

    return replace


def three_steps(config: RunConfig, run: RunDir, reporter: Reporter, resume: bool) -> dict[str, Any]:
    """Pretends to train."""
    print("chatter of a library")
    with MetricsWriter(run.metrics) as metrics:
        for step in range(1, config.train.steps + 1):
            metrics.write({"step": step, "success": 0.5})
            reporter.step({"step": step, "success": 0.5})
    return {"success_before": 0.1, "success_after": 0.5, "seconds": 62.0, "resumed": resume}


def test_a_run_leaves_its_record(command: Command, training: Callable[[Body], None]) -> None:
    training(three_steps)
    result = command("--gate", "entropy", "--seed", "3", "--steps", "3", "--name", "first")
    assert result.code == 0, result.err
    run = RunDir.open("first")
    assert (run.config().algo.gate, run.config().seed, run.config().train.steps) == ("entropy", 3, 3)
    assert run.status()["state"] == "done"
    assert run.status()["summary"]["success_after"] == 0.5
    assert len(read_metrics(run.metrics)) == 3
    assert "step 2" in run.log_path.read_text()
    assert "10.0%" in result.out and "1m02s" in result.out


def test_json_puts_start_steps_and_end_on_stdout_and_the_rest_on_stderr(
    command: Command, training: Callable[[Body], None]
) -> None:
    training(three_steps)
    result = command("--json", "--name", "a", "--steps", "2")
    launch, *steps, done = (json.loads(line) for line in result.out.splitlines())
    assert [(each["event"], each["step"]) for each in steps] == [("step", 1), ("step", 2)]
    assert (launch["event"], launch["run"], launch["config"]["train"]["steps"]) == ("launch", "a", 2)
    assert (done["event"], done["status"], done["summary"]["success_after"]) == ("done", "done", 0.5)
    assert "step 2" in result.err and "chatter of a library" in result.err


def test_a_failure_is_one_line_and_the_log_has_the_traceback(
    command: Command, training: Callable[[Body], None]
) -> None:
    def breaks(*arguments: Any) -> dict[str, Any]:
        raise ZeroDivisionError("no tokens\nat all")

    training(breaks)
    result = command("--name", "a", "--json")
    assert result.code == 1
    assert result.err.splitlines()[-3:] == [
        "error: run a failed: ZeroDivisionError: no tokens",
        "why: the log has the details: runs/a/logs/train.log",
        "fix: rerun with --debug for the traceback",
    ]
    assert "Traceback" not in result.err
    assert "Traceback" in Path("runs/a/logs/train.log").read_text()
    assert json.loads(result.out.splitlines()[-1])["status"] == "failed"
    assert RunDir.open("a").status()["state"] == "failed"
    debug = command("--name", "b", "--debug")
    assert debug.code == 1
    assert "Traceback" in debug.err and "ZeroDivisionError" in debug.err


def test_an_explained_failure_keeps_its_explanation(command: Command, training: Callable[[Body], None]) -> None:
    def breaks(*arguments: Any) -> dict[str, Any]:
        raise RunFailedError("too many episodes failed", why="a worker died", fix="sdar doctor")

    training(breaks)
    result = command("--name", "a")
    assert result.code == 1
    assert result.err == "error: too many episodes failed\nwhy: a worker died\nfix: sdar doctor\n"
    assert "a worker died" in RunDir.open("a").status()["error"]


@pytest.fixture
def listening() -> Iterator[None]:
    """Python's own handler of Ctrl-C, also where the tests run in the background of a shell, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_is_130_and_can_be_resumed(
    number: signal.Signals, command: Command, training: Callable[[Body], None], listening: None
) -> None:
    def interrupted(*arguments: Any) -> dict[str, Any]:
        os.kill(os.getpid(), number)
        raise AssertionError("not reached")

    training(interrupted)
    result = command("--name", "a")
    assert result.code == 130
    assert "sdar train --resume runs/a" in result.out
    assert RunDir.open("a").status()["state"] == "interrupted"
    training(three_steps)
    assert command("--resume", "a").code == 0
    assert RunDir.open("a").status()["summary"]["resumed"] is True


def test_a_directory_in_use_is_refused(command: Command, training: Callable[[Body], None]) -> None:
    training(three_steps)
    assert command("--name", "a").code == 0
    result = command("--name", "a")
    assert result.code == 4
    assert "sdar train --resume runs/a" in result.err
    dry = command("--name", "a", "--dry-run")
    assert dry.code == 2
    assert "exists and is not empty" in dry.out


@pytest.fixture
def finished(command: Command, training: Callable[[Body], None]) -> Command:
    """A finished run ``a`` of 2 steps, with settings of its own."""
    training(three_steps)
    assert command("--name", "a", "--steps", "2", "--coef", "0.05", "--set", "train.lr=1e-3").code == 0
    return command


def test_a_resumed_run_keeps_its_own_settings(finished: Command) -> None:
    result = finished("--resume", "a", "--steps", "4")
    assert result.code == 0, result.err
    config = RunDir.open("a").config()
    assert (config.algo.coef, config.train.lr, config.train.steps) == (0.05, 1e-3, 4)
    assert "train.steps raised from 2 to 4" in result.out
    assert finished("--resume", "runs/a", "--steps", "5", "--coef", "0.05").code == 0


def test_a_resume_with_other_settings_names_each_key_and_both_values(finished: Command) -> None:
    result = finished("--resume", "a", "--gate", "entropy", "--set", "train.lr=2e-3", "--steps", "1")
    assert result.code == 4
    for line in (
        "  - algo.gate: 'gap' in the run, 'entropy' now (--gate)",
        "  - train.lr: 0.001 in the run, 0.002 now (--set)",
        "  - train.steps: 2 in the run, 1 now (--steps)",
    ):
        assert line in result.err
    assert RunDir.open("a").config().algo.gate == "gap"


def test_resuming_what_is_finished_or_absent_is_refused(finished: Command) -> None:
    done = finished("--resume", "a")
    assert done.code == 4
    assert "--steps 4" in done.err
    assert finished("--resume", "b").code == 2
    assert finished("--resume", "a", "--name", "c").code == 2
    assert finished("--resume", "a", "--steps", "3", "--dry-run").code == 0


def test_config_starts_a_new_run_from_an_old_one(finished: Command) -> None:
    assert finished("--config", "runs/a/config.json", "--name", "b").code == 0
    old, new = RunDir.open("a").config(), RunDir.open("b").config()
    assert new == old.model_copy(update={"name": "b"})
    assert finished("--config", "runs/a").code == 4  # its name is taken


@pytest.mark.parametrize(
    "words, expected",
    [
        (["--lora", "0"], "leave the flag out for full fine-tuning"),
        (["--lora", "-1"], "--lora: model.lora.rank = -1"),
        (["--steps", "-1"], "--steps: train.steps = -1"),
        (["--gate", "gapp"], "--gate: algo.gate = 'gapp'"),
        (["--retrieval", "none"], "nothing to distil"),
        (["--name", "../a"], "--name: name = '../a'"),
        (["--set", "algo.gat=x", "--env", "alfwrld"], "2 problems"),
        (["--config", "none.json"], "no configuration file none.json"),
    ],
)
def test_wrong_settings_are_usage_errors_and_make_no_directory(
    words: list[str], expected: str, command: Command
) -> None:
    result = command(*words)
    assert result.code == 2
    assert expected in result.err
    assert not Path("runs").exists()


def test_missing_data_is_a_prerequisite_and_makes_no_directory(command: Command) -> None:
    result = command("--env", "alfworld-real")
    assert result.code == 3
    assert "alfworld-download" in result.err
    assert not Path("runs").exists()


def test_a_dry_run_shows_values_sources_plan_and_warnings(command: Command) -> None:
    result = command("--dry-run", "--beta", "0", "--method", "sdar")
    assert result.code == 0
    assert not Path("runs").exists()
    lines = {line.split()[1]: line for line in result.out.splitlines() if line.startswith(" *")}
    assert lines.keys() >= {"algo.gate_beta", "model.device"}
    assert lines["algo.gate_beta"].split()[2:] == ["0.0", "--beta"]
    assert "6 tasks x 6 episodes x at most 15 turns x 12 steps = 432 episodes" in result.out
    assert "at most 540 rows per step, 24 updates" in result.out  # 6 x 6 x 15 and 2 x 12
    assert "weights 2.8 MB" in result.out  # 699,456 parameters x 4 bytes
    assert "--gate none" in result.out


def test_a_dry_run_as_json_is_one_object(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)  # offline, a model that is not cached would be missing
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=10**12))
    result = command("--dry-run", "--json", "--model", "qwen2.5-3b-instruct", "--set", "model.dtype=bfloat16")
    shown = json.loads(result.out)
    assert RunConfig.model_validate(shown["config"]).train.group_size == 8
    assert shown["sources"]["train.lr"] == "preset models/instruct.toml"
    assert shown["sources"]["model.dtype"] == "--set"
    assert shown["plan"]["rows_per_step_max"] == 16 * 8 * 50
    assert shown["plan"]["updates"] == 1500
    weights = 2 * 3_085_938_688
    parts = {"weights": weights, "gradients": weights, "optimizer": 2 * weights, "reference": weights}
    assert shown["estimates"]["memory"] == parts
    assert shown["estimates"]["disk_total"] == 3 * 3 * weights
    assert (shown["ok"], shown["missing"]) == (True, [])


def test_a_dry_run_lists_what_is_missing_and_ends_with_2(command: Command, tmp_path: Path) -> None:
    words = ("--dry-run", "--json", "--data", str(tmp_path), "--set", "skills.bank=mine", "--gate", "no_such_pkg.m:f")
    result = command(*words)
    assert result.code == 2
    shown = json.loads(result.out)
    assert shown["ok"] is False
    assert [item["what"] for item in shown["missing"]] == [
        f"released ALFWorld games: no ALFWorld games in {tmp_path}",
        "skill bank 'mine'",
        "module 'no_such_pkg' of algo.gate = no_such_pkg.m:f",
    ]
    for split in ("train", "valid_seen"):
        game = tmp_path / "json_2.1.1" / split / "pick_and_place_simple-A-None-B-1" / "trial_1" / "game.tw-pddl"
        game.parent.mkdir(parents=True)
        game.touch()
    assert len(json.loads(command(*words).out)["missing"]) == 2


def test_a_model_that_cannot_be_downloaded_is_missing(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    result = command("--dry-run", "--model", "Qwen/Qwen3-1.7B")
    assert result.code == 2
    assert "hf download Qwen/Qwen3-1.7B" in result.out
    (tmp_path / "models--Qwen--Qwen3-1.7B" / "snapshots" / "abc").mkdir(parents=True)
    assert command("--dry-run", "--model", "Qwen/Qwen3-1.7B").code == 0


def test_a_dry_run_loads_no_model_library(tmp_path: Path) -> None:
    result = sdar_process("train", "--dry-run", "--json", cwd=tmp_path)
    assert result.code == 0, result.err
    assert result.err == ""
    assert json.loads(result.out)["ok"]


def test_an_unexpected_error_before_a_run_is_one_line(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(**arguments: Any) -> None:
        raise RuntimeError("odd\nthing")

    monkeypatch.setattr("sdar_cli.config.presets.resolve", breaks)
    result = command()
    assert (result.code, result.err) == (
        1,
        "error: RuntimeError: odd\nfix: rerun with --debug for the traceback\n",
    )
    monkeypatch.setenv("SDAR_DEBUG", "1")
    assert "Traceback" in command().err
