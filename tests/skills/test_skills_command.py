"""``sdar skills inspect`` with a small tokenizer and an environment of two tasks."""

from __future__ import annotations

import json
import subprocess
import sys
from types import ModuleType

import pytest
import typer
from typer.testing import CliRunner

from sdar_cli.commands.skills import register
from sdar_cli.envs.base import Observation, Step, Task
from sdar_cli.errors import ConfigError, RunFailedError
from sdar_cli.skills.bank import load_bank

from .material import word_tokenizer

TASKS = [
    Task("train/heat-0", "pick_heat_then_place_in_recep", "train"),
    Task("train/look-0", "look_at_obj_in_light", "train"),
]
ACTIONS = ("go to desk 1", "help", "look")


class TwoTasks:
    """An environment that only resets."""

    failure: str | None = None
    closed = 0

    def __enter__(self):
        return self

    def __exit__(self, *error):
        TwoTasks.closed += 1

    def tasks(self, split):
        return TASKS if split == "train" else []

    def preflight(self, tasks):
        assert set(tasks) <= set(TASKS)

    def reset(self, assignment):
        seen = Observation("You see a [bold]desk[/] 1.", "look at mug under the desklamp", ACTIONS)
        return {slot: Step(seen, 0.0, False, False, self.failure) for slot in assignment}


@pytest.fixture
def invoke(monkeypatch):
    """Run the command; what it opens and loads is recorded in ``invoke.asked``."""
    asked = []
    environments, loading = ModuleType("env"), ModuleType("loading")
    environments.open_environment = lambda config, reporter: asked.append(config) or TwoTasks()
    loading.load_tokenizer = lambda name, revision=None: asked.append(name) or word_tokenizer()
    monkeypatch.setitem(sys.modules, "sdar_cli.envs.alfworld.env", environments)
    monkeypatch.setitem(sys.modules, "sdar_cli.models.loading", loading)
    monkeypatch.setenv("COLUMNS", "200")
    app = typer.Typer()
    register(app)
    app.command("other")(lambda: None)

    def run(*words):
        return CliRunner().invoke(app, ["skills", "inspect", *words])

    run.asked = asked
    return run


def test_list_names_every_skill_and_loads_no_model(invoke):
    result = invoke()
    assert result.exit_code == 0
    bank = load_bank("alfworld")
    assert bank.sha256 in result.stdout
    assert all(skill.id in result.stdout for skill in bank.skills)
    assert "tokens" not in result.stdout
    assert invoke.asked == []


def test_list_as_json_with_tokens(invoke):
    record = json.loads(invoke("alfworld", "--model", "some/model", "--json").stdout)
    assert invoke.asked == ["some/model"]
    assert record["sha256"] == load_bank("alfworld").sha256
    heat = next(skill for skill in record["skills"] if skill["id"] == "pick_heat_then_place_in_recep")
    assert "hot" in heat["keywords"]
    assert heat["tokens"] == heat["words"]
    assert heat["brief_tokens"] == len(heat["brief"].split())


def test_task_as_json(invoke):
    record = json.loads(invoke("--task", "train/look-0", "--placement", "prefix", "--json").stdout)
    assert record["task"]["goal"] == "look at mug under the desklamp"
    assert [skill["category"] for skill in record["skills"]] == ["general", "look_at_obj_in_light"]
    teacher, student = record["teacher"], record["student"]
    start, end = teacher["skill_span"]
    assert teacher["text"][:start] + teacher["text"][end:] == student["text"]
    assert teacher["tokens"] == len(teacher["text"].replace("<|", " <|").replace("|>", "|> ").split())
    assert student["skill_span"] is None
    config, name = invoke.asked[1], invoke.asked[0]
    assert (config.source, config.data, config.workers) == ("generated", None, 1)
    assert name == "tiny-alfworld"


def test_task_by_type_and_keyword_reason(invoke):
    result = invoke("--task", "pick_heat_then_place_in_recep", "--retrieval", "keyword")
    assert result.exit_code == 0
    assert "train/heat-0" in result.stdout
    assert 'look_at_obj_in_light: the goal contains "look at"' in result.stdout
    assert "You see a [bold]desk[/] 1." in result.stdout, "text of the environment is no markup"
    assert "nothing cut" in result.stdout


def test_cut_is_shown(invoke):
    result = invoke("--task", "train/look-0", "--form", "full", "--limit", "60")
    assert "CUT" in result.stdout
    assert "observation, skill" in result.stdout


def test_data_means_the_released_games(invoke):
    invoke("--task", "train/look-0", "--data", "/games")
    assert (invoke.asked[1].source, invoke.asked[1].data) == ("real", "/games")


def test_environment_is_closed_when_the_task_is_unknown(invoke):
    before = TwoTasks.closed
    result = invoke("--task", "train/lok-0")
    assert isinstance(result.exception, ConfigError)
    assert "train/look-0" in result.exception.why
    assert TwoTasks.closed == before + 1
    assert "0 tasks" in str(invoke("--task", "train/look-0", "--split", "eval").exception)


def test_broken_environment_is_an_error(invoke, monkeypatch):
    monkeypatch.setattr(TwoTasks, "failure", "engine died")
    result = invoke("--task", "train/look-0")
    assert isinstance(result.exception, RunFailedError)
    assert result.exception.why == "engine died"


def test_bank_of_another_environment_is_refused(invoke, tmp_path):
    (tmp_path / "bank.toml").write_text(
        'name = "shop"\nversion = "1"\nenvironment = "webshop"\nlicence = "MIT"\n[categories.buy]\nkeywords = ["buy"]\n'
    )
    (tmp_path / "buy.md").write_text('+++\nid = "buy"\ncategory = "buy"\nwhen = "w"\nbrief = "b"\n+++\ntext\n')
    assert invoke(str(tmp_path)).exit_code == 0
    result = invoke(str(tmp_path), "--env", "alfworld", "--task", "train/look-0")
    assert "webshop" in result.exception.what


def test_help_has_examples(invoke):
    text = invoke("--help").stdout
    assert text.count("sdar skills inspect") >= 3


def test_importing_the_command_loads_nothing_heavy():
    heavy = ("torch", "transformers", "rich.table")
    code = f"import sys, sdar_cli.commands.skills; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
