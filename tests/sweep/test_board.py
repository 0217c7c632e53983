"""The live table: marks of runs, means so far, and the time left."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from analysis.compare.comparison_material import make_run, wins

from sdar_cli.base.display import Reporter
from sdar_cli.sweep.board import Board
from sdar_cli.sweep.plan import Request, make_plan
from sdar_cli.sweep.state import SweepDir

TASKS = 10


@pytest.fixture
def sweep(tmp_path: Path) -> SweepDir:
    plan = make_plan(Request("beta", values="1,5", seeds=2, flags={"train.steps": (4, "--steps")}))
    return SweepDir.create(tmp_path / "s", plan, {"sweep": "beta"})


def run(sweep: SweepDir, name: str, won: int | None, training: int, seconds: float = 0.0) -> None:
    """A run that is done with ``won`` of 10 tasks, or one in progress."""
    outcomes = {} if won is None else {4: wins(won, TASKS)}
    path = make_run(sweep.runs, name, outcomes, with_skill=wins(9, TASKS), training=[0.5] * training, state="lost")
    if won is not None:
        summary = {"steps": 4, "panel_sha256": "p"}
        status = {"state": "done", "seconds": seconds, "summary": summary}
        (path / "status.json").write_text(json.dumps(status))


def test_the_table_and_the_time_left(sweep: SweepDir) -> None:
    run(sweep, "gate-beta-1-s0", 2, 4)
    run(sweep, "gate-beta-1-s1", 4, 4, seconds=60.0)
    run(sweep, "gate-beta-5-s0", None, 1)
    with Reporter(plain=True) as reporter:
        board = Board(sweep, reporter, slots=2)
        jobs = {job.run: job for job in sweep.jobs}
        board.finished(jobs["gate-beta-1-s1"])
        board.given_up.add("gate-beta-5-s1")
        at = {"gate-beta-5-s0": 1}
        assert board._rows(at) == [
            ["gate_beta=1", "✓ ✓", "30.0%", "90.0%"],
            ["gate_beta=5", "1/4 ✗", None, None],
        ]
        # 3 of 4 steps of one run are left, in two slots, at 60 seconds a run; the evaluation before is not counted
        assert board._title([jobs["gate-beta-5-s0"]], at) == "sweep s: 2 of 5 runs done, about 22s left"
