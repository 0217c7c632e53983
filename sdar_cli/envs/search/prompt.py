"""The wording of Search-QA prompts: a ``TurnView`` and an optional skill become chat messages.

The functions are those of ALFWorld's ``prompt`` module.  ``compact`` is made for a tiny policy with short prompts: of
every passage the first ``PASSAGE_WORDS`` words, and its title only where the text does not say it.  ``full`` explains
task and response format to an instruction-tuned model and shows the information as the environment wrote it.

As in the SDAR release every turn is a prompt of its own and past turns are shown as (action, information); what the
model thought is not.  The current observation is the information that the last action brought.
"""

from __future__ import annotations

import re

from sdar_cli.envs.base import TurnView
from sdar_cli.envs.chat import Message, turn_messages
from sdar_cli.envs.search.actions import SEARCH, read_action
from sdar_cli.envs.search.actions import parse_action as parse_action
from sdar_cli.envs.search.information import documents, inside

PASSAGE_WORDS = 32
"""Words of a passage in a compact prompt."""
ADMISSIBLE = ("<search>your query</search>", "<answer>your answer</answer>")
"""What stands for every action in a list of them."""
_WORD = re.compile(r"\w+")


def body_of(text: str) -> str:
    """An observation without its tags."""
    return inside(text)


def steps(view: TurnView) -> list[tuple[str, str]]:
    """(action, the observation that it brought), oldest first.

    Where the history was cut off whole, the observation alone is left, after an action that is not known (empty).
    """
    if not view.history:
        return [("", view.observation)] if view.turn else []
    brought = [*(seen for seen, _ in view.history[1:]), view.observation]
    return [(action, seen) for (_, action), seen in zip(view.history, brought, strict=True)]


def messages(view: TurnView, style: str, skill: str = "", placement: str = "user") -> list[Message]:
    """The chat messages of one turn (``chat``); style: ``compact`` or ``full``."""
    return turn_messages(_compact if style == "compact" else _full, view, skill, placement)


def follow_up(view: TurnView, style: str) -> list[Message]:
    """The message that continues a transcript (``context = transcript``): what the last action brought."""
    text = _found(view.observation) if style == "compact" else _information(view.observation)
    return [{"role": "user", "content": text}]


def _compact(view: TurnView, skill: str) -> str:
    lines = [f"Skill: {skill}"] if skill else []
    lines.append(f"Question: {view.goal}")
    for action, seen in steps(view):
        done = read_action(action)
        lines.append(f"Search: {done.content}" if done.kind == SEARCH else "Search:")
        lines.append(_found(seen))
    return "\n".join(lines)


def _found(observation: str) -> str:
    """One line per passage; the observation's own text where it is no list of passages."""
    passages = documents(observation)
    if not passages:
        return "- " + (" ".join(inside(observation).split()) or "nothing")
    return "\n".join(f"- {_brief(title, text)}" for title, text in passages)


def _brief(title: str, text: str) -> str:
    """A passage in few words; its title first unless the words that are shown have it."""
    words = text.split()
    shown = " ".join(words[:PASSAGE_WORDS]) + (" ..." if len(words) > PASSAGE_WORDS else "")
    contained = set(_WORD.findall(title.lower())) <= set(_WORD.findall(shown.lower()))
    return shown if contained else f"{title}: {shown}"


def _information(observation: str) -> str:
    text = inside(observation)
    return f"<information>{text}</information>" if text else "(It brought nothing.)"


def _full(view: TurnView, skill: str) -> str:
    parts = [
        "You answer a question with the help of a collection of passages that you can search.",
        f"The question: {view.goal}",
    ]
    if skill:
        parts.append(f"Advice for this kind of question:\n{skill}")
    past = steps(view)
    first = view.turn - len(past) + 1
    for number, (action, seen) in enumerate(past, first):
        parts.append(f"Step {number}: {action or '(no action)'}\n{_information(seen)}")
    parts.append(
        "Reason first, briefly, between <think> and </think>. Then do exactly one of two things. While you lack a "
        "fact, look it up: <search>a query</search>; the best passages come back with your next step. Once you know "
        "the answer, end with it: <answer>a name, a date or a few words</answer>, with no explanation inside the tags."
    )
    return "\n\n".join(parts)
