"""Demonstrators: every goal is read, the expert wins by the right procedure, and states are labelled three ways."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from sdar_cli.envs.alfworld.engine.engine import GameEngine, alfworld_module, speed_up
from sdar_cli.envs.alfworld.env import AlfworldEnvironment
from sdar_cli.envs.alfworld.expert import Habits, Memory, Move, clumsy, expert
from sdar_cli.envs.alfworld.games.generator import draw_games, make_games
from sdar_cli.envs.alfworld.games.layout import TASK_TYPES
from sdar_cli.envs.alfworld.prompt import HIDDEN_ACTIONS, goal_of
from sdar_cli.tiny.warmstart import demonstrate

TURNS = 15
GAMES = 18


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Eighteen small games, three of each type."""
    return make_games("train", GAMES, 21, "small", tmp_path_factory.mktemp("demonstrated"))


@pytest.fixture(scope="module")
def engine() -> Iterator[GameEngine]:
    assert speed_up()
    made = GameEngine()
    yield made
    made.close()


def play(engine: GameEngine, path: Path, skill: str) -> tuple[bool, list[Move]]:
    """The expert of one procedure on a game: (won, its moves)."""
    engine.load(path)
    observation, admissible, won = engine.reset()
    memory, moves = Memory(goal_of(observation)), []
    for _ in range(TURNS):
        legal = tuple(a for a in admissible if a not in HIDDEN_ACTIONS)
        move = expert(memory, legal, skill)
        moves.append(move)
        observation, _, done, won, admissible = engine.step(move.action)
        memory.note(move.action, observation)
        if done:
            break
    return won, moves


def test_every_goal_template_is_read() -> None:
    """All twelve wordings of the six types; an unread one would end the demonstrations."""
    library = alfworld_module("alfworld.gen.goal_library").gdict
    for kind in TASK_TYPES:
        for template in library[kind]["templates"]:
            goal = template.format(obj="soapbar", recep="countertop", toggle="desklamp")
            memory = Memory(goal)
            target = "desklamp" if kind == "look_at_obj_in_light" else "countertop"
            assert (memory.target_object, memory.target_place) == ("soapbar", target), goal


def test_goals_of_generated_games_are_read() -> None:
    for game in draw_games("train", 36, 3, "small"):
        goal = game.house.goal
        memory = Memory(game.goal_text)
        assert (memory.target_object, memory.target_place) == (goal.object_type.lower(), goal.target.lower())


def test_an_unknown_goal_is_refused() -> None:
    with pytest.raises(ValueError, match="no known goal template"):
        Memory("dance on the table")


def test_memory_follows_what_really_happened() -> None:
    memory = Memory("put a clean mug in shelf")
    for action, observation in [
        ("go to sinkbasin 1", "You arrive at sinkbasin 1."),
        ("take mug 2 from sinkbasin 1", "You pick up the mug 2."),
        ("take mug 3 from sinkbasin 1", "Nothing happens."),
        ("clean mug 2 with sinkbasin 1", "You clean the mug 2."),
    ]:
        memory.note(action, observation)
    assert (memory.place, memory.holding, memory.treated) == ("sinkbasin 1", "mug 2", {"clean mug 2"})
    memory.note("move mug 2 to sinkbasin 1", "You move the mug 2 to the sinkbasin 1.")
    assert (memory.holding, memory.placed) == ("", set())  # not where it should go
    memory.note("take mug 2 from sinkbasin 1", "You pick up the mug 2.")
    memory.note("move mug 2 to shelf 1", "You move the mug 2 to the shelf 1.")
    assert (memory.holding, memory.placed) == ("", {"mug 2"})


def test_the_expert_wins_by_the_right_procedure_and_not_by_another(engine: GameEngine, files: list[Path]) -> None:
    """What makes a skill worth knowing.  (A thing that lies in the fridge is cool before anybody cools it.)"""
    won, wrong = Counter(), Counter()
    for path in files:
        kind = path.parents[1].name.partition("-")[0]
        success, moves = play(engine, path, kind)
        won[kind] += success
        assert all(move.thought and move.action for move in moves)
        if kind.startswith(("pick_clean", "pick_heat", "look_at")):
            wrong[kind] += play(engine, path, "pick_and_place_simple")[0]
    assert sum(won.values()) >= 0.8 * GAMES, won
    assert all(won[kind] for kind in TASK_TYPES), won
    assert not any(wrong.values()), wrong


def test_the_clumsy_one_is_legal_and_does_worse(engine: GameEngine, files: list[Path]) -> None:
    rng = random.Random(0)
    wins = 0
    for path in files:
        kind = path.parents[1].name.partition("-")[0]
        engine.load(path)
        observation, admissible, won = engine.reset()
        memory, habits = Memory(goal_of(observation)), Habits.draw(rng, kind)
        for _ in range(TURNS):
            move = clumsy(memory, tuple(a for a in admissible if a not in HIDDEN_ACTIONS), habits, rng)
            assert move.action in admissible
            observation, _, done, won, admissible = engine.step(move.action)
            memory.note(move.action, observation)
            if done:
                break
        wins += won
    assert wins < GAMES / 2


@pytest.fixture(scope="module")
def examples(files: list[Path]):
    """Demonstrations of the first six games in the environment, with made-up skill texts."""
    skills = {kind: f"This is {kind}." for kind in TASK_TYPES}
    with AlfworldEnvironment(files[0].parents[3], workers=1, step_timeout=60.0) as environment:
        tasks = environment.tasks("train")[:6]
        return skills, demonstrate(environment, tasks, skills, random.Random(0))


def test_every_state_is_labelled_three_ways(examples) -> None:
    """With the right skill, with none, and with a wrong one, for the same prompt otherwise."""
    skills, made = examples
    assert len(made) >= 3 * 6 * 3 and len(made) % 3 == 0
    kinds = set()
    for right, none, wrong in zip(made[::3], made[1::3], made[2::3], strict=True):
        assert right.view is none.view is wrong.view
        assert none.skill == "" and right.skill != wrong.skill
        assert {right.skill, wrong.skill} <= set(skills.values())
        kinds.add(right.skill)
        for example in (right, none, wrong):
            assert example.move.action in example.view.admissible
            assert example.move.action not in HIDDEN_ACTIONS
            assert len(example.view.history) <= 2
    assert 1 <= len(kinds) <= 6


def test_labels_of_right_and_wrong_skills_differ_somewhere(examples) -> None:
    """Else there would be nothing for a teacher to know."""
    _, made = examples
    different = sum(a.move != c.move for a, c in zip(made[::3], made[2::3], strict=True))
    assert different >= 5
