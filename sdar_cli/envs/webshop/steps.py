"""What a WebShop episode did, without the words of one request: searched, opened, chose which option, bought.

``brief`` writes an order of steps in the words that skills for this environment use.  Where a record does not say which
page a click was made on, a value is ``an option``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from sdar_cli.envs.base import Act, Trace
from sdar_cli.envs.webshop.prompt import BUTTONS, read_page

SEARCH, SEARCH_AGAIN = "search", "search again"
OPEN, OPEN_OTHER, BUY = "open a result", "open another result", "buy"
CHOOSE = "choose "
UNLISTED = "do what the page does not offer"
PAGES = ("description", "features", "reviews", "attributes")
ASIN = re.compile(r"b[0-9a-z]{9}")


def steps(trace: Trace) -> list[tuple[int, str]]:
    """(turn from 0, step) of an episode, in order."""
    done: list[tuple[int, str]] = []
    for turn, act in enumerate(trace.acts):
        done += [(turn, step) for step in _steps_of(act, {step for _, step in done})]
    return done


def brief(order: Sequence[str]) -> str:
    """The order as one sentence."""
    words = [step.removeprefix(CHOOSE) if n else step for n, step in enumerate(order)]
    return f"{', then '.join(words)}."


def general_brief(good: Sequence[str], bad: Sequence[str]) -> str:
    """One short sentence from the steps that go with winning or losing in every kind of goods; empty where there are
    none."""
    parts = [step for step in good if not step.startswith(CHOOSE)]
    parts += [f"do not {step}" for step in bad if not step.startswith(CHOOSE)]
    return f"{', '.join(parts)}." if parts else ""


def _steps_of(act: Act, before: set[str]) -> Iterator[str]:
    clicked = act.action.removeprefix("click[").removesuffix("]")
    if not act.acted:
        yield UNLISTED
    elif act.action.startswith("search["):
        yield SEARCH_AGAIN if SEARCH in before else SEARCH
    elif clicked == "buy now":
        yield BUY
    elif clicked in PAGES:
        yield f"read the {clicked}"
    elif ASIN.fullmatch(clicked):
        yield OPEN_OTHER if OPEN in before else OPEN
    elif clicked not in BUTTONS:
        yield f"{CHOOSE}{_option(act, clicked)}"


def _option(act: Act, value: str) -> str:
    """The name of the option that a value belongs to."""
    options = read_page(act.observation, act.admissible).options if act.observation else {}
    return next((name for name, values in options.items() if value in values), "an option")
