"""What earlier versions wrote, brought into the present shape: the only place that knows of it.

Schema 1 wrote no number.  Its training episodes named the task as a record and had no goal of their own; its evaluation
episodes named the task by its id, with the type next to it, and did not record which actions were possible.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

EPISODE = {"reward": None, "score": None, "reward_parts": None, "stop": None, "failure": None}
"""Keys that an old episode may not have."""
DETAIL: dict[str, object] = {
    "truncated_prompt": 0, "truncated_response": False, "teacher_tokens": None, "teacher_cut": [], "token_logp": None,
    "token_entropy": None, "token_gap": None, "token_gate": None,
}  # fmt: skip
"""Keys that an old turn of training may not have."""
RESULT = {"means": None, "cut_prompts": 0}
"""Keys that an old result may not have."""


def episode(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """An episode of schema 1 as one of schema 2.  Raises KeyError and TypeError for what is no episode."""
    turns = [_turn(turn) for turn in row["turns"]]
    task = row["task"] if isinstance(row["task"], Mapping) else {"id": row["task"], "type": row["type"], "split": ""}
    goal = row["goal"] if "goal" in row else turns[0]["view"]["goal"] if turns else ""
    return {**EPISODE, **row, "task": task, "goal": goal, "turns": turns}


def _turn(turn: Mapping[str, Any]) -> Mapping[str, Any]:
    own = {"admissible": turn["valid"], **turn}  # evaluations did not write whether it was possible
    return {**DETAIL, **own} if "view" in turn else own


def result(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """A result of schema 1 as one of schema 2, which names the metrics that its rates hold."""
    return {**RESULT, **row, "metrics": [SCORE] if "score" in row["overall"] else []}


SCORE = {"name": "score", "title": "score", "unit": "%"}
"""The only metric besides success that rates of schema 1 held."""
