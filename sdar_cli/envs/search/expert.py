"""Scripted searchers of the generated world for demonstrations: an expert that follows a procedure, and a clumsy one.

A searcher sees what the policy sees: the question, its searches and the passages they brought.  The expert of a kind
of questions follows that kind's procedure whatever the question is, so the same state can be labelled with the right
skill, with a wrong one, and with none.  No query is made twice, and the last turn is kept for the answer.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sdar_cli.envs.base import TurnView
from sdar_cli.envs.search.actions import ANSWER, SEARCH, read_action
from sdar_cli.envs.search.data.world import BRIDGE, COMPARISON, DIRECT, ENTITY, KINDS
from sdar_cli.envs.search.information import documents
from sdar_cli.envs.search.prompt import steps

YEARS = ("born", "written", "opened")
"""Attributes whose values can be compared."""
VERDICTS = ("former", "latter")
KNOWN, VAGUE = 0.35, 0.4
"""How often the clumsy searcher knows the procedure, and how often its query leaves out the name."""
TURNS = 4
"""The last one is for the answer."""


class Move(NamedTuple):
    """A sub-goal in a few words and the action that serves it."""

    thought: str
    action: str


class Fact(NamedTuple):
    """One fact of a passage about one thing."""

    subject: str
    attribute: str
    value: str


@dataclass(frozen=True)
class Asked:
    """A question taken apart.  ``names``: one, or two to compare; ``link``: how the thing asked about is reached."""

    kind: str
    names: tuple[str, ...]
    attribute: str
    link: str = ""
    later: bool = False


def _pattern(form: str) -> re.Pattern[str]:
    return re.compile(re.escape(form).replace(r"\{\}", "(.+?)"))


_QUESTIONS: list[tuple[re.Pattern[str], str, str, str, bool]] = [
    *((_pattern(form), "bridge", attribute, link, False) for _, link, attribute, form in BRIDGE),
    *((_pattern(form), "comparison", attribute, "", later) for _, attribute, later, form in COMPARISON),
    *(
        (_pattern(form), kind, attribute, "", False)
        for kind, groups in (("direct", DIRECT), ("entity", ENTITY))
        for forms in groups.values()
        for attribute, form in forms.items()
    ),
]


def read_question(text: str) -> Asked:
    """A question of the world.  Raises ValueError for any other."""
    for pattern, kind, attribute, link, later in _QUESTIONS:
        match = pattern.fullmatch(text)
        if match:
            return Asked(kind, match.groups(), attribute, link, later)
    raise ValueError(f"not a question of the generated world: {text!r}")


_SENTENCES = (
    (re.compile(r"(.+) has the (\w+) (.+)\."), ()),
    (re.compile(r"(.+) is a town in (.+)\."), ("country",)),
    (re.compile(r"(.+), opened (.+), makes (.+)\."), ("opened", "product")),
    (re.compile(r"(.+), born (.+) in (.+), worked as (.+)\."), ("born", "birthplace", "job")),
    (re.compile(r"(.+), written (.+) by (.+), is about (.+)\."), ("written", "author", "topic")),
)
CLUES = {"country": "in", "product": "makes", "birthplace": "in", "job": "as", "topic": "about", "author": "by"}
"""The word before a value in a passage, by attribute; else it is the attribute's name."""


def read_facts(sentence: str) -> list[Fact]:
    """The facts of a passage of the world; none of any other passage."""
    for pattern, attributes in _SENTENCES:
        match = pattern.fullmatch(sentence)
        if match and not attributes:
            return [Fact(match[1], match[2], match[3])]
        if match:
            subject, *values = match.groups()
            return [Fact(subject, attribute, value) for attribute, value in zip(attributes, values, strict=True)]
    return []


def facts_in(observation: str) -> list[Fact]:
    """The facts of an observation's passages, in their order."""
    return [fact for _, text in documents(observation) for fact in read_facts(text)]


class Seen(NamedTuple):
    """One search and the facts of its passages."""

    query: str
    facts: list[Fact]


def searches(view: TurnView) -> list[Seen]:
    """Every search so far, as a view has it."""
    return [Seen(read_action(action).content, facts_in(brought)) for action, brought in steps(view)]


class _Notes:
    """What is known after some searches, and which queries have been made."""

    def __init__(self, seen: Sequence[Seen]) -> None:
        self.facts = [fact for search in seen for fact in search.facts]
        self.queries = {search.query for search in seen}
        self.last_turn = len(seen) >= TURNS - 1

    def find(self, subject: str, attribute: str) -> str:
        """The value, or nothing."""
        return next((f.value for f in self.facts if f.subject == subject and f.attribute == attribute), "")

    def something(self, name: str) -> str:
        """Some value: the first fact about the name, else the first fact; the name itself where there are none."""
        values = [f.value for f in self.facts if f.subject == name] or [f.value for f in self.facts]
        return values[0] if values else name

    def open(self, query: str) -> bool:
        """Whether a query can still be made."""
        return not self.last_turn and query not in self.queries


def _search(thought: str, words: str) -> Move:
    return Move(thought, f"<{SEARCH}>{words}</{SEARCH}>")


def _answer(thought: str, value: str) -> Move:
    return Move(thought, f"<{ANSWER}>{value}</{ANSWER}>")


def expert(asked: Asked, seen: Sequence[Seen], skill: str) -> Move:
    """The next move of the procedure ``skill`` (a kind)."""
    return _PROCEDURES[skill](asked, _Notes(seen))


def _direct(asked: Asked, notes: _Notes) -> Move:
    name = asked.names[0]
    if not notes.find(name, asked.attribute) and notes.open(name):
        return _search(f"find {name}", name)
    return _conclude(asked.attribute, name, notes)


def _entity(asked: Asked, notes: _Notes) -> Move:
    return _look_up(asked.attribute, asked.names[0], asked.attribute, notes)


def _bridge(asked: Asked, notes: _Notes) -> Move:
    """The link's name first, then what is asked of it; without a link, of whatever the first search found."""
    name, link = asked.names[0], asked.link or asked.attribute
    middle = notes.find(name, link)
    if not middle and notes.open(f"{name} {link}"):
        return _search(link, f"{name} {link}")
    middle = middle or notes.something(name)
    return _look_up(f"{_clue(link)} {middle}", middle, asked.attribute, notes)


def _comparison(asked: Asked, notes: _Notes) -> Move:
    """Both names, one after the other; a question about one thing is taken for a comparison of it with itself."""
    first, second = asked.names[0], asked.names[-1]
    years = [notes.find(name, asked.attribute) for name in (first, second)]
    for name, year, thought in ((first, years[0], f"find {first}"), (second, years[1], f"or {second}")):
        if not year and notes.open(name):
            return _search(thought, name)
    if not all(years) or asked.attribute not in YEARS:
        return _answer("nothing found", first)
    place = years.index((max if asked.later else min)(years))
    thought = f"{first}, {asked.attribute} {years[0]} or {second}, {asked.attribute} {years[1]}: {VERDICTS[place]}"
    return _answer(thought, (first, second)[place])


def _look_up(thought: str, name: str, attribute: str, notes: _Notes) -> Move:
    if not notes.find(name, attribute) and notes.open(f"{name} {attribute}"):
        return _search(thought, f"{name} {attribute}")
    return _conclude(attribute, name, notes)


def _conclude(attribute: str, name: str, notes: _Notes) -> Move:
    """The answer that was looked for, else some value of the facts."""
    value = notes.find(name, attribute)
    return _answer(f"{_clue(attribute)} {value}", value) if value else _answer("nothing found", notes.something(name))


def _clue(attribute: str) -> str:
    return CLUES.get(attribute, attribute)


_PROCEDURES = {"direct": _direct, "entity": _entity, "bridge": _bridge, "comparison": _comparison}


@dataclass(frozen=True)
class Habits:
    """How clumsy one episode of the unskilled searcher is; drawn once per episode."""

    procedure: str
    vague: bool
    """It searches once, without the name."""
    careless: float
    """How often it answers with something else from the passages."""

    @classmethod
    def draw(cls, rng: random.Random, kind: str) -> Habits:
        """Mostly it does not know the kind's procedure and uses another one."""
        procedure = kind if rng.random() < KNOWN else rng.choice(KINDS)
        return cls(procedure, rng.random() < VAGUE, rng.uniform(0.0, 0.5))


def clumsy(asked: Asked, seen: Sequence[Seen], habits: Habits, rng: random.Random) -> Move:
    """A move without a skill: an expert's of a guessed procedure, spoiled by vague queries and careless answers."""
    values = [fact.value for search in seen[-1:] for fact in search.facts]
    if habits.vague and seen:
        return _answer("nothing found", rng.choice(values or asked.names))
    if habits.vague:
        return _search(asked.attribute, asked.attribute)
    move = expert(asked, seen, habits.procedure)
    if read_action(move.action).kind == ANSWER and values and rng.random() < habits.careless:
        return _answer(move.thought, rng.choice(values))
    return move
