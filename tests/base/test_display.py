"""What the reporter writes, where, and that model text cannot steer the terminal."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from commands.support import environment

from sdar_cli.base.display import Reporter, clean, duration, format_metric, json_stdout

METRICS = {"step": 3, "success": 0.3125, "reward": 0.5, "gate_mean": 0.497, "gap_mean": -0.1417, "eta_s": 130.2}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_step_is_one_plain_line_when_not_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with Reporter() as reporter:
        reporter.step(METRICS)
    line = capsys.readouterr().out.strip()
    assert line == "step 3  success 31.2%  reward 0.500  gate mean 0.497  gap -0.142  ETA 2m10s"


def test_json_mode_keeps_stdout_for_json(capsys: pytest.CaptureFixture[str]) -> None:
    with Reporter(json_mode=True) as reporter, json_stdout(reporter):
        reporter.info("hello")
        reporter.warn("careful")
        reporter.panel("title", "text")
        reporter.table("numbers", ["a"], [(1,)])
        reporter.step(METRICS)
        print("a library's chatter")
        reporter.emit("done", value=float("nan"))
    captured = capsys.readouterr()
    assert [json.loads(line) for line in captured.out.splitlines()] == [{"event": "done", "value": None}]
    for text in ("hello", "warning: careful", "title", "numbers", "step 3", "a library's chatter"):
        assert text in captured.err


def test_json_mode_also_redirects_what_is_written_below_python() -> None:
    code = """
import os, subprocess, sys
from sdar_cli.base.display import Reporter, json_stdout
with Reporter(json_mode=True) as reporter, json_stdout(reporter):
    os.write(1, b"from C\\n")
    subprocess.run([sys.executable, "-c", "print('from a child')"])
    reporter.emit("launch")
print("afterwards")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment())
    assert done.stdout == '{"event": "launch"}\nafterwards\n'
    assert done.stderr == "from C\nfrom a child\n"


def test_emit_is_silent_outside_json_mode(capsys: pytest.CaptureFixture[str]) -> None:
    Reporter().emit("launch")
    assert capsys.readouterr().out == ""


def test_everything_goes_to_the_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "logs" / "train.log"
    with Reporter() as reporter:
        reporter.info("before the log")
        reporter.attach(path)
        reporter.info("shown")
        reporter.log("only logged")
        reporter.step(METRICS)
        reporter.table("numbers", ["a", "b"], [(1, 2)])
    text = path.read_text()
    for expected in ("shown", "only logged", "step 3", "1\t2"):
        assert expected in text
    assert "before the log" not in text
    assert "only logged" not in capsys.readouterr().out


def test_model_text_is_neither_markup_nor_terminal_control(capsys: pytest.CaptureFixture[str]) -> None:
    with Reporter() as reporter:
        reporter.info("[bold]take[/bold] apple\x1b[2J\x07 1")
        reporter.panel("[/x]", "[link=file:///]\x1b]0;title\x07")
        reporter.table("t", ["[a]"], [("[red]\x1b[31m",)])
        reporter.step({"step": 1, "last_episode": "look\x1b[2J\nwon"})
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "[bold]take[/bold] apple[2J 1" in out
    assert "look[2J won" in out
    assert clean("a\tb\nc\r\x9b") == "a\tb\nc"


def test_plain_progress_names_the_work(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([0.0, 1.0, 20.0, 20.0, 21.0, 22.0])
    monkeypatch.setattr("sdar_cli.base.display.time.monotonic", lambda: next(times))
    with Reporter() as reporter, reporter.progress("playing", 4) as work:
        work.advance()
        work.advance(2)
        work.advance()
    assert capsys.readouterr().out.splitlines() == ["playing …", "playing: 3 of 4"]


@pytest.mark.parametrize("variable", ["CI", "NO_COLOR"])
def test_a_terminal_gets_plain_lines_when_asked(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout", Terminal())
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert Reporter().live_view
    monkeypatch.setenv(variable, "1")
    assert not Reporter().live_view


def test_the_live_table_shows_steps_and_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stdout", terminal)
    for name, value in (("TERM", "xterm"), ("COLUMNS", "140")):
        monkeypatch.setenv(name, value)
    for name in ("CI", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    with Reporter() as reporter:
        with reporter.progress("evaluating", 2) as work:
            work.advance()
        for step in range(1, 20):
            reporter.step({**METRICS, "step": step, "last_episode": "heat: won in 8"})
        reporter.info("between the steps")
    final = terminal.getvalue()
    for text in ("evaluating", "gate mean", "last episode", "heat: won in 8", "between the steps"):
        assert text in final
    assert "\x1b[?25h" in final  # the cursor is back


@pytest.mark.parametrize(
    "seconds, text", [(0.4, "0s"), (59.4, "59s"), (59.6, "1m00s"), (130, "2m10s"), (7500, "2h05m")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_an_absent_metric_is_a_dash() -> None:
    assert format_metric(None, ".3f") == "–"
