"""Recall and speed of the passage retriever: build, open, queries in process, and through our server.

    python benchmarks/retrieval.py [--data DIR] [--queries N] [--fused INDEX] [--smallest]

DIR holds corpus.jsonl, multihop_dev.jsonl (questions with ``gold_ids``) and further ``*_questions.jsonl`` that only
measure speed.  recall@3 is the mean over questions of the share of a question's gold passages among the first three.
Every row of speed asks questions that were not asked before, so that no cache answers; building, opening and asking
happen in processes of their own.  The plain client is what the released code does: a query per request and a new
connection for each; the ratios are to one such client.

With --fused, an index made with ``--engine fused``, the settings of title and fusion are also chosen on one half of
the questions (even places) and judged on the other, both ways.  On a busy machine read the figures per CPU second.
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from webshop import machine, memory, size, timed

ROOT = Path(__file__).resolve().parents[1]
SHARED = Path(os.environ.get("SDAR_SHARED") or ROOT.parent / "shared") / "data" / "search"
QUOTED = """The SDAR release's server (pyserini BM25, same corpus), quoted from measurements on another, loaded machine:
  43 queries/s with one client, 121 with sixteen; batches are refused"""
K, BATCH = 3, 64
SMALLEST = {"queries": 32}
TITLE_WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0)
RANKS = tuple(itertools.product((5, 10, 20, 60), (0.25, 0.5, 0.75, 1.0)))
"""(k, weight of the dense ranking)."""
SCORES = (0.1, 0.2, 0.3, 0.4, 0.5)
"""Weights of the dense scores."""


def write_made_up(data: Path, queries: int) -> None:
    """A corpus of made-up passages and questions about them: enough to see that everything runs."""
    rng = random.Random(0)
    words = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(4, 9))) for _ in range(400)]
    passages = [{"id": f"p{i}", "contents": f'"{words[i]}"\n{" ".join(rng.choices(words, k=40))}'} for i in range(300)]
    gold = [
        {"question": " ".join(words[n] for n in pair), "gold_ids": [f"p{n}" for n in pair], "data_source": "made-up"}
        for pair in (rng.sample(range(300), 2) for _ in range(20))
    ]
    others = [{"question": f"{i} {' '.join(rng.choices(words, k=5))}"} for i in range(6 * queries)]
    for name, rows in (("corpus", passages), ("multihop_dev", gold), ("other_questions", others)):
        (data / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def gold_questions(data: Path) -> list[dict[str, Any]]:
    """The questions with gold passages."""
    return [json.loads(line) for line in (data / "multihop_dev.jsonl").open(encoding="utf-8")]


def other_questions(data: Path, part: int, count: int) -> list[str]:
    """The ``part``-th ``count`` questions without gold passages, each text once."""
    lines = (line for file in sorted(data.glob("*_questions.jsonl")) for line in file.open(encoding="utf-8"))
    texts = list(dict.fromkeys(json.loads(line)["question"] for line in lines))
    if len(texts) < (part + 1) * count:
        raise SystemExit(f"{data} has {len(texts)} further questions, {(part + 1) * count} are needed: lower --queries")
    return texts[part * count : (part + 1) * count]


def shares(found: Sequence[Sequence[Any]], questions: Sequence[dict[str, Any]]) -> list[float]:
    """Per question the share of its gold passages found; ``found`` holds ids."""
    golds = [set(question["gold_ids"]) for question in questions]
    return [len(gold & set(ids)) / len(gold) for ids, gold in zip(found, golds, strict=True)]


def by_source(values: Sequence[float], questions: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Recall over all questions and per data set."""
    recall = {"all": statistics.fmean(values)}
    for source in sorted({question["data_source"] for question in questions}):
        pairs = zip(values, questions, strict=True)
        recall[source] = statistics.fmean(value for value, q in pairs if q["data_source"] == source)
    return recall


def run_build(index: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Index the corpus."""
    from sdar_cli.retrieval.index import build_index

    seconds, manifest = timed(lambda: build_index(given.data / "corpus.jsonl", index))
    found = {"seconds": seconds, "cpu_s": time.process_time(), "peak_mb": memory("VmHWM"), "disk_mb": size(index)}
    return found | {"passages": manifest["passages"], "canary": manifest["canary"]}


def run_open(index: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Open the index, and ask the first question."""
    from sdar_cli.retrieval.index import IndexRetriever

    opened, retriever = timed(lambda: IndexRetriever(index))
    first, _ = timed(lambda: retriever.search([gold_questions(given.data)[0]["question"]], K))
    return {"open_s": opened, "first_s": first, "memory_mb": memory("VmHWM")}


def run_ask(index: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Recall, and queries in batches in process."""
    from sdar_cli.retrieval.index import IndexRetriever

    retriever = IndexRetriever(index)
    questions = gold_questions(given.data)
    hits = retriever.search([question["question"] for question in questions], K)
    values = shares([[passage.id for passage in passages] for passages in hits], questions)
    asked = other_questions(given.data, 0, given.queries)
    busy = time.process_time()
    rate = batches(retriever.search, asked)
    busy = time.process_time() - busy
    recall = by_source(values, questions)
    return {"recall": recall, "per_s": rate, "per_cpu_s": given.queries / busy, "peak_mb": memory("VmHWM")}


def batches(search: Callable[[list[str], int], Any], queries: list[str]) -> float:
    """Queries per second in batches of ``BATCH``."""
    parts = [queries[start : start + BATCH] for start in range(0, len(queries), BATCH)]
    seconds, _ = timed(lambda: [search(part, K) for part in parts])
    return len(queries) / seconds


def run_serve(index: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Queries through a server in a process of its own, by clients in this one."""
    from sdar_cli.retrieval.remote import RemoteRetriever

    began = time.perf_counter()
    rates: dict[str, Any] = {}
    with serving(index) as (url, process):
        start = time.perf_counter() - began
        remote = RemoteRetriever([url])
        remote.search(["warm"], K)

        def row(name: str, ask: Callable[[list[str]], float]) -> None:
            asked = other_questions(given.data, 1 + len(rates), given.queries)
            used = cpu_seconds(process)
            rate = ask(asked)
            spent = max(cpu_seconds(process) - used, 1 / os.sysconf("SC_CLK_TCK"))  # the clock's least step
            rates[name] = {"per_s": rate, "per_server_cpu_s": given.queries / spent}

        row(f"batches of {BATCH}, our client", lambda asked: batches(remote.search, asked))
        for clients in (1, 16):
            row(f"one query a request, kept connections, {clients}", lambda q, n=clients: singles(url, q, n, True))
        for clients in (1, 16):
            row(f"plain, {clients}", lambda q, n=clients: singles(url, q, n, False))
        remote.close()
    return {"start_s": start, "rates": rates}


def singles(url: str, queries: list[str], clients: int, kept: bool) -> float:
    """Queries per second of ``clients`` threads, a query per request; ``kept``: over one connection each."""
    address = url.removeprefix("http://")

    def client(own: list[str]) -> None:
        connection = http.client.HTTPConnection(address, timeout=60)
        for query in own:
            body = json.dumps({"query": query, "topk": K, "return_scores": True})
            connection.request("POST", "/retrieve", body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            found = json.loads(answer.read())
            assert answer.status == 200 and len(found["result"]) == 1, found
            if not kept:
                connection.close()
        connection.close()

    with ThreadPoolExecutor(clients) as pool:
        seconds, _ = timed(lambda: list(pool.map(client, [queries[n::clients] for n in range(clients)])))
    return len(queries) / seconds


@contextmanager
def serving(index: Path) -> Iterator[tuple[str, int]]:
    """Address and process id of ``sdar retriever serve``."""
    words = [sys.executable, "-m", "sdar_cli", "retriever", "serve", "--index", str(index), "--port=0", "--json"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout
        try:
            yield json.loads(process.stdout.readline())["url"], process.pid
        finally:
            process.terminate()


def cpu_seconds(process: int) -> float:
    """CPU time of another process; the clock where there is no /proc."""
    stat = Path(f"/proc/{process}/stat")
    if not stat.exists():
        return time.perf_counter()
    fields = stat.read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def run_fuse(index: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Recall of both engines of a fused index and of the two together; settings chosen on halves."""
    from sdar_cli.retrieval import fusion
    from sdar_cli.retrieval.bm25 import TITLE_WEIGHT, Bm25
    from sdar_cli.retrieval.dense import Dense, DenseParameters, Encoder
    from sdar_cli.retrieval.index import IndexRetriever
    from sdar_cli.retrieval.store import PassageStore

    retriever, store, questions = IndexRetriever(index), PassageStore(index), gold_questions(given.data)
    texts = [question["question"] for question in questions]
    encoder = Encoder(DenseParameters(**retriever.info()["dense"]))
    values: dict[Any, list[float]] = {}

    def judge(name: Any, rankings: Sequence[Sequence[tuple[int, float]]]) -> None:
        found = [[store.get(number).id for number, _ in ranking[:K]] for ranking in rankings]
        values[name] = shares(found, questions)

    lexical = {weight: Bm25(index, store, weight).ranked_batch(texts, fusion.DEPTH) for weight in TITLE_WEIGHTS}
    seconds, dense = timed(lambda: Dense(index, store, encoder).ranked_batch(texts, fusion.DEPTH))
    for weight, ranking in lexical.items():
        judge(("title", weight), ranking)
    judge("dense", dense)
    pairs = list(zip(lexical[TITLE_WEIGHT], dense, strict=True))
    numbers = [[[number for number, _ in ranking] for ranking in pair] for pair in pairs]
    for k, weight in RANKS:
        judge(("ranks", k, weight), [fusion.reciprocal_rank_fusion(pair, k, (1.0, weight)) for pair in numbers])
    for weight in SCORES:
        judge(("scores", weight), [fusion.score_fusion(*pair, weight) for pair in pairs])
    used = {
        "bm25, plain": ("title", 0.0),
        "bm25": ("title", TITLE_WEIGHT),
        "dense": "dense",
        "fused, ranks": ("ranks", fusion.FUSED_K, fusion.DENSE_RANKS),
        "fused, scores": ("scores", fusion.DENSE_SCORES),
    }
    hits = [[passage.id for passage in passages] for passages in retriever.search(texts, K)]
    assert shares(hits, questions) == values[used[f"fused, {retriever.info()['fusion']}"]]
    kept = [chosen(values, kind, half, used["bm25"]) for kind in ("title", "ranks", "scores") for half in (0, 1)]
    return {
        "model": Path(encoder.parameters.model).name,
        "recall": {name: by_source(values[key], questions) for name, key in used.items()},
        "gain": {name: gain(values[key], values[used["bm25"]]) for name, key in used.items() if "fused" in name},
        "chosen": kept,
        "dense_per_s": len(texts) / seconds,
    }


def gain(values: Sequence[float], base: Sequence[float]) -> tuple[float, float]:
    """Mean difference and half of its 95 % interval, paired over questions."""
    gains = [a - b for a, b in zip(values, base, strict=True)]
    return statistics.fmean(gains), 1.96 * statistics.stdev(gains) / len(gains) ** 0.5


def chosen(values: dict[Any, list[float]], kind: str, half: int, base: Any) -> dict[str, Any]:
    """The settings best on one half of the questions, and recall on the other, with that of ``base`` there."""
    keys = [key for key in values if key[0] == kind]
    best = max(keys, key=lambda key: statistics.fmean(values[key][half::2]))
    own, other, there = values[best][half::2], values[best][1 - half :: 2], values[base][1 - half :: 2]
    recall = {"own": statistics.fmean(own), "other": statistics.fmean(other), "gain": gain(other, there)}
    return {"kind": kind, "half": half, "settings": best[1:], **recall}


RUNS = {"build": run_build, "open": run_open, "ask": run_ask, "serve": run_serve, "fuse": run_fuse}


def in_fresh_process(what: str, index: Path, given: argparse.Namespace) -> dict[str, Any]:
    """One of ``RUNS`` in a process of its own."""
    words = [sys.executable, __file__, "--run", what, "--index", str(index)]
    words += ["--data", str(given.data), "--queries", str(given.queries)]
    own = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "CI": "1"}
    done = subprocess.run(words, env=os.environ | own, stdout=subprocess.PIPE, text=True, check=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def report(found: dict[str, dict[str, Any]], queries: int) -> None:
    """Print what was measured."""
    build, opened, ask, serve = (found[name] for name in ("build", "open", "ask", "serve"))
    print(f"{machine()}\n{build['passages']:,} passages, {queries:,} questions per row of speed\n")
    print("recall@3, BM25          " + "  ".join(f"{name} {value:.3f}" for name, value in ask["recall"].items()))
    used = f"CPU {build['cpu_s']:.1f} s, peak {build['peak_mb']:.0f} MB, on disk {build['disk_mb']:.0f} MB"
    print(f"index built             {build['seconds']:8.1f} s   ({used}; {build['canary']:.0%} of titles found)")
    more = f"first query {opened['first_s']:.3f} s more, memory {opened['memory_mb']:.0f} MB"
    print(f"opened                  {opened['open_s']:8.3f} s   ({more})")
    print(f"in process, batches     {ask['per_s']:8,.0f} queries/s   ({ask['per_cpu_s']:,.0f} per CPU second)")
    print(f"server, until it serves {serve['start_s']:8.2f} s\n")
    plain = serve["rates"]["plain, 1"]["per_s"]
    print("through the server                              queries/s   per CPU second of the server   to plain, 1")
    for name, row in serve["rates"].items():
        print(f"{name:<45} {row['per_s']:11,.0f} {row['per_server_cpu_s']:32,.0f} {row['per_s'] / plain:14.1f}")
    print(f"in process, to plain, 1 {ask['per_s'] / plain:86.1f}\n\n{QUOTED}")


def report_fusion(found: dict[str, Any]) -> None:
    """Print the recall of fusing."""
    print(f"\nrecall@3 with {found['model']} (its encoder and search: {found['dense_per_s']:,.0f} queries/s)")
    for name, recall in found["recall"].items():
        print(f"{name:<14}" + "  ".join(f"{source} {value:.3f}" for source, value in recall.items()))
    for name, (more, half) in found["gain"].items():
        print(f"{name} less bm25 {more:+.3f}, 95 % interval ± {half:.3f} (paired, over questions)")
    for row in found["chosen"]:
        where, settings = ("even", "odd")[row["half"]], ", ".join(map(str, row["settings"]))
        there = f"other half {row['other']:.3f}, less bm25 {row['gain'][0]:+.3f} ± {row['gain'][1]:.3f}"
        print(f"{row['kind']}: best on the {where} half ({settings}): {row['own']:.3f}; {there}")


def main() -> None:
    """Build, open, ask, serve, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=SHARED)
    parser.add_argument("--queries", type=int, default=2048, help="per row of speed")
    parser.add_argument("--fused", type=Path, help="index made with --engine fused")
    parser.add_argument("--smallest", action="store_true", help="few made-up passages: to see that it runs")
    parser.add_argument("--run", choices=RUNS, help=argparse.SUPPRESS)
    parser.add_argument("--index", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.run:
        print(json.dumps(RUNS[given.run](given.index, given)))
        return
    with tempfile.TemporaryDirectory() as scratch:
        index = Path(scratch) / "index"
        if given.smallest:
            vars(given).update(SMALLEST, data=Path(scratch))
            write_made_up(given.data, given.queries)
        runs = ("build", "open", "ask", "serve")
        report({run: in_fresh_process(run, index, given) for run in runs}, given.queries)
    if given.fused:
        report_fusion(in_fresh_process("fuse", given.fused, given))


if __name__ == "__main__":
    main()
