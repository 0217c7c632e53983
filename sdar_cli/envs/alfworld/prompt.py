"""The wording of ALFWorld prompts: a ``TurnView`` and an optional skill become chat messages.

``compact`` is what the bundled tiny policy was trained on; ``full`` explains the task and the response
format to an instruction-tuned model.  The skill may stand in the user turn after the task (the paper,
App. E) or as a system message; the released code's raw prefix is made in ``skills.teacher``.
"""

from __future__ import annotations

from sdar_cli.envs.actions import parse_action as parse_action
from sdar_cli.envs.base import TurnView
from sdar_cli.envs.chat import Message, turn_messages

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


def shown_actions(view: TurnView) -> list[str]:
    """The admissible actions a prompt lists."""
    return [action for action in view.admissible if action not in HIDDEN_ACTIONS]


def messages(view: TurnView, style: str, skill: str = "", placement: str = "user") -> list[Message]:
    """The chat messages of one turn (``chat``); style: ``compact`` or ``full``."""
    return turn_messages(_compact if style == "compact" else _full, view, skill, placement)


def follow_up(view: TurnView, style: str) -> list[Message]:
    """The message that continues a transcript (``context = transcript``): what is new since the last action."""
    head = "" if style == "compact" else "Result of your action:\n"
    return [{"role": "user", "content": head + _now(view, style)}]


def _now(view: TurnView, style: str) -> str:
    actions = shown_actions(view)
    if style == "compact":
        return f"Now: {body_of(view.observation)}\nActions:\n" + "\n".join(actions)
    listed = "\n".join(f"- {action}" for action in actions)
    return f"{body_of(view.observation)}\n\nActions you can take now, exactly as written:\n{listed}"


def _compact(view: TurnView, skill: str) -> str:
    lines = [f"Skill: {skill}"] if skill else []
    lines.append(f"Task: {view.goal}")
    for observation, action in view.history:
        lines.append(f"Obs: {body_of(observation)}\nAct: {action}")
    lines.append(_now(view, "compact"))
    return "\n".join(lines)


def _full(view: TurnView, skill: str) -> str:
    parts = [
        "You control a household robot in a text world. You see only what you are told, "
        "and you act with one command per turn.",
        f"Your task: {view.goal}",
    ]
    if skill:
        parts.append(f"Advice for this kind of task:\n{skill}")
    if view.turn:
        parts.append(f"You have taken {view.turn} steps so far.")
    if view.history:
        past = "\n".join(f"Saw: {body_of(seen)}\nDid: {action}" for seen, action in view.history)
        parts.append(f"Your last {len(view.history)} steps:\n{past}")
    parts.append("What you see now: " + _now(view, "full"))
    parts.append(
        "Reason first, briefly, between <think> and </think>. "
        "Then give exactly one of the listed actions between <action> and </action>."
    )
    return "\n\n".join(parts)
