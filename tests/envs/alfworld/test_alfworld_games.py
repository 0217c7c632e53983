"""Bad game files are found before a run, with the file, the cause and the fix in the message."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sdar_cli.base.errors import PrerequisiteError
from sdar_cli.config.schema import RunConfig
from sdar_cli.envs.alfworld import env
from sdar_cli.envs.alfworld.benchmark import ALFWORLD
from sdar_cli.envs.alfworld.games import games
from sdar_cli.envs.alfworld.options import AlfworldOptions
from sdar_cli.train.preflight import missing

SPLIT = "train"
Game = dict[str, Any]


def good_game(made_root: Path) -> Game:
    return json.loads(games.game_file(made_root, games.list_tasks(made_root, SPLIT)[0]).read_text())


def write(root: Path, text: str, number: int = 0, kind: str = "pick_and_place_simple") -> Path:
    folder = root / "json_2.1.1" / SPLIT / f"{kind}-Apple-None-Shelf-{number}" / "trial_1"
    folder.mkdir(parents=True)
    (folder / "game.tw-pddl").write_text(text)
    return folder / "game.tw-pddl"


def without(key: str) -> Callable[[Game], str]:
    return lambda game: json.dumps({name: value for name, value in game.items() if name != key})


def changed(key: str, before: str, after: str) -> Callable[[Game], str]:
    def change(game: Game) -> str:
        assert before in game[key]
        return json.dumps(game | {key: game[key].replace(before, after, 1)})

    return change


BAD = {
    "broken JSON": (lambda game: json.dumps(game)[:-5], "it is not JSON"),
    "empty": (lambda game: "", "it is not JSON"),
    "a list": (lambda game: "[]", "a JSON list instead of an object"),
    "no grammar": (without("grammar"), "missing: grammar"),
    "no solvable": (without("solvable"), "missing: solvable"),
    "wrong type": (lambda game: json.dumps(game | {"pddl_problem": 3}), "pddl_problem should be str"),
    "unsolvable": (lambda game: json.dumps(game | {"solvable": False}), "it is marked unsolvable"),
    "no start state": (changed("pddl_problem", "(:init", "(:begin"), r"no \(:init"),
    "unknown predicate": (changed("pddl_problem", "(atLocation", "(atLoctaion"), "the predicates atloctaion"),
    "unknown goal predicate": (changed("pddl_problem", "(:goal", "(:goal (isBlue x)"), "the predicates isblue"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_file(made_root: Path, tmp_path: Path, name: str) -> None:
    spoil, why = BAD[name]
    path = write(tmp_path, spoil(good_game(made_root)))
    with pytest.raises(PrerequisiteError) as caught:
        games.check_game(path)
    assert caught.value.exit_code == 3
    assert str(path) in caught.value.what
    assert re.search(why, caught.value.why), caught.value.why
    assert "alfworld-download" in caught.value.fix


def test_all_bad_files_are_listed_at_once(made_root: Path, tmp_path: Path) -> None:
    for number in range(12):
        write(tmp_path, "{", number)
    write(tmp_path, json.dumps(good_game(made_root)), 99)
    root = games.find_root(tmp_path)
    tasks = games.list_tasks(root, SPLIT)
    seen: list[int] = []
    with pytest.raises(PrerequisiteError, match="12 of 13 game files") as caught:
        games.preflight(tasks, root, lambda: seen.append(1))
    assert caught.value.why.count("it is not JSON") == 10
    assert caught.value.why.endswith("… and 2 more")
    assert len(seen) == 13


def test_good_games_pass(made_root: Path, real_root: Path) -> None:
    for root, split in ((made_root, SPLIT), (games.find_root(real_root), "valid_seen")):
        games.preflight(games.list_tasks(root, split), root)


def test_predicates_in_comments_and_in_any_case_are_no_error(made_root: Path, tmp_path: Path) -> None:
    game = good_game(made_root)
    game["pddl_problem"] = (
        game["pddl_problem"].replace("(:init", "(:init ; (noSuch thing)\n", 1).replace("(atL", "(ATL")
    )
    games.check_game(write(tmp_path, json.dumps(game)))


def test_missing_and_empty_folders(tmp_path: Path) -> None:
    with pytest.raises(PrerequisiteError, match=r"nowhere does not exist") as caught:
        games.find_root(tmp_path / "nowhere")
    assert "alfworld-download" in caught.value.fix and "--data" in caught.value.fix
    (tmp_path / "json_2.1.1" / "train").mkdir(parents=True)
    with pytest.raises(PrerequisiteError, match="no ALFWorld games in"):
        games.find_root(tmp_path)


def test_root_may_be_named_at_either_level(made_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GAMES", str(made_root.parent))
    assert games.find_root(made_root) == games.find_root(made_root.parent) == games.find_root("$GAMES") == made_root


def test_tasks_are_sorted_and_typed(made_root: Path) -> None:
    tasks = games.list_tasks(made_root, SPLIT)
    assert [task.id for task in tasks] == sorted(task.id for task in tasks)
    assert sorted(task.type for task in tasks) == sorted(games.TASK_TYPES)
    assert all(task.id.startswith(f"{SPLIT}/{task.type}-") and task.split == SPLIT for task in tasks)
    assert games.game_file(made_root, tasks[0]).is_file()


def test_unknown_split_and_type(made_root: Path, tmp_path: Path) -> None:
    with pytest.raises(PrerequisiteError, match="no games of split 'valid_seen'") as caught:
        games.list_tasks(made_root, "valid_seen")
    assert caught.value.why == "it holds: train"
    write(tmp_path, "{}", kind="wash_the_dog")
    with pytest.raises(PrerequisiteError) as unknown:
        games.list_tasks(games.find_root(tmp_path), SPLIT)
    assert "wash_the_dog" in unknown.value.why


def test_trials_outside_the_benchmark_are_left_out(made_root: Path, tmp_path: Path) -> None:
    write(tmp_path, json.dumps(good_game(made_root)))
    write(tmp_path, "{}", 1, kind="pick_and_place_with_movable_recep")
    assert len(games.list_tasks(games.find_root(tmp_path), SPLIT)) == 1


def test_walkthrough_is_optional(made_root: Path, tmp_path: Path) -> None:
    game = good_game(made_root)
    assert games.walkthrough(write(tmp_path, json.dumps(game))) == game.pop("walkthrough")
    path = write(tmp_path, json.dumps(game), 1)
    games.check_game(path)
    assert games.walkthrough(path) == []


def test_where_games_come_from(made_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SDAR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("ALFWORLD_DATA", str(made_root.parent))
    few = AlfworldOptions(games_train=6, games_eval=6)
    assert env.data_root(few).is_relative_to(tmp_path / "cache")
    assert games.list_splits(env.data_root(few)) == ["eval", "train"]
    assert env.data_root(AlfworldOptions(source="real")) == made_root
    assert env.data_root(AlfworldOptions(source="real", data=str(made_root))) == made_root
    monkeypatch.delenv("ALFWORLD_DATA")
    with pytest.raises(PrerequisiteError, match="no folder of real ALFWorld games is named"):
        env.data_root(AlfworldOptions(source="real"))


def test_downloaded_games_need_no_word(made_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where ``alfworld-download`` puts the games they are found by training, the dry run and the doctor alike."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("ALFWORLD_DATA", raising=False)
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / "alfworld").symlink_to(made_root.parent)
    assert games.real_root(None).resolve() == made_root.resolve()
    assert missing(RunConfig(env=AlfworldOptions(source="real"), eval={"split": "train"})) == []
    assert [check.state for check in ALFWORLD.checks()] == ["ok"]
