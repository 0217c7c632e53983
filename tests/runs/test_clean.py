"""``sdar runs clean`` removes what it listed, after --yes, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
from commands.support import sdar

from sdar_cli.base.errors import RunConflictError
from sdar_cli.config.schema import RunConfig
from sdar_cli.runs.clean import plan_removals
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
