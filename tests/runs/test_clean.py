"""``sdar runs clean`` removes what it listed, after --yes, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
from commands.support import sdar

from sdar_cli.base.errors import ConfigError, RunConflictError
from sdar_cli.config.schema import RunConfig
from sdar_cli.runs.clean import named_run, plan_removals, remove
from sdar_cli.runs.rundir import RunDir


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A done run with three checkpoints, a failed one, one that never started."""
    monkeypatch.chdir(tmp_path)
    for name, state in (("done", "done"), ("failed", "failed"), ("new", "")):
        run = RunDir.create(tmp_path / "runs", RunConfig(name=name))
        if state:
            run.start()
            run.finish(state)
    for step in (2, 4, 6):
        folder = tmp_path / "runs/done/checkpoints" / f"step-{step:06d}"
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(b"x" * 1000)
    return tmp_path / "runs"


def left(runs: Path) -> list[str]:
    return sorted(path.name for path in runs.iterdir())


def test_without_yes_nothing_goes(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = sdar(capsys, "runs", "clean")
    assert result.code == 0
    assert "failed" in result.out and "nothing was removed: add --yes" in result.out
    assert left(runs) == ["done", "failed", "new"]


def test_runs_without_a_result_go_and_others_stay(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert sdar(capsys, "runs", "clean", "--yes").code == 0
    assert left(runs) == ["done"]


def test_old_checkpoints_go_and_the_last_stays(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = sdar(capsys, "runs", "clean", "--checkpoints", "--yes", "--json")
    assert '"removed": true' in result.out and '"bytes": 1000' in result.out
    assert left(runs / "done/checkpoints") == ["step-000006"]
    assert left(runs) == ["done", "failed", "new"]


def test_a_named_run_goes_whatever_its_state(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert sdar(capsys, "runs", "clean", "done", "--yes").code == 0
    assert left(runs) == ["failed", "new"]


def test_a_running_run_is_never_touched(runs: Path) -> None:
    live = RunDir.create(runs, RunConfig(name="live"))
    live.start()
    assert "live" not in [removal.path.name for removal in plan_removals([live], named=False, checkpoints=False)]
    with pytest.raises(RunConflictError, match="still running"):
        plan_removals([live], named=True, checkpoints=False)
    live.finish("done")


def test_what_is_no_run_stays(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A model's folder, somebody's data, and a copy of a run's configuration are not runs."""
    for folder in (runs / "model", runs / "copy", runs.parent / "outside"):
        folder.mkdir()
        (folder / "config.json").write_bytes((runs / "failed/config.json").read_bytes())
    (runs / "copy/provenance.json").write_text('{"created": "2026", "of": "another tool"}')
    for name in ("model", "copy", "../outside", "..", ".", str(runs.parent / "outside")):
        assert sdar(capsys, "runs", "clean", name, "--yes").code == 2
    assert sdar(capsys, "runs", "clean", "--yes").code == 0
    assert left(runs) == ["copy", "done", "model"] and (runs.parent / "outside/config.json").is_file()


def test_links_are_not_followed(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (runs / "failed").rename(tmp_path / "elsewhere")
    (runs / "failed").symlink_to(tmp_path / "elsewhere")
    (runs / "done/checkpoints").rename(tmp_path / "kept")
    (runs / "done/checkpoints").symlink_to(tmp_path / "kept")
    with pytest.raises(ConfigError, match="is a link"):
        named_run("failed", runs)
    assert sdar(capsys, "runs", "clean", "--yes").code == 0
    assert sdar(capsys, "runs", "clean", "--checkpoints", "--yes").code == 0
    assert (tmp_path / "elsewhere/config.json").is_file() and len(left(tmp_path / "kept")) == 3


def test_files_of_others_stay_and_are_said(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (runs / "failed/notes.txt").write_text("mine")
    result = sdar(capsys, "runs", "clean", "failed", "--yes")
    assert "notes.txt" in result.out
    assert left(runs / "failed") == ["notes.txt"]


def test_a_run_started_after_the_list_is_left(runs: Path) -> None:
    plan = plan_removals([RunDir(runs / "failed")], named=True, checkpoints=False)
    live = RunDir(runs / "failed")
    live.start()
    with pytest.raises(RunConflictError, match="has been started"):
        remove(plan)
    assert live.config_path.is_file()
    live.finish("done")
