"""Demonstrations of Search-QA for the warm start of a tiny policy.

As for ALFWorld: states visited by an expert, by a clumsy searcher and by an expert of a wrong kind of questions, each
labelled three ways: with the right skill, with none, with the wrong one.  Worlds are generated with seeds of their own,
and only training questions are shown, so that no name of a held-out question has been asked about.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from sdar_cli.base.files import refuse_taken
from sdar_cli.envs.base import Environment, Step, Task, TurnView, group_by_type
from sdar_cli.envs.search import expert as searcher
from sdar_cli.envs.search.actions import read_action
from sdar_cli.envs.search.data.world import KINDS
from sdar_cli.envs.search.options import SearchOptions
from sdar_cli.tiny.warmstart import DRIVERS, Answer, Example, Recipe, briefs, build, three_ways

if TYPE_CHECKING:
    from sdar_cli.base.display import Reporter

WORLDS_SEED = 100
"""Far from the seed of the default run's world."""
WORLDS = 13
QUESTIONS = {"direct": 200, "entity": 300, "bridge": 350, "comparison": 450}
"""How many of each kind are demonstrated, per world: more where there is more to learn."""
RECIPE = Recipe(vocabulary=2048, feed_forward=256, epochs=1.0)


def respond(move: Answer) -> str:
    """The response format of the policy.  Words follow a space, as in a passage: the same tokens are copied."""
    action = read_action(move.action)
    return f"<think> {move.thought}</think><{action.kind}> {action.content}</{action.kind}>"


@dataclass
class _Player:
    task: Task
    step: Step
    asked: searcher.Asked
    driver: str
    habits: searcher.Habits
    wrong: str
    past: list[tuple[str, str]] = field(default_factory=list)

    def view(self) -> TurnView:
        seen = self.step.observation
        return TurnView(seen.goal, seen.text, seen.admissible, tuple(self.past), len(self.past), "search")


def demonstrate(
    environment: Environment, tasks: Sequence[Task], skills: dict[str, str], rng: random.Random
) -> list[Example]:
    """Play every task once, the three demonstrators in turn, and label every visited state three ways.

    skills: kind to the text its skill shows.
    """
    examples: list[Example] = []
    first = environment.reset(dict(enumerate(tasks)))
    players = {}
    for i, task in enumerate(tasks):
        asked = searcher.read_question(first[i].observation.goal)
        wrong = rng.choice([kind for kind in KINDS if kind != task.type])
        driver = DRIVERS[i % len(DRIVERS)]
        players[i] = _Player(task, first[i], asked, driver, searcher.Habits.draw(rng, task.type), wrong)
    for _ in range(searcher.TURNS):
        actions = {i: _label(p, skills, rng, examples) for i, p in players.items() if not p.step.done}
        if not actions:
            break
        for i, step in environment.step(actions).items():
            players[i].past.append((players[i].step.observation.text, actions[i]))
            players[i].step = step
    return examples


def _label(player: _Player, skills: dict[str, str], rng: random.Random, examples: list[Example]) -> str:
    """Three examples of one state; returns the action of the demonstrator that drives this episode."""
    view = player.view()
    seen = searcher.searches(view)
    moves = {
        "expert": searcher.expert(player.asked, seen, player.task.type),
        "clumsy": searcher.clumsy(player.asked, seen, player.habits, rng),
        "wrong": searcher.expert(player.asked, seen, player.wrong),
    }
    examples += three_ways(view, moves, skills[player.task.type], skills[player.wrong])
    return moves[player.driver].action


def build_tiny_search(out: Path, seed: int, games: int | None, workers: int, reporter: Reporter) -> Path:
    """``sdar models build tiny-search``: training questions of generated worlds, the bank's briefs, the recipe.

    Returns ``out``.  Raises ConfigError when it exists and is not empty.
    """
    from sdar_cli.envs.search.env import open_environment
    from sdar_cli.tiny.tokenizer import SEARCH_TAGS, SEARCH_UNITS

    refuse_taken(out)
    recipe = replace(RECIPE, seed=seed)
    rng = random.Random(seed)
    examples: list[Example] = []
    total = games or WORLDS
    for number in range(total):
        world = SearchOptions(games_seed=WORLDS_SEED + 100 * seed + number, max_turns=searcher.TURNS)
        with open_environment(world) as environment:
            groups = group_by_type(environment.tasks("train"))
            tasks = [task for kind, n in QUESTIONS.items() for task in rng.sample(groups[kind], n)]
            rng.shuffle(tasks)
            examples += demonstrate(environment, tasks, briefs("search", tasks), rng)
        reporter.info(f"demonstrations: world {number + 1} of {total}, {len(examples)} examples")
    build(
        recipe, examples, SEARCH_UNITS, out, reporter.info, words=SEARCH_TAGS, preset="tiny-search", write=respond
    )  # fmt: skip
    return out
