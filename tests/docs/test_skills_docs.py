"""docs/skills.md: what it names exists, and its examples of formats can be read."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from places import ROOT

from sdar_cli.skills import lint
from sdar_cli.skills.bank import read_bank
from sdar_cli.skills.build.traces import read_traces

TEXT = (ROOT / "docs" / "skills.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)


def test_the_shown_bank_is_a_bank(tmp_path):
    (tmp_path / "bank.toml").write_text(blocks("toml")[0].partition("[routes]")[0])
    skill = next(block for block in blocks("text") if block.startswith("+++"))
    (tmp_path / "heat.md").write_text(skill)
    bank = read_bank(tmp_path)
    assert bank.of("pick_heat_then_place_in_recep")[0].sources == ("base/episodes/step-000001.jsonl:25-30",)


def test_the_shown_demonstration_can_be_read(tmp_path):
    (line,) = blocks("json")
    assert json.loads(line)["won"] is True
    (tmp_path / "d.jsonl").write_text(line)
    assert read_traces(tmp_path / "d.jsonl").episodes[0].acts[1].action == "take apple 1 from shelf 1"


def test_every_check_of_the_linter_is_explained():
    source = Path(lint.__file__).read_text() + (ROOT / "sdar_cli" / "commands" / "skills" / "lint.py").read_text()
    checks = set(re.findall(r'"((?:[a-z]+-)+[a-z]+|empty|short|duplicate|long|unreadable)"', source))
    named = set(re.findall(r"`([a-z-]+)`", TEXT))
    assert {"near-duplicate", "over-budget", "unreadable"} <= checks
    assert checks - named == set()


@pytest.mark.parametrize("option", sorted(set(re.findall(r"`(--[a-z-]+)", TEXT))))
def test_options_that_are_named_exist(option):
    commands = "".join(path.read_text() for path in (ROOT / "sdar_cli" / "commands").rglob("*.py"))
    assert f'"{option}"' in commands
