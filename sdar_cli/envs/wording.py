"""The wording of an environment whose actions are listed commands: a ``TurnView`` and an optional skill become chat
messages.

``compact`` is short, for tiny policies; ``full`` explains the task and the response format to an instruction-tuned
model.  The skill may stand in the user turn after the task (the paper, App. E) or as a system message; the released
code's raw prefix is made in ``rollout.prompt``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from sdar_cli.envs.actions import ParsedAction, parse_action
from sdar_cli.envs.base import TurnView
from sdar_cli.envs.chat import Message, turn_messages


def one_line(text: str) -> str:
    """A text on one line."""
    return " ".join(text.split())


@dataclass(frozen=True)
class CommandPrompts:
    """See the module's text; it is a ``Prompts`` of ``envs.benchmark``."""

    introduction: str
    """First sentences of the full wording: where the agent is and what it can do."""
    body: Callable[[str], str] = one_line
    """An observation to what a prompt shows of it."""
    hidden: frozenset[str] = frozenset()
    """Admissible actions that no prompt lists."""

    def body_of(self, text: str) -> str:
        """The part of an observation that a prompt shows and may shorten."""
        return self.body(text)

    def shown_actions(self, view: TurnView) -> list[str]:
        """The admissible actions a prompt lists."""
        return [action for action in view.admissible if action not in self.hidden]

    def messages(self, view: TurnView, style: str, skill: str = "", placement: str = "user") -> list[Message]:
        """The chat messages of one turn (``chat``); style: ``compact`` or ``full``."""
        return turn_messages(self._compact if style == "compact" else self._full, view, skill, placement)

    def follow_up(self, view: TurnView, style: str) -> list[Message]:
        """The message that continues a transcript (``context = transcript``): what is new since the last action."""
        head = "" if style == "compact" else "Result of your action:\n"
        return [{"role": "user", "content": head + self._now(view, style)}]

    def parse_action(self, response: str, admissible: Collection[str], rule: str) -> ParsedAction:
        """The action in a response; see ``envs.actions``."""
        return parse_action(response, admissible, rule)

    def _now(self, view: TurnView, style: str) -> str:
        actions = self.shown_actions(view)
        if style == "compact":
            return f"Now: {self.body(view.observation)}\nActions:\n" + "\n".join(actions)
        listed = "\n".join(f"- {action}" for action in actions)
        return f"{self.body(view.observation)}\n\nActions you can take now, exactly as written:\n{listed}"

    def _compact(self, view: TurnView, skill: str) -> str:
        lines = [f"Skill: {skill}"] if skill else []
        lines.append(f"Task: {view.goal}")
        for observation, action in view.history:
            lines.append(f"Obs: {self.body(observation)}\nAct: {action}")
        lines.append(self._now(view, "compact"))
        return "\n".join(lines)

    def _full(self, view: TurnView, skill: str) -> str:
        parts = [self.introduction, f"Your task: {view.goal}"]
        if skill:
            parts.append(f"Advice for this kind of task:\n{skill}")
        if view.turn:
            parts.append(f"You have taken {view.turn} steps so far.")
        if view.history:
            past = "\n".join(f"Saw: {self.body(seen)}\nDid: {action}" for seen, action in view.history)
            parts.append(f"Your last {len(view.history)} steps:\n{past}")
        parts.append("What you see now: " + self._now(view, "full"))
        parts.append(
            "Reason first, briefly, between <think> and </think>. "
            "Then give exactly one of the listed actions between <action> and </action>."
        )
        return "\n\n".join(parts)
