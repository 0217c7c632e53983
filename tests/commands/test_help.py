"""Help: light, complete, with examples; mistakes are answered with a suggestion."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import typer

from commands.support import environment, sdar
from sdar_cli import __version__
from sdar_cli.algo.registry import GATE, OBJECTIVE
from sdar_cli.cli import app
from sdar_cli.commands import completion
from sdar_cli.commands.examples import ENV, OTHER_ENV, OTHER_POLICY, POLICY
from sdar_cli.config.plugs import RETRIEVAL
from sdar_cli.config.presets import list_presets
from sdar_cli.envs.registry import benchmark, built_in
from sdar_cli.skills.bank import load_bank

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
heavy = {(*HEAVY, "pydantic") if words == ["--help"] else HEAVY!r}
print([name for name in heavy if name in sys.modules], file=sys.stderr)
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


def _commands(command: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The words of every command that has no sub-commands."""
    context = typer.Context(command)
    for name in command.list_commands(context):
        below = command.get_command(context, name)
        if hasattr(below, "list_commands"):
            yield from _commands(below, (*words, name))
        else:
            yield (*words, name)


def test_examples_name_environments_and_models_that_exist(capsys: pytest.CaptureFixture[str]) -> None:
    """The names come from lists: were the order of the environments another, examples could name what is not there."""
    named: dict[str, set[str]] = {"env": set(), "model": set(), "play": set()}
    for words in _commands(typer.main.get_command(app)):
        examples = " ".join(sdar(capsys, *words, "--help").out.partition("Examples:")[2].split())
        for option in ("env", "model"):
            named[option] |= set(re.findall(rf"--{option} ([a-z-]+)(?= |$)", examples))
        named["play"] |= set(re.findall(r"sdar play ([a-z-]+)", examples))
    assert len(named["env"]) >= 3 and named["env"] - {"all", "maze"} <= set(list_presets("envs"))
    assert len(named["model"]) >= 2 and named["model"] <= set(list_presets("models"))
    assert named["play"] == set(built_in())


def test_the_default_model_is_that_of_the_default_environment() -> None:
    assert benchmark(ENV).default_model == POLICY and benchmark(OTHER_ENV).default_model == OTHER_POLICY


def test_examples_of_skills_name_task_types_that_exist(capsys: pytest.CaptureFixture[str]) -> None:
    out = " ".join(sdar(capsys, "skills", "inspect", "--help").out.split())
    assert f"sdar skills inspect {OTHER_ENV} --task footwear" in out and "footwear" in load_bank(OTHER_ENV).categories
    assert "inspect --task look_at_obj_in_light" in out and "look_at_obj_in_light" in load_bank(ENV).categories


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
        (completion.plugs(GATE), "s", ["soft-or"]),
        (completion.plugs(OBJECTIVE), "", ["surrogate", "signed", "k1", "k3", "reverse-kl", "forward-kl", "jsd"]),
        (completion.plugs(RETRIEVAL), "t", ["task-type"]),
        (completion.keys, "algo.gate_", ["algo.gate_args=", "algo.gate_beta=", "algo.gate_entropy="]),
        (
            completion.preset_references,
            "methods/sk",
            ["methods/skill-grpo", "methods/skill-prompt", "methods/skill-sd"],
        ),
    ],
)
def test_values_are_completed(function: Callable[[str], list[str]], start: str, expected: list[str]) -> None:
    assert function(start) == expected
    assert completion.sweeps("g") == ["gate"]
    assert completion.preset_names("envs")("alfworld-") == ["alfworld-real"]
