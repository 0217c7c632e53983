"""docs/extending.md: each example is written to a file and run by the command next to it; the table is true."""

from __future__ import annotations

import csv
import json
import re
import shlex
import sys
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from invariants.conftest import command, place, walker_folder  # noqa: F401  fixtures
from places import ROOT
from skills.episodes import LOST, WIN, demonstration, write
from train.conftest import walker_model  # noqa: F401  a fixture

from sdar_cli.base.plugins import Kind
from sdar_cli.cli import main
from sdar_cli.config import plugs
from sdar_cli.envs.benchmark import Benchmark
from sdar_cli.envs.registry import ENVIRONMENT
from sdar_cli.runs.metrics import read_metrics
from sdar_cli.skills.bank import read_bank

TEXT = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^### (\w+)\n(.*?)(?=^##)", TEXT, re.DOTALL | re.MULTILINE))
KINDS: dict[str, Kind] = {plug.kind.name: plug.kind for plug in plugs.PLUGS}
KINDS |= {"builder": plugs.BUILDER, "metric": plugs.METRIC}
"""Kinds whose example is one file; an environment's is a package (tests/envs/test_guests.py)."""


def fenced(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """The examples are imported anew by every test."""
    yield
    for name in [name for name in sys.modules if name.startswith("my_")]:
        del sys.modules[name]


@pytest.fixture
def run(command: Callable[..., int], place: Path) -> Callable[[str], Path]:  # noqa: F811
    """Writes the example of a kind, runs its command, and returns the folder of the run."""

    def run(kind: str) -> Path:
        (code,), (line,) = fenced(SECTIONS[kind], "python"), fenced(SECTIONS[kind], "sh")
        name = re.match(r"# (\w+\.py)\n", code)
        assert name is not None
        (place / name[1]).write_text(code)
        words = shlex.split(line)
        assert words[:2] == ["sdar", "train"]
        assert command("--name", kind, *words[2:]) == 0
        return place / "runs" / kind

    return run


def log(run: Path) -> list[dict[str, Any]]:
    return read_metrics(run / "metrics.jsonl")


def test_every_kind_has_an_example_and_a_row() -> None:
    assert set(SECTIONS) == set(KINDS)
    row = r"^\| `(\w+)` \| `(\w+)` in `([\w/.]+)` \| (.*?) \| (.*?) \| `\((.*?)(?:\*\*arguments)?\)`"
    rows = re.findall(row, TEXT, re.MULTILINE)
    assert {row[0] for row in rows} == set(KINDS)
    assert f"| `environment` | `{ENVIRONMENT.table}` in `{ENVIRONMENT.module.replace('.', '/')}.py` |" in TEXT
    for name, table, file, key, arguments, given in rows:
        kind = KINDS[name]
        assert (kind.table, f"{kind.module.replace('.', '/')}.py") == (table, file)
        assert tuple(given.rstrip(", ").split(", ")) == kind.given
        if name not in ("builder", "metric"):
            (plug,) = (plug for plug in plugs.PLUGS if plug.kind is kind)
            assert plug.key in key and plug.arguments in arguments


def test_the_preset_of_the_text_is_the_command_of_the_text(tmp_path: Path) -> None:
    from sdar_cli.config.presets import resolve

    (tmp_path / "own.toml").write_text(fenced(TEXT, "toml")[0])
    (line,) = fenced(SECTIONS["gate"], "sh")
    words = shlex.split(line)
    flags = {"algo.gate": (words[words.index("--gate") + 1], "--gate")}
    set_ = resolve(sets=[words[words.index("--set") + 1]], flags=flags).config
    assert resolve(presets=[str(tmp_path / "own.toml")]).config == set_
    assert set_.algo.gate_args == {"threshold": 0.05}


def test_gate(run: Callable[[str], Path]) -> None:
    for line in (run("gate") / "episodes" / "step-000001.jsonl").read_text().splitlines():
        for turn in json.loads(line)["turns"]:
            pairs = zip(turn["token_gate"], turn["token_gap"], strict=True)
            clear = [(gate, gap) for gate, gap in pairs if abs(gap - 0.05) > 1e-4]  # the file has four decimals
            assert clear and all(gate == float(gap > 0.05) for gate, gap in clear)


def test_objective(run: Callable[[str], Path]) -> None:
    """The square of the gap: never negative, and zero only where teacher and student agree."""
    first = log(run("objective"))[0]
    assert first["distill_loss"] >= first["gap_abs_mean"] ** 2 > 0  # Jensen: mean of squares, scale 1


def test_shaping(run: Callable[[str], Path]) -> None:
    rows = log(run("shaping"))
    assert len(rows) == 2 and "gap_mean" in rows[0] and "gate_mean" not in rows[0]


def test_schedule(run: Callable[[str], Path]) -> None:
    folder = run("schedule")
    start = json.loads((folder / "config.json").read_text())["algo"]["coef"]
    assert [row["coef"] for row in log(folder)] == [start, start / 2]


def test_retrieval(run: Callable[[str], Path]) -> None:
    lines = read_metrics(run("retrieval") / "skills.jsonl")
    assert lines and {line["strategy"] for line in lines} == {"my_retrievals:shared_words"}
    assert all(len(line["skills"]) == 2 and line["candidates"] == 6 for line in lines)


def test_evolve(run: Callable[[str], Path]) -> None:
    lines = read_metrics(run("evolve") / "skills.jsonl")
    changes = [change for line in lines for change in line["changes"]]
    assert changes and {change["effect"] for change in changes} == {"rewritten"}
    assert len({change["skill"] for change in changes}) == len(changes)


def test_engine(run: Callable[[str], Path], place: Path) -> None:  # noqa: F811
    metrics = log(run("engine"))
    calls = [int(line) for line in (place / "calls.txt").read_text().split()]
    assert calls.count(8) >= len(metrics)  # 4 tasks x 2 episodes at the first turn of each step


def test_sink(run: Callable[[str], Path]) -> None:
    folder = run("sink")
    rows = log(folder)
    expected = [f"step {row['step']}: success {row['success']}, turns {row['turns']}" for row in rows]
    assert (folder / "steps.txt").read_text().splitlines() == expected
    with (folder / "metrics.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [float(row["success"]) for row in table] == [row["success"] for row in rows]
    assert set(table[0]) == {key for row in rows for key in row}


def test_builder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (code,), (line,) = fenced(SECTIONS["builder"], "python"), fenced(SECTIONS["builder"], "sh")
    Path("my_builders.py").write_text(code)
    write(tmp_path / "demonstrations.jsonl", [demonstration(WIN, True), demonstration(LOST, False)])
    with pytest.raises(SystemExit) as caught:
        main(shlex.split(line)[1:])
    assert caught.value.code in (None, 0)
    (skill,) = read_bank(Path("my-bank")).skills
    assert skill.text.count("\n- ") == 3 and skill.sources == ("demonstrations.jsonl:1",)


def test_metric(run: Callable[[str], Path]) -> None:
    report = json.loads((run("metric") / "eval" / "step-000002.json").read_text())
    for result in report["results"]:
        assert result["overall"]["words"] > 0 and 0 <= result["overall"]["out_of_turns"] <= 1
        assert [label["name"] for label in result["metrics"]][-2:] == ["words", "out_of_turns"]


def test_every_field_of_a_benchmark_has_its_row() -> None:
    table = TEXT[TEXT.index("## Environments") :]
    named = {name for row in re.findall(r"^\| (`.*?`) \|", table, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)}
    assert named == {each.name for each in fields(Benchmark)}
