"""The wording of ALFWorld: what its observations show, and which commands are listed (``envs.wording``).

``compact`` is what the bundled tiny policy was trained on.
"""

from __future__ import annotations

from sdar_cli.envs.wording import CommandPrompts

HIDDEN_ACTIONS = frozenset({"help"})
"""Admissible, but never shown: it prints the engine's manual."""


def goal_of(text: str) -> str:
    """The task text of a first observation: what follows ``Your task is to:``, without the final stop."""
    _, found, goal = text.partition("Your task is to: ")
    return goal.strip().rstrip(".") if found else ""


def body_of(text: str) -> str:
    """An observation without the engine's banner and the task line, on one line."""
    text = text.partition("Your task is to: ")[0]
    lines = [line.strip() for line in text.splitlines()]
    return " ".join(line for line in lines if line and not line.startswith("-="))


PROMPTS = CommandPrompts(
    "You control a household robot in a text world. You see only what you are told, "
    "and you act with one command per turn.",
    body_of,
    HIDDEN_ACTIONS,
)
