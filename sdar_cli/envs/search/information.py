"""Passages as the model sees them, in the form of Search-R1 or of the SDAR release.

Tags inside a passage are taken out: a passage must not speak in the model's or the environment's voice.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from sdar_cli.retrieval.types import Passage

NOTHING_FOUND = "No search results found."
_TAGS = re.compile(r"</?(?:information|search|answer|think|result)>", re.IGNORECASE)
_BLOCK = re.compile(r"<information>(.*)</information>", re.DOTALL)


def _clean(text: str) -> str:
    return _TAGS.sub("", text)


def search_r1(passages: Sequence[Passage]) -> str:
    r"""``\n\n<information>Doc 1(Title: "T") text\nDoc 2(Title: …) …</information>\n\n``, as Search-R1 writes it."""
    lines = [f'Doc {n}(Title: "{_clean(p.title)}") {_clean(p.text)}' for n, p in enumerate(passages, 1)]
    return f"\n\n<information>{chr(10).join(lines) or NOTHING_FOUND}</information>\n\n"


def sdar(passages: Sequence[Passage]) -> str:
    r"""``<information>{"result": "Doc 1: \"T\"\ntext\n…"}</information>``: a JSON text, so with escapes, as released."""
    docs = [f'Doc {n}: "{_clean(p.title)}"\n{_clean(p.text)}' for n, p in enumerate(passages, 1)]
    return f"<information>{json.dumps({'result': chr(10).join(docs) or NOTHING_FOUND})}</information>"


FORMATS = {"search_r1": search_r1, "sdar": sdar}


def inside(observation: str) -> str:
    """What stands between the information tags; the text itself where there are none."""
    match = _BLOCK.search(observation)
    return (match.group(1) if match else observation).strip()
