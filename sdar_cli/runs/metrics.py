"""Metrics as JSON lines: one object per step, on disk before the next step starts."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path
from types import TracebackType
from typing import Any

from sdar_cli.base.errors import RunFailedError, naming
from sdar_cli.base.files import read_json_lines, to_json, write_text_atomic


class MetricsWriter:
    """Appends to a ``metrics.jsonl``; each line is flushed and synced."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        _mend_tail(path)
        self._file = path.open("a", encoding="utf-8")

    def write(self, metrics: Mapping[str, Any]) -> None:
        """One line, with NaN and infinities as null."""
        with naming(self.path):
            self._file.write(to_json(metrics) + "\n")
            self._file.flush()
            os.fsync(self._file.fileno())

    def truncate_after(self, step: int) -> None:
        """Drop the lines of later steps, so that a resumed run repeats none."""
        self._file.close()
        kept = [line for line in read_metrics(self.path) if StepMetrics.from_json(line).step <= step]
        write_text_atomic(self.path, "".join(to_json(line) + "\n" for line in kept))
        self._file = self.path.open("a", encoding="utf-8")

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> MetricsWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


@dataclass(frozen=True)
class StepMetrics:
    """A line of ``metrics.jsonl``: its step, and every value by its key; which keys there are depends on the method."""

    step: int
    values: Mapping[str, Any]

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> StepMetrics:
        """A line without a step is of step 0.  Raises ValueError for a step that is no number of steps."""
        step = row.get("step", 0)
        if isinstance(step, bool) or not isinstance(step, int):
            raise ValueError(f"its step is {step!r}")
        return cls(step, row)

    def to_json(self) -> Mapping[str, Any]:
        """The line."""
        return self.values

    def number(self, key: str) -> float | None:
        """A value that is a finite number; None where the step has none."""
        value = self.values.get(key)
        return value if isinstance(value, int | float) and abs(value) < inf else None

    @property
    def success(self) -> float | None:
        """The share of the step's episodes that were won."""
        return self.number("success")

    def by_turn(self, key: str) -> Sequence[float | None]:
        """A value for each turn of an episode, the first turn first; none where the step has none."""
        values = self.values.get(key)
        return [v if isinstance(v, int | float) else None for v in values] if isinstance(values, list) else ()


def read_steps(path: Path) -> list[StepMetrics]:
    """The steps of a ``metrics.jsonl``, in order; see ``read_metrics``."""
    try:
        return [StepMetrics.from_json(row) for row in read_metrics(path)]
    except ValueError as error:
        raise RunFailedError(f"{path} cannot be read", why=f"a line is of no step: {error}") from error


def missing_steps(path: Path, step: int) -> list[int]:
    """The steps from 1 to ``step`` that a ``metrics.jsonl`` has no line of."""
    there = {row.step for row in read_steps(path)}
    return [each for each in range(1, step + 1) if each not in there]


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Every complete line, in order; [] without a file.  A torn last line (a crash while writing) is left out.

    Raises RunFailedError where another line is damaged.
    """
    return list(read_json_lines(path, torn_tail=True)) if path.is_file() else []


def _mend_tail(path: Path) -> None:
    """Cut a torn last line off, so that appending does not glue two lines together."""
    if not path.is_file():
        return
    content = path.read_bytes()
    if content and not content.endswith(b"\n"):
        rows = read_metrics(path)
        write_text_atomic(path, "".join(to_json(row) + "\n" for row in rows))
