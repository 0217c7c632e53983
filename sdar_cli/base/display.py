"""What is shown while something runs: messages, tables, progress, and the live table of a training run.

On a terminal a live table and progress bars; elsewhere, and with ``CI`` or ``NO_COLOR`` set, plain lines.
In JSON mode standard output carries JSON lines only and all of this goes to standard error.
"""

from __future__ import annotations

import io
import json
import math
import os
import re
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from sdar_cli.base.files import finite

STEPS_SHOWN = 15
BLOCKS = "▁▂▃▄▅▆▇█"
PLAIN_WIDTH = 160
PLAIN_INTERVAL = 15.0
"""Seconds between two plain progress lines."""
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""Control characters but tab and newline: model text must not steer the terminal."""

COLUMNS: tuple[tuple[str, str, str], ...] = (
    ("step", "step", "d"),
    ("success", "success", "%"),
    ("reward", "reward", ".3f"),
    ("gate mean", "gate_mean", ".3f"),
    ("gate active", "gate_active_ratio", "%"),
    ("gap", "gap_mean", "+.3f"),
    ("KL", "kl", ".4f"),
    ("tokens/s", "tokens_per_s", ".0f"),
    ("ETA", "eta_s", "time"),
    ("last episode", "last_episode", "text"),
)
"""Header, metric key and format of the live table."""


def clean(text: str) -> str:
    """Text without control characters other than tab and newline."""
    return CONTROL.sub("", text)


def duration(seconds: float) -> str:
    """``45s``, ``3m20s`` or ``2h05m``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    return f"{whole // 60}m{whole % 60:02d}s" if whole < 3600 else f"{whole // 3600}h{whole % 3600 // 60:02d}m"


def sparkline(values: Sequence[float]) -> str:
    """One block per value, from the least to the greatest; a dot where there is none.

    >>> sparkline([0, 1, 2, float("nan"), 4])
    '▁▃▅·█'
    """
    known = [value for value in values if math.isfinite(value)]
    if not known:
        return "·" * len(values)
    low, spread = min(known), (max(known) - min(known)) or 1.0
    return "".join(
        BLOCKS[round((value - low) / spread * (len(BLOCKS) - 1))] if math.isfinite(value) else "·" for value in values
    )


def format_metric(value: Any, spec: str) -> str:
    """One cell: a dash for what is absent."""
    if value is None:
        return "–"
    if spec == "text":
        return clean(str(value)).replace("\n", " ")
    if spec == "time":
        return duration(value)
    return f"{100 * value:.1f}%" if spec == "%" else format(value, spec)


class Work:
    """One long piece of work; ``advance`` as it proceeds."""

    def __init__(self, reporter: Reporter, description: str, total: int | None) -> None:
        self._reporter = reporter
        self._description = description
        self._total = total
        self._done = 0
        self._last_line = time.monotonic()
        self._bar: TaskID | None = None
        if reporter.live_view:
            self._bar = reporter.bars.add_task(description, total=total)
            reporter.refresh()

    def advance(self, n: int = 1) -> None:
        """Count ``n`` more units as done."""
        self._done += n
        if self._bar is not None:
            self._reporter.bars.advance(self._bar, n)
        elif time.monotonic() - self._last_line >= PLAIN_INTERVAL and (self._total is None or self._done < self._total):
            self._last_line = time.monotonic()
            of = "" if self._total is None else f" of {self._total}"
            self._reporter.info(f"{self._description}: {self._done}{of}")

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._reporter.bars.remove_task(self._bar)
            self._reporter.refresh()


class Reporter:
    """The one place that writes to the terminal and to a run's log."""

    def __init__(self, json_mode: bool = False, plain: bool | None = None, silent: bool = False) -> None:
        self.json_mode = json_mode and not silent
        self._stdout: TextIO = sys.stdout
        stream = sys.stderr if json_mode else sys.stdout
        if silent:  # a further process of a run
            stream = io.StringIO()
        quiet = plain if plain is not None else bool(os.environ.get("CI") or os.environ.get("NO_COLOR"))
        self.live_view = stream.isatty() and not quiet
        width = None if stream.isatty() or "COLUMNS" in os.environ else PLAIN_WIDTH
        self.console = Console(file=stream, width=width, highlight=False, no_color=quiet or None)
        self.bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=self.console,
        )
        self._steps: list[Mapping[str, Any]] = []
        self._board: Table | None = None
        self._live: Live | None = None
        self._log: TextIO | None = None

    def attach(self, path: Path) -> None:
        """Also write everything to this log file, with times."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._log = path.open("a", encoding="utf-8")

    def info(self, text: str) -> None:
        """A line for the user."""
        self.console.print(Text(clean(text)), soft_wrap=True)
        self.log(text)

    def warn(self, text: str) -> None:
        """A line that deserves a second look."""
        self.console.print(Text.assemble(("warning: ", "yellow"), clean(text)), soft_wrap=True)
        self.log(f"warning: {text}")

    def confirm(self, question: str) -> None:
        """Ask on a terminal whether to continue; elsewhere nothing is asked.  Raises typer.Abort on a no."""
        if sys.stdin.isatty():
            import typer

            typer.confirm(question, abort=True, err=True)

    def panel(self, title: str, text: str) -> None:
        """A longer text, shown as it is."""
        self.console.print(Panel(Text(clean(text)), title=Text(clean(title)), title_align="left"))
        self.log(f"{title}\n{text}")

    def table(
        self, title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], marked: Sequence[bool] = ()
    ) -> None:
        """A table; None is shown as a dash, ``marked`` rows stand out."""
        self.console.print(Text(clean(title), style="bold"), soft_wrap=True)
        self.console.print(_filled(columns, rows, marked))
        self.log("\n".join([title, *("\t".join(str(cell) for cell in row) for row in [columns, *rows])]))

    def step(self, metrics: Mapping[str, Any]) -> None:
        """The metrics of one training step: a row of the live table, or one plain line."""
        cells = [(header, format_metric(metrics.get(key), spec)) for header, key, spec in COLUMNS]
        line = "  ".join(f"{header} {cell}" for header, cell in cells if cell != "–")
        self.log(line)
        if self.live_view:
            self._steps = [*self._steps, metrics][-STEPS_SHOWN:]
            self.refresh()
        else:
            self.console.print(Text(line), soft_wrap=True)

    def board(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """A table that replaces the one shown before; nothing where there is no live view."""
        if self.live_view:
            self._board = _filled(columns, rows)
            self._board.title, self._board.title_justify = Text(clean(title), style="bold"), "left"
            self.refresh()

    @contextmanager
    def progress(self, description: str, total: int | None) -> Iterator[Work]:
        """Show the progress of work with ``total`` units (None: not known); the object's ``advance(n)`` counts them."""
        self.log(f"{description} ({total})")
        if not self.live_view:
            self.console.print(Text(f"{description} …"), soft_wrap=True)
        work = Work(self, description, total)
        try:
            yield work
        finally:
            work.close()

    def emit(self, event: str, **fields: Any) -> None:
        """In JSON mode, one JSON line on standard output."""
        if self.json_mode:
            self.emit_object({"event": event, **fields})

    def emit_object(self, value: Any) -> None:
        """One JSON value on standard output, whatever the mode."""
        self._stdout.write(json.dumps(finite(value), ensure_ascii=False, allow_nan=False) + "\n")
        self._stdout.flush()

    def log(self, text: str) -> None:
        """To the log file only."""
        if self._log is not None:
            stamp = datetime.now().isoformat(sep=" ", timespec="seconds")
            self._log.write(f"{stamp} {text}\n")
            self._log.flush()

    def refresh(self) -> None:
        """Redraw the live view, starting it at first use."""
        if self._live is None:
            self._live = Live(console=self.console, refresh_per_second=4, transient=False)
            self._live.start()
        self._live.update(Group(*self._live_parts()), refresh=True)

    def _live_parts(self) -> list[Any]:
        table = Table(box=box.SIMPLE_HEAD)
        for header, _, spec in COLUMNS:
            table.add_column(header, justify="left" if spec == "text" else "right", no_wrap=True, overflow="ellipsis")
        for metrics in self._steps:
            table.add_row(*(Text(format_metric(metrics.get(key), spec)) for _, key, spec in COLUMNS))
        board = [self._board] if self._board else []
        return [*board, *([table] if self._steps else []), *([self.bars] if self.bars.tasks else [])]

    def end_live(self) -> None:
        """End the live view, leaving its last state on the screen."""
        if self._live is not None:
            self._live.stop()
            self._live = None
        self._steps, self._board = [], None

    def close(self) -> None:
        """End the live view and close the log."""
        self.end_live()
        if self._log is not None:
            self._log.close()
            self._log = None

    def __enter__(self) -> Reporter:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


def _filled(columns: Sequence[str], rows: Sequence[Sequence[Any]], marked: Sequence[bool] = ()) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for number, row in enumerate(rows):
        style = "bold yellow" if number < len(marked) and marked[number] else None
        table.add_row(*("–" if cell is None else Text(clean(str(cell))) for cell in row), style=style)
    return table


@contextmanager
def json_stdout(reporter: Reporter) -> Iterator[None]:
    """In JSON mode, send everybody else's standard output to standard error, child processes included."""
    if not reporter.json_mode:
        yield
        return
    try:
        descriptor = sys.stdout.fileno()
    except (io.UnsupportedOperation, AttributeError):  # a captured stream: nothing below Python to redirect
        with redirect_stdout(sys.stderr):
            yield
        return
    sys.stdout.flush()
    saved = os.dup(descriptor)
    original = reporter._stdout
    with os.fdopen(saved, "w", encoding="utf-8") as own:
        reporter._stdout = own
        os.dup2(sys.stderr.fileno(), descriptor)
        try:
            yield
        finally:
            sys.stdout.flush()
            os.dup2(saved, descriptor)
            reporter._stdout = original
