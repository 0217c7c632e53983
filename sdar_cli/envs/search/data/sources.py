"""Where questions and passages come from: a folder of the user's, or the generated world; an index, or a server.

An index of the data's own corpus is made once, in the cache, under a name made of the corpus's content.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sdar_cli.base.errors import PrerequisiteError
from sdar_cli.base.locks import locked_in_turn
from sdar_cli.base.resources import cache_dir
from sdar_cli.envs.search.data.questions import CORPUS_STEMS, Questions, load_questions, question_files
from sdar_cli.envs.search.data.world import ensure_world
from sdar_cli.envs.search.options import SearchOptions
from sdar_cli.retrieval.bm25 import parameters
from sdar_cli.retrieval.cache import ANSWERS
from sdar_cli.retrieval.index import build_index
from sdar_cli.retrieval.manifest import FORMAT, flaw_of
from sdar_cli.retrieval.open import open_retriever
from sdar_cli.retrieval.passages import Retriever
from sdar_cli.retrieval.rows import SUFFIXES

if TYPE_CHECKING:
    from sdar_cli.base.display import Reporter

CORPORA = tuple(f"{stem}{suffix}" for stem in CORPUS_STEMS for suffix in SUFFIXES)
"""Names of a corpus in a folder of data; the first that is there counts."""
FIRST_BUDGET = 5.0
"""Seconds a server may take to answer for the first time."""


@dataclass(frozen=True)
class Data:
    """What a configuration names.  ``corpus``: None where a folder has none."""

    questions: Questions
    corpus: Path | None


def load_data(config: SearchOptions) -> Data:
    """The questions of ``config.data``, or of the generated world, and the corpus next to them."""
    check_files(config)
    real = config.source == "real" and config.data is not None
    path = Path(str(config.data)).expanduser() if real else ensure_world(config.games_seed)
    questions = load_questions(path, skip_bad=config.skip_bad)
    return Data(questions, find_corpus(path))


def find_corpus(path: Path) -> Path | None:
    """The corpus in a folder, or next to a file, of questions."""
    folder = path if path.is_dir() else path.parent
    return next((folder / name for name in CORPORA if (folder / name).is_file()), None)


def retriever_of(config: SearchOptions, data: Data, reporter: Reporter | None = None) -> Retriever:
    """The retriever that is named, else an index of the data's corpus.

    A server that does not answer within ``FIRST_BUDGET`` is an error now; later it has ``config.step_timeout``.
    """
    where = config.retriever
    if where is None:
        where = str(ensure_index(_required(data.corpus, config), config.skip_bad, reporter))
    elif "://" in where:
        _greet(where, reporter)
    return open_retriever(where, budget=config.step_timeout, answers=ANSWERS if config.cache else 0)


def check_files(config: SearchOptions) -> None:
    """Whether the files a configuration names are there; nothing is read.  Raises PrerequisiteError."""
    if config.source == "real":
        if config.data is None:
            raise PrerequisiteError(
                "env.source = real needs questions", fix="--data FOLDER of questions and corpus.jsonl"
            )
        path = Path(config.data).expanduser()
        question_files(path)
        if config.retriever is None:
            _required(find_corpus(path), config)
    where = config.retriever
    if where is not None and "://" not in where and not Path(where).expanduser().is_dir():
        raise PrerequisiteError(f"no passage index at {where}", fix=f"sdar retriever index CORPUS --out {where}")


def _required(corpus: Path | None, config: SearchOptions) -> Path:
    if corpus is None:
        raise PrerequisiteError(
            f"no passages to search: there is no corpus next to the questions in {config.data}",
            why=f"looked for {', '.join(CORPORA[:3])}, …",
            fix="put corpus.jsonl there, or --set env.retriever=INDEX, or =http://HOST:PORT",
        )
    return corpus


def _greet(where: str, reporter: Reporter | None) -> None:
    """Whether a server answers at all; of several addresses, those that do not are named."""
    open_retriever(where, budget=FIRST_BUDGET).close()
    if not where.startswith("http"):
        return
    from sdar_cli.retrieval.remote import RemoteRetriever

    client = RemoteRetriever(where.split(","), budget=FIRST_BUDGET)
    silent = [url for url, answers in client.healthy().items() if not answers]
    client.close()
    if silent and reporter:
        reporter.warn(f"no answer from {', '.join(silent)}: the other addresses have to do")


def check_retriever(retriever: Retriever, questions: Sequence[str], k: int) -> None:
    """Raises PrerequisiteError when nothing is found for any question."""
    found = retriever.search(questions, k)
    if questions and not any(found):
        raise PrerequisiteError(
            f"the retriever finds nothing for {len(questions)} questions",
            why=f"the first: {questions[0]}",
            fix="check that it holds the corpus of these questions: sdar retriever query --index INDEX QUESTION",
        )


def ensure_index(corpus: Path, skip_bad: bool = False, reporter: Reporter | None = None) -> Path:
    """The folder of a cached BM25 index of a corpus; built when absent, or when the corpus or the engine changed."""
    digest = hashlib.sha256(json.dumps([FORMAT, parameters(), skip_bad], sort_keys=True).encode())
    with corpus.open("rb") as file:
        digest.update(hashlib.file_digest(file, "sha256").digest())
    folder = cache_dir() / "search" / f"index-{digest.hexdigest()[:16]}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with locked_in_turn(folder.with_suffix(".lock")):  # of several runs that start at once one builds
        if folder.is_dir() and (flaw := flaw_of(folder)):
            if reporter:
                reporter.warn(f"the cached index is built again: {flaw}")
            shutil.rmtree(folder)
        if not folder.is_dir():
            build_index(corpus, folder, skip_bad=skip_bad, reporter=reporter)
    return folder
