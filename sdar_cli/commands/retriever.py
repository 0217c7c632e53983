"""``sdar retriever``: build an index of passages, ask it, serve it."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from sdar_cli.commands.examples import with_examples

if TYPE_CHECKING:
    from sdar_cli.retrieval.passages import Passage, Retriever

Engine = Literal["bm25", "dense", "fused"]
Fusion = Literal["scores", "ranks"]
BATCH = 64
DENSE = "Dense and fused engines"
IndexOption = Annotated[
    str,
    typer.Option(
        "--index", help="Folder of an index; http://HOST:PORT, several with commas; opensearch+http://HOST:PORT/INDEX."
    ),
]
DeviceOption = Annotated[
    str, typer.Option("--device", help="Of the encoder: auto, cpu or cuda.", rich_help_panel=DENSE)
]
VerifyOption = Annotated[
    bool,
    typer.Option("--verify", help="Check every byte of the index, not samples of large files."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="JSON on stdout.")]


def register(app: typer.Typer) -> None:
    """Add the ``retriever`` sub-commands."""
    retriever = typer.Typer(help="The passage retriever: build an index, ask it, serve it.", no_args_is_help=True)
    retriever.command("index")(index)
    retriever.command("query")(query)
    retriever.command("serve", cls=with_examples(_serve_examples))(serve)
    app.add_typer(retriever, name="retriever", rich_help_panel="Look and prepare")


def _serve_examples() -> list[str]:
    """With a training of each environment that can ask a server."""
    from sdar_cli.envs.registry import ENVIRONMENT, benchmark

    asking = [name for name in ENVIRONMENT.names() if "retriever" in benchmark(name).options.model_fields]
    return [
        "sdar retriever serve --index my-index",
        "sdar retriever serve --index my-index --port 0 --json",
        *(f"sdar train --env {name} --set env.retriever=http://127.0.0.1:8000 --data questions/" for name in asking),
    ]


def index(
    corpus: Annotated[Path, typer.Argument(help="JSON lines (also .gz), parquet or TSV.", dir_okay=False)],
    out: Annotated[Path, typer.Option("--out", help="New folder of the index.", file_okay=False)],
    engine: Annotated[Engine, typer.Option("--engine", help="Lexical, dense, or both fused.")] = "bm25",
    title_weight: Annotated[
        float, typer.Option("--title-weight", min=0, help="Of a title's own BM25 score; 0 = plain BM25.")
    ] = 0.5,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Leave out up to 1 % of rows that are bad.")] = False,
    model: Annotated[
        str, typer.Option("--model", help="Encoder: Hugging Face id or folder.", rich_help_panel=DENSE)
    ] = "intfloat/e5-base-v2",
    vectors: Annotated[
        Path | None,
        typer.Option(
            "--vectors", help="Existing flat faiss index of the same corpus: no encoding.", rich_help_panel=DENSE
        ),
    ] = None,
    fusion: Annotated[
        Fusion,
        typer.Option("--fusion", help="Of both engines' scaled scores, or reciprocal ranks.", rich_help_panel=DENSE),
    ] = "scores",
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Index a corpus of {id, contents} or {id, title, text}; an interrupted build is resumed.

    Examples:

    sdar retriever index corpus.jsonl --out my-index

    sdar retriever index wiki.parquet --out my-index --skip-bad

    sdar retriever index wiki-18.jsonl --out my-index --engine fused --vectors e5_Flat.index
    """
    from sdar_cli.base.display import Reporter
    from sdar_cli.retrieval.dense import DenseParameters
    from sdar_cli.retrieval.index import build_index

    began = time.perf_counter()
    with Reporter(as_json) as reporter:
        manifest = build_index(
            corpus.expanduser(),
            out.expanduser(),
            engine=engine,
            title_weight=title_weight,
            dense=None if engine == "bm25" else DenseParameters.of(model, vectors),
            fusion=fusion,
            device=device,
            skip_bad=skip_bad,
            reporter=reporter,
        )
        seconds = time.perf_counter() - began
        left = f", {manifest['rows_left_out']} rows left out" if manifest["rows_left_out"] else ""
        reporter.info(f"{manifest['passages']} passages in {out}, {seconds:.1f} s{left}")
        reporter.info(f"corpus sha256 {manifest['corpus_sha256']}; {manifest['canary']:.0%} of sampled titles found")
        if as_json:
            reporter.emit_object({"out": str(out), **manifest, "seconds": round(seconds, 2)})


def query(
    index: IndexOption,
    question: Annotated[str | None, typer.Argument(help="One question; or use --input.")] = None,
    k: Annotated[int, typer.Option("--k", min=1, max=50, help="Passages per question.")] = 3,
    file: Annotated[
        Path | None, typer.Option("--input", help="File with a question a line; - for standard input.")
    ] = None,
    device: DeviceOption = "auto",
    verify: VerifyOption = False,
    as_json: JsonOption = False,
) -> None:
    """Ask an index or a server; with --json one line per question: {"query", "passages": [{id, title, text, score}]}.

    Examples:

    sdar retriever query --index my-index "who wrote the tide atlas?"

    sdar retriever query --index my-index --k 3 --input questions.txt --json

    sdar retriever query --index http://127.0.0.1:8000 --input - --json
    """
    from sdar_cli.base.errors import ConfigError
    from sdar_cli.base.files import to_json
    from sdar_cli.base.text import clean
    from sdar_cli.retrieval.bm25 import only_stop_words
    from sdar_cli.retrieval.open import open_retriever

    if (question is None) == (file is None):
        raise ConfigError("give one question, or a file of them", fix="sdar retriever query --index DIR --input FILE")
    retriever = open_retriever(index, device=device, verify=verify)
    try:
        for asked, passages in _ask(retriever, [question] if question is not None else _lines(file), k):
            typer.echo(to_json(_record(asked, passages)) if as_json else _text(asked, passages))
            if not passages and only_stop_words(asked):
                typer.echo(f"{clean(asked)}: stop words are not in the index, and the query is nothing else", err=True)
    finally:
        retriever.close()


def _lines(file: Path | None) -> Iterator[str]:
    from sdar_cli.base.errors import PrerequisiteError

    if str(file) == "-":
        yield from (line.rstrip("\r\n") for line in sys.stdin)
        return
    assert file is not None
    try:
        with file.expanduser().open(encoding="utf-8-sig") as opened:
            yield from (line.rstrip("\r\n") for line in opened)
    except (OSError, UnicodeDecodeError) as error:
        raise PrerequisiteError(f"cannot read {file}", why=str(error), fix="give a UTF-8 file") from error


def _ask(retriever: Retriever, questions: Any, k: int) -> Iterator[tuple[str, list[Passage]]]:
    """Every question, in order, with its passages; asked in batches."""
    batch: list[str] = []
    for question in questions:
        batch.append(question)
        if len(batch) == BATCH:
            yield from zip(batch, retriever.search(batch, k), strict=True)
            batch = []
    yield from zip(batch, retriever.search(batch, k), strict=True)


def _record(question: str, passages: list[Passage]) -> Mapping[str, object]:
    fields = ("id", "title", "text", "score")
    return {"query": question, "passages": [{name: getattr(p, name) for name in fields} for p in passages]}


def _text(question: str, passages: list[Passage]) -> str:
    from sdar_cli.base.text import clean

    lines = [f"{number}. {p.title} ({p.id}, {p.score:.2f})\n   {p.text}" for number, p in enumerate(passages, 1)]
    return clean("\n".join([question, *(lines or ["   nothing found"]), ""]))


def serve(
    index: Annotated[Path, typer.Option("--index", help="Folder of an index.", file_okay=False)],
    host: Annotated[str, typer.Option("--host", help="Address to bind to; it has no authentication.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port; 0 = a free one.")] = 8000,
    k: Annotated[int, typer.Option("--k", min=1, max=50, help="Passages when a request names no topk.")] = 3,
    device: DeviceOption = "auto",
    verify: VerifyOption = False,
    as_json: JsonOption = False,
) -> None:
    """Serve an index to sdar and to the clients of Search-R1 and of the SDAR release: /retrieve, /health, /info."""
    from sdar_cli.base.display import Reporter
    from sdar_cli.retrieval import server
    from sdar_cli.retrieval.open import open_retriever

    retriever = open_retriever(index, device=device, verify=verify)
    with Reporter(as_json) as reporter:

        def ready(url: str) -> None:
            info = retriever.info()
            reporter.info(f"{info['passages']} passages at {url}/retrieve; stop with Ctrl-C")
            reporter.emit("ready", url=url, passages=info["passages"], corpus_sha256=info["corpus_sha256"])

        try:
            server.serve(retriever, host, port, ready, k)
        finally:
            retriever.close()
