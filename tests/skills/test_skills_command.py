"""``sdar skills inspect`` with a small tokenizer and an environment of two tasks."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

from sdar_cli.base.errors import ConfigError, RunFailedError
from sdar_cli.commands.skills import register
from sdar_cli.skills.bank import load_bank

from .conftest import TwoTasks


@pytest.fixture
def invoke(monkeypatch, offline):
    """Run the command; what it opens and loads is in ``invoke.asked``."""
    monkeypatch.setenv("COLUMNS", "200")
    app = typer.Typer()
    register(app)
    app.command("other")(lambda: None)

    def run(*words):
        return CliRunner().invoke(app, ["skills", "inspect", *words])

    run.asked = offline
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


def test_prompts_stand_side_by_side_where_there_is_room(invoke, monkeypatch):
    def line_of(text: str, wanted: str) -> int:
        return next(number for number, line in enumerate(text.splitlines()) if wanted in line)

    wide = invoke("--task", "train/look-0").stdout
    assert line_of(wide, "teacher: ") == line_of(wide, "student: ")
    monkeypatch.setenv("COLUMNS", "100")
    narrow = invoke("--task", "train/look-0").stdout
    assert line_of(narrow, "teacher: ") < line_of(narrow, "student: ")
    monkeypatch.delenv("COLUMNS")
    piped = invoke("--task", "train/look-0").stdout
    assert line_of(piped, "teacher: ") < line_of(piped, "student: "), "a file is no wide terminal"


def test_the_part_of_the_skill_that_is_cut_is_shown(invoke):
    record = json.loads(invoke("--task", "train/look-0", "--limit", "30", "--json").stdout)
    text = " ".join(
        skill.brief for skill in load_bank("alfworld").of("general") + load_bank("alfworld").of("look_at_obj_in_light")
    )
    teacher = record["teacher"]
    assert teacher["cut"] == ["observation", "skill"] and teacher["tokens"] == 30
    assert teacher["dropped"] and text.endswith(teacher["dropped"])
    assert teacher["dropped"] not in teacher["text"]
    assert "of the skill this is cut: " in invoke("--task", "train/look-0", "--limit", "30").stdout


def test_coverage_of_a_panel(invoke):
    record = json.loads(invoke("--panel", "--split", "train", "--retrieval", "keyword", "--json").stdout)
    assert record["tasks"] == 2 and record["types"] == {"look_at_obj_in_light": 1, "pick_heat_then_place_in_recep": 1}
    assert record["skills"]["look_at_obj_in_light"] == {"look_at_obj_in_light": 1, "pick_heat_then_place_in_recep": 1}
    assert record["skills"]["general"] == {"look_at_obj_in_light": 1, "pick_heat_then_place_in_recep": 1}
    assert record["without_own"] == {"pick_heat_then_place_in_recep": 1} and record["refused"] == {}
    assert "pick_two_obj_and_place" in record["unused"]
    shown = invoke("--panel", "--split", "train").stdout
    assert "no task is given pick_two_obj_and_place" in shown and "no task is given general" not in shown


def test_a_type_without_skills_is_shown_as_refused(invoke, tmp_path):
    from sdar_cli.skills.write import renamed, write_bank

    bank = load_bank("alfworld")
    kept = [skill for skill in bank.skills if skill.category in ("general", "look_at_obj_in_light")]
    words = {"look_at_obj_in_light": bank.categories["look_at_obj_in_light"]}
    write_bank(renamed(bank, skills=kept, categories=words), tmp_path / "bank")
    record = json.loads(invoke(str(tmp_path / "bank"), "--panel", "--split", "train", "--json").stdout)
    assert record["refused"] == {"pick_heat_then_place_in_recep": 1}


def test_use_in_a_run(invoke, tmp_path):
    from .episodes import WIN, trained
    from .test_usage import choice, make_run

    log = [choice(1, "general", 1.0), choice(2, "general", 0.0)]
    make_run(tmp_path, [[trained(WIN, True, 0, ["general"], [[0.25]])]], log, retrieval="ucb")
    words = ["--run", "run", "--runs-dir", str(tmp_path)]
    record = json.loads(invoke(*words, "--json").stdout)
    assert record["skills"]["general"]["gap"] == 0.25
    shown = invoke(*words).stdout
    assert (
        "+0.250" in shown and "0.750" in shown and "bandit, pick_heat_then_place_in_recep: 1 of 7 skills tried" in shown
    )
    assert invoke.asked == [], "nothing but the run's files is read"


def test_a_task_under_what_a_run_has_learnt(invoke, tmp_path):
    from .episodes import WIN, trained
    from .test_usage import make_run

    run = make_run(tmp_path, [[trained(WIN, True)]], retrieval="ucb")
    state = {
        "bank": load_bank("alfworld").sha256,
        "ucb": {"look_at_obj_in_light": {"pick_two_obj_and_place": [2, 1.5]}},
        "dropped": {},
        "rewritten": {},
        "memory": {},
    }
    checkpoint = run.checkpoints / "step-000002"
    checkpoint.mkdir(parents=True)
    (checkpoint / "skills.json").write_text(json.dumps(state))
    result = invoke("--run", "run", "--runs-dir", str(tmp_path), "--task", "train/look-0", "--json")
    assert result.exit_code == 0, (result.output, result.exception)
    record = json.loads(result.stdout)
    assert [(s["id"], s["score"]) for s in record["skills"]] == [("pick_two_obj_and_place", 0.75)]
    assert record["retrieval"] == "ucb" and record["scores"] == {"pick_two_obj_and_place": 0.75}


def test_every_environment_can_be_inspected(invoke):
    from sdar_cli.envs.registry import ENVIRONMENTS

    for name in ENVIRONMENTS:
        record = json.loads(invoke(name, "--json").stdout)
        assert record["environment"] == name and record["skills"]


def test_retrievals_are_those_of_the_configuration(invoke):
    from sdar_cli.config.plugs import RETRIEVAL
    from sdar_cli.skills.choose.strategies import RETRIEVALS

    shown = " ".join(invoke("--help").output.replace("│", " ").split())
    assert ", ".join(RETRIEVALS) in shown and RETRIEVAL.names() == tuple(RETRIEVALS)
    wrong = invoke("alfworld", "--task", "pick_and_place_simple", "--retrieval", "keywords")
    assert "did you mean 'keyword'" in str(wrong.exception)


def test_importing_the_command_loads_nothing_heavy():
    heavy = ("torch", "transformers", "rich.table")
    code = f"import sys, sdar_cli.commands.skills; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
