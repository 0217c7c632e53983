"""Help: light, complete, with examples; mistakes are answered with a suggestion."""

from __future__ import annotations

import subprocess
import sys

import pytest

from commands.support import environment, sdar
from sdar_cli import __version__
from sdar_cli.algo.registry import GATE, OBJECTIVE
from sdar_cli.base.plugins import Kind
from sdar_cli.config.plugs import RETRIEVAL

HEAVY = ("torch", "transformers", "trl", "peft", "datasets", "textworld", "alfworld", "numpy")
OWN = [
    ("train",),
    ("sweep",),
    ("probe",),
    ("doctor",),
    ("presets", "list"),
    ("presets", "show"),
    ("runs", "list"),
    ("runs", "show"),
]


@pytest.mark.parametrize(
    "words", [["--help"], ["train", "--help"], ["sweep", "--help"], ["probe", "--help"], ["--version"]]
)
def test_help_imports_nothing_heavy(words: list[str]) -> None:
    code = f"""
import sys
from sdar_cli.cli import main
try:
    main({words!r})
except SystemExit as end:
    assert end.code == 0, end.code
print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment(), check=True)
    assert done.stderr.strip() == "[]"


def test_every_command_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    result = sdar(capsys, "--help")
    for command in ("train", "eval", "sweep", "probe", "play", "skills", "data", "models", "presets", "runs", "doctor"):
        assert f"\n│ {command} " in result.out


@pytest.mark.parametrize("command", OWN)
def test_every_command_has_three_examples_and_an_explanation(
    command: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    result = sdar(capsys, *command, "--help")
    assert result.code == 0
    assert result.out.partition("Examples:")[2].count("\n sdar ") >= 3


def test_defaults_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    out = sdar(capsys, "train", "--help").out
    for default in ("alfworld", "tiny-alfworld", "sdar", "gap", "5.0", "task-type", "runs"):
        assert f"default: {default}]" in out or f"default: ({default})]" in out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert sdar(capsys, "--version").out == f"sdar {__version__}\n"


@pytest.mark.parametrize(
    "words, hint", [(["trian"], "'train'"), (["train", "--gat", "gap"], "--gate"), (["runs", "lst"], "'list'")]
)
def test_misspelt_commands_and_options_are_answered(
    words: list[str], hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    result = sdar(capsys, *words)
    assert result.code == 2
    assert hint in result.err


def test_nothing_at_all_shows_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    result = sdar(capsys)
    assert "Train and evaluate" in result.out + result.err


@pytest.mark.parametrize(
    "function, start, expected",
    [
        ("keys", "algo.gate_", ["algo.gate_args=", "algo.gate_beta=", "algo.gate_entropy="]),
        ("preset_references", "methods/sk", ["methods/skill-grpo", "methods/skill-prompt", "methods/skill-sd"]),
    ],
)
def test_values_are_completed(function: str, start: str, expected: list[str]) -> None:
    from sdar_cli.commands import completion

    assert getattr(completion, function)(start) == expected
    assert completion.sweeps("g") == ["gate"]
    assert completion.preset_names("envs")("alfworld-") == ["alfworld-real"]


@pytest.mark.parametrize(
    "kind, start, expected",
    [
        (GATE, "s", ["soft-or"]),
        (OBJECTIVE, "", ["surrogate", "signed", "k1", "k3", "reverse-kl", "forward-kl", "jsd"]),
        (RETRIEVAL, "t", ["task-type"]),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_plugs_are_completed(kind: Kind, start: str, expected: list[str]) -> None:
    from sdar_cli.commands import completion

    assert completion.plugs(kind)(start) == expected
