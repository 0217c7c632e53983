"""Plugs of a guest through the command line: an error names its file and line, a wrong argument starts nothing."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sdar_cli.cli import main
from sdar_cli.runs.metrics import read_metrics

GUESTS = '''
from sdar_cli.skills.choose.strategies import Query

def raising(batch, beta, *, after: int = 0):
    if batch.student.shape[1] <= after:
        return batch.student.detach() * 0
    raise KeyError("no such teacher")

def last(query: Query, *, most: int = 1):
    """The skills whose ids sort last, as a plain sequence."""
    return sorted(query.bank.skills, key=lambda skill: skill.id)[-most:]

last.learns = True
'''
LINE = GUESTS.splitlines().index('    raise KeyError("no such teacher")') + 1


@pytest.fixture(autouse=True)
def guests(place: Path) -> Iterator[Path]:
    """The module ``guests_of_a_guest`` in the current folder."""
    path = place / "guests_of_a_guest.py"
    path.write_text(GUESTS)
    yield path
    sys.modules.pop("guests_of_a_guest", None)


def test_an_error_in_a_gate_ends_the_run_with_its_file_and_line(
    command: Callable[..., int], guests: Path, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Tried before the run it starts nothing; where it raises later only, the run is marked as failed."""
    words = ("--name", "raising", "--gate", "guests_of_a_guest:raising", "--set", "eval.before=false")
    assert command(*words) == 1 and not (place / "runs" / "raising").exists()
    assert "no such teacher" in capsys.readouterr().err
    assert command(*words, "--set", "algo.gate_args.after=3") == 1
    error = capsys.readouterr().err
    assert "error: gate 'guests_of_a_guest:raising' failed: KeyError: 'no such teacher'" in error
    assert f"why: {guests}, line {LINE}, in raising: raise KeyError" in error
    assert json.loads((place / "runs/raising/status.json").read_text())["state"] == "failed"


def test_a_wrong_argument_starts_nothing(
    command: Callable[..., int], place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = ["--gate", "guests_of_a_guest:raising", "--set", "algo.gate_args.aftre=1"]
    assert command("--name", "wrong", *wrong) == 2
    assert command("--name", "wrong", "--dry-run", *wrong) == 2
    assert capsys.readouterr().err.count("did you mean 'after'?") == 2
    assert not (place / "runs/wrong").exists()


def test_a_sweep_with_a_wrong_argument_starts_nothing(
    command: Callable[..., int], place: Path, walker_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    grid = ["sweep", "--model", str(walker_folder), "--seeds", "1", "--name", "s", "--dry-run", "--grid"]
    gate = ["--set", "algo.gate=guests_of_a_guest:raising"]
    with pytest.raises(SystemExit) as caught:
        main([*grid, "algo.gate_args.aftre=1,2", *gate])
    assert caught.value.code == 2 and "did you mean 'after'?" in capsys.readouterr().err
    with pytest.raises(SystemExit) as caught:
        main([*grid, "algo.gate_args.after=1,2", *gate])
    assert caught.value.code in (None, 0), capsys.readouterr().err
    assert not (place / "sweeps/s").exists()


def test_a_retrieval_may_return_skills_and_learn(command: Callable[..., int], place: Path) -> None:
    words = [
        "--retrieval",
        "guests_of_a_guest:last",
        "--set",
        "skills.retrieval_args.most=2",
        "--set",
        "eval.before=false",
    ]
    assert command("--name", "learning", *words) == 0
    lines = read_metrics(place / "runs/learning/skills.jsonl")
    (chosen,) = {tuple(line["skills"]) for line in lines}
    assert len(chosen) == 2
    state = json.loads(next((place / "runs/learning/checkpoints").glob("*/skills.json")).read_text())["ucb"]
    groups = {kind: sum(line["type"] == kind and line["reward"] is not None for line in lines) for kind in state}
    assert {kind: {skill: n for skill, (n, _) in arms.items()} for kind, arms in state.items()} == {
        kind: dict.fromkeys(chosen, n) for kind, n in groups.items()
    }
