"""Episodes written by hand, in the layouts that runs and evaluations write."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HEAT = "pick_heat_then_place_in_recep"
GOAL = "heat some apple and put it in fridge"
TAKE, HEATED, MOVE = "take apple 1 from shelf 1", "heat apple 1 with microwave 1", "move apple 1 to fridge 1"
WIN = ("go to shelf 1", TAKE, "go to microwave 1", HEATED, "go to fridge 1", MOVE)
UNHEATED = ("go to shelf 1", TAKE, "go to fridge 1", MOVE)
LATE = ("go to shelf 1", TAKE, "go to fridge 1", MOVE, "take apple 1 from fridge 1", "go to microwave 1", HEATED)
LOST = ("go to shelf 1", "go to shelf 2", "go to shelf 1", "go to shelf 2")


def demonstration(
    actions: Sequence[str], won: bool, task: str = "t", kind: str = HEAT, goal: str = GOAL
) -> dict[str, Any]:
    """A line of a file of demonstrations."""
    return {"task": task, "type": kind, "goal": goal, "won": won, "actions": list(actions)}


def trained(
    actions: Sequence[str],
    won: bool,
    group: int = 0,
    skills: Sequence[str] = (),
    gaps: Sequence[Sequence[float | None]] = (),
    kind: str = HEAT,
) -> dict[str, Any]:
    """A line of a run's ``episodes/``, with the keys that are read back."""
    turns = []
    for number, action in enumerate(actions):
        turn: dict[str, Any] = {
            "view": {"goal": GOAL, "observation": f"seen {number}", "admissible": [action], "history": []},
            "prompt_ids": [],
            "response_ids": [],
            "response": f"<think>x</think><action>{action}</action>",
            "action": action,
            "valid": True,
            "admissible": True,
        }
        if number < len(gaps):
            turn |= {
                "token_gap": list(gaps[number]),
                "token_gate": [None if g is None else g + 0.5 for g in gaps[number]],
            }
        turns.append(turn)
    task = {"id": f"train/{kind}-{group}", "type": kind, "split": "train"}
    record = {"task": task, "group": group, "index": 0, "turns": turns, "won": won, "failure": None}
    return {**record, "skill_ids": list(skills)}


def write(path: Path, records: Sequence[dict[str, Any]]) -> Path:
    """A file of JSON lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path
