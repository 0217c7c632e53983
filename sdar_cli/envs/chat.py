"""What the wordings of all environments share: a user turn, and where a skill stands."""

from __future__ import annotations

from collections.abc import Callable

from sdar_cli.envs.base import TurnView

Message = dict[str, str]
Write = Callable[[TurnView, str], str]
"""(view, skill text or nothing) to the text of the user turn."""


def turn_messages(write: Write, view: TurnView, skill: str, placement: str) -> list[Message]:
    """The chat messages of one turn.

    skill: text shown to the teacher, empty for the student.  placement: ``user`` or ``system``; where it stands.
    """
    out: list[Message] = [{"role": "user", "content": write(view, skill if placement == "user" else "")}]
    if skill and placement == "system":
        out.insert(0, {"role": "system", "content": skill})
    return out
