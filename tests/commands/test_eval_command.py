"""``sdar eval`` through the command line: bundled policies on small panels, killed and resumed, compared."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import sdar_cli
from commands.support import environment, sdar
from sdar_cli.config.presets import resolve
from sdar_cli.models.loading import model_location
from sdar_cli.runs.checkpoints import publish

SMALL = {
    "env.games_train": 6, "env.games_eval": 6, "env.workers": 1, "env.max_turns": 4,
    "train.threads": 1,
}  # fmt: skip
SETS = [word for key, value in SMALL.items() for word in ("--set", f"{key}={value}")]
DEADLINE = 1800.0
"""Seconds a process may take to get where a test wants it."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder to work in, with a cache of its own that the module's tests share."""
    folder = tmp_path_factory.mktemp("evaluations")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SDAR_CACHE", str(folder / "cache"))
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.delenv("SDAR_DEBUG", raising=False)
        patch.chdir(folder)
        yield folder


def last_line(text: str) -> dict:
    return json.loads(text.splitlines()[-1])


def episodes_of(path: Path) -> list[dict]:
    return [row for line in path.read_text().splitlines() if "task" in (row := json.loads(line))]


def test_a_model_with_and_without_skills(place, capsys) -> None:
    done = sdar(
        capsys, "eval", "--model", "tiny-alfworld", "--name", "base", "--json", *SETS, "--set", "env.max_turns=9"
    )
    assert done.code == 0, done.err
    launch, end = [json.loads(line) for line in done.out.splitlines()]
    assert launch["evaluations"][0]["evaluated"] == "alfworld: tiny-alfworld"
    (report,) = end["evaluations"]
    written = json.loads((place / "evals" / "base" / "alfworld.json").read_text())
    assert written["results"] == report["results"] and report["path"] == "evals/base/alfworld.json"
    assert [result["label"] for result in report["results"]] == ["no skill, sampled T=0.4", "with skill, sampled T=0.4"]
    assert len(report["results"][0]["types"]) == 6
    episodes = episodes_of(place / "evals" / "base" / "alfworld.jsonl")
    assert len(episodes) == 12 and all(episode["turns"] for episode in episodes)
    (found,) = report["internalisation"]
    wins = {shown: sum(e["won"] for e in episodes if e["label"].startswith(shown)) for shown in ("no", "with")}
    assert (found["without"], found["with"]) == (wins["no"] / 6, wins["with"] / 6)
    assert found["gain"]["estimate"] == pytest.approx((wins["with"] - wins["no"]) / 6)
    assert found["gain"]["better"] - found["gain"]["worse"] == wins["with"] - wins["no"]
    assert "internalised (sampled T=0.4): without skills" in done.err
    assert written["key"]["panel"] == report["panel"] and len(written["key"]["model"]["files"]) == 64


def test_several_benchmarks_in_one_table(place, capsys) -> None:
    done = sdar(capsys, "eval", "--env", "alfworld", "--env", "webshop", "--games", "3", "--skills", "without",
                "--decoding", "greedy", "--name", "both", *SETS, "--set", "env.products=120")  # fmt: skip
    assert done.code == 0, done.err
    assert "evaluating webshop: tiny-webshop (no run of generated webshop lies under runs: the bundled" in done.out
    table = done.out.rpartition("all benchmarks")[2]
    assert "no skill, greedy" in table and "score" in table
    rows = [line.split() for line in table.splitlines()]
    assert sum(row[:1] == ["alfworld"] for row in rows) == 4 and ["webshop", "all"] in [row[:2] for row in rows]
    assert sorted(path.name for path in (place / "evals" / "both").glob("*.json")) == ["alfworld.json", "webshop.json"]


@pytest.fixture
def run(place: Path) -> Path:
    """A run of two checkpoints, both the bundled policy's weights."""
    path = place / "runs" / "trained"
    if not path.exists():
        for step in (6, 12):
            shutil.copytree(model_location("tiny-alfworld"), path / "checkpoints" / f"step-{step:06d}")
        config = resolve(sets=[f"{key}={value}" for key, value in SMALL.items()]).config
        (path / "config.json").write_text(json.dumps(config.model_dump(mode="json")))
        (path / "provenance.json").write_text(json.dumps({"created": "2026"}))
        (path / "status.json").write_text(json.dumps({"state": "done"}))
    return path


def test_a_checkpoint_with_other_bytes_is_not_evaluated(run, capsys) -> None:
    folder = run / "checkpoints" / "checkpoint-3"
    shutil.copytree(model_location("tiny-alfworld"), folder)
    checkpoint = publish(folder, 3, keep=9)
    weights = bytearray((checkpoint / "model.safetensors").read_bytes())
    weights[-2] ^= 1
    (checkpoint / "model.safetensors").write_bytes(weights)
    done = sdar(capsys, "eval", "--checkpoint", "3", "--name", "at-3", "--games", "1")
    shutil.rmtree(checkpoint)
    assert done.code == 1 and "step-000003 is damaged" in done.err and "model.safetensors holds other bytes" in done.err


def test_checkpoints_of_a_run_are_evaluated_and_compared(run, capsys) -> None:
    for step in (6, 12):
        done = sdar(capsys, "eval", "--checkpoint", str(step), "--name", f"at-{step}", "--games", "4", "--json")
        assert done.code == 0, done.err
        assert last_line(done.out)["evaluations"][0]["evaluated"] == f"alfworld: trained/step-{step:06d}"
    files = [str(run / "eval" / f"at-{step}.json") for step in (6, 12)]
    done = sdar(capsys, "compare", *files, "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert found["kind"] == "checkpoints" and found["panel"]["tasks"] == 4
    assert found["measures"][0]["comparisons"][0]["paired"]["p"] == 1.0  # the same weights, the same draws


def test_the_same_command_again_plays_nothing(run, capsys, monkeypatch) -> None:
    words = ("eval", "--run", "trained", "--games", "3", "--skills", "without", "--json")
    first = sdar(capsys, *words)
    assert first.code == 0, first.err
    monkeypatch.setattr("sdar_cli.rollout.collect.Collector.collect", None)
    again = sdar(capsys, *words)
    assert again.code == 0, again.err
    assert "1 finished parts, which are kept" in again.err
    assert last_line(again.out) == last_line(first.out)


def test_a_name_that_is_taken(run, capsys) -> None:
    words = ("eval", "--run", "trained", "--skills", "without", "--name", "taken", "--games")
    assert sdar(capsys, *words, "2").code == 0
    done = sdar(capsys, *words, "3")
    assert done.code == 4 and "panel.tasks: 2 then, 3 now" in done.err
    done = sdar(capsys, "eval", "--run", "trained", "--name", "step-000006")
    assert done.code == 2 and "is no name for an evaluation" in done.err


def test_killed_and_resumed(place, capsys) -> None:
    """Result and episodes are, byte for byte, those of an evaluation that was not killed."""
    words = ["eval", "--model", "tiny-alfworld", "--seeds", "2", *SETS, "--out"]
    killed, whole = place / "killed", place / "whole"
    with (place / "killed.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "sdar_cli", *words, str(killed)],
            env=environment(PYTHONPATH=str(Path(sdar_cli.__file__).parents[1])),  # the code that resumes it
            cwd=place,
            stderr=log,
            stdout=log,
        )
    wait_for_chunk(process, killed)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    (ledger,) = killed.glob("*.jsonl")
    done_before = whole_chunks(ledger)
    assert 1 <= done_before < 4 and not list(killed.glob("*.json"))
    done = sdar(capsys, *words, str(killed))
    assert done.code == 0, done.err
    assert f"holds {done_before} finished parts" in done.out
    assert sdar(capsys, *words, str(whole)).code == 0
    names = sorted(path.name for path in whole.iterdir())
    assert names == sorted(path.name for path in killed.iterdir()) and len(names) == 2
    for name in names:
        assert (killed / name).read_bytes() == (whole / name).read_bytes(), name
    assert len(episodes_of(whole / names[1])) == 6 * 2 * 2


def whole_chunks(ledger: Path) -> int:
    """Finished parts on disk; a line that is still being written is none."""
    return sum('"chunk"' in line for line in ledger.read_text().splitlines(keepends=True) if line.endswith("\n"))


def wait_for_chunk(process: subprocess.Popen, folder: Path) -> None:
    """Until the first part is on disk."""
    end = time.monotonic() + DEADLINE
    while not any(whole_chunks(path) for path in folder.glob("*.jsonl")):
        assert process.poll() is None and time.monotonic() < end, (folder.parent / "killed.log").read_text()
        time.sleep(0.02)


@pytest.mark.parametrize(
    "words, code, message",
    [
        (("--model", "tiny-alfworld", "--run", "x"), 2, "--model excludes"),
        (("--env", "all", "--split", "eval"), 2, "--split is for one benchmark"),
        (("--run", "nothing"), 2, "no run 'nothing'"),
    ],
)
def test_mistakes(place, capsys, words, code, message) -> None:
    done = sdar(capsys, "eval", *words)
    assert done.code == code and message in done.err
