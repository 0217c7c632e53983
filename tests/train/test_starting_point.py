"""Where a resumed run goes on: the newest whole checkpoint, a word about those passed over, nothing removed yet."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sdar_cli.base.display import Reporter
from sdar_cli.base.errors import RunFailedError
from sdar_cli.config.schema import RunConfig
from sdar_cli.runs.checkpoints import NEEDED, checkpoint_path, publish
from sdar_cli.runs.rundir import RunDir
from sdar_cli.train.resume import forget_after, starting_point

CONFIG = RunConfig(name="a")


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    """Three steps, each with a line of metrics, a file of episodes, and a checkpoint."""
    made = RunDir.create(tmp_path, CONFIG)
    for step in (1, 2, 3):
        folder = made.checkpoints / f"checkpoint-{step}"
        folder.mkdir()
        for name in (*NEEDED, "model.safetensors"):
            (folder / name).write_text(f"{name} of step {step}")
        publish(folder, step, keep=9)
        (made.episodes / f"step-{step:06d}.jsonl").write_text("{}\n")
    made.metrics.write_text("".join(json.dumps({"step": step}) + "\n" for step in (1, 2, 3)))
    return made


def start(run: RunDir, capsys: pytest.CaptureFixture[str]) -> tuple[str | None, str]:
    """The name of the checkpoint, and what was said."""
    with Reporter(plain=True) as reporter:
        path = starting_point(run, CONFIG, True, reporter)
    return path.name if path else None, capsys.readouterr().out


def test_a_whole_run_goes_on_from_its_newest_checkpoint(run: RunDir, capsys: pytest.CaptureFixture[str]) -> None:
    assert start(run, capsys) == ("step-000003", "")


@pytest.mark.parametrize("name", [*NEEDED, "model.safetensors"])
def test_a_damaged_checkpoint_is_passed_over_with_a_word(
    run: RunDir, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    (checkpoint_path(run.checkpoints, 3) / name).write_text("cut")
    (checkpoint_path(run.checkpoints, 2) / name).unlink()
    found, said = start(run, capsys)
    assert found == "step-000001"
    assert "step-000003 is passed over" in said and f"{name} is missing" in said and "goes on from step-000001" in said


def test_without_a_whole_checkpoint_nothing_is_trained(run: RunDir, capsys: pytest.CaptureFixture[str]) -> None:
    for step in (1, 2, 3):
        (checkpoint_path(run.checkpoints, step) / "optimizer.pt").unlink()
    with pytest.raises(RunFailedError, match="no checkpoint of run a is whole") as caught:
        start(run, capsys)
    assert "step-000002: optimizer.pt is missing" in caught.value.why


def test_a_gap_in_the_metrics_is_filled_from_an_older_checkpoint(
    run: RunDir, capsys: pytest.CaptureFixture[str]
) -> None:
    run.metrics.write_text('{"step": 1}\n{"step": 3}\n')
    found, said = start(run, capsys)
    assert found == "step-000001" and "metrics.jsonl has no line of step 2" in said
    run.metrics.write_text('{"step": 2}\n{"step": 3}\n')
    found, said = start(run, capsys)
    assert found == "step-000003" and "no line of step 1: the record of the run keeps this gap" in said


def test_nothing_is_removed_before_the_run_goes_on(run: RunDir, capsys: pytest.CaptureFixture[str]) -> None:
    (checkpoint_path(run.checkpoints, 3) / "optimizer.pt").unlink()
    before = sorted(run.path.rglob("*"))
    start(run, capsys)
    assert sorted(run.path.rglob("*")) == before
    (run.checkpoints / "checkpoint-7").mkdir()
    forget_after(run, 2)
    assert [path.name for path in sorted(run.episodes.iterdir())] == ["step-000001.jsonl", "step-000002.jsonl"]
    assert run.metrics.read_text() == '{"step": 1}\n{"step": 2}\n' and not (run.checkpoints / "checkpoint-7").exists()
