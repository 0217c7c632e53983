"""docs/methods.md: its generated parts, the names it must know, and its examples."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import pytest
import torch
from places import ROOT

from sdar_cli.algo.batch import TokenBatch
from sdar_cli.algo.registry import GATE, OBJECTIVE, SCHEDULE, SHAPING
from sdar_cli.base.plugins import Kind
from sdar_cli.config.choices import PLACEMENTS
from sdar_cli.config.plugs import RETRIEVAL
from sdar_cli.config.presets import list_presets, resolve

METHODS = ROOT / "docs" / "methods.md"


@pytest.fixture(scope="module")
def builder() -> ModuleType:
    spec = importlib.util.spec_from_file_location("build_methods", ROOT / "docs" / "build_methods.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def text() -> str:
    return METHODS.read_text(encoding="utf-8")


def fenced(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def test_the_methods_are_those_of_the_presets(builder: ModuleType, text: str) -> None:
    assert builder.build(text) == text, "docs/methods.md is not that of the presets: run python docs/build_methods.py"


def test_every_method_has_its_row_and_its_section(builder: ModuleType, text: str) -> None:
    names = [*builder.PAPER, *builder.VARIANTS, *builder.FOLLOW_UPS]
    assert sorted(names) == list_presets("methods")
    for name in names:
        assert text.count(f"\n### {name}\n") == 1
        assert text.count(f"\n| [{name}](#{name}) |") == 1


def test_what_is_written_by_hand_is_kept(builder: ModuleType, text: str) -> None:
    mark = "<!-- comparison -->"
    edited = text.replace(mark, f"{mark}\nby hand | \\1\n")
    assert builder.build(edited) == edited
    assert "<!-- /comparison -->" in text.partition(mark)[2]


def test_a_changed_part_is_made_anew_and_a_missing_one_is_an_error(builder: ModuleType, text: str) -> None:
    assert builder.build(text.replace("### skill-sd", "### other")) == text
    with pytest.raises(ValueError, match="end variants"):
        builder.build(text.replace("<!-- end variants -->", ""))


@pytest.mark.parametrize(
    "setting",
    [GATE, OBJECTIVE, SHAPING, SCHEDULE, RETRIEVAL, PLACEMENTS],
    ids=lambda s: getattr(s, "name", "placement"),
)
def test_every_name_a_setting_takes_is_explained(setting: Any, text: str) -> None:
    names = setting.builtin() if isinstance(setting, Kind) else get_args(setting)
    by_hand = re.sub(r"<!-- begin (\S+) -->.*?<!-- end \1 -->", "", text, flags=re.DOTALL)
    missing = [name for name in names if f"`{name}`" not in by_hand]
    assert not missing, f"docs/methods.md does not explain {missing}"


def test_the_settings_shown_can_be_set(text: str, tmp_path: Path) -> None:
    blocks = fenced(text, "toml")
    assert blocks
    for block in blocks:
        file = tmp_path / "block.toml"
        file.write_text(block)
        assert resolve(presets=[str(file)]).config.views != resolve().config.views
    for key in re.findall(r"`((?:algo|train|teacher|skills|eval)\.\w+)", text):
        assert key in resolve().sources, key


def test_the_example_of_a_gate_works(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = fenced(text, "python")
    (path,) = re.findall(r"--gate (\w+:\w+)", text)
    (tmp_path / f"{path.partition(':')[0]}.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, path.partition(":")[0], raising=False)
    ids = torch.zeros(2, dtype=torch.long)
    # gaps 0.2, 0.4 | 0.6, masked: row means 0.3 and 0.6, times beta 2
    batch = TokenBatch(
        student=torch.zeros(2, 2),
        teacher=torch.tensor([[0.2, 0.4], [0.6, torch.nan]]),
        mask=torch.tensor([[True, True], [True, False]]),
        turn_ids=ids,
        trajectory_ids=ids,
        group_ids=ids,
    )
    weight = GATE.bind(path)(batch, 2.0)
    torch.testing.assert_close(weight, torch.sigmoid(torch.tensor([[0.6, 0.6], [1.2, 1.2]])))


def test_the_ways_of_choosing_skills_are_all_described() -> None:
    """One row per strategy, and the example hook does what the text says."""
    from sdar_cli.config.schema import SkillsConfig
    from sdar_cli.envs.base import Task
    from sdar_cli.skills.bank import load_bank
    from sdar_cli.skills.choose.evolve import Group
    from sdar_cli.skills.choose.retriever import Retriever

    text = (ROOT / "docs" / "skills_retrieval.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([a-z-]+)` \|", text, re.MULTILINE)
    assert sorted(rows) == sorted(RETRIEVAL.builtin())
    for name in SkillsConfig.model_fields.keys() - {"bank", "retrieval", "form"}:
        assert f"skills.{name}" in text
    namespace: dict[str, Any] = {}
    exec("".join(fenced(text, "python")), namespace)
    task, bank = Task("a-0", "pick_and_place_simple", "train"), load_bank("alfworld")
    retriever = Retriever(bank, SkillsConfig())
    skills = retriever.choose("task-type", task, "", 1).skills
    for reward, changes in ((1.0, 0), (0.0, 1)):
        made = namespace["update"](task, skills, Group(1, (), reward, None, SkillsConfig(), retriever.memory))
        assert len(made) == changes
    assert retriever.apply(task.type, made[0]) == "rewritten" and retriever.memory == {"groups": 2}
    assert retriever.choose("task-type", task, "", 2).skills[1].text.endswith("Take your time.")
