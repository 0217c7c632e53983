"""Houses for generated games: which rooms hold what, and a seeded draw of one house with one task.

The tables of objects and receptacles are read from alfworld at run time; the counts of receptacles per
room are those of its 108 training rooms.  A ``House`` knows no PDDL and no text: ``generator`` writes both.
"""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass, field
from functools import cache

from sdar_cli.envs.alfworld.engine.engine import alfworld_module

TASK_TYPES = (
    "look_at_obj_in_light",
    "pick_and_place_simple",
    "pick_clean_then_place_in_recep",
    "pick_cool_then_place_in_recep",
    "pick_heat_then_place_in_recep",
    "pick_two_obj_and_place",
)
ROOMS: dict[str, dict[str, tuple[int, int]]] = {
    "Kitchen": {
        "Cabinet": (3, 14), "CoffeeMachine": (1, 1), "CounterTop": (1, 3), "DiningTable": (0, 2), "Drawer": (1, 8),
        "Fridge": (1, 1), "GarbageCan": (1, 1), "Microwave": (1, 1), "Shelf": (0, 3), "SinkBasin": (1, 1),
        "StoveBurner": (4, 4), "Toaster": (1, 1),
    },
    "LivingRoom": {
        "ArmChair": (0, 2), "CoffeeTable": (1, 2), "DiningTable": (0, 1), "Drawer": (0, 6), "Dresser": (0, 1),
        "GarbageCan": (1, 1), "Shelf": (0, 6), "SideTable": (0, 3), "Sofa": (1, 2), "TVStand": (0, 1), "Safe": (0, 1),
        "Ottoman": (0, 1),
    },
    "Bedroom": {
        "ArmChair": (0, 1), "Bed": (1, 1), "Desk": (1, 2), "Drawer": (2, 8), "Dresser": (0, 1), "GarbageCan": (1, 1),
        "LaundryHamper": (0, 1), "Safe": (0, 1), "Shelf": (0, 6), "SideTable": (0, 2),
    },
    "Bathroom": {
        "BathtubBasin": (0, 1), "Cabinet": (0, 5), "CounterTop": (1, 1), "Drawer": (0, 5), "GarbageCan": (1, 1),
        "HandTowelHolder": (1, 2), "Shelf": (0, 3), "SinkBasin": (1, 2), "Toilet": (1, 1), "ToiletPaperHanger": (1, 1),
        "TowelHolder": (1, 1),
    },
}  # fmt: skip
TASK_ROOMS = {
    "look_at_obj_in_light": ("LivingRoom", "Bedroom"),
    "pick_and_place_simple": tuple(ROOMS),
    "pick_clean_then_place_in_recep": ("Kitchen", "Bathroom"),
    "pick_cool_then_place_in_recep": ("Kitchen",),
    "pick_heat_then_place_in_recep": ("Kitchen",),
    "pick_two_obj_and_place": tuple(ROOMS),
}
TREATMENT = {
    "pick_clean_then_place_in_recep": ("Cleanable", "SinkBasin"),
    "pick_cool_then_place_in_recep": ("Coolable", "Fridge"),
    "pick_heat_then_place_in_recep": ("Heatable", "Microwave"),
}
"""Task type to (property the object needs, receptacle that gives the treatment)."""
OPENABLE = frozenset({"Fridge", "Cabinet", "Microwave", "Drawer", "Safe"})
LAMP = "DeskLamp"
LAMP_STANDS = ("Desk", "SideTable", "Dresser", "CoffeeTable")


@cache
def can_contain() -> dict[str, tuple[str, ...]]:
    """Receptacle type to the object types it may hold (unsliced), sorted."""
    constants = alfworld_module("alfworld.gen.constants")
    rooms = {name for room in ROOMS.values() for name in room}
    table = constants.VAL_RECEPTACLE_OBJECTS
    return {
        name: tuple(sorted(o for o in table[name] if not o.endswith("Sliced"))) for name in sorted(rooms & set(table))
    }


@cache
def objects_with(property_name: str) -> frozenset[str]:
    """Object types with a property: Heatable, Coolable, Cleanable, Sliceable or Toggleable."""
    constants = alfworld_module("alfworld.gen.constants")
    return frozenset(o for o in constants.VAL_ACTION_OBJECTS[property_name] if not o.endswith("Sliced"))


@dataclass(frozen=True)
class Goal:
    """``target`` is the receptacle type asked for; the lamp for ``look_at_obj_in_light``."""

    task_type: str
    object_type: str
    target: str


@dataclass
class House:
    """``receptacles``: type per receptacle; ``objects``: (type, index of its receptacle)."""

    goal: Goal
    receptacles: list[str]
    objects: list[tuple[str, int]] = field(default_factory=list)

    def digest(self) -> str:
        """SHA-256 of what the house is, whatever order it was drawn in: the identity of a game."""
        rooms = sorted(
            (name, tuple(sorted(o for o, at in self.objects if at == index)))
            for index, name in enumerate(self.receptacles)
        )
        return hashlib.sha256(repr((self.goal, rooms)).encode()).hexdigest()


def draw_house(rng: random.Random, task_type: str, size: str) -> House | None:
    """One house with one task, or None when the draw admits none (draw again).

    size: ``small`` has 5 to 7 receptacles; ``full`` has the counts of real rooms.
    """
    room = rng.choice(TASK_ROOMS[task_type])
    goal = _draw_goal(rng, task_type, room)
    if goal is None:
        return None
    needed = _needed_receptacles(rng, goal, room)
    house = House(goal, _draw_receptacles(rng, room, needed, size))
    if not _place_targets(rng, house):
        return None
    _place_others(rng, house, size)
    return house


def _holders(object_type: str, room: str) -> list[str]:
    table = can_contain()
    return sorted(name for name in ROOMS[room] if object_type in table.get(name, ()))


def _draw_goal(rng: random.Random, task_type: str, room: str) -> Goal | None:
    table = can_contain()
    if task_type == "look_at_obj_in_light":
        objects = sorted({o for name in ROOMS[room] for o in table.get(name, ())} - {LAMP})
        return Goal(task_type, rng.choice(objects), LAMP)
    treatment, station = TREATMENT.get(task_type, (None, ""))
    targets = sorted(name for name in ROOMS[room] if table.get(name) and name != station)
    target = rng.choice(targets)
    objects = sorted(o for o in table[target] if o != LAMP and (treatment is None or o in objects_with(treatment)))
    objects = [o for o in objects if len(_holders(o, room)) > 1]
    return Goal(task_type, rng.choice(objects), target) if objects else None


def _needed_receptacles(rng: random.Random, goal: Goal, room: str) -> list[str]:
    if goal.target == LAMP:
        return [rng.choice([name for name in LAMP_STANDS if name in ROOMS[room]])]
    return [goal.target] + ([TREATMENT[goal.task_type][1]] if goal.task_type in TREATMENT else [])


def _draw_receptacles(rng: random.Random, room: str, needed: list[str], size: str) -> list[str]:
    drawn = [name for name, (low, high) in ROOMS[room].items() for _ in range(rng.randint(low, high))]
    for name in needed:
        if name in drawn:
            drawn.remove(name)
    if size == "small":
        rng.shuffle(drawn)
        drawn = drawn[: rng.randint(5, 7) - len(needed)]
    return sorted(needed + drawn)


def _place_targets(rng: random.Random, house: House) -> bool:
    goal = house.goal
    table = can_contain()
    places = [i for i, name in enumerate(house.receptacles) if goal.object_type in table.get(name, ())]
    places = [i for i in places if house.receptacles[i] != goal.target]
    if not places:
        return False
    copies = 2 if goal.task_type == "pick_two_obj_and_place" else 1
    copies += rng.random() < 0.3
    house.objects += [(goal.object_type, rng.choice(places)) for _ in range(copies)]
    if goal.target == LAMP:
        stands = [i for i, name in enumerate(house.receptacles) if name in LAMP_STANDS]
        house.objects.append((LAMP, rng.choice(stands)))
    return True


def _place_others(rng: random.Random, house: House, size: str) -> None:
    """Other objects, never another instance of the goal's object and never a second lamp."""
    table = can_contain()
    taken = {house.goal.object_type, LAMP}
    kinds = sorted({o for name in house.receptacles for o in table.get(name, ())} - taken)
    wanted = rng.randint(5, 10) if size == "small" else rng.randint(20, 60)
    for _ in range(wanted):
        kind = rng.choice(kinds)
        places = [i for i, name in enumerate(house.receptacles) if kind in table.get(name, ())]
        house.objects.append((kind, rng.choice(places)))
