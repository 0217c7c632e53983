"""What a Search-QA episode did, without the words of one question: its searches, in order, and when it answered.

A query is about the question where all its longer words stand in it, else about what an earlier search led to.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from sdar_cli.envs.base import Act, Trace
from sdar_cli.envs.search.actions import ANSWER, SEARCH, read_action

ASKED, ASKED_AGAIN = "search a name of the question", "search another name of the question"
LED, LED_AGAIN = "search what that leads to", "search what that leads to in turn"
REPEATED, EARLY, DONE = "repeat a search", "answer before any search", "answer"
UNREADABLE = "send neither a search nor an answer"
LETTERS = 4
"""Of a word that counts."""


def steps(trace: Trace) -> list[tuple[int, str]]:
    """(turn from 0, step) of an episode, in order."""
    queries: list[str] = []
    done: list[tuple[int, str]] = []
    for turn, act in enumerate(trace.acts):
        done += [(turn, step) for step in _steps_of(act, trace.goal, queries, {step for _, step in done})]
    return done


def brief(order: Sequence[str]) -> str:
    """The order as one sentence."""
    return f"{', then '.join(order)}."


def general_brief(good: Sequence[str], bad: Sequence[str]) -> str:
    """One short sentence from the steps that go with right or wrong answers to every kind of question; empty where
    there are none."""
    parts = ["search before you answer"] if EARLY in bad else []
    parts += [f"do not {step}" for step in bad if step not in (EARLY, UNREADABLE)]
    return f"{', '.join(parts)}." if parts else ""


def _steps_of(act: Act, question: str, queries: list[str], before: set[str]) -> Iterator[str]:
    action = read_action(act.action)
    query = " ".join(_words(action.content))
    if action.kind == ANSWER:
        yield DONE if queries else EARLY
    elif action.kind != SEARCH or not query:
        yield UNREADABLE
    elif query in queries:
        yield REPEATED
    else:
        queries.append(query)
        known = {word for word in _words(action.content) if len(word) >= LETTERS} <= set(_words(question))
        first, again = (ASKED, ASKED_AGAIN) if known else (LED, LED_AGAIN)
        yield again if first in before else first


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())
