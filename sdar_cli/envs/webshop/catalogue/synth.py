"""A synthetic catalogue in the original's file formats: seeded, streamed, with no text of any real shop.

Products come in families of five.  A family shares an item ("hiking boots" are style and noun) and differs in what
one kind of shopper must look at: the feature in the name, the price (home), or a feature that only the Features page
shows (electronics; it is in no text that the search index sees).  Each kind of goods has its own options.  Which
words of a name are nouns is known (``goods_nouns``), so the exact noun cache is written along with the files.

The same seed gives the same bytes everywhere (of ``nouns.json.gz``: the same content).  Left out on purpose: reviews,
which the original's text environment never shows, and skewed shares of categories.
"""

from __future__ import annotations

import functools
import gzip
import json
import random
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeAlias, cast

from sdar_cli.base.errors import ConfigError
from sdar_cli.base.resources import cache_dir, made_once
from sdar_cli.envs.webshop.catalogue.goods import (
    BRANDS,
    EXTRAS,
    GARDEN_NOUNS,
    GARDEN_OPTIONS,
    GARDEN_SHELF,
    GOODS,
    MASS,
    PLURAL,
    TAILS,
    TASK_TYPES,
    items_of,
    name_of,
)
from sdar_cli.envs.webshop.catalogue.goods_nouns import ODD_NAMES, TAGGER, nouns_of

Row: TypeAlias = dict[str, object]
Options: TypeAlias = dict[str, list[str]]
VERSION = 3
"""Raise when the same seed would give other files: it is part of the cache's key."""
DRAWN = 2
"""Raise when products are drawn otherwise: it is part of what every draw is seeded with."""
PRODUCTS = 1000
SEED = 0
FAMILY = 5
GOALS = 3
"""Human goals per family: on three members, or three on the one member that fits (home)."""
NOUNS_FILE = "nouns.json.gz"
LEADS = ("i am looking for", "i need", "i want", "find me", "show me")
BLOCK = 1000
"""Codes are dealt in blocks: a catalogue of that many products has the codes 0 to 999 in the seed's order, whatever
the seed, so that a tiny policy can know each code as one token."""
MOST = 9_999 * BLOCK
"""Codes, and so products, that there are."""
_STRIDE = 387
"""Coprime with ``BLOCK``: no two products share a code."""


@dataclass(frozen=True)
class _Member:
    """One product before it is written.  ``wanted``: feature asked for in its goals, empty for a product without."""

    kind: str
    brand: str
    item: str
    noun: str
    features: tuple[str, ...]
    wanted: str
    goals: int
    cents: tuple[int, ...]


def make_catalogue(
    folder: Path,
    products: int = PRODUCTS,
    seed: int = SEED,
    bad_rows: bool = False,
    progress: Callable[[], None] = lambda: None,
) -> Path:
    """Write the three files of a catalogue and its noun cache into ``folder`` (made if absent); returns it.

    One product is held in memory at a time.  bad_rows: also rows the original skips or stumbles over, at the end.
    progress: called with every product.
    Raises ConfigError when the folder already holds a catalogue, or for a number of products that cannot be made.
    """
    if not 1 <= products <= MOST - 100:
        raise ConfigError(f"a catalogue of {products} products", fix=f"ask for 1 to {MOST - 100}")
    suffix = "_1000" if products == PRODUCTS else ""
    names = [f"items_shuffle{suffix}.json", f"items_ins_v2{suffix}.json", "items_human_ins.json"]
    if any((folder / name).exists() for name in [*names, NOUNS_FILE]):
        raise ConfigError(f"{folder} already holds a catalogue", fix="give another folder")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".making-", dir=folder) as making:
        paths = [Path(making) / name for name in [*names, NOUNS_FILE]]
        _write(paths, products, seed, bad_rows, progress)
        for path in paths:
            path.replace(folder / path.name)
    return folder


def ensure_catalogue(products: int = PRODUCTS, seed: int = SEED) -> Path:
    """The folder of a cached synthetic catalogue, made when absent."""
    root = cache_dir() / "webshop" / f"synth-{VERSION}-p{products}-s{seed}"
    return made_once(root, lambda folder: make_catalogue(folder, products, seed))


class _Joined:
    """Items of one JSON array or object, written one by one."""

    def __init__(self, file: IO[bytes], head: str, end: str) -> None:
        self.file, self.before, self.end = file, f"{head}\n", f"\n{end}\n"

    def add(self, value: Any, key: str | None = None) -> None:
        name = "" if key is None else f"{json.dumps(key, ensure_ascii=False)}: "
        self.file.write(f"{self.before}{name}{json.dumps(value, ensure_ascii=False)}".encode())
        self.before = ",\n"

    def close(self) -> None:
        self.file.write(f"{self.before.rstrip().strip(',')}{self.end}".encode())


def _write(paths: list[Path], products: int, seed: int, bad_rows: bool, progress: Callable[[], None]) -> None:
    with ExitStack() as stack:
        files: list[IO[bytes]] = [stack.enter_context(path.open("wb")) for path in paths[:3]]
        packed = stack.enter_context(gzip.GzipFile(paths[3], "wb", mtime=0))
        rows, instructions, human = (_Joined(file, *ends) for file, ends in zip(files, ("[]", "{}", "{}"), strict=True))
        nouns = _Joined(cast(IO[bytes], packed), f'{{"tagger": "{TAGGER}", "nouns": {{', "}}")
        for index in range(products):
            row, entry, asked = _product(index, products, seed)
            name, asin = str(row["name"]), str(row["asin"])
            rows.add(row)
            nouns.add(nouns_of(name), name)
            instructions.add(entry, asin)
            if asked:
                human.add(asked, asin)
            progress()
        for row in _bad_rows(products, seed) if bad_rows else ():
            name = str(row["name"])
            rows.add(row)
            nouns.add(nouns_of(name), name)
        for part in (rows, instructions, human, nouns):
            part.close()


def asin_of(index: int, seed: int) -> str:
    """The code of a product: ``BSY`` and seven digits, different for every index."""
    start = random.Random(f"webshop/{seed}/asin").randrange(BLOCK)
    return f"BSY{index // BLOCK * BLOCK + (index * _STRIDE + start) % BLOCK:07d}"


@functools.lru_cache(maxsize=64)
def _items(kind: str, seed: int) -> list[tuple[str, str]]:
    """The (style, noun) pairs of a kind in the seed's order."""
    pairs = items_of(kind)
    random.Random(f"webshop/{DRAWN}/{seed}/{kind}").shuffle(pairs)
    return pairs


def _member(index: int, products: int, seed: int) -> _Member:
    """Member ``index // families`` of family ``index % families``; what the family shares is drawn anew each time."""
    families = -(-products // FAMILY)
    place, number = divmod(index, families)
    kind = TASK_TYPES[number % len(TASK_TYPES)]
    pairs = _items(kind, seed)
    style, noun = pairs[number // len(TASK_TYPES) % len(pairs)]
    rng = random.Random(f"webshop/{DRAWN}/{seed}/family/{number}")
    features = rng.sample(GOODS[kind].features, len(GOODS[kind].features))
    brand, rank = rng.sample(BRANDS, FAMILY)[place], rng.sample(range(FAMILY), FAMILY)[place]
    item = f"{style} {noun}"
    own = random.Random(f"webshop/{DRAWN}/{seed}/member/{index}")
    chosen = rank < GOALS
    if kind == "home":
        first = 10 + rng.randrange(50)
        cents = ((first + (40 + own.randrange(160) if rank else 0)) * 100 + 99,)
        wanted, goals = (features[0], GOALS) if rank == 0 else ("", 0)
        return _Member(kind, brand, item, noun, (features[0],), wanted, goals, cents)
    if kind == "electronics":
        cents = ((rng.randrange(2, 10) * 10 + own.randrange(10)) * 100 + 99,)
        shown = ([features[0]] if chosen else []) + own.sample(features[1:], 2)
        own.shuffle(shown)
        return _Member(kind, brand, item, noun, tuple(shown), features[0] * chosen, int(chosen), cents)
    feature = features[place]
    return _Member(kind, brand, item, noun, (feature,), feature * chosen, int(chosen), _prices(own, chosen))


def _prices(rng: random.Random, has_goals: bool) -> tuple[int, ...]:
    """No price (never for a goal), one price, or the two ends of a range; in cents."""
    low, form = rng.randrange(6, 96) * 100 + 99, rng.random()
    if form < 0.05 and not has_goals:
        return ()
    return (low, low + rng.randrange(1, 15) * 100) if form > 0.9 else (low,)


def _options(member: _Member, rng: random.Random) -> Options:
    known = GARDEN_OPTIONS if member.noun in GARDEN_NOUNS else GOODS[member.kind].options
    counts = {name: len(values) if len(values) <= 4 else 3 + rng.randrange(2) for name, values in known.items()}
    chosen = {name: set(rng.sample(values, counts[name])) for name, values in known.items()}
    return {name: [value for value in values if value in chosen[name]] for name, values in known.items()}


def _product(index: int, products: int, seed: int) -> tuple[Row, Row, list[Row]]:
    """The row of a product, its entry in items_ins, and its human goals."""
    member = _member(index, products, seed)
    rng = random.Random(f"webshop/{DRAWN}/{seed}/text/{index}")
    asin, options = asin_of(index, seed), _options(member, rng)
    attributes = [*member.features, *(extras := rng.sample(EXTRAS, 2))]
    shown = "" if member.kind == "electronics" else member.features[0]
    name = name_of(member.brand, shown, member.item, rng.choice(TAILS) if rng.random() < 0.4 else "")
    entry: Row = {"attributes": attributes}
    if member.wanted:
        text = f"Find me {member.wanted} {member.item.removesuffix(member.noun)}{_query(member)}"
        entry |= {"instruction": text, "instruction_attributes": [member.wanted]}
    human = [_human(asin, member, attributes, options, rng) for _ in range(member.goals)]
    return _row(asin, name, member, options, extras), entry, human


def _query(member: _Member) -> str:
    return member.noun if member.noun in PLURAL | MASS else f"{member.noun}s"


def _row(asin: str, name: str, member: _Member, options: Options, extras: list[str]) -> Row:
    shelf = GARDEN_SHELF if member.noun in GARDEN_NOUNS else GOODS[member.kind].shelf
    query, brand = _query(member), member.brand
    bullets = [f"{member.item.capitalize()} by {brand}.", *(f"{text.capitalize()}." for text in member.features)]
    return {
        "name": name,
        "product_information": {"ASIN": asin, "Manufacturer": brand},
        "brand": f"Brand: {brand}",
        "full_description": f"{brand} sells this {member.item} by mail. {extras[0].capitalize()}.",
        "pricing": "".join(f"${cents // 100}.{cents % 100:02d}" for cents in member.cents),
        "images": [f"https://img.invalid/{asin}.jpg"],
        "product_category": f"{shelf} › {query.title()}",
        "small_description": [*bullets, f"{extras[1].capitalize()}."],
        "customization_options": {
            option.title(): [{"is_selected": not n, "value": value, "asin": asin} for n, value in enumerate(values)]
            for option, values in options.items()
        },
        "asin": asin,
        "category": "garden" if shelf == GARDEN_SHELF else GOODS[member.kind].category,
        "query": query,
    }


def _human(asin: str, member: _Member, attributes: list[str], options: Options, rng: random.Random) -> Row:
    """One entry of items_human_ins: the item, the feature and one value of every option."""
    wanted = {name: rng.choice(values) for name, values in options.items()}
    article = "" if member.noun in PLURAL | MASS else "an " if member.wanted[0] in "aeiou" else "a "
    phrase = f"{article}{member.wanted} {member.item}"
    plain = [f"size {value}" if name == "size" else f"{value} {name}" for name, value in wanted.items()]
    listed = [f"{name} {value}" for name, value in wanted.items()]
    tail = f" with {' and '.join(plain)}" if rng.random() < 0.6 else f", {', '.join(listed)}"
    return {
        "asin": asin,
        "instruction": f"{rng.choice(LEADS)} {phrase}{tail}{'.' if rng.random() < 0.15 else ''}",
        "attributes": attributes,
        "options": [f"{name}: {value}" for name, value in wanted.items()],
        "instruction_attributes": [member.wanted],
        "instruction_options": list(wanted.values()),
    }


def _bad_rows(products: int, seed: int) -> Iterator[Row]:
    """Rows the original skips or fails on, and odd ones that it takes; none has an entry in the other files."""
    row, _, _ = _product(0, products, seed)
    fresh = (asin_of(products + number, seed) for number in range(100))
    yield row | {"asin": "nan"}
    yield row | {"asin": "B0TOOLONGBYFAR"}
    yield row | {"name": ODD_NAMES[0]}  # the asin of the first product again
    yield row | {"asin": next(fresh), "pricing": "9.99"}
    yield row | {"asin": next(fresh), "images": []}
    yield row | {"asin": next(fresh), "customization_options": {"Color": None}}
    yield row | {"asin": next(fresh), "customization_options": {"Color": []}}
    yield row | {"asin": next(fresh), "customization_options": {key: [{"value": "A / b"}] for key in ("Color", "Trim")}}
    yield row | {"asin": next(fresh), "name": ODD_NAMES[1]}
