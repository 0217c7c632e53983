"""Shared options: groups as Typer sees them, and the settings they stand for."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer
from typer.testing import CliRunner

from sdar_cli.base.errors import ConfigError
from sdar_cli.cli import app
from sdar_cli.commands.option_groups import Without, expand_groups
from sdar_cli.commands.options import KEY_OF_FLAG, Settings, given_flags, option
from sdar_cli.config.merge import field_table

MOST_PARAMETERS = 12


@dataclass(frozen=True)
class Where:
    folder: Annotated[Path, option("--folder", "A folder.")]
    slots: Annotated[int, option("--slots", "How many.", min=1)] = 1
    tries: Annotated[int, option("--tries", "How often.")] = 2


def made(command: Callable[..., None]) -> typer.Typer:
    found = typer.Typer()
    found.command()(expand_groups(command))
    return found


def test_a_group_is_its_options_in_its_place() -> None:
    seen: list[Any] = []

    def command(
        name: Annotated[str, typer.Argument()],
        where: Annotated[Where, Without("tries")],
        yes: Annotated[bool, option("--yes", "Yes.")] = False,
    ) -> None:
        """What it does."""
        seen.append((name, where, yes))

    expanded = expand_groups(command)
    assert list(inspect.signature(expanded).parameters) == ["name", "folder", "slots", "yes"]
    result = CliRunner().invoke(made(command), ["x", "--folder", "here", "--slots", "3"])
    assert result.exit_code == 0, result.output
    assert seen == [("x", Where(Path("here"), 3, 2), False)]
    assert "What it does." in CliRunner().invoke(made(command), ["--help"]).output


def test_options_of_a_group_are_checked_as_any_other() -> None:
    def command(where: Where) -> None:
        pytest.fail("it ran")

    runner, application = CliRunner(), made(command)
    assert "--folder" in runner.invoke(application, []).output
    assert "--slots" in runner.invoke(application, ["--folder", "x", "--slots", "0"]).output
    assert runner.invoke(application, ["--folder", "x", "--slots", "0"]).exit_code == 2


def test_two_options_of_one_name_and_unknown_fields_are_refused() -> None:
    def twice(where: Where, slots: Annotated[int, option("--slots", "Again.")] = 1) -> None: ...

    def unknown(where: Annotated[Where, Without("colour")]) -> None: ...

    with pytest.raises(ValueError, match="slots"):
        expand_groups(twice)
    with pytest.raises(ValueError, match="Where has no field colour"):
        expand_groups(unknown)


def commands(group: typer.Typer) -> Iterator[Callable[..., Any]]:
    """Every command's function, as it is written."""
    for info in group.registered_commands:
        assert info.callback is not None
        yield inspect.unwrap(info.callback)
    for inner in group.registered_groups:
        assert inner.typer_instance is not None
        yield from commands(inner.typer_instance)


def test_no_command_has_too_many_parameters() -> None:
    counts = {f"{c.__module__}.{c.__name__}": len(inspect.signature(c).parameters) for c in commands(app)}
    assert len(counts) > 20
    assert {name: count for name, count in counts.items() if count > MOST_PARAMETERS} == {}


def test_every_flag_stands_for_a_setting_that_exists() -> None:
    assert set(KEY_OF_FLAG.values()) <= set(field_table())


def test_given_flags() -> None:
    assert given_flags(data=Path("x"), gate=None, beta=2.0) == {
        "env.data": ("x", "--data"),
        "algo.gate_beta": (2.0, "--beta"),
    }
    with pytest.raises(ConfigError, match="--lora 0 is not a rank"):
        given_flags(lora=0)


def test_every_option_of_the_settings_reaches_the_configuration(tmp_path: Path) -> None:
    values: dict[str, Any] = {
        "data": tmp_path, "lora": 4, "gate": "entropy", "beta": 2.0, "coef": 0.5, "objective": "k3",
        "retrieval": "keyword", "seed": 3, "steps": 7,
    }  # fmt: skip
    by_name = {field.name for field in fields(Settings)} - {"env", "model", "method", "preset", "config", "sets"}
    assert by_name == set(values)
    flags = Settings(**values).flags(name="mine")
    assert {flag.removeprefix("--") for _, flag in flags.values()} == {*values, "name"}
    resolved = Settings(env="alfworld", gate="entropy", seed=3, sets=["train.lr=0.5"]).resolve(name="mine")
    assert (resolved.config.algo.gate, resolved.config.seed, resolved.config.train.lr) == ("entropy", 3, 0.5)
    assert resolved.sources["algo.gate"] == "--gate" and resolved.config.name == "mine"
