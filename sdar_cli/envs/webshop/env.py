"""WebShop as an ``Environment``: goals of one catalogue, episodes in this process.

An episode costs microseconds per step and shares catalogue, index and goals with all others, so there are no workers.
A task's id is ``human/N`` or ``synthetic/N``, N the goal's number in the original's order (seed 233).
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from sdar_cli.base.errors import ConfigError, PrerequisiteError
from sdar_cli.base.resources import print_warning
from sdar_cli.envs.base import Observation, Step, Task
from sdar_cli.envs.webshop.catalogue.catalog import Catalog, counting, in_thousands, open_catalog
from sdar_cli.envs.webshop.catalogue.goods import category_of
from sdar_cli.envs.webshop.catalogue.nouns import Nouns, open_nouns
from sdar_cli.envs.webshop.catalogue.synth import ensure_catalogue
from sdar_cli.envs.webshop.lucene.bm25 import Index
from sdar_cli.envs.webshop.options import WebShopOptions
from sdar_cli.envs.webshop.prompt import admissible_actions
from sdar_cli.envs.webshop.store.goals import Goal, Kind, load_goals
from sdar_cli.envs.webshop.store.shop import Shop, ShopSession

if TYPE_CHECKING:
    from sdar_cli.base.display import Reporter

KINDS: tuple[Kind, ...] = ("human", "synthetic")
ALL = "all"


def _tenth(asin: str) -> int:
    """0 to 9, by the product's name alone: all goals of a product are in one split, in every catalogue."""
    return hashlib.sha256(asin.encode()).digest()[0] * 10 // 256


Belongs = Callable[[int, str], bool]
"""(goal's number, asin of its product) to whether the goal is in a split."""
RULES: dict[str, dict[str, Belongs]] = {
    "product-disjoint": {
        "train": lambda number, asin: _tenth(asin) > 1,
        "eval": lambda number, asin: _tenth(asin) == 0,
        "test": lambda number, asin: _tenth(asin) == 1,
    },
    "original": {
        "train": lambda number, asin: number >= 1500,
        "eval": lambda number, asin: 500 <= number < 1500,
        "test": lambda number, asin: number < 500,
    },
    "released": {
        "train": lambda number, asin: number >= 500,
        "eval": lambda number, asin: number < 500,
    },
}
"""Splits by rule.  ``released``: the numbers the paper's code used; it also shuffled anew in every worker, so that
train and held-out goals were the same ones, which is not repeated here."""


class WebShopEnvironment:
    """Episodes of the goals of one catalogue.  Made by ``open_environment``."""

    def __init__(self, catalog: Catalog, index: Index, nouns: Nouns, config: WebShopOptions) -> None:
        self.catalog = catalog
        self._index = index
        self._nouns = nouns
        self._config = config
        self._shops: dict[Kind, Shop] = {}
        self._sessions: dict[int, ShopSession] = {}
        self._now: dict[int, Step] = {}

    def tasks(self, split: str) -> list[Task]:
        """Every goal of a split, sorted by id; ``all`` is every goal of both kinds.

        Raises ConfigError for an unknown split, PrerequisiteError for an empty one.
        """
        if split == ALL:
            return [self._task(kind, n, ALL) for kind in KINDS for n in range(len(self._shop(kind).goals))]
        kind, rule = self._config.goals, self._config.split_rule
        goals = self._shop(kind).goals
        if split not in RULES[rule]:
            known = ", ".join([*RULES[rule], ALL])
            raise ConfigError(f"WebShop has no split {split!r}", why=f"with env.split_rule = {rule} they are {known}")
        chosen = [n for n in range(len(goals)) if RULES[rule][split](n, goals[n].asin)]
        if not chosen:
            raise PrerequisiteError(
                f"no {kind} goal is in the split {split}",
                why=f"there are {len(goals)}, and env.split_rule is {rule}",
                fix="--set env.split_rule=product-disjoint",
            )
        return sorted((self._task(kind, n, split) for n in chosen), key=lambda task: task.id)

    def task(self, task_id: str) -> Task:
        """The task of an id.  Raises ConfigError where there is no such goal."""
        kind, number = _parse(task_id)
        goals = self._shop(kind).goals
        if number >= len(goals):
            raise ConfigError(f"no WebShop task {task_id!r}", why=f"there are {len(goals)} {kind} goals, from 0")
        return self._task(kind, number, ALL)

    def _task(self, kind: Kind, number: int, split: str) -> Task:
        goal = self._shop(kind).goals[number]
        return Task(f"{kind}/{number}", category_of(goal.category, goal.product_category), split, _digest(goal))

    def preflight(self, tasks: Sequence[Task]) -> None:
        """Nothing can be wrong with a goal that was loaded."""

    def reset(self, assignment: Mapping[int, Task]) -> dict[int, Step]:
        """Start one episode per slot."""
        for slot, task in assignment.items():
            kind, number = _parse(task.id)
            self._sessions[slot] = self._shop(kind).start(number)
            self._now[slot] = self._step(slot, 0.0, done=False)
        return {slot: self._now[slot] for slot in assignment}

    def step(self, actions: Mapping[int, str]) -> dict[int, Step]:
        """Act in slots.  What cannot be done changes nothing.

        A purchase ends the episode, not the shop: as in the original, a slot can continue.  Raises ValueError for a
        slot without an episode.
        """
        idle = [slot for slot in actions if slot not in self._now]
        if idle:
            raise ValueError(f"slots {idle} have no running episode")
        for slot, action in actions.items():
            turn = self._sessions[slot].step(action)
            self._now[slot] = self._step(slot, turn.reward, turn.done)
        return {slot: self._now[slot] for slot in actions}

    @property
    def tagger_id(self) -> str:
        """What finds the nouns in titles, on which rewards depend."""
        return self._nouns.tagger_id

    def close(self) -> None:
        """Forget the episodes."""
        self._sessions.clear()
        self._now.clear()

    def __enter__(self) -> WebShopEnvironment:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _step(self, slot: int, reward: float, done: bool) -> Step:
        session = self._sessions[slot]
        admissible = admissible_actions(session.clickables, session.has_search_bar)
        info: dict[str, object] = {"clickables": session.clickables, "has_search_bar": session.has_search_bar}
        if done and session.purchase is not None:
            info["reward_parts"] = {**session.purchase.info(), "tagger": self.tagger_id}
        seen = Observation(session.observation, session.goal.instruction, admissible)
        return Step(seen, reward, done, won=done and reward == 1.0, score=reward if done else None, info=info)

    def _shop(self, kind: Kind) -> Shop:
        """The shop with the goals of a kind and the prices they were drawn with; loaded when first needed."""
        if kind not in self._shops:
            how = self._config
            goals = load_goals(self.catalog, kind, price_seed=how.price_seed)
            self._shops[kind] = Shop(
                self.catalog, goals, self._index, self._nouns, mode=how.observation, show_attrs=how.show_attrs
            )
        return self._shops[kind]


def _digest(goal: Goal) -> str:
    """What the number of a goal does not identify: which data it is of, and the price limit that was drawn."""
    content = (goal.asin, goal.instruction, goal.attributes, goal.options, goal.price_upper)
    return hashlib.sha256(repr(content).encode("utf-8", "surrogatepass")).hexdigest()[:12]


def _parse(task_id: str) -> tuple[Kind, int]:
    """Kind and number of an id.  Raises ConfigError for anything else."""
    name, _, number = task_id.partition("/")
    for kind in KINDS:
        if name == kind and number.isdecimal():
            return kind, int(number)
    raise ConfigError(f"no WebShop task {task_id!r}", why="an id is human/N or synthetic/N", fix="--task human/0")


def open_environment(config: WebShopOptions, reporter: Reporter | None = None) -> WebShopEnvironment:
    """The shop of ``config.data`` (a folder of the original's files), or of the generated catalogue.

    Store and search index are made once and found again by the content of the files.  ``reporter`` shows what
    was left out of the data, and warns of a tagger that guesses: at once, or when it is first needed if the catalogue
    has its own nouns.
    Raises PrerequisiteError where the data cannot be used.
    """
    folder = Path(config.data).expanduser() if config.data else ensure_catalogue(config.products, config.games_seed)
    catalog = open_catalog(folder, reporter=reporter)
    index = open_index(catalog, reporter)
    nouns = open_nouns(folder, reporter.warn if reporter else None)
    if reporter:
        for notice in catalog.notices():
            reporter.info(notice)
    return WebShopEnvironment(catalog, index, nouns, config)


def open_index(catalog: Catalog, reporter: Reporter | None = None) -> Index:
    """The search index of a catalogue, next to its store; built when it is missing, damaged or of another version."""
    folder = catalog.store.with_name(catalog.store.name + "-bm25")
    if folder.is_dir():
        try:
            return Index.open(folder, source=catalog.key)
        except PrerequisiteError as error:
            (reporter.warn if reporter else print_warning)(f"{error.what}: it is made again ({error.why})")
            shutil.rmtree(folder)
    with counting(reporter, "indexing products, thousands", len(catalog) // 1000) as advance:
        return Index.build(catalog.texts(), folder, in_thousands(advance), keys=catalog.asins(), source=catalog.key)
