"""``sdar play`` and ``sdar data`` as a user or a script meets them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from sdar_cli.base.errors import ConfigError, PrerequisiteError, RunFailedError, SdarError
from sdar_cli.commands import data, play
from sdar_cli.envs.alfworld.games import games
from sdar_cli.envs.alfworld.games.made import note_path
from sdar_cli.envs.base import Task

app = typer.Typer()
play.register(app)
data.register(app)


def sdar(*words: str | Path, stdin: str | None = None) -> Result:
    result = CliRunner().invoke(app, [str(word) for word in words], input=stdin)
    if result.exception and not isinstance(result.exception, SdarError | SystemExit):
        raise result.exception
    return result


@pytest.fixture
def task(made_root: Path) -> Task:
    return games.list_tasks(made_root, "train")[0]


def test_replay_as_json(made_root: Path, task: Task, tmp_path: Path) -> None:
    plan = games.walkthrough(games.game_file(made_root, task))
    script = tmp_path / "actions.txt"
    script.write_text("\n".join(["dance", "", *plan, "look", "inventory"]))
    result = sdar("play", "alfworld", "--data", made_root, "--task", task.id, "--actions", script, "--json")
    assert result.exit_code == 0, result.output
    records = [json.loads(line) for line in result.stdout.splitlines()]
    assert list(records[0]) == ["step", "action", "observation", "admissible", "reward", "done", "won"]
    assert [record["step"] for record in records] == list(range(len(plan) + 2))
    assert [record["action"] for record in records] == [None, "dance", *plan]
    assert records[0]["observation"].startswith("-= Welcome to TextWorld, ALFRED! =-\n\n")
    assert records[1]["observation"] == "Nothing happens."
    assert records[0]["admissible"] == records[1]["admissible"] == sorted(records[0]["admissible"])
    assert (records[-1]["reward"], records[-1]["done"], records[-1]["won"]) == (1.0, True, True)
    assert not any(record["done"] for record in records[:-1])
    assert result.stderr.splitlines() == [
        "checking 1 game files …",
        f"won after {len(plan) + 1} steps",
        "2 actions left over, first: look",
    ]


def test_actions_from_standard_input_and_the_prompt(made_root: Path, task: Task) -> None:
    words = ("play", "alfworld", "--data", made_root, "--actions", "-", "--json", "--prompt", "--style", "compact")
    result = sdar(*words, stdin="look\n\ninventory\nhelp\n")
    assert result.exit_code == 0, result.output
    records = [json.loads(line) for line in result.stdout.splitlines()]
    assert [record["action"] for record in records] == [None, "look", "inventory", "help"]
    prompts = [record["prompt"] for record in records]
    assert all(len(messages) == 1 and messages[0]["role"] == "user" for messages in prompts)
    # The window holds two past pairs: at step 3 those of the first action are gone.
    assert [text[0]["content"].count("Act: ") for text in prompts] == [0, 1, 2, 2]
    assert "Act: look" not in prompts[3][0]["content"]
    assert result.stderr.splitlines()[1:] == ["not finished after 3 steps"]


def test_typed_by_hand(made_root: Path) -> None:
    result = sdar("play", "alfworld", "--data", made_root, "--task", "look_at_obj_in_light", stdin="look\n")
    assert result.exit_code == 0
    assert "[1] look" in result.stdout and "actions: " in result.stdout and result.stdout.count("> ") == 2
    assert "Your task is to: " in result.stdout


def test_list_of_tasks(made_root: Path) -> None:
    result = sdar("play", "alfworld", "--data", made_root, "--list")
    assert result.stdout.split() == [task.id for task in games.list_tasks(made_root, "train")]


def test_wrong_words(made_root: Path, tmp_path: Path, task: Task) -> None:
    almost = task.id[:-1] + "x"
    unknown = sdar("play", "alfworld", "--data", made_root, "--task", almost).exception
    assert isinstance(unknown, ConfigError) and unknown.exit_code == 2 and task.id in unknown.why
    missing = sdar("play", "alfworld", "--data", tmp_path / "none").exception
    assert isinstance(missing, PrerequisiteError) and missing.exit_code == 3
    no_file = sdar("play", "alfworld", "--data", made_root, "--actions", tmp_path / "none.txt").exception
    assert isinstance(no_file, ConfigError) and "none.txt" in no_file.what
    no_environment = sdar("play", "chess").exception
    assert isinstance(no_environment, ConfigError) and "'chess'" in no_environment.what


def test_a_game_that_breaks_ends_the_command(made_root: Path, task: Task, tmp_path: Path) -> None:
    folder = tmp_path / task.id
    folder.mkdir(parents=True)
    text = games.game_file(made_root, task).read_text()
    (folder / "game.tw-pddl").write_text(text.replace("(atLocation agent1", "(atLocation agent2"))
    undefined = sdar("play", "alfworld", "--data", tmp_path, "--json", stdin="look\n").exception
    assert isinstance(undefined, PrerequisiteError) and "agent2" in undefined.why and undefined.exit_code == 3
    (folder / "game.tw-pddl").write_text(text.replace("agent1 - agent", "agent1 - robot"))  # only the engine sees it
    broken = sdar("play", "alfworld", "--data", tmp_path, "--json", stdin="look\n").exception
    assert isinstance(broken, RunFailedError) and broken.exit_code == 1


def test_make_then_verify(tmp_path: Path) -> None:
    made = sdar("data", "make", "alfworld", "--split", "eval", "--games", "3", "--out", tmp_path / "new", "--json")
    assert made.exit_code == 0, made.output
    record = json.loads(made.stdout)
    assert (record["split"], record["games"], record["seed"], record["replayed"]) == ("eval", 3, 0, True)
    words = ("data", "make", "alfworld", "--split", "eval", "--games", "3", "--out", tmp_path / "new", "--json")
    again = sdar(*words)
    assert json.loads(again.stdout) == record  # found made, not made anew
    other = sdar(*words, "--seed", "1").exception
    assert isinstance(other, ConfigError) and "already holds games" in other.what
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["json_2.1.1"]  # nothing half made is left
    good = sdar("data", "verify", "alfworld", "--data", tmp_path / "new", "--replay", "--json")
    assert good.exit_code == 0, good.output
    assert json.loads(good.stdout)["splits"]["eval"]["games"] == 3
    root = games.find_root(tmp_path / "new")
    file = games.game_file(root, games.list_tasks(root, "eval")[0])
    game = games.read_game(file)
    file.write_text(json.dumps(game | {"walkthrough": ["look"]}))
    changed = sdar("data", "verify", "alfworld", "--data", tmp_path / "new").exception
    assert isinstance(changed, PrerequisiteError) and "were changed since they were made" in changed.what
    note_path(root, "eval").unlink()  # games of the user's own have no note of how they were made
    not_won = sdar("data", "verify", "alfworld", "--data", tmp_path / "new", "--replay").exception
    assert isinstance(not_won, RunFailedError) and "ends without winning" in not_won.why
    file.write_text("{")
    bad = sdar("data", "verify", "alfworld", "--data", tmp_path / "new").exception
    assert isinstance(bad, PrerequisiteError) and str(file) in bad.why


@pytest.mark.parametrize("words", [("play", "alfworld"), ("data", "make", "alfworld"), ("data", "verify", "alfworld")])
def test_help_gives_three_examples(words: tuple[str, ...]) -> None:
    text = sdar(*words, "--help").stdout
    assert text.count(f"sdar {' '.join(words)}") >= 3
