"""Goals: what a shopper is asked to buy, in the original's order, with the prices they were made from.

``human`` goals are written by people (items_human_ins.json); ``synthetic`` ones are made of a product's template in
items_ins, one per choice of a value for each option.  A goal's number is its place after the shuffle with seed 233.
Goals are built when asked for: only a few numbers per goal are kept, so the millions of the full catalogue fit.

Prices and price limits are dollars.  They come from one private generator, which draws what the original's global
one does after ``random.seed(price_seed)``: first a price per price range, then a limit per instruction.  The
original seeds nothing unless its ``web_agent_site.models`` was imported (seed 4, the default here), so its texts
and prices differ from process to process; the order of its goals does not.

Errors: PrerequisiteError when the file of human goals is missing or broken, or no goal is left.  Entries the original
fails on make no goal and are counted.

Source: rules and texts of princeton-nlp/WebShop (MIT), web_agent_site/engine/goal.py and utils.py.
"""

from __future__ import annotations

import bisect
import functools
import itertools
import random
from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np

from sdar_cli.base.errors import PrerequisiteError
from sdar_cli.base.files import parse_json
from sdar_cli.envs.webshop.catalogue.catalog import BAD_SHOWN, Catalog, Instruction
from sdar_cli.envs.webshop.catalogue.records import GET_FILES, Product

Kind = Literal["human", "synthetic"]
HUMAN_FILE = "items_human_ins.json"
PRICE_SEED = 4
SHUFFLE_SEED = 233
PRICE_STEPS = tuple(10.0 * step for step in range(1, 100))
NO_LIMIT = 1_000_000.0
"""Dollars that stand for no limit on the price."""
CACHED_GOALS = 4096
FAILS = ", original fails"
"""How reasons end that stop the original."""


@dataclass(frozen=True, slots=True)
class Goal:
    """One thing to buy.  ``options``: values wanted (human), or (option name, value) pairs (synthetic).

    index: the goal's number.  price_upper: dollars, ``NO_LIMIT`` when the text names no limit.  weight: how often
    the original draws the goal, relative to the others.  category to title: those of the product it is made from.
    """

    index: int
    asin: str
    instruction: str
    attributes: tuple[str, ...]
    options: tuple[str, ...] | tuple[tuple[str, str], ...]
    price_upper: float
    weight: float
    category: str
    query: str
    product_category: str
    title: str


@dataclass(frozen=True, slots=True)
class _Template:
    """What goals are made of: one instruction of a product.  ``options`` is None for a synthetic one."""

    docid: int
    text: str
    attributes: tuple[str, ...]
    options: tuple[str, ...] | tuple[tuple[str, str], ...] | None
    price_upper: float
    goals: int
    """How many goals it makes."""


@dataclass
class _LeftOut:
    """Entries that make no goal: how many by reason, and where the first ones are that stop the original."""

    reasons: Counter[str] = field(default_factory=Counter)
    failing: list[str] = field(default_factory=list)

    def add(self, reason: str, where: str = "", count: int = 1) -> None:
        """where: the entry's file and place, given if the original fails on it."""
        self.reasons[reason + FAILS if where else reason] += count
        if where and len(self.failing) < BAD_SHOWN:
            self.failing.append(f"{where}: {reason}")


class Goals(Sequence[Goal]):
    """All goals of a kind, by number.

    prices: dollars by docid.  skipped: entries without a goal, by reason; a reason that ends with ``FAILS`` is one
    that stops the original.  failing: where the first of these are.
    """

    def __init__(
        self, catalog: Catalog, kind: Kind, prices: np.ndarray, templates: list[_Template], left_out: _LeftOut
    ) -> None:
        self.catalog = catalog
        self.kind = kind
        self.prices = prices
        self.skipped = left_out.reasons
        self.failing = left_out.failing
        self._templates = templates
        self._ends = array("q", itertools.accumulate(template.goals for template in templates))
        self._order = array("q", range(self._ends[-1]))
        self._rng = random.Random(SHUFFLE_SEED)
        self._rng.shuffle(self._order)
        self._uses: Counter[str] = Counter()
        for template in templates:
            for attribute in template.attributes:
                self._uses[attribute] += template.goals
        self._goal = functools.lru_cache(CACHED_GOALS)(self._make)

    def __len__(self) -> int:
        return len(self._order)

    @overload
    def __getitem__(self, index: int) -> Goal: ...
    @overload
    def __getitem__(self, index: slice) -> list[Goal]: ...
    def __getitem__(self, index: int | slice) -> Goal | list[Goal]:
        if isinstance(index, slice):
            return [self._goal(number) for number in range(len(self))[index]]
        return self._goal(range(len(self))[index])

    def limit(self, count: int) -> None:
        """Keep ``count`` goals, drawn by weight as the original does; their numbers are then their places."""
        if count >= len(self):
            return
        cumulative = self.cumulative_weights
        chosen: dict[int, None] = {}
        while len(chosen) < count:
            chosen[draw(cumulative, self._rng)] = None
        self._order = array("q", [self._order[number] for number in chosen])
        self._goal.cache_clear()
        self.__dict__.pop("cumulative_weights", None)

    @functools.cached_property
    def cumulative_weights(self) -> list[float]:
        """Sums of the weights of the first 0, 1, … goals, for ``draw``."""
        weights = [self._weight(template) for template in self._templates]
        ordered = (weights[bisect.bisect_right(self._ends, place)] for place in self._order)
        return list(itertools.accumulate(ordered, initial=0.0))

    def _weight(self, template: _Template) -> float:
        if self.kind == "human":
            return 1.0
        uses = [1.0 / self._uses[attribute] for attribute in template.attributes]
        return sum(uses) / len(uses)

    def _make(self, index: int) -> Goal:
        place = self._order[index]
        number = bisect.bisect_right(self._ends, place)
        template = self._templates[number]
        product = self.catalog.product(template.docid)
        options, text = template.options, template.text
        if options is None:
            options = _combination(product, place - (self._ends[number] - template.goals))
            wanted = ", and ".join(f"{name}: {value}" for name, value in options)
            text += f" with {wanted}" if wanted else ""
        limited = template.price_upper != NO_LIMIT
        return Goal(
            index=index,
            asin=product.asin,
            instruction=text + (f", and price lower than {template.price_upper:.2f} dollars" if limited else ""),
            attributes=template.attributes,
            options=options,
            price_upper=template.price_upper,
            weight=self._weight(template),
            category=product.category,
            query=product.query,
            product_category=product.product_category,
            title=product.title,
        )


def _combination(product: Product, number: int) -> tuple[tuple[str, str], ...]:
    """The ``number``-th choice of option values, names sorted, the last option changing fastest."""
    chosen = []
    for name in sorted(product.options, reverse=True):
        number, place = divmod(number, len(product.options[name]))
        chosen.append((name, product.options[name][place]))
    return tuple(reversed(chosen))


def draw(cumulative: Sequence[float], rng: random.Random) -> int:
    """A goal's number as the original draws it: one too high, so number 0 never comes and the last one for two."""
    place = bisect.bisect(cumulative, rng.uniform(0, cumulative[-1]))
    return min(place, len(cumulative) - 2)


def price_limit(price: float, rng: random.Random) -> float:
    """A limit in dollars for a product of this price: the larger of two of the next four steps of 10.

    One draw of two; none, and ``NO_LIMIT``, when fewer than two steps up to 990 are above the price.
    """
    first = bisect.bisect_right(PRICE_STEPS, price)
    above = PRICE_STEPS[first : first + 4]
    return max(rng.sample(above, 2)) if len(above) >= 2 else NO_LIMIT


def load_goals(catalog: Catalog, kind: Kind, *, price_seed: int = PRICE_SEED, strict: bool = False) -> Goals:
    """The goals of a catalogue with the prices of its products, shuffled.  strict: refuse what the original would.

    Raises PrerequisiteError when items_human_ins.json is needed and cannot be read, when no goal is left, and
    under ``strict`` for an entry that the original fails on.
    """
    rng = random.Random(price_seed)
    prices = catalog.draw_prices(rng)
    left_out = _LeftOut()
    make = _human if kind == "human" else _synthetic
    templates = make(catalog, prices, rng, left_out)
    if not any(template.goals for template in templates):
        why = str(dict(left_out.reasons))
        raise PrerequisiteError(f"{catalog.source.parent} holds no {kind} goal", why=why, fix=GET_FILES)
    if strict and left_out.failing:
        where, _, reason = left_out.failing[0].rpartition(": ")
        why = f"{reason}; the original fails on it"
        fix = "repair the file, or load without strict to leave such entries out"
        raise PrerequisiteError(f"{where} cannot be used", why=why, fix=fix)
    return Goals(catalog, kind, prices, templates, left_out)


def _read_human(path: Path) -> Mapping[str, object]:
    try:
        entries = parse_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise PrerequisiteError(f"{path} cannot be read", why=str(error), fix=GET_FILES) from error
    if not isinstance(entries, dict):
        raise PrerequisiteError(f"{path} cannot be read", why="it is no object by asin", fix=GET_FILES)
    return entries


def _human(catalog: Catalog, prices: np.ndarray, rng: random.Random, left_out: _LeftOut) -> list[_Template]:
    """Templates of the instructions people wrote, by docid, then in the file's order."""
    entries, path = {}, catalog.source.parent / HUMAN_FILE
    for asin, instructions in _read_human(path).items():
        docid = catalog.docid(asin)
        if docid is None:
            left_out.add("of a product that is not in the catalogue")
        else:
            entries[docid] = (asin, instructions)
    templates = []
    for docid in sorted(entries):
        asin, instructions = entries[docid]
        for number, entry in enumerate(instructions if isinstance(instructions, list) else [None]):
            if isinstance(entry, dict) and entry.get("instruction_attributes") == []:
                left_out.add("no attributes")
                continue
            found = _human_parts(entry)
            if found is None:
                left_out.add("not as expected", f"entry {number} (from 0) of {asin} in {path}")
                continue
            text, attributes, options = found
            limit = price_limit(float(prices[docid]), rng)
            templates.append(_Template(docid, text.strip("."), attributes, options, limit, 1))
    return templates


def _human_parts(entry: Any) -> tuple[str, tuple[str, ...], tuple[Any, ...]] | None:
    """Text, attributes and options of an entry that has attributes; None where the original would fail."""
    if not isinstance(entry, dict) or not isinstance(entry.get("instruction"), str):
        return None
    attributes, options = entry.get("instruction_attributes"), entry.get("instruction_options")
    if isinstance(options, dict):
        return _checked(entry["instruction"], attributes, list(options.values()), tuple(options.items()))
    return _checked(entry["instruction"], attributes, options, None)


def _checked(
    text: str, attributes: Any, values: Any, pairs: tuple[Any, ...] | None
) -> tuple[str, tuple[str, ...], tuple[Any, ...]] | None:
    for texts in (attributes, values):
        if not isinstance(texts, list) or not all(isinstance(item, str) for item in texts):
            return None
    return text, tuple(attributes), tuple(values) if pairs is None else pairs


def _synthetic(catalog: Catalog, prices: np.ndarray, rng: random.Random, left_out: _LeftOut) -> list[_Template]:
    """Templates of items_ins, by docid."""
    if catalog.first_without_entry:
        row, asin = catalog.first_without_entry
        left_out.add("no items_ins entry", f"row {row} (from 0), {asin}, of {catalog.source}", catalog.without_entry)
    templates = []
    for instruction in catalog.instructions():
        attributes = _synthetic_attributes(instruction)
        if attributes is None:
            asin = catalog.product(instruction.docid).asin
            left_out.add("no instruction_attributes", f"the entry of {asin} in {catalog.entries}")
            continue
        limit = price_limit(float(prices[instruction.docid]), rng)
        if not instruction.combinations:
            left_out.add("an option has no values")
            continue
        templates.append(
            _Template(instruction.docid, instruction.text, attributes, None, limit, instruction.combinations)
        )
    return templates


def _synthetic_attributes(instruction: Instruction) -> tuple[str, ...] | None:
    attributes = instruction.attributes
    if not isinstance(instruction.text, str) or not isinstance(attributes, list) or not attributes:
        return None
    return tuple(attributes) if all(isinstance(attribute, str) for attribute in attributes) else None
