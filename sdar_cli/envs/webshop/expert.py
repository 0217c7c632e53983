"""Scripted shoppers for demonstrations: an expert that follows a procedure, and a clumsy one.

A shopper sees what the policy sees (the page's text, what can be clicked, the instruction), remembers the pages and
actions of its episode, and answers with a sub-goal and an action.  The expert of a kind of goods follows that kind's
procedure whatever the request is, so the same state can be labelled with the right skill, with a wrong one, and with
none.  It looks no further than a compact prompt shows, and decides by the last two pages.
"""

from __future__ import annotations

import random
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from sdar_cli.envs.webshop.catalogue.goods import TASK_TYPES
from sdar_cli.envs.webshop.prompt import (
    ANY_SEARCH,
    BUTTONS,
    SHOWN_RESULTS,
    Page,
    Result,
    admissible_actions,
    amounts,
    read_page,
)

TRIES = 3
"""Products looked at before one is bought as it is."""
QUERY_WORDS = 8
_LIMIT = re.compile(r",?\s*(?:and )?(?:with a )?price (?:lower|less) than \$?([\d,.]*\d)(?: dollars?)?")
_LEAD = re.compile(r"^(?:please )?(?:i(?: am|'m|m)? (?:looking|searching) for|i (?:need|want)|find me|show me) ")
_ARTICLE = re.compile(r"^(?:an?|the|some) ")
_TAIL = re.compile(r",| (?:with|in|that|which) ")


class Move(NamedTuple):
    """A sub-goal of two or three words and the action that serves it."""

    thought: str
    action: str


class Asked(Protocol):
    """What a shopper may know of a goal besides its instruction."""

    @property
    def attributes(self) -> Sequence[str]: ...
    @property
    def options(self) -> Sequence[str] | Sequence[tuple[str, str]]: ...


@dataclass(frozen=True)
class Procedure:
    """How to buy one kind of goods.  ``check``: the page to read before choosing ``options``, in their order."""

    options: tuple[str, ...] = ()
    cheapest: bool = False
    check: str = ""


PROCEDURES = {
    "apparel": Procedure(("color", "size")),
    "footwear": Procedure(("size", "width")),
    "home": Procedure(("style",), cheapest=True),
    "electronics": Procedure(("power",), check="features"),
    "accessories": Procedure(("material", "color")),
    "beauty": Procedure(("scent", "size")),
    "other": Procedure(("flavor", "variety", "pack")),
}
"""By task type; what the skill of that type describes."""
NO_SKILL = Procedure()
"""Search, open the first result, buy it."""


@dataclass(frozen=True)
class Wish:
    """An instruction taken apart.  ``item``: feature and item; ``tail``: what follows; ``limit``: dollars.

    attributes, values: those of the goal where it is known, else empty and found in the texts.
    """

    item: str
    tail: str
    limit: float
    attributes: tuple[str, ...] = ()
    values: tuple[str, ...] = ()

    @classmethod
    def read(cls, instruction: str, goal: Asked | None = None) -> Wish:
        """By the forms that synthetic and released instructions have; any other is all item."""
        text = instruction.lower().strip()
        found = _LIMIT.search(text)
        limit = float(found[1].replace(",", "")) if found else float("inf")
        text = _ARTICLE.sub("", _LEAD.sub("", _LIMIT.sub("", text).rstrip(". ")))
        split = _TAIL.search(text)
        item, tail = (text[: split.start()], text[split.start() :]) if split else (text, "")
        if goal is None:
            return cls(item, tail, limit)
        values = tuple(option if isinstance(option, str) else option[1] for option in goal.options)
        return cls(item, tail, limit, tuple(goal.attributes), values)

    def query(self) -> str:
        """What to type into the search bar."""
        return " ".join(re.findall(r"[\w'-]+", self.item)[:QUERY_WORDS])

    def value(self, name: str, offered: Collection[str]) -> str | None:
        """The wanted value among those offered for an option: the longest that the instruction names."""
        if self.values:
            return next((value for value in offered if value in self.values), None)
        named = [value for value in offered if _contains(self.tail, value)]
        near = [v for v in named if any(_contains(self.tail, form.format(v, name)) for form in ("{1} {0}", "{1}: {0}"))]
        return max(near or named, key=len, default=None)

    def names(self, option: str) -> bool:
        """Whether the instruction names an option."""
        return _contains(self.tail, option)

    def missing(self, text: str) -> bool:
        """Whether something that the item must have is missing in a text (its name and what else was read of it)."""
        if self.attributes:
            return any(attribute.lower() not in text.lower() for attribute in self.attributes)
        return self.overlap(text) < len(set(_stems(self.item)))

    def overlap(self, text: str) -> int:
        """How many words of the item a text has."""
        return len(set(_stems(self.item)) & set(_stems(text)))


def _contains(text: str, words: str) -> bool:
    return re.search(rf"(?<![\w'-]){re.escape(words)}(?![\w'-])", text) is not None


def _stems(text: str) -> list[str]:
    return [word.removesuffix("s") for word in re.findall(r"[\w'-]+", text.lower())]


@dataclass
class Memory:
    """What a shopper remembers of its episode; updated from the actions that were really taken."""

    wish: Wish
    chosen: set[str] = field(default_factory=set)
    """Values clicked on the item that is open."""
    name: str = ""
    read: str = ""
    """Its text pages."""
    left: list[str] = field(default_factory=list)
    """Names of the items turned down, in order."""

    def note(self, observation: str, action: str) -> None:
        """Record an action and the page it was taken on."""
        page = read_page(observation)
        self.name = page.name or self.name
        text = action.partition("[")[2].removesuffix("]")
        if action.startswith("search["):
            self.left.clear()
        elif page.kind == "text":
            self.read = f"{self.read} {page.body}"
        elif page.kind == "item" and text in ("< prev", "back to search"):
            self.left.append(page.name)
        elif page.kind == "item" and text not in BUTTONS:
            self.chosen.add(text)
        if page.kind not in ("item", "text") or text == "back to search":
            self.chosen.clear()
            self.read = ""


def expert(memory: Memory, page: Page, skill: str) -> Move:
    """The next move of the procedure ``skill``: a task type, or empty for none."""
    procedure = PROCEDURES[skill] if skill else NO_SKILL
    if page.kind == "results":
        return _open(memory, page, procedure)
    if page.kind == "item":
        return _use(memory, page, procedure)
    if page.kind == "text":
        missing = procedure.check and memory.wish.missing(f"{memory.name} {memory.read} {page.body}")
        return Move("feature missing" if missing else "go back", "click[< prev]")
    return Move("search item", f"search[{memory.wish.query()}]")


def _open(memory: Memory, page: Page, procedure: Procedure) -> Move:
    """The result after the one last turned down; else the cheapest or the first of those that fit best."""
    results = page.results[:SHOWN_RESULTS]
    names = [result.name for result in results]
    if memory.left and memory.left[-1] in names and not procedure.cheapest:
        later = results[names.index(memory.left[-1]) + 1 :]
        return Move("try next", f"click[{later[0].asin}]" if later else "click[next >]")
    fresh = [result for result in results if result.name not in memory.left]
    if not fresh:
        return Move("try next", "click[next >]") if results else Move("search again", "click[back to search]")
    best = max(memory.wish.overlap(result.name) for result in fresh)
    fitting = [result for result in fresh if memory.wish.overlap(result.name) == best]
    if procedure.cheapest:
        return Move("open cheapest", f"click[{min(fitting, key=_price).asin}]")
    payable = [result for result in fitting if _price(result) < memory.wish.limit]
    return Move("open result", f"click[{(payable or fitting)[0].asin}]")


def _price(result: Result) -> float:
    return min(amounts(result.price), default=0.0)


def _use(memory: Memory, page: Page, procedure: Procedure) -> Move:
    """On an item's page: read what must be read, choose the options, buy; or turn the item down."""
    wish, last = memory.wish, len(memory.left) >= TRIES - 1
    if procedure.check:
        if not memory.read and not memory.chosen:
            return Move(f"read {procedure.check}", f"click[{procedure.check}]")
        if memory.read and wish.missing(f"{page.name} {memory.read}") and not last:
            return Move("feature missing", "click[< prev]")
    for name in procedure.options:
        offered = page.options.get(name, ())
        if not offered or memory.chosen.intersection(offered):
            continue
        value = wish.value(name, offered)
        if value:
            return Move(f"choose {name}", f"click[{value}]")
        if wish.names(name) and not last:
            return Move(f"no such {name}", "click[< prev]")
    return Move("buy now", "click[buy now]")


@dataclass(frozen=True)
class Habits:
    """How clumsy one episode of the unskilled shopper is; drawn once per episode."""

    procedure: str
    words: float
    """Share of the item's words it types."""
    hurry: float
    """How often it buys before it has chosen everything."""
    wander: float
    wild: float
    """How often it opens any result."""

    @classmethod
    def draw(cls, rng: random.Random, task_type: str) -> Habits:
        """Mostly it does not know the task type's procedure and uses another one, or none."""
        known = rng.random() < 0.35
        procedure = task_type if known else rng.choice(["", *TASK_TYPES])
        share = rng.uniform(0.4, 1.2)
        return cls(procedure, share, rng.uniform(0.0, 0.4), rng.uniform(0.05, 0.3), rng.uniform(0.0, 0.4))


def clumsy(memory: Memory, page: Page, admissible: Sequence[str], habits: Habits, rng: random.Random) -> Move:
    """A move without a skill: an expert's of a guessed procedure, spoiled by haste, wandering and poor queries."""
    move = expert(memory, page, habits.procedure)
    if move.action.startswith("search["):
        words = move.action[len("search[") : -1].split()
        kept = max(1, min(len(words), round(habits.words * len(words))))
        chosen = sorted(rng.sample(range(len(words)), kept))
        return Move(move.thought, f"search[{' '.join(words[place] for place in chosen)}]")
    if page.kind == "results" and page.results and rng.random() < habits.wild:
        return Move("open result", f"click[{rng.choice(page.results[:SHOWN_RESULTS]).asin}]")
    if page.kind == "item" and rng.random() < habits.hurry:
        return Move("buy now", "click[buy now]")
    legal = [action for action in admissible if action not in (ANY_SEARCH, "click[buy now]", "click[search]")]
    if legal and rng.random() < habits.wander:
        return Move(move.thought, rng.choice(legal))
    return move


class Shopper:
    """One episode of a shopper.

    skill: the task type whose procedure it follows, empty for none.  goal: what it may know besides the instruction.
    habits: given, it is the clumsy shopper (``skill`` is not used), with ``rng``.
    """

    def __init__(
        self,
        instruction: str,
        skill: str = "",
        goal: Asked | None = None,
        habits: Habits | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self.memory = Memory(Wish.read(instruction, goal))
        self.skill = skill
        self.habits = habits
        self.rng = rng or random.Random(0)

    def act(self, observation: str, clickables: Sequence[str], has_search_bar: bool) -> Move:
        """The next (thought, action); the action counts as taken."""
        admissible = admissible_actions(clickables, has_search_bar)
        page = read_page(observation, admissible)
        if self.habits:
            move = clumsy(self.memory, page, admissible, self.habits, self.rng)
        else:
            move = expert(self.memory, page, self.skill)
        self.memory.note(observation, move.action)
        return move
