"""Sinks: metrics.csv follows metrics.jsonl; one that fails is switched off and stops nothing."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from sdar_cli.config.schema import TrainConfig
from sdar_cli.runs.metrics import MetricsWriter, read_metrics
from sdar_cli.runs.sinks import CsvSink, Recorder


class Lines:
    """A reporter that keeps its warnings."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)


def table(folder: Path) -> list[dict[str, Any]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def record(folder: Path, sink: CsvSink, *steps: dict[str, Any]) -> None:
    """As a run does: the JSON line first."""
    with MetricsWriter(folder / "metrics.jsonl") as writer:
        for step in steps:
            writer.write(step)
            sink.write(step)


def test_a_row_per_step_and_a_column_per_metric(tmp_path: Path) -> None:
    sink = CsvSink(tmp_path)
    assert (tmp_path / "metrics.csv").read_text() == ""
    record(tmp_path, sink, {"step": 1, "a": 0.5, "text": 'x, "y"'}, {"step": 2, "text": "z", "a": float("nan")})
    assert (tmp_path / "metrics.csv").read_text() == 'step,a,text\n1,0.5,"x, ""y"""\n2,,z\n'


def test_a_new_metric_adds_a_column_to_all_rows(tmp_path: Path) -> None:
    record(tmp_path, CsvSink(tmp_path), {"step": 1, "a": 1}, {"step": 2, "b": [1, 2]}, {"step": 3, "a": 3})
    assert (tmp_path / "metrics.csv").read_text() == 'step,a,b\n1,1,\n2,,"[1, 2]"\n3,3,\n'
    assert not list(tmp_path.glob("*.tmp*"))


def test_a_resumed_run_makes_it_anew(tmp_path: Path) -> None:
    record(tmp_path, CsvSink(tmp_path), {"step": 1, "a": 1}, {"step": 2, "a": 2, "late": 1})
    MetricsWriter(tmp_path / "metrics.jsonl").truncate_after(1)
    record(tmp_path, CsvSink(tmp_path), {"step": 2, "a": 5})
    assert table(tmp_path) == [{"step": "1", "a": "1"}, {"step": "2", "a": "5"}]


GUESTS = """
class Failing:
    def __init__(self, run_dir, *, after: int = 0):
        self.left = after
    def write(self, step_metrics):
        if not self.left:
            raise OSError("the disk is full")
        self.left -= 1
    def close(self):
        raise ValueError("not closed")

def refused(run_dir):
    raise RuntimeError("no account")
"""


def test_a_failing_sink_warns_once_with_its_line_and_is_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "guest_sinks.py").write_text(GUESTS)
    reporter = Lines()
    names = ["csv", "guest_sinks:Failing", "guest_sinks:refused"]
    train = TrainConfig(sinks=tuple(names), sink_args={"guest_sinks:Failing": {"after": 1}})
    recorder = Recorder(tmp_path / "metrics.jsonl", train, reporter)  # type: ignore[arg-type]
    assert len(reporter.warnings) == 1 and "guest_sinks:refused" in reporter.warnings[0]
    assert "no account" in reporter.warnings[0]
    for step in (1, 2, 3):
        recorder.write({"step": step})
    recorder.close()
    assert len(reporter.warnings) == 2
    line = GUESTS.splitlines().index('            raise OSError("the disk is full")') + 1
    assert f"guest_sinks.py, line {line}" in reporter.warnings[1] and "the disk is full" in reporter.warnings[1]
    assert read_metrics(tmp_path / "metrics.jsonl") == [{"step": 1}, {"step": 2}, {"step": 3}]
    assert len(table(tmp_path)) == 3


def test_an_error_while_closing_is_a_warning_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "closing_sinks.py").write_text(GUESTS)
    reporter = Lines()
    train = TrainConfig(sinks=("closing_sinks:Failing",))
    Recorder(tmp_path / "metrics.jsonl", train, reporter).close()  # type: ignore[arg-type]
    assert "not closed" in reporter.warnings[0]
