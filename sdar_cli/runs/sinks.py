"""Sinks: where the metrics of each step go besides ``metrics.jsonl``, which is always written first.

A sink is made by a function ``(run_dir, **arguments)`` in the first process, when a run starts or is resumed.  Steps
that a resumed run repeats are given to it again; a sink that keeps a file makes it anew from ``metrics.jsonl``.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from sdar_cli.base.files import finite, write_text_atomic
from sdar_cli.config.plugs import SINK
from sdar_cli.config.schema import TrainConfig
from sdar_cli.runs.metrics import MetricsWriter, read_metrics

if TYPE_CHECKING:
    from sdar_cli.base.display import Reporter


class Sink(Protocol):
    """Anything that takes metrics."""

    def write(self, step_metrics: Mapping[str, Any]) -> None:
        """The metrics of one finished step."""
        ...

    def close(self) -> None:
        """Nothing more will come."""
        ...


class CsvSink:
    """``metrics.csv``: one row per step, one column per metric in order of appearance, empty where it is absent.

    A new metric adds a column: the file is then made anew from ``metrics.jsonl``, whole or not at all.
    """

    def __init__(self, run_dir: Path) -> None:
        self.path = run_dir / "metrics.csv"
        self._truth = run_dir / "metrics.jsonl"
        self._columns: list[str] = []
        self._rewrite()

    def write(self, step_metrics: Mapping[str, Any]) -> None:
        """See ``Sink``."""
        if step_metrics.keys() - set(self._columns):
            self._rewrite()
            return
        with self.path.open("a", encoding="utf-8", newline="") as file:
            file.write(_csv([_cells(self._columns, finite(step_metrics))]))

    def close(self) -> None:
        """See ``Sink``; every row is on disk already."""

    def _rewrite(self) -> None:
        rows = read_metrics(self._truth)
        self._columns = list(dict.fromkeys(key for row in rows for key in row))
        table = [self._columns, *(_cells(self._columns, row) for row in rows)] if rows else []
        write_text_atomic(self.path, _csv(table))


class Recorder:
    """The metrics of each finished step: a line of ``metrics.jsonl``, then every sink of ``train.sinks``.

    A sink that fails is switched off with a warning, and training continues.  path: of ``metrics.jsonl``.
    """

    def __init__(self, path: Path, train: TrainConfig, reporter: Reporter) -> None:
        self.reporter = reporter
        self._lines = MetricsWriter(path)
        self._sinks: dict[str, Sink] = {}
        for name in dict.fromkeys(train.sinks):
            make = SINK.bind(name, train.sink_args.get(name))
            try:
                self._sinks[name] = make(path.parent)
            except Exception as error:
                self._failed(name, error)

    def write(self, step_metrics: Mapping[str, Any]) -> None:
        """Record one finished step."""
        self._lines.write(step_metrics)
        for name, sink in list(self._sinks.items()):
            try:
                sink.write(step_metrics)
            except Exception as error:
                self._failed(name, error)

    def close(self) -> None:
        """Close the file and every sink that works."""
        self._lines.close()
        for name, sink in list(self._sinks.items()):
            try:
                sink.close()
            except Exception as error:
                self._failed(name, error)
        self._sinks.clear()

    def _failed(self, name: str, error: Exception) -> None:
        self._sinks.pop(name, None)
        where = SINK.blame(name, error)
        self.reporter.warn(f"{where.what}; it is switched off, metrics.jsonl is still written ({where.why})")


def _cells(columns: Sequence[str], row: Mapping[str, Any]) -> list[Any]:
    """Numbers and texts as they are, tables and lists as JSON, what is absent or null empty."""
    values = (row.get(name) for name in columns)
    return [json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else value for value in values]


def _csv(rows: Sequence[Sequence[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


SINKS: dict[str, Callable[..., Sink]] = {
    "csv": CsvSink,
}
