"""Generated games: what is drawn, that splits share nothing, and that the engine agrees with every plan."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from places import ROOT

from sdar_cli.base.errors import ConfigError
from sdar_cli.envs.alfworld import env
from sdar_cli.envs.alfworld.engine.engine import GameEngine, alfworld_module, speed_up
from sdar_cli.envs.alfworld.env import ensure_games
from sdar_cli.envs.alfworld.games import generator
from sdar_cli.envs.alfworld.games.games import check_game, list_tasks, walkthrough
from sdar_cli.envs.alfworld.games.generator import (
    Game,
    display_names,
    draw_games,
    make_games,
    split_of,
)
from sdar_cli.envs.alfworld.games.layout import (
    LAMP,
    LAMP_STANDS,
    ROOMS,
    TASK_TYPES,
    TREATMENT,
    Goal,
    House,
    can_contain,
    objects_with,
)
from sdar_cli.envs.alfworld.options import AlfworldOptions
from sdar_cli.envs.alfworld.prompt import goal_of

SIZES = ("small", "full")


@pytest.fixture(scope="module")
def drawn() -> dict[str, list[Game]]:
    """Sixty training games of each size."""
    return {size: list(draw_games("train", 60, 0, size)) for size in SIZES}


@pytest.fixture(scope="module")
def engine() -> Iterator[GameEngine]:
    assert speed_up()
    made = GameEngine()
    yield made
    made.close()


@pytest.fixture(scope="module")
def made_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    """Six games of each size on disk, one of each type."""
    return {size: make_games("train", 6, 11, size, tmp_path_factory.mktemp(size)) for size in SIZES}


def digests(split: str, seed: int, count: int = 150, size: str = "small") -> set[str]:
    return {game.house.digest() for game in draw_games(split, count, seed, size)}


@pytest.mark.parametrize("size", SIZES)
def test_exactly_as_many_distinct_games_as_wanted_the_six_types_in_turn(
    drawn: dict[str, list[Game]], size: str
) -> None:
    games = drawn[size]
    assert len(games) == len({g.house.digest() for g in games}) == 60
    assert [g.house.goal.task_type for g in games] == list(TASK_TYPES) * 10
    assert list(draw_games("train", 0, 0, size)) == []


@pytest.mark.parametrize("size", SIZES)
def test_houses_have_the_wanted_size(drawn: dict[str, list[Game]], size: str) -> None:
    for game in drawn[size]:
        counts = Counter(game.house.receptacles)
        rooms = [room for room in ROOMS.values() if counts.keys() <= room.keys()]
        if size == "small":
            assert 5 <= len(game.house.receptacles) <= 7 and rooms
            assert 6 <= len(game.house.objects) <= 10 + 4
        else:
            assert any(all(low <= counts[name] <= high for name, (low, high) in room.items()) for room in rooms)
            assert 21 <= len(game.house.objects) <= 60 + 4
    mean = {s: sum(len(g.house.receptacles) for g in drawn[s]) / 60 for s in SIZES}
    assert mean["full"] > 1.5 * mean["small"]


@pytest.mark.parametrize("size", SIZES)
def test_every_task_can_be_done_and_is_not_done_already(drawn: dict[str, list[Game]], size: str) -> None:
    """The rules a house is drawn by: what the goal needs is there, once, and not where it should go."""
    table = can_contain()
    for game in drawn[size]:
        house, goal = game.house, game.house.goal
        for kind, at in house.objects:
            where = house.receptacles[at]
            assert where in LAMP_STANDS if kind == LAMP else kind in table[where]
        at_target = [k for k, at in house.objects if k == goal.object_type and house.receptacles[at] == goal.target]
        assert not at_target
        copies = sum(kind == goal.object_type for kind, _ in house.objects)
        wanted = 2 if goal.task_type == "pick_two_obj_and_place" else 1
        assert wanted <= copies <= wanted + 1
        if goal.task_type in TREATMENT:
            prop, station = TREATMENT[goal.task_type]
            assert goal.object_type in objects_with(prop) and station in house.receptacles and goal.target != station
        lamps = sum(kind == LAMP for kind, _ in house.objects)
        assert lamps == (goal.task_type == "look_at_obj_in_light")
        assert (goal.target == LAMP) or goal.target in house.receptacles


def test_goal_texts_are_those_of_alfworld(drawn: dict[str, list[Game]]) -> None:
    library = alfworld_module("alfworld.gen.goal_library").gdict
    used: set[tuple[str, int]] = set()
    for game in drawn["small"]:
        goal = game.house.goal
        words = {"obj": goal.object_type.lower(), "recep": goal.target.lower(), "toggle": goal.target.lower()}
        texts = [text.format(**words) for text in library[goal.task_type]["templates"]]
        used.add((goal.task_type, texts.index(game.goal_text)))
    assert used == {(kind, number) for kind in TASK_TYPES for number in (0, 1)}  # both wordings of every type


@pytest.mark.parametrize("size", SIZES)
def test_the_splits_share_no_house_whatever_the_seed(size: str) -> None:
    """Training sets of two seeds against held-out sets of the same and of another seed."""
    train = digests("train", 0, size=size) | digests("train", 1, size=size)
    held_out = digests("eval", 0, size=size) | digests("eval", 1, size=size)
    assert len(train) >= 290 and len(held_out) >= 290
    assert not train & held_out
    assert {split_of(digest) for digest in train} == {"train"} and {split_of(d) for d in held_out} == {"eval"}


def test_a_quarter_of_all_houses_is_held_out() -> None:
    """Digests begin with a uniform byte; 192 of 256 values are training."""
    assert sum(split_of(f"{value:02x}0") == "train" for value in range(256)) == 192


def test_the_same_seed_gives_the_same_games_and_another_gives_others() -> None:
    games = list(draw_games("eval", 12, 4, "small"))
    assert games == list(draw_games("eval", 12, 4, "small"))
    assert games[:6] == list(draw_games("eval", 6, 4, "small"))
    assert not {g.house.digest() for g in games} & digests("eval", 5, 12)


def test_games_do_not_depend_on_the_processs_hash_seed() -> None:
    """Sets and dictionaries of names must not show through; the cache is shared between processes."""
    code = (
        "import hashlib; from sdar_cli.envs.alfworld.games.generator import draw_games; "
        "print(hashlib.sha256(repr([(g.goal_text, g.problem, g.plan) for g in draw_games('train', 18, 2, 'full')])"
        ".encode()).hexdigest())"
    )
    games = [(g.goal_text, g.problem, g.plan) for g in draw_games("train", 18, 2, "full")]
    here = hashlib.sha256(repr(games).encode()).hexdigest()
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "12"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == here, done.stderr


def test_the_digest_knows_what_the_house_is_and_not_how_it_was_drawn() -> None:
    goal = Goal("pick_and_place_simple", "Apple", "Shelf")
    house = House(goal, ["Drawer", "Drawer", "Shelf"], [("Apple", 0), ("Mug", 1), ("Cup", 0)])
    same = House(goal, ["Drawer", "Drawer", "Shelf"], [("Cup", 1), ("Mug", 0), ("Apple", 1)])
    assert house.digest() == same.digest()
    moved = House(goal, ["Drawer", "Drawer", "Shelf"], [("Apple", 0), ("Mug", 0), ("Cup", 0)])
    other_goal = House(Goal("pick_and_place_simple", "Cup", "Shelf"), house.receptacles, house.objects)
    assert len({house.digest(), moved.digest(), other_goal.digest()}) == 3


def test_an_unknown_split_is_refused() -> None:
    with pytest.raises(ConfigError, match="valid_seen"):
        next(draw_games("valid_seen", 1, 0, "small"))


def test_display_names_by_hand() -> None:
    """alfworld counts the instances of a type downwards: the first in sorted order has the highest number."""
    assert display_names(["Mug_a", "Cup_a", "mug_c", "Mug_b"], ["Mug", "Cup", "Mug", "Mug"]) == [
        "mug 3",
        "cup 1",
        "mug 1",
        "mug 2",
    ]


@pytest.mark.parametrize("size", SIZES)
def test_the_engine_shows_the_names_the_plan_uses(
    engine: GameEngine, made_files: dict[str, list[Path]], size: str
) -> None:
    """Against alfworld's own Demangler, for every receptacle and object of a generated house."""
    games = list(draw_games("train", 6, 11, size))
    for game, path in zip(games, made_files[size], strict=True):
        receptacles, objects = generator._symbols(game.house)
        expected = dict(zip(receptacles, display_names(receptacles, game.house.receptacles), strict=True))
        expected |= dict(zip(objects, display_names(objects, [kind for kind, _ in game.house.objects]), strict=True))
        engine.load(path)
        shown = {entity.id: entity.name for entity in engine._env._entity_infos.values()}
        assert {symbol: shown[symbol.lower()] for symbol in expected} == expected


@pytest.mark.parametrize("number", range(6), ids=[name.split("_")[1] for name in TASK_TYPES])
@pytest.mark.parametrize("size", SIZES)
def test_the_plan_wins_and_nothing_less_does(
    engine: GameEngine, made_files: dict[str, list[Path]], size: str, number: int
) -> None:
    """Not won at the start, every command of the plan is admissible, and only the last one wins."""
    path = made_files[size][number]
    check_game(path)
    engine.load(path)
    observation, admissible, won = engine.reset()
    data = json.loads(path.read_text())
    assert goal_of(observation) == list(draw_games("train", 6, 11, size))[number].goal_text
    assert not won and "dance" not in admissible
    plan = walkthrough(path)
    assert plan == data["walkthrough"] and len(plan) >= 3
    for command in plan:
        assert not won and command in admissible, command
        observation, reward, done, won, admissible = engine.step(command)
        assert observation != "Nothing happens." and done == won and reward == float(won)
    assert won


def test_files_are_read_like_real_ones(made_files: dict[str, list[Path]]) -> None:
    files = made_files["small"]
    root = files[0].parents[3]
    tasks = list_tasks(root, "train")
    assert sorted(t.type for t in tasks) == sorted(TASK_TYPES) and len(tasks) == len(files)
    assert {root / t.id / "game.tw-pddl" for t in tasks} == set(files)
    for file in files:
        traj = json.loads((file.parent / "traj_data.json").read_text())
        assert file.parents[1].name.startswith(f"{traj['task_type']}-{traj['pddl_params']['object_target']}-None-")


def test_a_set_is_never_added_to(tmp_path: Path) -> None:
    make_games("train", 1, 0, "small", tmp_path)
    make_games("eval", 1, 0, "small", tmp_path)  # another split is another set
    with pytest.raises(ConfigError, match="already holds games"):
        make_games("train", 1, 1, "small", tmp_path)


def test_progress_is_reported_for_every_game(tmp_path: Path) -> None:
    progress: list[int] = []
    make_games("train", 3, 0, "small", tmp_path, lambda: progress.append(1))
    assert len(progress) == 3


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and games that count as proven (the proof has its own tests)."""
    monkeypatch.setenv("SDAR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(env, "_prove", lambda *arguments: None)
    return tmp_path / "cache"


def test_games_are_made_once(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = AlfworldOptions(games_train=3, games_eval=2)
    root = ensure_games(config, 1)
    assert cache in root.parents
    assert len(list_tasks(root / "json_2.1.1", "train")) == 3 and len(list_tasks(root / "json_2.1.1", "eval")) == 2
    others = {ensure_games(config.model_copy(update=change), 1) for change in ({"games_seed": 1}, {"size": "full"})}
    assert len(others | {root}) == 3
    monkeypatch.setattr(env, "make_games", None)
    assert ensure_games(config, 1) == root


def test_a_set_that_fails_its_proof_is_not_kept(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = AlfworldOptions(games_train=1, games_eval=1)

    def fails(root: Path, *arguments: object) -> None:
        assert len(list_tasks(root / "json_2.1.1", "train")) == 1
        raise RuntimeError("not won")

    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="not won"):
        patch.setattr(env, "_prove", fails)
        ensure_games(config, 1)
    assert [path.name for path in (cache / "alfworld").iterdir()] == []
    assert ensure_games(config, 1).is_dir()


def test_two_processes_making_the_same_set_do_not_disturb_each_other(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one is quicker: its set is used."""
    config = AlfworldOptions(games_train=1, games_eval=1)
    made: list[Path] = []

    def meanwhile(*arguments: object) -> None:
        monkeypatch.setattr(env, "_prove", lambda *more: None)
        made.append(ensure_games(config, 1))

    monkeypatch.setattr(env, "_prove", meanwhile)
    assert ensure_games(config, 1) == made[0]
    assert len([path for path in (cache / "alfworld").iterdir() if path.is_dir()]) == 1
