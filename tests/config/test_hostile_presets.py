"""Preset and configuration files that cannot be read: a clear error for each."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sdar_cli.base.errors import ConfigError
from sdar_cli.config.presets import load_preset, resolve


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('extends = "{path}"', "extends itself"),
        ("extends = 3", "extends is not a text"),
        ("a = " + "9" * 5000, "not valid TOML"),
        ("a = " + "[" * 5000, "not valid TOML"),
        ("a = '\ud800'", "not valid TOML"),
        ("a = '\0'", "not valid TOML"),
        ("env = 3", "env is no section"),
        ("methods = 3", "methods is no section"),
        ("[methods]\nsdar = 3", "methods is not a table"),
    ],
)
def test_presets(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "p.toml"
    path.write_bytes(text.replace("{path}", str(path)).encode("utf-8", "surrogatepass"))
    with pytest.raises(ConfigError, match=words):
        load_preset(str(path))


def test_keys_without_end(tmp_path: Path) -> None:
    path = tmp_path / "p.toml"
    path.write_text("a." * 3000 + "a = 1")
    for more in ({"presets": [str(path)]}, {"sets": ["algo.gate_args." + "a." * 3000 + "a=1"]}):
        with pytest.raises(ConfigError, match="no key has more than 20 dots"):
            resolve(**more)


def test_configuration_files(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    for text in ("[" * 100_000, "9" * 5000, '{"schema": "x"}', "3", '{"env": 3}', '{"env": {"name": 3}}'):
        path.write_text(text)
        with pytest.raises(ConfigError):
            resolve(config_file=path)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(ConfigError, match="not a readable JSON"):
        resolve(config_file=path)


@pytest.mark.parametrize("name", ["x" * 5000, "[" * 300, "a\0b", "methods/" + "y" * 300, "../methods/sdar", ""])
def test_a_name_that_no_preset_has(name: str) -> None:
    with pytest.raises(ConfigError, match="unknown"):
        load_preset(name)
    with pytest.raises(ConfigError):
        resolve(sets=[f"env.name={name}"])


def test_a_preset_that_is_not_there_and_a_folder_called_null() -> None:
    with pytest.raises(ConfigError) as caught:
        resolve(presets=["gone.toml"])
    assert "gone.toml" in caught.value.render() and "()" not in caught.value.render()
    assert resolve(flags={"env.data": ("null", "--data")}).config.env.data == "null"
