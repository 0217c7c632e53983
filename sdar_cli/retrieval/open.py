"""A retriever by what a user gives: the folder of an index, addresses of servers, or an OpenSearch index."""

from __future__ import annotations

from pathlib import Path

from sdar_cli.base.errors import PrerequisiteError
from sdar_cli.retrieval.cache import ANSWERS, CachedRetriever
from sdar_cli.retrieval.passages import Retriever


def open_retriever(
    where: str | Path,
    *,
    device: str = "auto",
    budget: float | None = None,
    answers: int = ANSWERS,
    verify: bool = False,
) -> CachedRetriever:
    """The retriever at ``where``, behind a cache.

    where: a folder made by ``sdar retriever index``; ``http(s)://…``, several separated by commas; or
    ``opensearch+http://HOST:PORT/INDEX``.  device: of a dense engine's encoder.  budget: seconds of a remote search.
    answers: how many the cache keeps; 0 = none, so that only the queries of one batch are asked once.  verify: read
    every byte of a folder's files and compare it with the manifest, where otherwise large files are sampled.
    Raises PrerequisiteError where there is none, RetrieverUnavailableError where no server answers.
    """
    retriever = CachedRetriever(_open(str(where), device, budget, verify), answers)
    retriever.info()
    return retriever


def _open(where: str, device: str, budget: float | None, verify: bool) -> Retriever:
    from sdar_cli.base.retry import BUDGET
    from sdar_cli.retrieval.opensearch import SCHEME, OpenSearchRetriever
    from sdar_cli.retrieval.remote import RemoteRetriever

    budget = BUDGET if budget is None else budget
    if where.startswith(SCHEME):
        return OpenSearchRetriever(where, budget)
    if where.startswith(("http://", "https://")):
        urls = [part.strip() for part in where.split(",") if part.strip()]
        return RemoteRetriever(urls, budget=budget)
    folder = Path(where).expanduser()
    if not folder.is_dir():
        raise PrerequisiteError(
            f"no passage index at {where}", fix=f"sdar retriever index CORPUS --out {where}, or give http://HOST:PORT"
        )
    from sdar_cli.retrieval.index import IndexRetriever

    return IndexRetriever(folder, device, verify=verify)
