"""``sdar sweep`` through the command line; its runs are processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from commands.support import environment, sdar

from sdar_cli.runs.rundir import RunDir
from sdar_cli.stats import t_interval, welch

from .conftest import Sweep, behave, results, starts

TWO = ("beta", "--values", "1,5", "--seeds", "2", "--steps", "3", "--name", "s", "--slots", "2")
RUNS = ["untrained", "gate-beta-1-s0", "gate-beta-5-s0", "gate-beta-1-s1", "gate-beta-5-s1"]


def state(run: str) -> str:
    return RunDir(Path("sweeps/s/runs") / run).status()["state"]


def test_a_sweep_runs_every_point_with_every_seed_and_sums_up(sweep: Sweep) -> None:
    done = sweep(*TWO)
    assert done.code == 0, done.err
    assert sorted(starts()) == sorted(f"{run} new" for run in RUNS)
    found = results("s")
    one, five = found["points"]
    # the quick training wins beta + seed + min(step, 2) of 10 tasks after a step, 1 before the first
    assert [run["success"] for run in five["runs"]] == [0.7, 0.8]
    assert [run["with_skill"] for run in five["runs"]] == pytest.approx([0.3, 0.2])
    assert [run["early"] for run in one["runs"]] == pytest.approx([(2 + 3 + 3) / 30, (3 + 4 + 4) / 30])
    assert (one["before"], one["paper"], five["paper"]) == ({"success": 0.1, "with_skill": 0.9}, None, "84.4")
    assert five["success"]["mean"] == pytest.approx(0.75)
    interval = t_interval([0.7, 0.8])
    assert (five["success"]["low"], five["success"]["high"]) == pytest.approx((interval.low, interval.high))
    row = found["comparison"]["measures"][0]["comparisons"][0]
    assert row["welch"]["p"] == pytest.approx(welch([0.3, 0.4], [0.7, 0.8]).p)
    assert found["unfinished"] == {}
    for text in ("gate_beta=5", "75.0 [11, 139]", "10.0 / 90.0", "84.4", "the paper: Qwen2.5-3B on ALFWorld", "●"):
        assert text in done.out, text


def test_the_evaluation_before_training_is_made_once_and_every_run_has_it(sweep: Sweep) -> None:
    assert sweep(*TWO).code == 0
    own = json.loads(Path("sweeps/s/runs/untrained/eval/step-000000.json").read_text())
    for run in RUNS[1:]:
        assert RunDir(Path("sweeps/s/runs") / run).config().eval.before is False
        shared = json.loads(Path("sweeps/s/runs", run, "eval/step-000000.json").read_text())
        assert shared == {**own, "shared_from": "untrained"}
        summary = RunDir(Path("sweeps/s/runs") / run).status()["summary"]
        assert (summary["success_before"], summary["with_skill_before"], summary["steps"]) == (0.1, 0.9, 3)
    assert RunDir(Path("sweeps/s/runs/untrained")).config().train.steps == 0


def test_a_failing_point_stops_no_other_and_is_tried_again(sweep: Sweep) -> None:
    behave(gate_beta_1_s0="fail", gate_beta_5_s0="fail-once", gate_beta_1_s1="missing")
    done = sweep(*TWO, "--tries", "3", "--json")
    assert done.code == 1
    assert starts().count("gate-beta-1-s0 resumed") == 2 and starts().count("gate-beta-1-s0 new") == 1
    assert starts().count("gate-beta-5-s0 resumed") == 1
    assert [line for line in starts() if "1-s1" in line] == ["gate-beta-1-s1 new"]  # no second try can fix that
    assert results("s")["unfinished"] == {"gate-beta-1-s0": "failed", "gate-beta-1-s1": "failed"}
    launch, last = (json.loads(line) for line in done.out.splitlines())
    assert (launch["event"], launch["runs"], launch["todo"]) == ("launch", 5, 5)
    assert (last["event"], last["status"], len(last["results"]["points"][1]["runs"])) == ("done", "failed", 2)
    assert "ValueError: boom" in done.err and "fix: fix the cause, then: sdar sweep --resume sweeps/s" in done.err
    behave()
    again = sweep("--resume", "s")
    assert again.code == 0, again.err
    assert sorted(starts()[-2:]) == ["gate-beta-1-s0 resumed", "gate-beta-1-s1 resumed"]


def test_a_done_sweep_may_get_more_seeds(sweep: Sweep) -> None:
    assert sweep(*TWO).code == 0
    before = len(starts())
    assert sweep("--resume", "s", "--seeds", "3").code == 0
    assert sorted(starts()[before:]) == ["gate-beta-1-s2 new", "gate-beta-5-s2 new"]
    assert [len(point["runs"]) for point in results("s")["points"]] == [3, 3]
    record = json.loads(Path("sweeps/s/sweep.json").read_text())
    assert record["seeds"] == [0, 1, 2] and len(record["resumed"]) == 1
    fewer = sweep("--resume", "s", "--seeds", "1")
    assert fewer.code == 2 and "--seeds 3 or more" in fewer.err


def test_what_is_done_can_be_shown_without_running(sweep: Sweep) -> None:
    behave(gate_beta_5_s1="fail")
    assert sweep(*TWO, "--tries", "1").code == 1
    before = starts()
    shown = sweep("--show", "s")
    assert shown.code == 0 and "1 of 5 runs are not done" in shown.out
    assert json.loads(sweep("--show", "s", "--json").out)["unfinished"] == {"gate-beta-5-s1": "failed"}
    assert starts() == before


def test_one_seed_per_point_names_no_winner(sweep: Sweep) -> None:
    done = sweep("beta", "--values", "1,5", "--seeds", "1", "--steps", "1", "--name", "s")
    assert done.code == 0, done.err
    assert "no winner is named: this compares two checkpoints, not two methods" in done.out
    assert all(verdict["winner"] is None for verdict in results("s")["verdicts"])


def test_a_method_that_does_not_train_is_the_evaluation_before(sweep: Sweep) -> None:
    words = ("--methods", "skill-prompt,sdar", "--seeds", "2", "--steps", "1", "--name", "s")
    assert sweep("method", *words).code == 0
    assert sorted(starts()) == ["sdar-s0 new", "sdar-s1 new", "untrained new"]
    prompt = results("s")["points"][0]
    assert (prompt["steps"], [run["success"] for run in prompt["runs"]], prompt["early"]) == (0, [0.1], None)
    assert results("s")["comparison"] is None  # one trained point is compared with nothing


def test_resume_takes_no_other_settings_and_finds_names(sweep: Sweep) -> None:
    assert sweep(*TWO).code == 0
    for words in (["--steps", "4"], ["--set", "train.lr=1"], ["beta"], ["--name", "t"], ["--method", "sdar"]):
        refused = sweep("--resume", "s", *words)
        assert refused.code == 2 and "takes the sweep as it is" in refused.err, words
    unknown = sweep("--resume", "t")
    assert unknown.code == 2 and "the sweeps under sweeps are s" in unknown.err
    taken = sweep(*TWO)
    assert taken.code == 4 and "sdar sweep --resume s" in taken.err


@pytest.mark.parametrize(
    "words, message",
    [
        (("--sbatch=--time=1",), "--sbatch has no effect with --executor local"),
        (("--task", "1"), "--task is a run of a sweep that exists"),
        (("--name", "a b"), "a name is made of letters"),
    ],
)
def test_flags_that_mean_nothing_are_refused(sweep: Sweep, words: tuple[str, ...], message: str) -> None:
    refused = sweep("beta", *words)
    assert refused.code == 2 and message in refused.err
    assert not Path("sweeps").exists()


def start(*words: str) -> subprocess.Popen[str]:
    """``sdar sweep WORDS`` in a process of its own."""
    command = [sys.executable, "-m", "sdar_cli", "sweep", *words]
    return subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def wait_for(condition: Callable[[], bool], seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.05)


def stuck(run: str) -> bool:
    """Whether the run has done its first step and waits."""
    path = Path("sweeps/s/runs", run)
    return (path / "metrics.jsonl").exists() and bool((path / "metrics.jsonl").read_text())


def test_ctrl_c_ends_the_runs_and_resume_continues_them(sweep: Sweep) -> None:
    behave(gate_beta_1_s0="hang", gate_beta_5_s0="hang")
    driver = start(*TWO)
    wait_for(lambda: stuck("gate-beta-1-s0") and stuck("gate-beta-5-s0"))
    second = sweep("--resume", "s")
    assert second.code == 4 and "is being run by another process" in second.err
    driver.send_signal(signal.SIGINT)
    out, _ = driver.communicate(timeout=60)
    assert driver.returncode == 130
    assert "interrupted; resume with: sdar sweep --resume sweeps/s" in out
    assert [state(run) for run in RUNS[:3]] == ["done", "interrupted", "interrupted"]
    assert not Path("sweeps/s/runs/gate-beta-1-s1").exists()
    done = sweep("--resume", "s")
    assert done.code == 0, done.err
    assert sorted(line for line in starts() if line.endswith("resumed")) == [
        "gate-beta-1-s0 resumed",
        "gate-beta-5-s0 resumed",
    ]
    assert starts().count("untrained new") == 1  # what was done is kept


def test_a_killed_driver_leaves_its_runs_and_the_next_one_waits_for_them(sweep: Sweep) -> None:
    behave(gate_beta_1_s0="hang", gate_beta_5_s0="hang")
    driver = start(*TWO)
    wait_for(lambda: stuck("gate-beta-1-s0") and stuck("gate-beta-5-s0"))
    pids = {run: RunDir(Path("sweeps/s/runs") / run).status()["pid"] for run in RUNS[1:3]}
    driver.kill()
    driver.communicate()
    assert state("gate-beta-1-s0") == "running"  # it outlived its driver
    os.kill(pids["gate-beta-5-s0"], signal.SIGKILL)
    wait_for(lambda: state("gate-beta-5-s0") == "lost")
    behave()
    resumed = start("--resume", "s")
    wait_for(lambda: "gate-beta-5-s0 resumed" in starts())
    os.kill(pids["gate-beta-1-s0"], signal.SIGINT)  # it ends, interrupted, and is then continued
    out, _ = resumed.communicate(timeout=120)
    assert resumed.returncode == 0, out
    assert "gate_beta=1, seed 0: already running, waiting for it" in out
    assert "gate_beta=5, seed 0: continued, was lost" in out
    assert starts().count("gate-beta-1-s0 resumed") == 1
    assert results("s")["unfinished"] == {}


def test_a_second_ctrl_c_kills(sweep: Sweep) -> None:
    behave(gate_beta_1_s0="hang")
    driver = start("beta", "--values", "1", "--seeds", "1", "--steps", "1", "--name", "s", "--slots", "1")
    wait_for(lambda: stuck("gate-beta-1-s0"))
    pid = RunDir(Path("sweeps/s/runs/gate-beta-1-s0")).status()["pid"]
    os.kill(pid, signal.SIGSTOP)  # it hears nothing
    driver.send_signal(signal.SIGINT)
    time.sleep(1.0)
    assert driver.poll() is None
    driver.send_signal(signal.SIGINT)
    out, _ = driver.communicate(timeout=60)
    assert driver.returncode == 130, out
    assert state("gate-beta-1-s0") == "lost"


def test_a_sweep_is_reported_with_the_papers_figures(sweep: Sweep, capsys: pytest.CaptureFixture[str]) -> None:
    assert sweep(*TWO).code == 0
    made = sdar(capsys, "report", "s:")
    assert made.code == 0, made.err
    page = Path("report.html").read_text(encoding="utf-8")
    for text in ("<title>sweep s</title>", "75.0 [11, 139]", "84.4", "Early speed", "Held-out success without skill"):
        assert text in page, text
    assert "gate_beta=5" in sdar(capsys, "report", "s:gate_beta=5", "--terminal").out
