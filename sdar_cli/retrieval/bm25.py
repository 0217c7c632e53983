"""BM25 by tantivy (k1 1.2, b 0.75): English stems, without stop words, of the whole passage and of its title.

A passage's score is that of its whole text plus ``title_weight`` times that of its title; 0 is plain BM25.  The index
holds numbers only; texts are in the ``PassageStore`` next to it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from sdar_cli.base.errors import PrerequisiteError
from sdar_cli.retrieval.corpus import Row
from sdar_cli.retrieval.passages import Passage
from sdar_cli.retrieval.store import PassageStore

if TYPE_CHECKING:
    import tantivy

FOLDER = "bm25"
TITLE_WEIGHT = 0.5
ANALYZER = "en-stop-stem-1"
"""Raise the number when ``analyzer`` changes: an index of another analyzer is refused."""
HEAP = 128 << 20
"""Bytes a build may hold before it writes a segment."""
QUERY_TERMS = 64
"""Different words of a query that count; the first ones."""


class Bm25Parameters(TypedDict):
    """What the ranking depends on; ``tantivy``: its version."""

    k1: float
    b: float
    analyzer: str
    title_weight: float
    tantivy: str


def parameters(title_weight: float = TITLE_WEIGHT) -> Bm25Parameters:
    """Those of an index built here and now."""
    return {"k1": 1.2, "b": 0.75, "analyzer": ANALYZER, "title_weight": title_weight, "tantivy": version("tantivy")}


def analyzer() -> tantivy.TextAnalyzer:
    """Words to terms: lower case without accents, no stop words, English stems."""
    from tantivy import Filter, TextAnalyzerBuilder, Tokenizer

    builder = TextAnalyzerBuilder(Tokenizer.simple()).filter(Filter.remove_long(40)).filter(Filter.lowercase())
    return (
        builder.filter(Filter.ascii_fold()).filter(Filter.stopword("english")).filter(Filter.stemmer("english")).build()
    )


@contextmanager
def _no_panics(folder: Path) -> Iterator[None]:
    """What tantivy raises here, its panics too (which are no ``Exception``), is a PrerequisiteError."""
    try:
        yield
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise
        why = f"tantivy: {str(error).splitlines()[0] if str(error) else type(error).__name__}"
        raise PrerequisiteError(f"the index {folder} is damaged", why=why, fix="build it again") from error


def only_stop_words(query: str) -> bool:
    """Whether nothing is left of a query that is not empty: the index has no stop words."""
    return bool(query.strip()) and not analyzer().analyze(query)


def _schema() -> tantivy.Schema:
    import tantivy

    builder = tantivy.SchemaBuilder()
    builder.add_unsigned_field("number", stored=False, fast=True)
    for name in ("all", "title"):
        builder.add_text_field(name, stored=False, tokenizer_name=ANALYZER, index_option="freq")
    return builder.build()


class Bm25Writer:
    """Adds passages in the store's order.  ``committed``: how many an earlier, interrupted build left."""

    def __init__(self, folder: Path) -> None:
        import tantivy

        home = folder / FOLDER
        home.mkdir(exist_ok=True)
        self._index = tantivy.Index(_schema(), path=str(home), reuse=True)
        self._index.register_tokenizer(ANALYZER, analyzer())
        self.committed: int = self._index.searcher().num_docs
        self._writer: Any = self._index.writer(heap_size=HEAP, num_threads=1)

    def add(self, number: int, row: Row) -> None:
        """Index one passage under its number."""
        import tantivy

        document = tantivy.Document(all=f"{row.title}\n{row.text}", title=row.title)
        document.add_unsigned("number", number)
        self._writer.add_document(document)

    def commit(self) -> None:
        """Everything so far survives a crash."""
        self._writer.commit()

    def close(self) -> None:
        """Commit, and wait until segments are merged."""
        self._writer.commit()
        self._writer.wait_merging_threads()

    def release(self) -> None:
        """Give the folder's lock back, whoever still holds this object (an exception's traceback does)."""
        self._writer = None


class Bm25:
    """The lexical engine of an index folder."""

    def __init__(self, folder: Path, store: PassageStore, title_weight: float) -> None:
        import tantivy

        self._store = store
        self._schema = _schema()
        with _no_panics(folder):
            index = tantivy.Index.open(str(folder / FOLDER))
            self._analyzer = analyzer()
            index.register_tokenizer(ANALYZER, self._analyzer)
            self._searcher = index.searcher()
        self._folder = folder
        self._fields = {"all": 1.0, "title": title_weight} if title_weight else {"all": 1.0}
        self.passages: int = self._searcher.num_docs

    def search(self, queries: Sequence[str], k: int) -> list[list[Passage]]:
        """At most ``k`` passages per query, best first, equal scores in the corpus's order."""
        found = self.ranked_batch(queries, k)
        return [[self._store.get(number, score) for number, score in hits] for hits in found]

    def ranked_batch(self, queries: Sequence[str], k: int) -> list[list[tuple[int, float]]]:
        """(number, score) of the best passages of each query."""
        return [self._ranked(query, k) for query in queries]

    def _ranked(self, query: str, k: int) -> list[tuple[int, float]]:
        terms = list(dict.fromkeys(self._analyzer.analyze(query)))[:QUERY_TERMS]
        if not terms:
            return []
        with _no_panics(self._folder):
            hits = self._searcher.search(self._query(terms), k, count=False).hits
            numbers = self._searcher.fast_field_values("number", [address for _, address in hits])
        return sorted(
            ((int(number or 0), score) for number, (score, _) in zip(numbers, hits, strict=True)),
            key=lambda hit: (-hit[1], hit[0]),
        )

    def _query(self, terms: Sequence[str]) -> tantivy.Query:
        from tantivy import Occur, Query

        parts = []
        for field, weight in self._fields.items():
            for term in terms:
                part = Query.term_query(self._schema, field, term, index_option="freq")
                parts.append((Occur.Should, part if weight == 1.0 else Query.boost_query(part, weight)))
        return Query.boolean_query(parts)
