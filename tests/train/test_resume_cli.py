"""``sdar train`` on generated games, killed and continued: the same metrics, episodes and weights, bit for bit.

The killed runs are processes of their own; what needs no second process runs in this one.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from places import ROOT

from sdar_cli.cli import main
from sdar_cli.runs.checkpoints import list_checkpoints, step_of
from sdar_cli.runs.metrics import MetricsWriter
from sdar_cli.runs.rundir import RunDir

from .toyruns import assert_same_record

STEPS = 4
SETTINGS = {
    # 6 tasks and 4 per step: the second step begins a new epoch.
    "env.games_train": 6,
    "env.games_eval": 6,
    "env.workers": 1,
    "env.max_turns": 3,
    "train.steps": STEPS,
    "train.tasks_per_step": 4,
    "train.group_size": 2,
    "train.updates_per_step": 2,
    "train.save_every": 1,
    "train.keep": 9,
    "train.threads": 1,
    "eval.games": 3,
    "eval.with_skill": "false",
    "teacher.weights": "ema",
    # The bandit's statistics and what was dropped decide the choices of the next step.
    "skills.retrieval": "ucb",
    "skills.evolve": "drop",
    "skills.evolve_min_uses": 1,
    "skills.evolve_threshold": -0.0005,
}
DEADLINE = 240.0
"""Seconds that a process may take to get where a test wants it."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of the runs; generated games are cached next to it."""
    folder = tmp_path_factory.mktemp("cli")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SDAR_CACHE", str(folder / "cache"))
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.delenv("SDAR_DEBUG", raising=False)
        patch.delenv("ALFWORLD_DATA", raising=False)
        patch.chdir(folder)
        yield folder


def words(name: str, *more: str) -> list[str]:
    """The command line of a new run."""
    sets = [word for key, value in SETTINGS.items() for word in ("--set", f"{key}={value}")]
    return ["train", "--method", "sdar", "--name", name, *sets, *more]


def sdar(*arguments: str) -> int:
    """A command in this process; its exit code."""
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    return caught.value.code if isinstance(caught.value.code, int) else 0


def start(arguments: Sequence[str], folder: Path, stdout: Path) -> subprocess.Popen[bytes]:
    """A command in a process of its own."""
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    with stdout.open("wb") as out, stdout.with_suffix(".err").open("wb") as err:
        return subprocess.Popen(
            [sys.executable, "-m", "sdar_cli", *arguments],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": path},
            stdout=out,
            stderr=err,
        )


def stop_when(
    process: subprocess.Popen[bytes], reached: Callable[[], bool], number: signal.Signals, errors: Path
) -> int:
    """Send a signal as soon as ``reached``; the exit code."""
    deadline = time.monotonic() + DEADLINE
    try:
        while not reached():
            assert process.poll() is None, f"it ended by itself: {errors.read_text()[-2000:]}"
            assert time.monotonic() < deadline, f"it did not get there: {errors.read_text()[-2000:]}"
            time.sleep(0.01)
        process.send_signal(number)
        return process.wait(DEADLINE)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def lines_in(path: Path) -> int:
    """Complete lines of a file that may not be there yet."""
    return path.read_bytes().count(b"\n") if path.exists() else 0


def assert_json_lines(text: str) -> list[dict[str, Any]]:
    """Every line is a JSON object with an event."""
    events = [json.loads(line) for line in text.splitlines()]
    assert events and all(isinstance(each, dict) and each["event"] for each in events)
    return events


@pytest.fixture(scope="module")
def whole(place: Path) -> Path:
    """A run that was never stopped."""
    assert sdar(*words("whole")) == 0
    run = place / "runs" / "whole"
    lines = [json.loads(line) for line in (run / "skills.jsonl").read_text().splitlines()]
    assert len(lines) == 4 * STEPS
    changed = [line["step"] for line in lines for change in line["changes"] if change["effect"] == "dropped"]
    assert changed and min(changed) < STEPS and len({line["skills"][0] for line in lines}) > 1
    return run


def test_a_killed_run_is_continued_to_the_same_end(place: Path, whole: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """SIGKILL after the second metrics line; other settings are refused; then the rest is the same."""
    run = place / "runs" / "killed"
    process = start(words("killed", "--json"), place, place / "killed.out")
    code = stop_when(process, lambda: lines_in(run / "metrics.jsonl") >= 2, signal.SIGKILL, place / "killed.err")
    assert code == -signal.SIGKILL
    assert RunDir(run).status()["state"] == "lost"
    (launch,) = assert_json_lines((place / "killed.out").read_text())
    assert (launch["event"], launch["run"], launch["resumed"]) == ("launch", "killed", False)

    capfd.readouterr()
    assert sdar("train", "--resume", "killed", "--set", "train.lr=1e-3", "--seed", "5") == 4
    error = capfd.readouterr().err
    assert "train.lr: 0.0005 in the run, 0.001 now (--set)" in error
    assert "seed: 0 in the run, 5 now (--seed)" in error

    assert sdar("train", "--resume", "killed", "--json") == 0
    captured = capfd.readouterr()
    events = assert_json_lines(captured.out)
    assert [each["event"] for each in events] == ["launch", "done"]
    assert events[0]["resumed"] is True and events[1]["status"] == "done"
    assert "success" in captured.err
    assert RunDir(run).status()["attempts"] == 2
    assert_same_record(run, whole, STEPS)


def test_an_interrupted_run_is_continued_to_the_same_end(
    place: Path, whole: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Ctrl-C as the second step ends: exit 130, its checkpoint, and the same rest."""
    write = MetricsWriter.write

    def pressing(self: MetricsWriter, metrics: Any) -> None:
        write(self, metrics)
        if metrics["step"] == 2 and self.path.name == "metrics.jsonl":
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(MetricsWriter, "write", pressing)
        assert sdar(*words("interrupted", "--set", "train.save_every=0")) == 130
    run = place / "runs" / "interrupted"
    assert RunDir(run).status()["state"] == "interrupted"
    assert [step_of(path) for path in list_checkpoints(run / "checkpoints")] == [2]
    assert "sdar train --resume runs/interrupted" in capfd.readouterr().out
    assert sdar("train", "--resume", "interrupted") == 0
    assert_same_record(run, whole, STEPS)


def test_an_evaluation_knows_what_the_run_has_learnt(whole: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """With the checkpoint's statistics no type is without rewards; without a run all are, with a warning."""
    capfd.readouterr()
    assert sdar("eval", "--run", str(whole), "--skills", "with") == 0
    assert "ucb has no rewards" not in capfd.readouterr().out
    model = ["--model", "tiny-alfworld", "--games", "1", "--skills", "with", "--set", "skills.retrieval=ucb"]
    more = ["--set", "env.games_train=6", "--set", "env.games_eval=6", "--set", "env.max_turns=3"]
    assert sdar("eval", *model, *more) == 0
    assert "ucb has no rewards of look_at_obj_in_light: general is shown" in capfd.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_to_a_process(place: Path, whole: Path, number: signal.Signals) -> None:
    """Ctrl-C and a scheduler's SIGTERM, sent from outside at the first metrics line."""
    name = f"signal-{number.name}"
    run = place / "runs" / name
    process = start(words(name), place, place / f"{name}.out")
    errors = place / f"{name}.err"
    assert stop_when(process, lambda: lines_in(run / "metrics.jsonl") >= 1, number, errors) == 130
    saved = [step_of(path) for path in list_checkpoints(run / "checkpoints")]
    assert saved and saved[-1] < STEPS
    assert sdar("train", "--resume", name) == 0
    assert_same_record(run, whole, STEPS)


@pytest.mark.slow
def test_killed_again_and_again(place: Path, whole: Path) -> None:
    """At the launch, in a rollout, between a line and its checkpoint, and while the last checkpoint is written."""
    run = place / "runs" / "often"
    moments = [
        lambda: (run / "status.json").exists(),
        lambda: lines_in(run / "metrics.jsonl") >= 1,
        lambda: (run / "episodes" / "step-000003.jsonl").exists(),
        lambda: bool(list((run / "checkpoints").glob("checkpoint-*"))) and lines_in(run / "metrics.jsonl") >= 4,
    ]
    arguments = words("often")
    for number, moment in enumerate(moments):
        process = start(arguments, place, place / f"often-{number}.out")
        assert stop_when(process, moment, signal.SIGKILL, place / f"often-{number}.err") == -signal.SIGKILL
        arguments = ["train", "--resume", "often"]
    assert sdar(*arguments) == 0
    assert RunDir(run).status()["attempts"] == len(moments) + 1
    assert_same_record(run, whole, STEPS)


@pytest.mark.slow
def test_results_do_not_depend_on_workers_or_batches(place: Path, whole: Path) -> None:
    """Two engine processes, another micro-batch for scoring: the episodes of the first step are the same.

    Later steps may differ in the last bits of the weights, since sums are taken in another order.
    """
    assert sdar(*words("two", "--set", "env.workers=2", "--set", "train.steps=1")) == 0
    first = "episodes/step-000001.jsonl"
    assert (place / "runs" / "two" / first).read_text() == (whole / first).read_text()
