"""Demonstrators for the warm start of the tiny policy: experts that follow a procedure, and a clumsy one.

A demonstrator sees what the policy sees, remembers what it did, and answers with a sub-goal and an action.
The expert of a task type follows that type's procedure whatever the task is, so the same state can be
labelled with the right skill, with a wrong one, and with none (the clumsy demonstrator).
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from sdar_cli.envs.alfworld.games.layout import LAMP_STANDS, OPENABLE, TASK_TYPES, TREATMENT

TREATING_VERB = {
    "pick_clean_then_place_in_recep": "clean",
    "pick_cool_then_place_in_recep": "cool",
    "pick_heat_then_place_in_recep": "heat",
}
_STATION = {kind: station.lower() for kind, (_, station) in TREATMENT.items()}
_OPENABLE = {name.lower() for name in OPENABLE}
_STANDS = {name.lower() for name in LAMP_STANDS}
OLD_WORDS = ("in/on", "in", "on", "into")
"""What stands before the place in games of before the wording ``move … to``."""
_GOALS = (
    re.compile(r"(?:look at|examine the) (?P<obj>\w+) (?:under|with) the (?P<recep>\w+)"),
    re.compile(r"(?:clean|heat|cool) some (?P<obj>\w+) and put it in (?P<recep>\w+)"),
    re.compile(r"find two (?P<obj>\w+) and put them in (?P<recep>\w+)"),
    re.compile(r"put (?:an?|some|two) (?:clean |hot |cool )?(?P<obj>\w+) (?:in|on) (?P<recep>\w+)"),
)


@dataclass(frozen=True)
class Move:
    """A sub-goal of two or three words and the command that serves it."""

    thought: str
    action: str


@dataclass
class Memory:
    """What a demonstrator remembers of its episode; updated from the actions that were really taken."""

    goal: str
    place: str = ""
    holding: str = ""
    treated: set[str] = field(default_factory=set)
    placed: set[str] = field(default_factory=set)
    target_object: str = ""
    target_place: str = ""

    def __post_init__(self) -> None:
        for pattern in _GOALS:
            match = pattern.search(self.goal)
            if match:
                self.target_object, self.target_place = match["obj"], match["recep"]
                return
        raise ValueError(f"no known goal template fits {self.goal!r}")

    def note(self, action: str, observation: str) -> None:
        """Record an action that was taken and what came of it."""
        if observation.startswith("Nothing happens"):
            return
        words = action.split()
        if action.startswith("go to "):
            self.place = action.removeprefix("go to ")
        elif words[0] == "take":
            self.holding = " ".join(words[1:3])
        elif delivers(words):
            if words[4] == self.target_place:
                self.placed.add(self.holding)
            self.holding = ""
        elif words[0] in TREATING_VERB.values():
            self.treated.add(f"{words[0]} {' '.join(words[1:3])}")


def delivers(words: Sequence[str]) -> bool:
    """Whether an action puts an object down: ``move X 1 to Y 1``, in older games ``put X 1 in/on Y 1``."""
    return len(words) > 4 and (words[0], words[3]) in {("move", "to"), *(("put", word) for word in OLD_WORDS)}


def _kind(name: str) -> str:
    return name.rpartition(" ")[0]


def _next_place(memory: Memory, admissible: tuple[str, ...], kinds: set[str] | None = None) -> str:
    """The next receptacle after the present one in the listed order, round and round: needs no memory."""
    places = [a.removeprefix("go to ") for a in admissible if a.startswith("go to ")]
    places = [p for p in places if kinds is None or _kind(p) in kinds] or places
    later = [p for p in places if p > memory.place]
    return (later or places)[0]


def _go(memory: Memory, admissible: tuple[str, ...], kind: str) -> str | None:
    places = [a for a in admissible if a.startswith("go to ") and _kind(a.removeprefix("go to ")) == kind]
    return places[0] if places else None


def expert(memory: Memory, admissible: tuple[str, ...], skill: str) -> Move:
    """The next move of the procedure ``skill`` (a task type) for the goal's object and place."""
    thing, target = memory.target_object, memory.target_place
    if _kind(memory.holding) != thing:
        return _search(memory, admissible)
    if skill == "look_at_obj_in_light":
        return _light(memory, admissible)
    verb = TREATING_VERB.get(skill)
    if verb and f"{verb} {memory.holding}" not in memory.treated:
        station = _STATION[skill]
        now = next((a for a in admissible if a.startswith(f"{verb} {memory.holding} with ")), None)
        if now:
            return Move(f"{verb} {thing}", now)
        going = _go(memory, admissible, station)
        if going:
            return Move(f"{verb} {thing}", going)
    return _deliver(memory, admissible, thing, target)


def _search(memory: Memory, admissible: tuple[str, ...]) -> Move:
    thing = memory.target_object
    if memory.holding:
        put = next((a for a in admissible if a.startswith(f"move {memory.holding} to ")), None)
        return Move("empty hands", put or f"go to {_next_place(memory, admissible)}")
    takes = [a for a in admissible if a.startswith("take ") and _kind(" ".join(a.split()[1:3])) == thing]
    takes = [a for a in takes if " ".join(a.split()[1:3]) not in memory.placed]
    if takes:
        return Move(f"take {thing}", takes[0])
    if f"open {memory.place}" in admissible:
        return Move(f"find {thing}", f"open {memory.place}")
    return Move(f"find {thing}", f"go to {_next_place(memory, admissible)}")


def _light(memory: Memory, admissible: tuple[str, ...]) -> Move:
    use = next((a for a in admissible if a.startswith("use desklamp")), None)
    return Move("use desklamp", use or f"go to {_next_place(memory, admissible, _STANDS)}")


def _deliver(memory: Memory, admissible: tuple[str, ...], thing: str, target: str) -> Move:
    here = next((a for a in admissible if a.startswith(f"move {memory.holding} to {target} ")), None)
    if here:
        return Move(f"place {thing}", here)
    if _kind(memory.place) == target and f"open {memory.place}" in admissible:
        return Move(f"place {thing}", f"open {memory.place}")
    going = _go(memory, admissible, target)
    return Move(f"place {thing}", going or f"go to {_next_place(memory, admissible)}")


@dataclass(frozen=True)
class Habits:
    """How clumsy one episode of the unskilled demonstrator is; drawn once per episode."""

    procedure: str
    wander: float
    opens: float
    drops: float

    @classmethod
    def draw(cls, rng: random.Random, task_type: str) -> Habits:
        """Mostly it does not know the task type's procedure and uses another one."""
        known = rng.random() < 0.3
        procedure = task_type if known else rng.choice(TASK_TYPES)
        return cls(procedure, wander=rng.uniform(0.2, 0.5), opens=rng.uniform(0.3, 0.9), drops=rng.uniform(0.0, 0.15))


def clumsy(memory: Memory, admissible: tuple[str, ...], habits: Habits, rng: random.Random) -> Move:
    """A move without a skill: an expert's of a guessed procedure, spoiled by wandering and forgetting."""
    move = expert(memory, admissible, habits.procedure)
    if move.action.startswith("open ") and rng.random() > habits.opens:
        return Move(move.thought, f"go to {_next_place(memory, admissible)}")
    if memory.holding and rng.random() < habits.drops:
        put = next((a for a in admissible if a.startswith(f"move {memory.holding} to ")), None)
        if put:
            return Move("empty hands", put)
    if rng.random() < habits.wander:
        roam = [
            a for a in admissible if a.startswith(("go to ", "look", "inventory", "examine ")) or a.startswith("close ")
        ]
        return Move(move.thought, rng.choice(roam))
    return move
