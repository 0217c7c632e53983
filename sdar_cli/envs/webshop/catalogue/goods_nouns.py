"""Nouns of generated names, exactly as the original's tagger finds them, without spaCy.

``goods_nouns.xz`` holds a byte for each of the names that ``goods`` can make, in the order of ``names``: bit n tells
whether the n-th word is tagged as a noun.  The tagger looks at a word's neighbours, so there is no shorter rule.
``python -m sdar_cli.envs.webshop.catalogue.goods_nouns`` makes the file again, with spaCy, in some minutes.
"""

from __future__ import annotations

import functools
import lzma
from collections.abc import Iterator
from pathlib import Path

from sdar_cli.envs.webshop.catalogue.goods import BRANDS, TAILS, TASK_TYPES, items_of, name_of, shown_features
from sdar_cli.envs.webshop.catalogue.nouns import Tagger, spacy_tagger

TABLE = Path(__file__).with_name("goods_nouns.xz")
TAGGER = "spacy 3.8.18 en_core_web_sm 3.8.0"
"""What made the table."""
ODD = {
    "Velmora Twin": ["velmora", "twin"],
    "Brindlo Café <Lamp> & Ωmega™": ["brindlo", "café", "lamp", "ωmega", "™"],
}
ODD_NAMES = tuple(ODD)
"""Names of the rows that are odd on purpose."""


def names() -> Iterator[str]:
    """Every name that can be generated."""
    for kind in TASK_TYPES:
        for brand in BRANDS:
            for feature in shown_features(kind):
                for style, noun in items_of(kind):
                    for tail in ("", *TAILS):
                        yield name_of(brand, feature, f"{style} {noun}", tail)


def nouns_of(name: str) -> list[str]:
    """The nouns of a generated name, lower-case, in order.  Raises KeyError for any other name."""
    if name in ODD:
        return ODD[name]
    mask = _masks()[_number(name)]
    return [word for place, word in enumerate(name.lower().split()) if mask >> place & 1]


def _number(name: str) -> int:
    """The place of a name among ``names``."""
    head, _, tail = name.partition(" for ")
    brand, *feature, style, noun = head.split()
    start, features, items = _places()[noun.lower()]
    number = BRANDS.index(brand) * len(features) + features[" ".join(feature).lower()]
    number = number * len(items) + items[style.lower(), noun.lower()]
    return start + number * (1 + len(TAILS)) + (TAILS.index(f"for {tail}") + 1 if tail else 0)


_Place = tuple[int, dict[str, int], dict[tuple[str, str], int]]


@functools.cache
def _places() -> dict[str, _Place]:
    """By noun: where the names of its kind start, and the places of the kind's features and items."""
    found: dict[str, _Place] = {}
    start = 0
    for kind in TASK_TYPES:
        features = {feature: place for place, feature in enumerate(shown_features(kind))}
        items = {item: place for place, item in enumerate(items_of(kind))}
        found |= {noun: (start, features, items) for _, noun in items}
        start += len(BRANDS) * len(features) * len(items) * (1 + len(TAILS))
    return found


@functools.cache
def _masks() -> bytes:
    return lzma.decompress(TABLE.read_bytes())


def mask_of(name: str, tagger: Tagger) -> int:
    """The bits of a name's words.  Raises ValueError when the tagger's words are not those between blanks."""
    nouns, mask = list(tagger(name)), 0
    for place, word in enumerate(name.lower().split()):
        if nouns and nouns[0] == word:
            mask |= 1 << place
            nouns.pop(0)
    if nouns:
        raise ValueError(f"{nouns} of {name!r} are no words of it")
    return mask


def write_table() -> None:
    """Make the file.  Raises RuntimeError without the tagger it is made with."""
    found = spacy_tagger()
    if found is None or found[1] != TAGGER:
        raise RuntimeError(f"the table is made with {TAGGER}, found {found and found[1]}")
    TABLE.write_bytes(lzma.compress(bytes(mask_of(name, found[0]) for name in names()), preset=9))


if __name__ == "__main__":
    write_table()
