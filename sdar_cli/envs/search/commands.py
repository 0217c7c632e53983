"""``sdar data make search`` and ``sdar data verify search``: a world written, data checked."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from sdar_cli.base.display import Reporter
from sdar_cli.base.files import write_json_atomic
from sdar_cli.envs.made import made_before
from sdar_cli.envs.search.data.questions import Question
from sdar_cli.envs.search.data.sources import check_retriever, load_data, retriever_of
from sdar_cli.envs.search.data.world import CORPUS, QUESTIONS, VERSION, write_world
from sdar_cli.envs.search.options import SearchOptions
from sdar_cli.retrieval.passages import Retriever

MANIFEST = "world.json"
"""Written last, next to the files: what they were made with."""
BATCH = 64

Out = Annotated[Path, typer.Option("--out", file_okay=False, help="Folder to fill.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Seed of the generator.")]
Data = Annotated[
    str | None, typer.Option("--data", help="Folder of questions and corpus; default: the cached generated world.")
]
RetrieverAt = Annotated[
    str | None, typer.Option("--retriever", help="Index folder or address, in place of the data's corpus.")
]
SkipBad = Annotated[bool, typer.Option("--skip-bad", help="Leave out up to 1 % of rows that are bad.")]
PassagesPerQuestion = Annotated[int, typer.Option("--k", min=1, max=50, help="Passages per question.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]


def make(out: Out, seed: Seed = 0, as_json: Json = False) -> None:
    """Write passages with questions about them, in the layout that --data reads.

    The same call again finds them made.

    Examples:

    sdar data make search --seed 3 --out my-world
    """
    began = time.perf_counter()
    wanted = {"generator": VERSION, "seed": seed}
    with Reporter(as_json) as reporter:
        files = made_before(out, wanted, MANIFEST, "world")
        if not files:
            write_world(out, seed)
            files = [CORPUS, QUESTIONS]
            write_json_atomic(out / MANIFEST, {**wanted, "files": files})
        reporter.info(f"a world in {out}, {time.perf_counter() - began:.1f} s: {', '.join(files)}")
        if as_json:
            reporter.emit_object({"out": str(out), **wanted, "files": files})


def verify(
    data: Data = None,
    retriever: RetrieverAt = None,
    skip_bad: SkipBad = False,
    k: PassagesPerQuestion = 3,
    as_json: Json = False,
) -> None:
    """Check questions and passages: questions are counted, the corpus is indexed, and questions whose passages are
    known are asked.

    Bad rows are an error (with --skip-bad: more than 1 % of them), and so is an index that finds nothing.

    Examples:

    sdar data verify search --data my-questions --skip-bad
    """
    began = time.perf_counter()
    source = "real" if data else "generated"
    config = SearchOptions(source=source, data=data, retriever=retriever, skip_bad=skip_bad, top_k=k)
    with Reporter(as_json) as reporter:
        loaded = load_data(config)
        splits = loaded.questions.splits
        counts = {name: dict(sorted(Counter(q.source for q in part).items())) for name, part in splits.items()}
        for name, found in counts.items():
            listed = ", ".join(f"{number} {source}" for source, number in found.items())
            reporter.info(f"{sum(found.values())} {name} questions: {listed}")
        for notice in loaded.questions.notices:
            reporter.info(notice)
        opened = retriever_of(config, loaded, reporter)
        try:
            info = opened.info()
            questions = [q for part in splits.values() for q in part]
            check_retriever(opened, [q.text for q in questions[:8]], k)
            reporter.info(f"{info['engine']} retriever of {info['passages']} passages, corpus {info['corpus_sha256']}")
            recall = _recall(opened, [q for q in questions if q.gold], k, reporter)
        finally:
            opened.close()
        for name, value in recall.items():
            reporter.info(f"recall@{k} of known passages, {name}: {value:.3f}")
        seconds = round(time.perf_counter() - began, 2)
        reporter.info(f"the data can be used ({seconds} s)")
        if as_json:
            about = {key: info[key] for key in ("engine", "passages", "corpus_sha256")}
            report = {"data": data, "questions": counts, "notices": loaded.questions.notices, "retriever": about}
            reporter.emit_object(report | {"recall": recall, "k": k, "seconds": seconds})


def _recall(retriever: Retriever, questions: list[Question], k: int, reporter: Reporter) -> dict[str, float]:
    """Data set to the mean share of a question's known passages among ``k`` for the question as it stands."""
    shares: dict[str, list[float]] = {}
    with reporter.progress("asking questions with known passages", len(questions)) as work:
        for start in range(0, len(questions), BATCH):
            part = questions[start : start + BATCH]
            for question, passages in zip(part, retriever.search([q.text for q in part], k), strict=True):
                gold = set(question.gold)
                share = len(gold & {p.id for p in passages}) / len(gold)
                for name in ("all", question.source):
                    shares.setdefault(name, []).append(share)
            work.advance(len(part))
    return {name: round(sum(values) / len(values), 4) for name, values in sorted(shares.items())}
