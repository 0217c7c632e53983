"""A generated closed corpus and questions on it: made-up people, towns, firms and books, from word lists of our own.

Every fact stands in one known passage.  Four kinds of questions need four procedures: ``direct``: the passage named
like the thing asked about has it; ``entity``: another passage about that thing has it, found by name and attribute;
``bridge``: a first passage names the thing whose passage has it; ``comparison``: two passages have the years.

A question is held out when the name it mentions hashes into the held-out fifth; two names that are compared are of the
same part.  The same seed gives the same bytes everywhere.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sdar_cli.base.resources import cache_dir, made_once

VERSION = 1
"""Raise when the same seed would give other files: it is part of the cache's key."""
KINDS = ("direct", "entity", "bridge", "comparison")
CORPUS, QUESTIONS = "corpus.jsonl", "questions.jsonl"
PEOPLE, BOOKS, FIRMS = 240, 160, 100
HELD_OUT = 5
"""One name in this many is held out."""


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


GIVEN = _words(
    "Ada Basil Clara Dario Edna Felix Greta Hugo Irma Jonas Karla Linus Mira Nolan Olga Pavel Quinn Rosa Silas Tessa "
    "Ulric Vera Wanda Xenia Yorick Zelda Anselm Beatrix Cosmo Delia Egon Flora Gideon Hedda Ivo Josef Kirsten Lorenz "
    "Martha Nestor Odile Piet Ramona Sven Thea Urban Viola Walter Astrid Bruno"
)
FAMILY = _words(
    "Abernott Brindle Castell Dorrik Elmquist Farrow Garland Holt Ibsworth Jarrow Kestrel Lindqvist Marlow Norcross "
    "Oakes Pemberly Quill Rastrick Selwyn Thackray Umber Vane Wexley Yardley Zander Ashdown Birkett Crome Dunmore "
    "Ewing Fenwick Gorse Hatherly Inskip Judd Kemble Lomax Merrow Nash Orwin Penrose Rudd Stroud Tamworth Upton Varley "
    "Winslow Yates Arden Blythe"
)
TOWNS = _words(
    "Velmora Tarnby Oskill Rivenhall Dunmere Carrowick Helmsby Nettlefold Pellworth Stavering Lunden Marrick Ostwell "
    "Brackley Quenby Foxholt Grindale Wrayton Ilverton Skerrow Thornby Ulverley Ashcombe Belgrave Cradley Dovecote "
    "Eastmoor Fallowfield Glenrock Harwick"
)
COUNTRIES = _words("Karst Zembla Orland Tirena Valdia Quorve Nordmark Pelasia Iberlund Sarmia")
TRADES = _words("wool salt glass timber copper cider pottery lace rope silk")
JOBS = _words("painter botanist engineer poet surgeon pilot sculptor chemist explorer composer")
AWARDS = _words("Aurora Beacon Comet Diadem Ember Falcon Garnet Harbor Iris Juniper")
PRODUCTS = _words("paper bricks clocks boots lamps soap wire carpets bells buttons")
FIRM_KINDS = _words("Mills Foundry Press Works")
ADJECTIVES = _words(
    "Silver Hidden Broken Distant Golden Quiet Burning Hollow Northern Salted Painted Frozen Restless Crooked Scarlet "
    "Gentle"
)
NOUNS = _words(
    "Atlas Garden Lantern Harvest Bridge Orchard Compass Letter Mirror Voyage Winter Tower Island Ladder Feather Clock"
)
SUBJECTS = _words("whales comets bees glaciers harbors orchids maps bells moths tides")
RIVERS = _words("Alm Brenn Corv Delph Esk Fenn Gar Hesk Issel Jore")
EMBLEMS = _words("lion heron anchor oak star crown plough bear swan key")
HOBBIES = _words("chess skating fencing gardening sailing baking archery singing hiking weaving")
SIDE = "{} has the {} {}."
"""Subject, attribute, value."""
YEARS = tuple(str(year) for year in range(1900, 2000, 10))


@dataclass(frozen=True)
class Hop:
    """One look-up: what is asked about, the word for what is asked, the passage with the fact, and the fact's value."""

    subject: str
    attribute: str
    passage: str
    value: str


@dataclass(frozen=True)
class Puzzle:
    """A question with the look-ups that answer it.  ``later``: of a comparison, whether the larger year wins."""

    id: str
    kind: str
    text: str
    answer: str
    hops: tuple[Hop, ...]
    split: str
    later: bool = False

    def record(self) -> Mapping[str, object]:
        """A JSON line in the layout of question files, with the look-ups added."""
        return {
            "id": self.id,
            "question": self.text,
            "golden_answers": [self.answer],
            "data_source": self.kind,
            "gold_ids": [hop.passage for hop in self.hops],
            "split": self.split,
            "hops": [[hop.subject, hop.attribute, hop.passage, hop.value] for hop in self.hops],
            "later": self.later,
        }

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Puzzle:
        """The puzzle of such a line."""
        hops = tuple(Hop(*hop) for hop in record["hops"])
        answer = record["golden_answers"][0]
        fields = (record["id"], record["data_source"], record["question"], answer, hops, record["split"])
        return cls(*fields, later=record["later"])


@dataclass
class World:
    """Passages and the facts in them: (subject, attribute) to (passage id, value)."""

    passages: list[dict[str, str]] = field(default_factory=list)
    facts: dict[tuple[str, str], tuple[str, str]] = field(default_factory=dict)
    people: list[str] = field(default_factory=list)
    books: list[str] = field(default_factory=list)
    firms: list[str] = field(default_factory=list)
    towns: list[str] = field(default_factory=list)

    def add_passage(self, subject: str, title: str, text: str, **facts: str) -> None:
        """Add a passage and its facts about its subject."""
        name = f"w{len(self.passages):05d}"
        self.passages.append({"id": name, "contents": f'"{title}"\n{text}'})
        for attribute, value in facts.items():
            self.facts[subject, attribute] = (name, value)

    def hop(self, subject: str, attribute: str) -> Hop:
        """The look-up of a fact."""
        passage, value = self.facts[subject, attribute]
        return Hop(subject, attribute, passage, value)


def make_world(seed: int) -> World:
    """Everything there is, and every fact about it."""
    rng = random.Random(f"search/{VERSION}/{seed}/world")
    world = World(towns=list(TOWNS))
    names = [f"{given} {family}" for given in GIVEN for family in FAMILY]
    world.people = rng.sample(names, PEOPLE)
    world.books = rng.sample([f"{a} {n}" for a in ADJECTIVES for n in NOUNS], BOOKS)
    world.firms = rng.sample([f"{family} {kind}" for family in FAMILY for kind in FIRM_KINDS], FIRMS)
    for town in world.towns:
        _town(world, town, rng)
    for firm in world.firms:
        _firm(world, firm, rng)
    for person in world.people:
        _person(world, person, rng)
    for book in world.books:
        _book(world, book, rng)
    rng.shuffle(world.passages)
    return world


def _side(world: World, subject: str, attribute: str, value: str) -> None:
    """A passage of its own for one fact; its title's words are all in its text."""
    world.add_passage(subject, f"{subject} {attribute}", SIDE.format(subject, attribute, value), **{attribute: value})


def _town(world: World, town: str, rng: random.Random) -> None:
    country = rng.choice(COUNTRIES)
    world.add_passage(town, town, f"{town} is a town in {country}.", country=country)
    _side(world, town, "trade", rng.choice(TRADES))
    _side(world, town, "mayor", rng.choice(world.people))
    _side(world, town, "river", rng.choice(RIVERS))


def _firm(world: World, firm: str, rng: random.Random) -> None:
    product, year = rng.choice(PRODUCTS), rng.choice(YEARS)
    world.add_passage(firm, firm, f"{firm}, opened {year}, makes {product}.", product=product, opened=year)
    _side(world, firm, "founder", rng.choice(world.people))
    _side(world, firm, "town", rng.choice(world.towns))
    _side(world, firm, "emblem", rng.choice(EMBLEMS))


def _person(world: World, person: str, rng: random.Random) -> None:
    job, town, year = rng.choice(JOBS), rng.choice(world.towns), rng.choice(YEARS)
    text = f"{person}, born {year} in {town}, worked as {job}."
    world.add_passage(person, person, text, job=job, birthplace=town, born=year)
    _side(world, person, "award", rng.choice(AWARDS))
    _side(world, person, "employer", rng.choice(world.firms))
    _side(world, person, "spouse", rng.choice([other for other in world.people if other != person]))
    _side(world, person, "hobby", rng.choice(HOBBIES))


def _book(world: World, book: str, rng: random.Random) -> None:
    author, year, topic = rng.choice(world.people), rng.choice(YEARS), rng.choice(SUBJECTS)
    world.add_passage(
        book, book, f"{book}, written {year} by {author}, is about {topic}.", author=author, written=year, topic=topic
    )
    _side(world, book, "publisher", rng.choice(world.firms))
    _side(world, book, "translator", rng.choice(world.people))
    _side(world, book, "heroine", rng.choice(GIVEN))


DIRECT = {
    "people": {
        "birthplace": "Where was {} born?",
        "born": "When was {} born?",
        "job": "What was {} by profession?",
    },
    "books": {
        "author": "Who wrote {}?",
        "written": "When was {} written?",
        "topic": "What is {} about?",
    },
    "towns": {"country": "In which country is {}?"},
    "firms": {"product": "What does {} make?", "opened": "When was {} opened?"},
}
ENTITY = {
    "books": {
        "publisher": "Who was the publisher of {}?",
        "translator": "Who was the translator of {}?",
        "heroine": "Who is the heroine of {}?",
    },
    "people": {
        "award": "Which award did {} win?",
        "employer": "Who was the employer of {}?",
        "spouse": "Who was the spouse of {}?",
        "hobby": "What was the hobby of {}?",
    },
    "towns": {
        "trade": "What is the trade of {}?",
        "mayor": "Who is the mayor of {}?",
        "river": "Which is the river of {}?",
    },
    "firms": {
        "founder": "Who was the founder of {}?",
        "town": "Which is the town of {}?",
        "emblem": "What is the emblem of {}?",
    },
}
BRIDGE = (
    ("books", "author", "birthplace", "Where was the author of {} born?"),
    ("books", "author", "job", "What was the author of {} by profession?"),
    ("books", "author", "award", "Which award did the author of {} win?"),
    ("books", "author", "spouse", "Who was the spouse of the author of {}?"),
    ("firms", "founder", "birthplace", "Where was the founder of {} born?"),
    ("firms", "founder", "award", "Which award did the founder of {} win?"),
    ("people", "spouse", "birthplace", "Where was the spouse of {} born?"),
    ("people", "birthplace", "country", "In which country is the birthplace of {}?"),
    ("people", "birthplace", "trade", "What is the trade of the birthplace of {}?"),
    ("people", "employer", "product", "What does the employer of {} make?"),
    ("towns", "mayor", "job", "What was the mayor of {} by profession?"),
)
COMPARISON = (
    ("people", "born", False, "Who was born first, {} or {}?"),
    ("people", "born", True, "Who was born last, {} or {}?"),
    ("books", "written", False, "Which was written first, {} or {}?"),
    ("books", "written", True, "Which was written last, {} or {}?"),
    ("firms", "opened", False, "Which was opened first, {} or {}?"),
)
PAIRS = 3
"""Comparisons that a thing takes part in as the first of the two, at most."""


def make_puzzles(world: World, seed: int) -> list[Puzzle]:
    """Every question, sorted by id; the kinds are about equally frequent."""
    rng = random.Random(f"search/{VERSION}/{seed}/questions")
    found: dict[str, list[tuple[str, str, tuple[Hop, ...], bool, str]]] = {kind: [] for kind in KINDS}
    for kind, templates in (("direct", DIRECT), ("entity", ENTITY)):
        for group, questions in templates.items():
            for name in getattr(world, group):
                for attribute, text in questions.items():
                    hop = world.hop(name, attribute)
                    found[kind].append((text.format(name), hop.value, (hop,), False, _split(name)))
    for group, link, attribute, text in BRIDGE:
        for name in getattr(world, group):
            first = world.hop(name, link)
            second = world.hop(first.value, attribute)
            found["bridge"].append((text.format(name), second.value, (first, second), False, _split(name)))
    for group, attribute, later, text in COMPARISON:
        for name in getattr(world, group):
            others = [other for other in getattr(world, group) if _split(other) == _split(name)]
            for other in rng.sample(others, min(PAIRS, len(others))):
                hops = (world.hop(name, attribute), world.hop(other, attribute))
                if hops[0].value != hops[1].value:
                    winner = (max if later else min)(hops, key=lambda hop: hop.value)
                    found["comparison"].append((text.format(name, other), winner.subject, hops, later, _split(name)))
    return [puzzle for kind in KINDS for puzzle in _numbered(kind, found[kind], rng)]


def _numbered(kind: str, rows: Sequence[Any], rng: random.Random) -> list[Puzzle]:
    unique = list({row[0]: row for row in rows}.values())
    rng.shuffle(unique)
    return [
        Puzzle(f"{kind}/{number:05d}", kind, text, answer, hops, split, later)
        for number, (text, answer, hops, later, split) in enumerate(unique)
    ]


def _split(name: str) -> str:
    """``eval`` or ``train``, by the name alone."""
    return "eval" if hashlib.sha256(name.encode()).digest()[0] % HELD_OUT == 0 else "train"


def write_world(folder: Path, seed: int) -> Path:
    """``corpus.jsonl`` and ``questions.jsonl`` in a folder (made if absent); returns it."""
    world = make_world(seed)
    folder.mkdir(parents=True, exist_ok=True)
    lines: list[tuple[str, list[Any]]] = [
        (CORPUS, world.passages),
        (QUESTIONS, [puzzle.record() for puzzle in make_puzzles(world, seed)]),
    ]
    for name, rows in lines:
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def ensure_world(seed: int) -> Path:
    """The folder of a cached world, made when absent."""
    root = cache_dir() / "search" / f"world-s{seed}-{VERSION}"
    return made_once(root, lambda folder: write_world(folder, seed))


def load_puzzles(folder: Path) -> list[Puzzle]:
    """The puzzles of a written world."""
    with (folder / QUESTIONS).open(encoding="utf-8") as file:
        return [Puzzle.of(json.loads(line)) for line in file]
