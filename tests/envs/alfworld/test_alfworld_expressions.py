"""Expressions in a game's grammar: textworld runs them as Python, so few are let through; and what a set notes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sdar_cli.base.errors import PrerequisiteError
from sdar_cli.envs.alfworld.engine.expressions import is_allowed, unknown_expressions
from sdar_cli.envs.alfworld.games.games import check_game, game_file, list_tasks
from sdar_cli.envs.alfworld.games.generator import make_games
from sdar_cli.envs.alfworld.games.made import note_path, write_note
from sdar_cli.envs.panels import make_panel

MORE = ("lambda: r", "f'{r}'", "_", "r := 1", "", "r\0")


@pytest.mark.parametrize("text", ["r", "r.name ", "r.name or r.id", "o.indefinite + ' ' + o.name "])
def test_expressions_of_released_games(text: str) -> None:
    assert is_allowed(text)


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os')",
        "r.__class__",
        "r.name.upper",
        "open('x')",
        "[r]",
        "r if r else r",
        "1",
        "'a' * 9",
        "(" * 300,
        *MORE,
    ],
)
def test_other_expressions(text: str) -> None:
    assert not is_allowed(text)


def test_a_game_that_holds_code_is_refused_and_its_content_counts(tmp_path: Path) -> None:
    make_games("eval", 2, 0, "small", tmp_path)
    root = tmp_path / "json_2.1.1"
    before = make_panel(list_tasks(root, "eval"))
    write_note(root, "eval", {}, before.tasks)
    path = game_file(root, before.tasks[0])
    check_game(path)
    game = json.loads(path.read_text(encoding="utf-8"))
    assert unknown_expressions(game["grammar"]) == []
    game["grammar"] = game["grammar"].replace("-= Welcome", "{__import__('os')}-= Welcome")
    path.write_text(json.dumps(game), encoding="utf-8")
    with pytest.raises(PrerequisiteError) as caught:
        check_game(path)
    assert "__import__" in caught.value.why
    with pytest.raises(PrerequisiteError, match="were changed since they were made"):
        list_tasks(root, "eval")
    note_path(root, "eval").unlink()
    assert make_panel(list_tasks(root, "eval")).sha256 != before.sha256
    write_note(root, "eval", {}, before.tasks)
    path.unlink()
    with pytest.raises(PrerequisiteError, match="holds 1 games, and 2 were made"):
        list_tasks(root, "eval")
