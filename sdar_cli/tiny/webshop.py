"""Demonstrations of WebShop for the warm start of a tiny policy.

As for ALFWorld: states visited by an expert, by a clumsy shopper and by an expert of a wrong kind of goods, each
labelled three ways: with the right skill, with none, with the wrong one.  Catalogues are generated with seeds of their
own, so that no product is one of the default run's.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from sdar_cli.base.files import refuse_taken
from sdar_cli.envs.base import Step, Task, TurnView
from sdar_cli.envs.webshop import expert as shopper
from sdar_cli.envs.webshop.catalogue.goods import TASK_TYPES
from sdar_cli.envs.webshop.catalogue.synth import make_catalogue
from sdar_cli.envs.webshop.env import WebShopEnvironment, open_environment
from sdar_cli.envs.webshop.options import WebShopOptions
from sdar_cli.envs.webshop.prompt import read_page
from sdar_cli.tiny.warmstart import DRIVERS, HISTORY, MAX_TURNS, Example, Recipe, briefs, build, three_ways

if TYPE_CHECKING:
    from sdar_cli.base.display import Reporter

CATALOGUES_SEED = 100
"""Far from the seed of the default run's catalogue."""
CATALOGUES = 8
SLIPS = 0.05
"""Share of moves replaced by another click, so that recovering from a mistake is learned, too."""
RECIPE = Recipe(vocabulary=2048, epochs=1.6)
NO_SLIP = ("click[buy now]", "click[search]")


@dataclass
class _Player:
    task: Task
    step: Step
    memory: shopper.Memory
    driver: str
    habits: shopper.Habits
    wrong: str
    past: list[tuple[str, str]]

    def view(self) -> TurnView:
        seen = self.step.observation
        shown = tuple(self.past[-HISTORY:])
        return TurnView(seen.goal, seen.text, seen.admissible, shown, len(self.past), "webshop")


def demonstrate(
    environment: WebShopEnvironment, tasks: Sequence[Task], skills: dict[str, str], rng: random.Random
) -> list[Example]:
    """Play every task once, the three demonstrators in turn, and label every visited state three ways.

    skills: task type to the text its skill shows.
    """
    examples: list[Example] = []
    for number, task in enumerate(tasks):
        step = environment.reset({0: task})[0]
        memory = shopper.Memory(shopper.Wish.read(step.observation.goal))
        wrong = rng.choice([kind for kind in TASK_TYPES if kind != task.type])
        driver = DRIVERS[number % len(DRIVERS)]
        player = _Player(task, step, memory, driver, shopper.Habits.draw(rng, task.type), wrong, [])
        while not player.step.done and len(player.past) < MAX_TURNS:
            action = _label(player, skills, rng, examples)
            before = player.step.observation.text
            player.past.append((before, action))
            player.memory.note(before, action)
            player.step = environment.step({0: action})[0]
    return examples


def _label(player: _Player, skills: dict[str, str], rng: random.Random, examples: list[Example]) -> str:
    """Three examples of one state; returns the action of the demonstrator that drives this episode."""
    view = player.view()
    page = read_page(view.observation, view.admissible)
    moves = {
        "expert": shopper.expert(player.memory, page, player.task.type),
        "clumsy": shopper.clumsy(player.memory, page, view.admissible, player.habits, rng),
        "wrong": shopper.expert(player.memory, page, player.wrong),
    }
    examples += three_ways(view, moves, skills[player.task.type], skills[player.wrong])
    clicks = [a for a in view.admissible if a.startswith("click") and a not in NO_SLIP]
    if player.driver != "clumsy" and clicks and page.kind != "search" and rng.random() < SLIPS:
        return rng.choice(clicks)
    return moves[player.driver].action


def build_tiny_webshop(out: Path, seed: int, games: int | None, workers: int, reporter: Reporter) -> Path:
    """``sdar models build tiny-webshop``: the human goals of generated catalogues, the bank's briefs, the recipe.

    Returns ``out``.  Raises ConfigError when it exists and is not empty.
    """
    from sdar_cli.tiny.tokenizer import WEBSHOP_CODES, WEBSHOP_UNITS

    refuse_taken(out)
    recipe = replace(RECIPE, seed=seed)
    rng = random.Random(seed)
    examples: list[Example] = []
    for number in range(games or CATALOGUES):
        with tempfile.TemporaryDirectory() as folder:
            data = make_catalogue(Path(folder) / "catalogue", seed=CATALOGUES_SEED + 100 * seed + number)
            with open_environment(WebShopOptions(source="real", data=str(data))) as environment:
                tasks = [task for task in environment.tasks("all") if task.id.startswith("human/")]
                rng.shuffle(tasks)
                examples += demonstrate(environment, tasks, briefs("webshop", tasks), rng)
        reporter.info(f"demonstrations: catalogue {number + 1} of {games or CATALOGUES}, {len(examples)} examples")
    build(recipe, examples, WEBSHOP_UNITS, out, reporter.info, words=WEBSHOP_CODES, preset="tiny-webshop")
    return out
