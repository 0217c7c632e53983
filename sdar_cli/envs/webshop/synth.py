"""A synthetic catalogue in the original's file formats: seeded, streamed, with no text of any real shop.

Products come in families of five.  A family shares an item ("hiking boots" are style and noun) and differs in what
one kind of shopper must look at: the feature in the name, the price (home), or a feature that only the Features page
tells (electronics; it is in no text that the search index sees).  Each kind of goods has its own options.  A word of
a name is a noun or not by construction, so the exact noun cache is written along with the files.

The same seed gives the same bytes everywhere (of ``nouns.json.gz``: the same content).  Left out on purpose: reviews,
which the original's text environment never shows, and skewed shares of categories.
"""

from __future__ import annotations

import functools
import gzip
import json
import random
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeAlias, cast

from sdar_cli.errors import ConfigError
from sdar_cli.resources import cache_dir

Row: TypeAlias = dict[str, Any]
Options: TypeAlias = dict[str, list[str]]
VERSION = 2
"""Raise when the same seed would give other files: it is part of the cache's key."""
PRODUCTS = 1000
SEED = 0
FAMILY = 5
GOALS = 3
"""Human goals per family: on three members, or three on the one member that fits (home)."""
NOUNS_FILE = "nouns.json.gz"
TAGGER = "synth"


@dataclass(frozen=True)
class Goods:
    """One kind of goods.  ``options``: name to its values; a product has all the names and a few of the values."""

    category: str
    shelf: str
    nouns: tuple[str, ...]
    styles: tuple[str, ...]
    features: tuple[str, ...]
    options: dict[str, tuple[str, ...]]


def _words(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(","))


COLORS = _words("black, white, red, blue, green, yellow, purple, orange, brown, beige, dark green, light blue")
PACKS = _words("single, twin, family, bulk")
CLOTHING = "Clothing, Shoes & Jewelry › "
GOODS = {
    "apparel": Goods(
        "fashion",
        CLOTHING + "Women › Clothing",
        _words("jacket, hoodie, shirt, sweater, skirt, coat, vest, cardigan"),
        _words("casual, slim, cropped, quilted, knitted, oversized"),
        _words("machine washable, quick dry, wrinkle free, breathable, stretchy, waterproof, windproof, thermal lined"),
        {"color": COLORS, "size": _words("xs, s, m, l, xl, xxl")},
    ),
    "footwear": Goods(
        "fashion",
        CLOTHING + "Men › Shoes",
        _words("boots, sandals, loafers, sneakers, slippers, clogs, moccasins, trainers"),
        _words("hiking, canvas, ankle, platform, summer, indoor"),
        _words("non slip, arch support, memory foam, shock absorbing, lace up, wool lined, steel toe, feather light"),
        {"size": _words("6, 7, 8, 9, 10, 11, 12"), "width": _words("narrow, medium, wide")},
    ),
    "home": Goods(
        "garden",
        "Home & Kitchen › Home Décor",
        _words("lamp, rug, curtain, pillow, blanket, stool, mirror, chair"),
        _words("round, tall, bedroom, kitchen, hallway, nursery"),
        _words(
            "space saving, hand made, stain resistant, eco friendly, easy clean, fade proof, child safe, solid wood"
        ),
        {"style": _words("modern, cottage, plain, striped, floral, checked")},
    ),
    "electronics": Goods(
        "electronics",
        "Electronics › Portable Audio & Video",
        _words("speaker, headset, keyboard, camera, radio, clock, fan, microphone"),
        _words("portable, desktop, wireless, mini, foldable, outdoor"),
        _words(
            "noise cancelling, fast charging, voice control, long range, night mode, auto shutoff, dust sealed, backup"
        ),
        {"power": _words("usb, battery, mains, solar")},
    ),
    "accessories": Goods(
        "fashion",
        CLOTHING + "Women › Accessories",
        _words("wallet, backpack, belt, purse, tote, cap, satchel, lanyard"),
        _words("travel, evening, vintage, sport, weekend, business"),
        _words(
            "theft proof, compact, hand stitched, adjustable, scratch proof, double sided, magnet closure, rain cover"
        ),
        {"material": _words("leather, canvas, nylon, suede, cork, felt"), "color": COLORS},
    ),
    "beauty": Goods(
        "beauty",
        "Beauty & Personal Care › Skin & Hair Care",
        _words("shampoo, lotion, soap, cream, balm, serum, scrub, toner"),
        _words("daily, nourishing, repair, gentle, foaming, herbal"),
        _words("sulfate free, cruelty free, plant based, non greasy, vitamin rich, hydrating, fast drying, dye free"),
        {
            "scent": _words("lavender, citrus, vanilla, rose, mint, unscented"),
            "size": _words("mini, full, refill, duo"),
        },
    ),
    "other": Goods(
        "grocery",
        "Grocery & Gourmet Food › Pantry",
        _words("tea, coffee, granola, syrup, jam, popcorn, seeds, bulbs"),
        _words("morning, classic, wild, golden, autumn, village"),
        _words("organic, non gmo, hand picked, slow grown, small batch, fair trade, sun ripened, locally sourced"),
        {"flavor": _words("lemon, honey, cocoa, ginger, berry, caramel"), "pack": PACKS},
    ),
}
TASK_TYPES = tuple(GOODS)
"""The kinds of goods; a goal's task type is one of these."""
MASS = frozenset({"tea", "coffee", "granola", "syrup", "jam", "popcorn"})
"""Nouns without article and plural."""
GARDEN_NOUNS = frozenset({"seeds", "bulbs"})
PLURAL = GARDEN_NOUNS | set(GOODS["footwear"].nouns)
GARDEN_SHELF = "Patio, Lawn & Garden › Gardening"
GARDEN_OPTIONS = {"variety": _words("lily, poppy, iris, daisy, tulip, aster"), "pack": PACKS}
EXTRAS = _words("gift wrapped, clear label, printed manual, recycled box, spare parts, quality checked")
"""Attributes that no goal asks for."""
TAILS = _words("for Women, for Men, for Kids, for Students, for Gifts")
BRANDS = _words(
    "Velmora, Brindlo, Casvenna, Dorrikan, Elquist, Fennaro, Galdove, Hestrin, Jorvane, Kelluma, Lorimet, Mardune, "
    "Nelvik, Orbresk, Pellune, Quorvi, Rivanto, Solbrek, Tavmere, Ulvane, Vostrel, Wendrow, Yarrowin, Zembari"
)
LEADS = ("i am looking for", "i need", "i want", "find me", "show me")
NOT_NOUNS = frozenset(
    _words("""
for, washable, quick, dry, wrinkle, free, breathable, stretchy, waterproof, windproof, thermal, lined, casual, slim,
cropped, quilted, knitted, oversized, non, slip, absorbing, up, light, indoor, round, tall, saving, made, resistant,
friendly, easy, clean, proof, safe, solid, portable, wireless, mini, foldable, outdoor, compact, stitched, adjustable,
double, sided, vintage, daily, nourishing, gentle, foaming, herbal, based, greasy, rich, hydrating, fast, drying, wild,
classic, golden, organic, picked, slow, grown, small, fair, ripened, locally, sourced""")
)
"""Words of names that are not nouns; every other word of a name is one (brands are proper nouns)."""
BLOCK = 1000
"""Codes are dealt in blocks: a catalogue of that many products has the codes 0 to 999 in the seed's order, whatever
the seed, so that a tiny policy can know each code as one token."""
MOST = 9_999 * BLOCK
"""Codes, and so products, that there are."""
_STRIDE = 387
"""Coprime with ``BLOCK``: no two products share a code."""


def category_of(category: str, product_category: str) -> str:
    """The task type of a product or goal from its two category fields, of synthetic and of real catalogues."""
    path = [part.strip() for part in product_category.split("›")]
    inner = " ".join(path[1:])
    if category == "fashion" or path[0].startswith("Clothing"):
        if "Shoes" in inner:
            return "footwear"
        worn = any(word in inner for word in ("Accessories", "Handbags", "Wallets", "Jewelry", "Watches", "Luggage"))
        return "accessories" if worn else "apparel"
    if category in ("electronics", "beauty"):
        return category
    if category == "garden":
        return "other" if path[0].startswith(("Patio", "Grocery")) else "home"
    heads = {"Electronics": "electronics", "Cell": "electronics", "Beauty": "beauty", "Home": "home"}
    return heads.get(path[0].partition(" ")[0], "other")


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


def make_catalogue(folder: Path, products: int = PRODUCTS, seed: int = SEED, bad_rows: bool = False) -> Path:
    """Write the three files of a catalogue and its noun cache into ``folder`` (made if absent); returns it.

    One product is held in memory at a time.  bad_rows: also rows the original skips or stumbles over, at the end.
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
        _write(paths, products, seed, bad_rows)
        for path in paths:
            path.replace(folder / path.name)
    return folder


def ensure_catalogue(products: int = PRODUCTS, seed: int = SEED) -> Path:
    """The folder of a cached synthetic catalogue, made when absent."""
    root = cache_dir() / "webshop" / f"synth-{VERSION}-p{products}-s{seed}"
    if (root / NOUNS_FILE).exists():
        return root
    root.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f"{root.name}.", dir=root.parent) as folder:
        partial = make_catalogue(Path(folder) / root.name, products, seed)
        try:
            partial.rename(root)
        except OSError:
            if not (root / NOUNS_FILE).exists():  # else another process has just made the same files
                raise
    return root


def nouns_of(name: str) -> list[str]:
    """The nouns of a synthetic name, lower-case, in order."""
    words = (word.strip(",()\"'<>™") for word in name.lower().split())
    return [word for word in words if word.isalpha() and word not in NOT_NOUNS]


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


def _write(paths: list[Path], products: int, seed: int, bad_rows: bool) -> None:
    with ExitStack() as stack:
        files: list[IO[bytes]] = [stack.enter_context(path.open("wb")) for path in paths[:3]]
        packed = stack.enter_context(gzip.GzipFile(paths[3], "wb", mtime=0))
        rows, instructions, human = (_Joined(file, *ends) for file, ends in zip(files, ("[]", "{}", "{}"), strict=True))
        nouns = _Joined(cast(IO[bytes], packed), f'{{"tagger": "{TAGGER}", "nouns": {{', "}}")
        for index in range(products):
            row, entry, asked = _product(index, products, seed)
            rows.add(row)
            nouns.add(nouns_of(row["name"]), row["name"])
            instructions.add(entry, row["asin"])
            if asked:
                human.add(asked, row["asin"])
        for row in _bad_rows(products, seed) if bad_rows else ():
            rows.add(row)
            nouns.add(nouns_of(row["name"]), row["name"])
        for part in (rows, instructions, human, nouns):
            part.close()


def asin_of(index: int, seed: int) -> str:
    """The code of a product: ``BSY`` and seven digits, different for every index."""
    start = random.Random(f"webshop/{seed}/asin").randrange(BLOCK)
    return f"BSY{index // BLOCK * BLOCK + (index * _STRIDE + start) % BLOCK:07d}"


@functools.lru_cache(maxsize=64)
def _items(kind: str, seed: int) -> list[tuple[str, str]]:
    """The (style, noun) pairs of a kind in the seed's order: four styles to a noun."""
    goods = GOODS[kind]
    pairs = [(goods.styles[(n + s) % len(goods.styles)], noun) for n, noun in enumerate(goods.nouns) for s in range(4)]
    random.Random(f"webshop/{VERSION}/{seed}/{kind}").shuffle(pairs)
    return pairs


def _member(index: int, products: int, seed: int) -> _Member:
    """Member ``index // families`` of family ``index % families``; what the family shares is drawn anew each time."""
    families = -(-products // FAMILY)
    place, number = divmod(index, families)
    kind = TASK_TYPES[number % len(TASK_TYPES)]
    pairs = _items(kind, seed)
    style, noun = pairs[number // len(TASK_TYPES) % len(pairs)]
    rng = random.Random(f"webshop/{VERSION}/{seed}/family/{number}")
    features = rng.sample(GOODS[kind].features, len(GOODS[kind].features))
    brand, rank = rng.sample(BRANDS, FAMILY)[place], rng.sample(range(FAMILY), FAMILY)[place]
    item = f"{style} {noun}"
    own = random.Random(f"webshop/{VERSION}/{seed}/member/{index}")
    chosen = rank < GOALS
    if kind == "home":
        first = 10 + rng.randrange(50)
        cents = ((first + (40 + own.randrange(160) if rank else 0)) * 100 + 99,)
        wanted, goals = (features[0], GOALS) if rank == 0 else ("", 0)
        return _Member(kind, brand, item, noun, (features[0],), wanted, goals, cents)
    if kind == "electronics":
        cents = ((rng.randrange(2, 10) * 10 + own.randrange(10)) * 100 + 99,)
        told = ([features[0]] if chosen else []) + own.sample(features[1:], 2)
        own.shuffle(told)
        return _Member(kind, brand, item, noun, tuple(told), features[0] * chosen, int(chosen), cents)
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
    rng = random.Random(f"webshop/{VERSION}/{seed}/text/{index}")
    asin, options = asin_of(index, seed), _options(member, rng)
    attributes = [*member.features, *(extras := rng.sample(EXTRAS, 2))]
    shown = "" if member.kind == "electronics" else member.features[0]
    words = [member.brand, *f"{shown} {member.item}".title().split()]
    name = " ".join(words) + (" " + rng.choice(TAILS) if rng.random() < 0.4 else "")
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
    yield row | {"name": f"{BRANDS[0]} Twin"}  # the asin of the first product again
    yield row | {"asin": next(fresh), "pricing": "9.99"}
    yield row | {"asin": next(fresh), "images": []}
    yield row | {"asin": next(fresh), "customization_options": {"Color": None}}
    yield row | {"asin": next(fresh), "customization_options": {"Color": []}}
    yield row | {"asin": next(fresh), "customization_options": {key: [{"value": "A / b"}] for key in ("Color", "Trim")}}
    yield row | {"asin": next(fresh), "name": f"{BRANDS[1]} Café <Lamp> & Ωmega™"}
