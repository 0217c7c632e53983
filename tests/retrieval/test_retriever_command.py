"""``sdar retriever`` as a user calls it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from places import ROOT
from retrieval_material import listening, released_one, write_corpus

from sdar_cli.cli import main
from sdar_cli.retrieval.remote import RemoteRetriever


class Result(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def sdar(capsys: pytest.CaptureFixture[str]):
    def run(*words: object) -> Result:
        with pytest.raises(SystemExit) as caught:
            main(["retriever", *map(str, words)])
        captured = capsys.readouterr()
        return Result(int(caught.value.code or 0), captured.out, captured.err)

    return run


def test_index_and_query(sdar, tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "c.jsonl")
    built = sdar("index", corpus, "--out", tmp_path / "i", "--json")
    assert built.code == 0, built.err
    assert json.loads(built.out)["passages"] == 5
    questions = tmp_path / "q.txt"
    questions.write_text("Where was Ada Brindle born?\n\nriver Tarn\n" + "painter\n" * 70)
    asked = sdar("query", "--index", tmp_path / "i", "--k", "2", "--input", questions, "--json")
    lines = [json.loads(line) for line in asked.out.splitlines()]
    assert [line["query"] for line in lines] == ["Where was Ada Brindle born?", "", "river Tarn", *["painter"] * 70]
    assert lines[0]["passages"][0] == {
        "id": "p2",
        "title": "Ada Brindle",
        "text": "Ada Brindle was born in Velmora in 1931 and became a painter.",
        "score": lines[0]["passages"][0]["score"],
    }
    assert (lines[1]["passages"], len(lines[2]["passages"])) == ([], 2)
    assert "1. Ada Brindle (p2" in sdar("query", "--index", tmp_path / "i", "ada brindle").out
    assert "nothing found" in sdar("query", "--index", tmp_path / "i", "zzz").out


def test_mistakes_end_with_their_codes(sdar, tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "c.jsonl", [{"id": "a", "contents": "t"}, "{"])
    bad = sdar("index", corpus, "--out", tmp_path / "i")
    assert bad.code == 3 and "c.jsonl:2 cannot be used" in bad.err
    assert sdar("index", corpus, "--out", tmp_path / "i", "--skip-bad").code == 3  # one of two is over the cap
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("")
    assert sdar("index", write_corpus(corpus), "--out", tmp_path / "full").code == 4
    assert sdar("query", "--index", tmp_path / "none", "who").code == 3
    assert sdar("query", "--index", tmp_path / "full").code == 2
    assert sdar("query", "--index", tmp_path / "full", "who", "--input", "x").code == 2
    assert sdar("index", tmp_path / "c.jsonl", "--out", tmp_path / "z", "--title-weight", "-1").code == 2


def test_a_server_of_the_release_is_asked(sdar) -> None:
    with listening(released_one) as site:
        asked = sdar("query", "--index", site.url, "who", "--k", "1", "--json")
    assert json.loads(asked.out)["passages"][0]["id"] == "who-0"


def test_serve_until_interrupted(tmp_path: Path, sdar) -> None:
    sdar("index", write_corpus(tmp_path / "c.jsonl"), "--out", tmp_path / "i")
    root = ROOT
    command = [
        sys.executable,
        "-m",
        "sdar_cli",
        "retriever",
        "serve",
        "--index",
        str(tmp_path / "i"),
        "--port",
        "0",
    ]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    with subprocess.Popen(
        [*command, "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:
        assert process.stdout and process.stderr
        try:
            ready = json.loads(process.stdout.readline())
            assert ready["event"] == "ready" and re.fullmatch(r"http://127\.0\.0\.1:\d+", ready["url"])
            client = RemoteRetriever([ready["url"]])
            assert [hits[0].id for hits in client.search(["river Tarn", "Velmora"], 1)] == ["p3", "p1"]
            assert client.info()["corpus_sha256"] == ready["corpus_sha256"]
            assert client.healthy() == {ready["url"]: True}
            client.close()
        finally:
            process.send_signal(signal.SIGINT)
            code = process.wait(20)
        assert code == 130, process.stderr.read()
