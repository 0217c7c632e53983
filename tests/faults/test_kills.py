"""Trainings killed at random moments and resumed: the same metrics, weights and episodes as without a kill.

``SDAR_FAULTS_KILLS`` is the number of kills (6), ``SDAR_FAULTS_SEED`` chooses the moments.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from train.test_resume_cli import DEADLINE, lines_in, start
from train.toyruns import assert_same_record

from sdar_cli.runs.rundir import RunDir

from .hostile import SEED

KILLS = int(os.environ.get("SDAR_FAULTS_KILLS", "6"))
PER_RUN = 3
"""Kills of one run before it may end."""
STEPS = 3
SETTINGS = {
    "env.max_turns": 2, "train.steps": STEPS, "train.tasks_per_step": 4, "train.group_size": 2, "train.save_every": 1,
    "train.keep": 9, "train.threads": 1, "eval.games": 4, "train.eval_every": 1, "eval.with_skill": "false",
    "model.max_response_tokens": 12, "skills.retrieval": "ucb", "teacher.weights": "ema",
}  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of the runs; the generated world is cached next to it."""
    folder = tmp_path_factory.mktemp("kills")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SDAR_CACHE", str(folder / "cache"))
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield folder


def words(name: str) -> list[str]:
    """The command line of a new run."""
    sets = [word for key, value in SETTINGS.items() for word in ("--set", f"{key}={value}")]
    return ["train", "--env", "search", "--method", "sdar", "--name", name, *sets]


def again(name: str, place: Path) -> list[str]:
    """The command after a kill: the run is resumed, or begun where the kill came before it was made."""
    return ["train", "--resume", name] if (place / "runs" / name / "config.json").exists() else words(name)


def finish(process: subprocess.Popen[bytes], errors: Path) -> None:
    assert process.wait(DEADLINE) == 0, errors.read_text()[-2000:]


@pytest.mark.slow
def test_killed_at_random_moments(place: Path) -> None:
    began = time.monotonic()
    finish(start(words("whole"), place, place / "whole.out"), place / "whole.err")
    length = time.monotonic() - began
    rng, done, run = random.Random(SEED), 0, 0
    while done < KILLS:
        run += 1
        name, moments = f"killed-{run}", []
        while done < KILLS and len(moments) < PER_RUN:
            moment = rng.uniform(0.3, 1.0) * length
            process = start(again(name, place), place, place / f"{name}-{len(moments)}.out")
            try:
                process.wait(moment)
                break  # it came to its end before
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                assert process.wait(DEADLINE) == -signal.SIGKILL
            moments.append(f"{moment:.1f} s, {lines_in(place / 'runs' / name / 'metrics.jsonl')} steps written")
            done += 1
        path = place / "runs" / name
        if not (path / "status.json").exists() or RunDir(path).status().get("state") != "done":
            finish(start(again(name, place), place, place / f"{name}.out"), place / f"{name}.err")
        assert_same_record(path, place / "runs" / "whole", STEPS)
        print(f"\n{name} of {length:.1f} s: killed after {'; '.join(moments) or 'nothing'}: identical")
