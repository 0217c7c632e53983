"""The wording of WebShop prompts: a ``TurnView`` and an optional skill become chat messages.

The functions are those of ALFWorld's ``prompt`` module.  ``compact`` is made for a tiny policy with short prompts:
a page is read (``read_page``) and written in few words, of a list of results only the first ``SHOWN_RESULTS``.
``full`` explains shop and response format to an instruction-tuned model and shows the page's own text.  A page that
cannot be read, such as a shortened one or one in the ``text_rich`` form, is shown as it is in both.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

from sdar_cli.envs.actions import parse_action as parse_action
from sdar_cli.envs.base import TurnView
from sdar_cli.envs.chat import Message, turn_messages

SEP = " [SEP] "
ANY_SEARCH = "search[<your query>]"
"""Stands for every search in a list of actions."""
HIDDEN_ACTIONS = frozenset({"click[search]"})
"""Admissible, but never shown: it does nothing."""
BUTTONS = ("back to search", "< prev", "next >", "description", "features", "reviews", "attributes", "buy now")
SHOWN_RESULTS = 5
"""Results that a compact prompt lists."""
NAME_WORDS = 8
GIST_WORDS = 24
"""Words of a name, and of a text page that has been left, in a compact prompt."""
_SEARCH = re.compile(r"search\[([^\[\n]*)\]")
_SAYS = re.compile(r"[^\]\s]")
_PRICE = re.compile(r"\d+(?:\.\d+)?")


class ActionList(tuple[str, ...]):
    """Admissible actions in the page's order.  Where ``ANY_SEARCH`` is listed, every search that is not empty is in
    it; one with an opening bracket is not, for the shop does not understand it."""

    __slots__ = ()

    def __contains__(self, action: object) -> bool:
        if super().__contains__(action):
            return True
        if not super().__contains__(ANY_SEARCH) or not isinstance(action, str):
            return False
        query = _SEARCH.fullmatch(action)
        return query is not None and _SAYS.search(query[1]) is not None


def admissible_actions(clickables: Sequence[str], has_search_bar: bool) -> ActionList:
    """The actions of a page: what can be clicked on it and, with a search bar, every search."""
    return ActionList([ANY_SEARCH] * has_search_bar + [f"click[{text}]" for text in clickables])


class Result(NamedTuple):
    """One line of a page of results; ``price`` as the shop writes it."""

    asin: str
    name: str
    price: str


@dataclass(frozen=True)
class Page:
    """What a page says.  kind: ``search``, ``results``, ``item``, ``text`` (a page about an item), ``done``, ``other``.

    name, price: of an item.  options: option names to the values that can be clicked.  body: the text of the other
    kinds.
    """

    kind: str
    name: str = ""
    price: str = ""
    results: tuple[Result, ...] = ()
    options: dict[str, tuple[str, ...]] = field(default_factory=dict)
    body: str = ""


def goal_of(text: str) -> str:
    """The instruction that stands on a page; empty where there is none."""
    parts = text.split(SEP)
    return parts[parts.index("Instruction:") + 1].strip() if "Instruction:" in parts[:-1] else ""


def body_of(text: str) -> str:
    """The parts of a page after the instruction, each in single quotes; a text without one as it is, on one line."""
    parts = text.split(SEP)
    if "Instruction:" not in parts[:2]:
        return " ".join(text.split())
    rest = parts[parts.index("Instruction:") + 2 :]
    return SEP.join(f"'{part.strip()}'" for part in rest if part.strip())


def read_page(text: str, admissible: Sequence[str] = ()) -> Page:
    """A page from its text.  Without its actions, results and options stay empty."""
    parts = text.split(SEP)
    if parts[0] == "WebShop":
        return Page("search")
    if parts[0].startswith("Thank you"):
        return Page("done", body=" ".join(text.split()))
    if parts[0] != "Instruction:" or len(parts) < 4:
        return Page("other", body=" ".join(text.split()))
    clicks = {action[len("click[") : -1] for action in admissible if action.startswith("click[")}
    rest = parts[3:]
    if rest[0].startswith("Page "):
        return Page("results", body=rest[0].partition(" (")[0].lower(), results=_results(rest[1:], clicks))
    priced = [n for n, part in enumerate(rest[:-1]) if part.startswith("Price: ") and rest[n + 1].startswith("Rating:")]
    if priced:
        at = priced[-1]
        return Page("item", rest[at - 1], rest[at].removeprefix("Price: "), (), _options(rest[1 : at - 1], clicks))
    return Page("text", body=" ".join(" ".join(rest[1:]).split()))


def _results(parts: list[str], clicks: set[str]) -> tuple[Result, ...]:
    starts = [n for n, part in enumerate(parts) if part.lower() in clicks and part.lower() not in BUTTONS]
    found = []
    for start, end in pairwise([*starts, len(parts)]):
        found.append(Result(parts[start].lower(), " ".join(parts[start + 1 : end - 1]), parts[end - 1]))
    return tuple(found)


def _options(parts: list[str], clicks: set[str]) -> dict[str, tuple[str, ...]]:
    options: dict[str, tuple[str, ...]] = {}
    name = ""
    for part in parts:
        if part in clicks:
            options[name] = (*options.get(name, ()), part)
        else:
            name = part
    return options


def amounts(price: str) -> list[float]:
    """The dollars in a price: one number, or the two ends of a range."""
    return [float(number) for number in _PRICE.findall(price.replace(",", ""))]


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
    if style == "compact":
        return _compact_page(view)
    listed = "\n".join(f"- {action}" for action in shown_actions(view))
    return f"{body_of(view.observation)}\n\nActions you can take now:\n{listed}"


def _compact_page(view: TurnView) -> str:
    """The page and its actions, each value and code once: the policy puts them into ``click[...]`` itself."""
    page = read_page(view.observation, view.admissible)
    if page.kind in ("other", "done"):
        return f"Now: {page.body}\nActions:\n" + "\n".join(shown_actions(view))
    if page.kind == "search":
        return f"Now: search page\n{ANY_SEARCH}"
    if page.kind == "results":
        lines = [f"Now: {page.body}"]
        lines += [f"{r.asin} {_brief(r.name, NAME_WORDS)} {_dollars(r.price)}" for r in page.results[:SHOWN_RESULTS]]
    elif page.kind == "item":
        lines = [f"Now: {_brief(page.name, NAME_WORDS)} {_dollars(page.price)}"]
        lines += [f"{name}: {', '.join(values)}" for name, values in page.options.items()]
    else:
        lines = [f"Now: {page.body.lower() or 'nothing'}"]
    buttons = [button for button in BUTTONS if f"click[{button}]" in view.admissible]
    return "\n".join([*lines, f"click: {', '.join(buttons)}"])


def _brief(text: str, words: int) -> str:
    parts = text.lower().split()
    return " ".join(parts[:words]) + (" ..." if len(parts) > words else "")


def _dollars(price: str) -> str:
    """A price in whole dollars: ``$25``, ``$20-28``."""
    return "$" + "-".join(f"{amount:.0f}" for amount in amounts(price)) if amounts(price) else price


def _gist(observation: str) -> str:
    """A page that has been left, in a few words."""
    page = read_page(observation)
    if page.kind in ("search", "results"):
        return f"{page.kind} page"
    return _brief(page.name, NAME_WORDS) if page.kind == "item" else _brief(page.body or "nothing", GIST_WORDS)


def _compact(view: TurnView, skill: str) -> str:
    lines = [f"Skill: {skill}"] if skill else []
    lines.append(f"Task: {view.goal}")
    for observation, action in view.history:
        lines.append(f"Obs: {_gist(observation)}\nAct: {action}")
    lines.append(_now(view, "compact"))
    return "\n".join(lines)


def _full(view: TurnView, skill: str) -> str:
    parts = [
        "You shop in an online store that you see as text. Find a product that meets the request, set the options "
        "it asks for on the product's page, and buy it there. The purchase ends the task.",
        f"The request: {view.goal}",
    ]
    if skill:
        parts.append(f"Advice for this kind of request:\n{skill}")
    if view.turn:
        parts.append(f"You have taken {view.turn} steps so far.")
    if view.history:
        past = "\n".join(f"Saw: {body_of(seen)}\nDid: {action}" for seen, action in view.history)
        parts.append(f"Your last {len(view.history)} steps:\n{past}")
    parts.append("The page now: " + _now(view, "full"))
    parts.append(
        "Reason first, briefly, between <think> and </think>. Then give exactly one action between <action> and "
        "</action>: a listed click as it is written, or, where a search is listed, search[...] with your own words."
    )
    return "\n\n".join(parts)
