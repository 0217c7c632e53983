"""Passages as the model sees them, in the form of Search-R1 or of the SDAR release.

Tags inside a passage are taken out: a passage must not look like the model's or the environment's text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence

from sdar_cli.base.files import parse_json
from sdar_cli.retrieval.passages import Passage

NOTHING_FOUND = "No search results found."
_TAG = re.compile(r"</?\s*(?:information|search|answer|think|result)\s*>", re.IGNORECASE)
_ANGLE = re.compile(r"[<>]")
_START, _END = "<information>", "</information>"
_HEADS = {
    "search_r1": re.compile(r'(?:^|\n)Doc (\d+)\(Title: "(.*?)"\) '),
    "sdar": re.compile(r'(?:^|\n)Doc (\d+): "(.*?)"\n'),
}


def without_tags(text: str) -> str:
    """A text without the tags of prompts and actions, also where taking one out makes another."""
    if not _TAG.search(text):
        return text
    kept: list[str] = []
    open_at: list[int] = []  # places in ``kept`` of each < after which no > came
    at = 0
    for angle in _ANGLE.finditer(text):
        kept.append(text[at : angle.start()])
        at = angle.end()
        if angle[0] == "<":
            open_at.append(len(kept))
            kept.append("<")
        elif open_at and _TAG.fullmatch("".join([*kept[open_at[-1] :], ">"])):
            del kept[open_at.pop() :]
        else:
            open_at.clear()
            kept.append(">")
    return "".join([*kept, text[at:]])


def search_r1(passages: Sequence[Passage], clean: Callable[[str], str] = without_tags) -> str:
    r"""``\n\n<information>Doc 1(Title: "T") text\nDoc 2(Title: …) …</information>\n\n``, as Search-R1 writes it."""
    lines = [f'Doc {n}(Title: "{clean(p.title)}") {clean(p.text)}' for n, p in enumerate(passages, 1)]
    return f"\n\n{_START}{chr(10).join(lines) or NOTHING_FOUND}{_END}\n\n"


def sdar(passages: Sequence[Passage], clean: Callable[[str], str] = without_tags) -> str:
    r"""``<information>{"result": "Doc 1: \"T\"\ntext\n…"}</information>``: a JSON text, so with escapes (released)."""
    docs = [f'Doc {n}: "{clean(p.title)}"\n{clean(p.text)}' for n, p in enumerate(passages, 1)]
    return f"{_START}{json.dumps({'result': chr(10).join(docs) or NOTHING_FOUND})}{_END}"


FORMATS = {"search_r1": search_r1, "sdar": sdar}


def inside(observation: str) -> str:
    """What stands between the information tags, also of an observation that was cut off before its end."""
    return observation.strip().removeprefix(_START).removesuffix(_END).strip()


def documents(observation: str) -> list[tuple[str, str]]:
    """(title, text) of the passages in an observation of either form; none where it holds no whole title."""
    text, head = inside(observation), _HEADS["search_r1"]
    if text.startswith("{"):
        try:
            text, head = parse_json(text)["result"], _HEADS["sdar"]
        except (ValueError, KeyError, TypeError):
            return []
    heads: list[re.Match[str]] = []
    for match in head.finditer(text):
        if match[1] == str(len(heads) + 1):  # a passage's own text may look like a head
            heads.append(match)
    if not heads:
        return []
    ends = [match.start() for match in heads[1:]] + [len(text)]
    return [(match[2], text[match.end() : end].strip()) for match, end in zip(heads, ends, strict=True)]
