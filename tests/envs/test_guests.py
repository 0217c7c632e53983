"""Environments of guests: the example package, installed and by import path, through every command of a run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from guest_material import EXAMPLE, install
from places import ROOT

from sdar_cli.base.errors import ConfigError
from sdar_cli.envs.new import write_package

SMALL = ["train.tasks_per_step=2", "train.group_size=2", "env.max_turns=3", "train.threads=1"]
SETS = [word for pair in SMALL for word in ("--set", pair)]
Sdar = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder to work in."""
    return tmp_path_factory.mktemp("guests")


@pytest.fixture(scope="module")
def sdar(place: Path, tmp_path_factory: pytest.TempPathFactory) -> Sdar:
    """``sdar WORDS`` in a process of its own, with the corridor installed."""
    site = install(EXAMPLE, "corridor", tmp_path_factory.mktemp("site"))

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        kept = {key: value for key, value in os.environ.items() if key != "SDAR_DEBUG"}
        variables = {**kept, "PYTHONPATH": os.pathsep.join([str(ROOT), str(site)]), "HF_HUB_OFFLINE": "1", "CI": "1"}
        command = [sys.executable, "-m", "sdar_cli", *words]
        return subprocess.run(command, capture_output=True, text=True, cwd=place, env=variables, check=False)

    return run


def ok(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def trained(sdar: Sdar, place: Path) -> Path:
    """A run of one step of the corridor."""
    ok(sdar("train", "--env", "corridor", "--steps", "1", "--name", "first", "--set", "eval.games=2", *SETS))
    return place / "runs" / "first"


def test_a_guest_is_listed_like_what_ships_here(sdar: Sdar) -> None:
    listed = json.loads(ok(sdar("env", "list", "--json")))["environments"]
    assert [each["name"] for each in listed] == ["alfworld", "webshop", "search", "corridor"]
    assert not listed[-1]["built_in"]
    presets = json.loads(ok(sdar("presets", "list", "--kind", "envs", "--json")))["presets"]
    assert "corridor" in [preset["name"] for preset in presets]


def test_it_is_trained_and_leaves_a_whole_run(trained: Path) -> None:
    config = json.loads((trained / "config.json").read_text())
    assert config["env"]["name"] == "corridor" and config["env"]["tasks_eval"] == 24
    assert config["env"]["max_turns"] == 3 and config["skills"]["bank"] == "corridor"
    assert "split_rule" not in config["env"] and "top_k" not in config["env"]
    lines = (trained / "episodes" / "step-000001.jsonl").read_text().splitlines()
    assert len(lines) == 4 and "shelf" in lines[0]
    provenance = json.loads((trained / "provenance.json").read_text())
    assert provenance["skill_bank"]["name"] == "corridor" and len(provenance["panel_sha256"]) == 64
    assert (trained / "checkpoints" / "step-000001").is_dir()


def test_its_run_is_evaluated(trained: Path, sdar: Sdar) -> None:
    out = ok(sdar("eval", "--run", "first", "--games", "2", "--skills", "without", "--json"))
    (report,) = json.loads(out.splitlines()[-1])["evaluations"]
    assert report["benchmark"] == "corridor" and set(report["results"][0]["types"]) == {"apple", "mug"}


def test_its_run_is_probed_and_swept(trained: Path, sdar: Sdar) -> None:
    ok(sdar("probe", "--env", "corridor", *SETS, "--tasks", "4"))
    words = ["beta", "--values", "0,5", "--env", "corridor", "--steps", "1", "--dry-run", "--json"]
    assert '"corridor"' in ok(sdar("sweep", *words, *SETS))


def test_it_is_played_and_its_skills_are_shown(sdar: Sdar, place: Path) -> None:
    (place / "plan.txt").write_text("go to shelf 3\ntake mug 1 from shelf 3\n")
    task = next(t for t in json.loads(ok(sdar("play", "corridor", "--list", "--json"))) if t.startswith("mug"))
    steps = ok(sdar("play", "corridor", "--task", task, "--actions", "plan.txt", "--json")).splitlines()
    assert len(steps) == 3 and json.loads(steps[0])["observation"].startswith("You are in a corridor")
    shown = json.loads(ok(sdar("skills", "inspect", "--env", "corridor", "--task", "mug", "--json")))
    assert "shelf 3 or shelf 4" in json.dumps(shown)


def test_a_bank_is_built_from_its_run(trained: Path, sdar: Sdar) -> None:
    words = ["--env", "corridor", "--from", "first", "--out", "built", "--builder", "my_builder:write"]
    (trained.parents[1] / "my_builder.py").write_text(
        "from sdar_cli.skills.bank import Skill\n\n\ndef write(traces, env, reporter):\n"
        "    kinds = sorted({trace.type for trace in traces})\n"
        "    return [Skill(kind, kind, kind, f'look for the {kind}.', f'Find the {kind}.', '') for kind in kinds], []\n"
    )
    ok(sdar("skills", "build", *words))
    assert 'environment = "corridor"' in (trained.parents[1] / "built" / "bank.toml").read_text()


def test_its_data_and_its_contract_are_checked(sdar: Sdar) -> None:
    report = json.loads(ok(sdar("data", "verify", "corridor", "--json")))
    assert report["splits"]["train"]["tasks"] == 24 and report["splits"]["eval"]["tasks"] == 24
    checks = json.loads(ok(sdar("env", "check", "corridor", "--json")))["checks"]
    assert len(checks) >= 11 and all(check["passed"] for check in checks)


def test_a_key_of_another_environment_is_refused_with_its_owner(sdar: Sdar) -> None:
    done = sdar("train", "--env", "corridor", "--set", "env.split_rule=released", "--dry-run")
    assert done.returncode == 2 and "it is a setting of webshop" in done.stderr
    done = sdar("train", "--env", "corridor", "--set", "env.task_train=3", "--dry-run")
    assert done.returncode == 2 and "did you mean 'env.tasks_train'?" in done.stderr


def test_an_import_path_works_without_installation(sdar: Sdar, place: Path) -> None:
    write_package("maze", place / "made")
    (place / "maze").symlink_to(place / "made" / "maze")  # a package in the current folder
    report = json.loads(ok(sdar("data", "verify", "maze:BENCHMARK", "--json")))
    assert report["splits"]["eval"]["tasks"] == 24
    ok(sdar("train", "--env", "maze:BENCHMARK", "--dry-run"))
    checks = json.loads(ok(sdar("env", "check", "maze:BENCHMARK", "--json")))["checks"]
    assert all(check["passed"] for check in checks)


def test_a_guest_that_breaks_is_named_with_file_and_line(sdar: Sdar, place: Path) -> None:
    write_package("faulty", place / "broken")
    module = place / "broken" / "faulty" / "__init__.py"
    text = module.read_text()
    line = next(n for n, each in enumerate(text.splitlines(), 1) if "self.place = command" in each)
    module.write_text(text.replace("self.place = command", "self.place = 1 // 0 or command"))
    (place / "faulty").symlink_to(place / "broken" / "faulty")
    done = sdar("train", "--env", "faulty:BENCHMARK", "--steps", "1", *SETS, "--set", "eval.before=false")
    assert done.returncode == 1 and "ZeroDivisionError" in done.stderr
    assert f"faulty/__init__.py, line {line}" in done.stderr


def test_a_new_package_is_the_example_under_another_name(tmp_path: Path) -> None:
    files = write_package("corridor_two", tmp_path / "two")
    assert "corridor_two/__init__.py" in files and "corridor_two/bank/bank.toml" in files
    for name in files:
        example = (EXAMPLE / name.replace("corridor_two", "corridor")).read_text()
        made = (tmp_path / "two" / name).read_text()
        assert made.replace("corridor_two", "corridor").replace("CorridorTwo", "Corridor") == example


@pytest.mark.parametrize(
    ("name", "why"), [("alfworld", "already"), ("My World", "sdar env new my_world"), ("2fast", "sdar env new fast")]
)
def test_a_name_that_cannot_be_is_refused(tmp_path: Path, name: str, why: str) -> None:
    with pytest.raises(ConfigError) as caught:
        write_package(name, tmp_path / "x")
    assert why in caught.value.render()
