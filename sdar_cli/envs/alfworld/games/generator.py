"""Generated ALFWorld games: a drawn house becomes a game file with a plan that wins it.

The files have the format of the released ones (domain, grammar, problem, walkthrough) with alfworld's own
domain and grammar, so every reader of real games reads them.  A game belongs to ``train`` or ``eval`` by
the hash of its content: the two never share a house, whatever the seeds and counts.
"""

from __future__ import annotations

import json
import random
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sdar_cli.base.errors import ConfigError
from sdar_cli.envs.alfworld.engine.engine import alfworld_module
from sdar_cli.envs.alfworld.games import games
from sdar_cli.envs.alfworld.games.layout import (
    LAMP,
    OPENABLE,
    TASK_TYPES,
    TREATMENT,
    Goal,
    House,
    can_contain,
    draw_house,
    objects_with,
)
from sdar_cli.envs.alfworld.games.made import write_note

SPLITS = ("train", "eval")
VERB = {"Cleanable": "clean", "Coolable": "cool", "Heatable": "heat"}
GENERATOR_VERSION = 1
"""Raise when the same seed would give other games: it is part of the cache's key."""


@dataclass(frozen=True)
class Game:
    """A drawn game before it is written.  ``plan`` is a list of engine commands that wins it."""

    house: House
    goal_text: str
    problem: str
    plan: list[str]


def draw_games(split: str, count: int, seed: int, size: str) -> Iterator[Game]:
    """``count`` distinct games of one split, the six task types in turn."""
    if split not in SPLITS:
        raise ConfigError(
            f"unknown split {split!r} of generated games", fix=f"use --split {' or --split '.join(SPLITS)}"
        )
    rng = random.Random(f"alfworld/{GENERATOR_VERSION}/{split}/{seed}/{size}")
    seen: set[str] = set()
    while len(seen) < count:
        house = draw_house(rng, TASK_TYPES[len(seen) % len(TASK_TYPES)], size)
        if house is None:
            continue
        digest = house.digest()
        if digest in seen or split_of(digest) != split:
            continue
        seen.add(digest)
        yield write_game(house, rng)


def split_of(digest: str) -> str:
    """The split a content hash belongs to: three quarters train, one quarter eval."""
    return "train" if int(digest[:2], 16) < 192 else "eval"


def write_game(house: House, rng: random.Random) -> Game:
    """Problem text, goal text and winning plan of a house."""
    receptacles, objects = _symbols(house)
    return Game(
        house, _goal_text(house.goal, rng), _problem(house, receptacles, objects), _plan(house, receptacles, objects)
    )


def _symbols(house: House) -> tuple[list[str], list[str]]:
    """PDDL names.  Coordinates only make names unique; they carry no geometry."""

    def spot(index: int, row: int) -> str:
        return f"_bar__plus_{index:02d}_dot_00_bar__plus_{row:02d}_dot_00_bar__plus_00_dot_00"

    receptacles = []
    for index, name in enumerate(house.receptacles):
        base = name.removesuffix("Basin")
        receptacles.append(f"{base}{spot(index, 0)}" + (f"_bar_{name}" if base != name else ""))
    return receptacles, [f"{name}{spot(i, 1)}" for i, (name, _) in enumerate(house.objects)]


def display_names(symbols: list[str], types: list[str]) -> list[str]:
    """The names the engine shows.  alfworld numbers the instances of a type downwards in sorted order."""
    shown = [""] * len(symbols)
    for kind in set(types):
        members = sorted((symbols[i].lower(), i) for i, t in enumerate(types) if t == kind)
        for rank, (_, i) in enumerate(members):
            shown[i] = f"{kind.lower()} {len(members) - rank}"
    return shown


def _problem(house: House, receptacles: list[str], objects: list[str]) -> str:
    otypes = sorted({kind for kind, _ in house.objects} | {LAMP})
    rtypes = sorted(set(house.receptacles) | {"SinkBasin", "Sink", "Microwave", "Fridge"})
    places = [f"loc_bar_{i}_bar_0_bar_0_bar_0" for i in range(len(receptacles))]
    start = "loc_bar_99_bar_0_bar_0_bar_0"
    declared = ["agent1 - agent"]
    declared += [f"{kind}Type - otype" for kind in otypes] + [f"{kind}Type - rtype" for kind in rtypes]
    declared += [f"{place} - location" for place in [*places, start]]
    declared += [f"{name} - receptacle" for name in receptacles] + [f"{name} - object" for name in objects]
    facts = [f"atLocation agent1 {start}"]
    table = can_contain()
    facts += [f"canContain {r}Type {o}Type" for r in rtypes for o in otypes if o in table.get(r, ())]
    for index, kind in enumerate(house.receptacles):
        name = receptacles[index]
        facts += [f"receptacleType {name} {kind}Type", f"receptacleAtLocation {name} {places[index]}"]
        facts += [f"openable {name}"] if kind in OPENABLE else []
    for name, (kind, at) in zip(objects, house.objects, strict=True):
        facts += _object_facts(name, kind, receptacles[at], places[at], house.receptacles[at])
    title = f"generated_{house.digest()[:16]}"
    lines = [f"(define (problem {title})", "(:domain alfred)", "(:objects", *declared, ")", "(:init"]
    lines += [f"({fact})" for fact in facts] + [")", _goal_pddl(house.goal)]
    return "\n".join(lines)


def _object_facts(name: str, kind: str, receptacle: str, place: str, receptacle_type: str) -> list[str]:
    facts = [f"objectType {name} {kind}Type", f"inReceptacle {name} {receptacle}", f"objectAtLocation {name} {place}"]
    if kind == LAMP:
        return [*facts, f"toggleable {name}"]
    facts.append(f"pickupable {name}")
    facts += [f"{prop.lower()} {name}" for prop in (*VERB, "Sliceable") if kind in objects_with(prop)]
    if receptacle_type == "Fridge" and kind in objects_with("Coolable"):
        facts.append(f"isCool {name}")
    return facts


def _goal_words(goal: Goal) -> dict[str, str]:
    toggle = LAMP if goal.target == LAMP else ""
    return {"obj": goal.object_type, "recep": "" if toggle else goal.target, "toggle": toggle}


def _goal_pddl(goal: Goal) -> str:
    """alfworld's goal of the task type, filled in; it also closes the problem's outer parenthesis."""
    goal_library = alfworld_module("alfworld.gen.goal_library")
    return goal_library.gdict[goal.task_type]["pddl"].format(**_goal_words(goal)).replace("#", "-")


def _goal_text(goal: Goal, rng: random.Random) -> str:
    goal_library = alfworld_module("alfworld.gen.goal_library")
    words = {key: value.lower() for key, value in _goal_words(goal).items()}
    return rng.choice(goal_library.gdict[goal.task_type]["templates"]).format(**words)


def _plan(house: House, receptacles: list[str], objects: list[str]) -> list[str]:
    """A plan by construction: the layout is known, so no planner is needed."""
    r_names = display_names(receptacles, house.receptacles)
    o_names = display_names(objects, [kind for kind, _ in house.objects])
    goal = house.goal
    plan: list[str] = []
    opened: set[int] = set()

    def go(index: int) -> None:
        plan.append(f"go to {r_names[index]}")
        if house.receptacles[index] in OPENABLE and index not in opened:
            opened.add(index)
            plan.append(f"open {r_names[index]}")

    targets = [i for i, (kind, _) in enumerate(house.objects) if kind == goal.object_type]
    copies = 2 if goal.task_type == "pick_two_obj_and_place" else 1
    for item in targets[:copies]:
        at = house.objects[item][1]
        go(at)
        plan.append(f"take {o_names[item]} from {r_names[at]}")
        if goal.task_type == "look_at_obj_in_light":
            lamp = next(i for i, (kind, _) in enumerate(house.objects) if kind == LAMP)
            stand = house.objects[lamp][1]
            plan += [f"go to {r_names[stand]}"] if stand != at else []
            return [*plan, f"use {o_names[lamp]}"]
        if goal.task_type in TREATMENT:
            prop, station = TREATMENT[goal.task_type]
            index = house.receptacles.index(station)
            plan += [f"go to {r_names[index]}"] if index != at else []
            plan.append(f"{VERB[prop]} {o_names[item]} with {r_names[index]}")
        target = house.receptacles.index(goal.target)
        go(target)
        plan.append(f"move {o_names[item]} to {r_names[target]}")
    return plan


def make_games(
    split: str, count: int, seed: int, size: str, out: Path, progress: Callable[[], None] | None = None
) -> list[Path]:
    """Write ``count`` games under ``out``/json_2.1.1/``split`` and return their files in order.

    A folder that already holds that split is refused: sets are made whole.
    Proof of solvability is the caller's: replay ``walkthrough`` in the engine (``sdar data make`` does).
    """
    refuse_taken(out, split)
    root = Path(out) / "json_2.1.1" / split
    domain, grammar = _domain_and_grammar()
    files = []
    for index, game in enumerate(draw_games(split, count, seed, size)):
        goal, digest = game.house.goal, game.house.digest()
        words = _goal_words(goal)
        folder = (
            root / f"{goal.task_type}-{goal.object_type}-None-{goal.target}-{index}" / f"trial_gen_{seed}_{digest[:12]}"
        )
        folder.mkdir(parents=True)
        data = {
            "pddl_domain": domain,
            "grammar": grammar.replace("UNKNOWN GOAL", game.goal_text),
            "pddl_problem": game.problem,
            "solvable": True,
            "walkthrough": game.plan,
        }
        (folder / "game.tw-pddl").write_text(json.dumps(data))
        params = {
            "object_target": words["obj"], "parent_target": words["recep"], "toggle_target": words["toggle"],
            "mrecep_target": "", "object_sliced": False,
        }  # fmt: skip
        traj = {"task_type": goal.task_type, "pddl_params": params, "task_id": folder.name}
        (folder / "traj_data.json").write_text(json.dumps(traj))
        files.append(folder / "game.tw-pddl")
        if progress:
            progress()
    return files


def refuse_taken(out: Path, split: str) -> None:
    """Raises ConfigError where a folder already holds games of a split."""
    root = Path(out) / "json_2.1.1" / split
    if root.exists() and any(root.iterdir()):
        raise ConfigError(
            f"{root} already holds games", why="a set is made whole, never added to", fix="choose another --out"
        )


@contextmanager
def new_set(out: Path, split: str, parameters: Mapping[str, object]) -> Iterator[Path]:
    """A folder to make a split's games in; they come to ``out`` when the block ends well, and vanish when not."""
    final = Path(out) / "json_2.1.1" / split
    final.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".making-", dir=out) as folder:
        yield Path(folder)
        (Path(folder) / "json_2.1.1" / split).rename(final)
    write_note(final.parent, split, parameters, games.list_tasks(final.parent, split))


def _domain_and_grammar() -> tuple[str, str]:
    """alfworld's own texts, read from the installed package (nothing is copied)."""
    import importlib.util

    spec = importlib.util.find_spec("alfworld")
    assert spec is not None and spec.origin is not None
    folder = Path(spec.origin).parent / "data"
    return (folder / "alfred.pddl").read_text(), (folder / "alfred.twl2").read_text()
