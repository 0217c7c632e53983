"""What an ALFWorld episode did, in words of the goal: which object, which target, in which order.

A step is a short imperative such as ``heat the object with the microwave``; names and numbers of this one house are
gone.  ``brief`` writes an order of steps in the words that skills for this environment use.  Opening is no step:
whether it is needed depends on the house.  Leaving a place unopened is one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from sdar_cli.envs.alfworld.expert import TREATING_VERB, Memory, delivers
from sdar_cli.envs.base import Act, Trace

TAKE, TAKE_SECOND = "take the object", "take a second object"
MOVE, MOVE_SECOND = "move the object to the target", "move the second object to the same target"
LAMP = "use the desklamp while holding the object"
AGAIN = "go to a place again while searching"
UNOPENED = "leave a closed place unopened while searching"
UNLISTED = "send a command that is not listed"
VERBS = frozenset(TREATING_VERB.values())
NO_STEP = frozenset(["open", "close", "examine", "look", "inventory", "help", "slice"])
"""Verbs of actions that are no step."""


@dataclass
class _Now:
    """Where an episode stands.  ``delivered``: the places, with numbers, that hold an object brought there."""

    thing: str
    target: str
    place: str = ""
    holding: str = ""
    seen: set[str] = field(default_factory=set)
    delivered: list[str] = field(default_factory=list)


def steps(trace: Trace) -> list[tuple[int, str]]:
    """(turn from 0, step) of an episode, in order.  Raises ValueError for a goal of no known form."""
    goal = Memory(trace.goal)
    now = _Now(goal.target_object, goal.target_place)
    return [(turn, step) for turn, act in enumerate(trace.acts) for step in _steps_of(act, now)]


def unread(trace: Trace) -> list[str]:
    """The verbs of actions of which nothing is known, one per action."""
    verbs = (act.action.split() for act in trace.acts)
    known = VERBS | NO_STEP | {"take", "go", "use", "toggle"}
    return [words[0] for words in verbs if words and words[0] not in known and not delivers(words)]


def brief(order: Sequence[str]) -> str:
    """The order as one sentence, ``it`` being the object."""
    two = MOVE_SECOND in order
    parts = [_phrase(step, two) for step in order if step not in (TAKE_SECOND, MOVE_SECOND)]
    if two:
        parts.append("find the second and do the same")
    if len(parts) == 1:
        return f"{parts[0]}."
    return f"{', '.join(parts[:-1])}, then {parts[-1]}."


def general_brief(good: Sequence[str], bad: Sequence[str]) -> str:
    """One short sentence about how to search, from the steps that go with winning or losing in every type of task;
    empty where there are none."""
    parts = ["search every place"] if AGAIN in bad else []
    parts += ["open closed ones" if parts else "open closed places"] if UNOPENED in bad else []
    return " and ".join(parts) + "." if parts else ""


def _phrase(step: str, two: bool) -> str:
    if step == TAKE:
        return "take one" if two else "take it"
    if step == LAMP:
        return "go to the desklamp and use it while holding it"
    return step.replace("the object", "it")


def _steps_of(act: Act, now: _Now) -> Iterator[str]:
    """The step of an action, if it is one, and what it changes."""
    words = act.action.split()
    thing, place = " ".join(words[1:3]), " ".join(words[4:6])
    wanted = _kind(thing) == now.thing
    if not act.acted or not words:
        yield UNLISTED
    elif words[0] == "take":
        now.holding = thing
        yield _taken(place, wanted, now)
    elif delivers(words):
        now.holding = ""
        yield _moved(place, wanted, now)
    elif words[0] in VERBS:
        yield f"{words[0]} {'the object' if wanted else 'something else'} with the {_kind(place)}"
    elif words[0] in ("use", "toggle"):
        yield LAMP if _kind(now.holding) == now.thing else "use the desklamp without the object"
    elif words[0] == "go":
        searching = not now.holding and not now.delivered
        if searching and f"open {now.place}" in act.admissible:
            yield UNOPENED
        now.place = " ".join(words[2:])
        if searching and now.place in now.seen:
            yield AGAIN
        now.seen.add(now.place)


def _taken(place: str, wanted: bool, now: _Now) -> str:
    if not wanted:
        return "take something else"
    if place in now.delivered:
        return "take an object out of the target"
    return TAKE_SECOND if now.delivered else TAKE


def _moved(place: str, wanted: bool, now: _Now) -> str:
    if not wanted:
        return "put something else down"
    if _kind(place) != now.target:
        return "put the object down elsewhere"
    second = place in now.delivered
    now.delivered.append(place)
    if len(now.delivered) > 1 and not second:
        return "move the second object to another target"
    return MOVE_SECOND if second else MOVE


def _kind(name: str) -> str:
    """``apple`` of ``apple 2``."""
    return name.partition(" ")[0]
