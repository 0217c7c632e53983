"""What goes over the wire: the ``/retrieve`` dialects of Search-R1 (many queries) and of the SDAR release (one).

Request: ``{"queries": [str], "topk": int, "return_scores": bool}`` or ``{"query": str, …}``.  Response:
``{"result": [list per query]}`` of ``{"document": {…}, "score": float}`` with scores, of bare documents without.  Our
documents have ``id``, ``title``, ``text`` and ``contents``, so that clients of either release find what they read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from sdar_cli.retrieval.passages import Passage


def document(passage: Passage) -> dict[str, str]:
    """A passage as a document of either dialect."""
    contents = f'"{passage.title}"\n{passage.text}'
    return {"id": passage.id, "title": passage.title, "text": passage.text, "contents": contents}


def result(found: Sequence[Sequence[Passage]], with_scores: bool) -> list[list[Mapping[str, object]]]:
    """The ``result`` of a response."""
    if with_scores:
        return [[{"document": document(p), "score": p.score} for p in passages] for passages in found]
    return [[document(p) for p in passages] for passages in found]


def read_result(body: Any, queries: int, k: int) -> list[list[Passage]]:
    """The passages of a response's JSON.  Raises ValueError where it is not one list of documents per query."""
    lists = body.get("result") if isinstance(body, dict) else None
    if not isinstance(lists, list):
        raise ValueError("the response has no list 'result'")
    if len(lists) != queries:
        raise ValueError(f"{len(lists)} results for {queries} queries")
    if not all(isinstance(hits, list) for hits in lists):
        raise ValueError("a result is no list")
    return [[_passage(hit, rank) for rank, hit in enumerate(hits[:k])] for hits in lists]


def _passage(hit: Any, rank: int) -> Passage:
    """A passage of a hit, with or without a score (then by rank), with or without an id (then made of its text)."""
    scored = isinstance(hit, dict) and "document" in hit
    doc = hit["document"] if scored else hit
    score = hit.get("score") if scored else -float(rank)
    if not isinstance(doc, dict) or isinstance(score, bool) or not isinstance(score, int | float):
        raise ValueError(f"a hit is no document with a score: {str(hit)[:80]}")
    title, text, contents = doc.get("title"), doc.get("text"), doc.get("contents")
    if not isinstance(text, str):
        if not isinstance(contents, str):
            raise ValueError("a document has neither text nor contents")
        head, _, text = contents.partition("\n")
        title = head.strip().strip('"') if not isinstance(title, str) else title
    title = title if isinstance(title, str) else ""
    name = doc.get("id")
    if name is None or name == "":
        name = hashlib.sha256(f"{title}\n{text}".encode()).hexdigest()[:16]
    return Passage(str(name), title.strip().strip('"'), text, float(score))
