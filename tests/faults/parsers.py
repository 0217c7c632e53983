"""Every parser with its inputs, and what is right of a result that is no error."""

from __future__ import annotations

import gzip
import io
import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pyarrow
import pyarrow.parquet
from hypothesis import strategies as st
from places import ROOT

from sdar_cli.config.merge import field_table
from sdar_cli.config.older import to_file
from sdar_cli.config.presets import Resolved, resolve
from sdar_cli.envs import actions
from sdar_cli.envs.search import actions as search_actions
from sdar_cli.envs.search.data.questions import load_questions
from sdar_cli.retrieval.corpus import BadRows, read_corpus
from sdar_cli.retrieval.remote import RemoteRetriever
from sdar_cli.runs.metrics import read_steps
from sdar_cli.runs.records import EpisodeRecord, read_episodes
from sdar_cli.runs.results import EvaluationReport, read_report
from sdar_cli.runs.rundir import RunDir
from sdar_cli.runs.show import overview
from sdar_cli.skills.bank import read_bank
from sdar_cli.skills.build.traces import read_traces
from sdar_cli.skills.convert.convert import read_foreign
from sdar_cli.skills.convert.parts import Header
from sdar_cli.skills.write import write_bank

from .hostile import PIECES, as_json, damaged, json_files, json_lines, texts

RUN = ROOT / "tests" / "older" / "shop"
BANK = ROOT / "tests" / "toybank"
SETTINGS = tuple(key for key in field_table() if key != "name")


class Parser(NamedTuple):
    """inputs: what hypothesis draws.  check: reads one input in an empty folder; asserts what is right of a result."""

    inputs: st.SearchStrategy[Any]
    check: Callable[[Any, Path], None]


def whole(value: Any) -> None:
    """A result can be written: every text is UTF-8, everything fits into JSON."""
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    json.dumps(value, ensure_ascii=False, default=str).encode()


# -- settings --------------------------------------------------------------------------------------------------------


def _same_again(found: Resolved, folder: Path) -> None:
    """What was merged is written into config.json and read back as the same configuration."""
    path = folder / "config.json"
    path.write_text(json.dumps(to_file(found.config)))
    assert resolve(config_file=path).config == found.config
    whole(found.warnings)


def preset(data: bytes, folder: Path) -> None:
    path = folder / "mine.toml"
    path.write_bytes(data)
    _same_again(resolve(presets=[str(path)]), folder)


def config_file(data: bytes, folder: Path) -> None:
    path = folder / "given.json"
    path.write_bytes(data)
    _same_again(resolve(config_file=path), folder)


def assignment(text: str, folder: Path) -> None:
    _same_again(resolve(sets=[text]), folder)


_TOML = b'description = "mine"\nextends = "methods/sdar"\n[train]\nlr = 1e-4\nsteps = 20\n[algo]\ngate = "gap"\n' + (
    b'[algo.gate_args]\nthreshold = 0.5\n[env]\nname = "search"\nmax_turns = 3\n[methods.grpo.algo]\nkl_coef = 0.1\n'
)
_texts = st.text(max_size=12).map(lambda text: text.encode("utf-8", "surrogatepass"))
_lines = st.tuples(st.sampled_from(SETTINGS), st.one_of(st.sampled_from(PIECES), _texts))


# -- records of runs -------------------------------------------------------------------------------------------------


def episodes(data: bytes, folder: Path) -> None:
    path = folder / "step-000001.jsonl"
    path.write_bytes(data)
    for record in read_episodes(path):
        assert EpisodeRecord.from_json(json.loads(json.dumps(record.to_json()))).to_json() == record.to_json()


def traces(data: bytes, folder: Path) -> None:
    path = folder / "eval.jsonl"
    path.write_bytes(data)
    assert all(isinstance(act.action, str) for trace in read_traces(path).episodes for act in trace.acts)


def report(data: bytes, folder: Path) -> None:
    path = folder / "step-000002.json"
    path.write_bytes(data)
    found = read_report(path)
    EvaluationReport.from_json(json.loads(json.dumps(found.to_json())))


def metrics(data: bytes, folder: Path) -> None:
    path = folder / "metrics.jsonl"
    path.write_bytes(data)
    for step in read_steps(path):
        assert step.success is None or math.isfinite(step.success)
        assert all(value is None or isinstance(value, int | float) for value in step.by_turn("success"))


def run_files(given: tuple[str, bytes], folder: Path) -> None:
    """A run is listed whatever its files hold: whole, or as damaged with the reason."""
    name, data = given
    for path in RUN.glob("*.json*"):
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / name).write_bytes(data)
    row = overview(RunDir(folder))
    assert row["status"] != "damaged" or row["error"]  # type: ignore[typeddict-item]


def _good_lines(path: Path, number: int = 2) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()[:number]]


def _run_file(name: str) -> st.SearchStrategy[tuple[str, bytes]]:
    return st.tuples(st.just(name), json_files(json.loads((RUN / name).read_text())))


# -- skills ----------------------------------------------------------------------------------------------------------


def bank(given: tuple[str, bytes], folder: Path) -> None:
    name, data = given
    for path in BANK.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / name).write_bytes(data)
    found = read_bank(folder)
    assert len(found.skills) == len(list(folder.glob("*.md"))) and all(skill.text.strip() for skill in found.skills)
    whole(found)


HEADER = Header("mine", "1", "alfworld", "Apache-2.0", {})
_ENTRY = {"skill_id": "gen_001", "title": "Look", "principle": "Look twice. Then go.", "when_to_apply": "Always."}
_MISTAKE = {"mistake_id": "m1", "description": "Hurry", "why_it_happens": "Haste", "how_to_avoid": "Wait."}
CLAUDE = {
    "general_skills": [_ENTRY],
    "task_specific_skills": {"pick_and_place_simple": [{**_ENTRY, "skill_id": "pick_001"}]},
    "common_mistakes": [_MISTAKE],
}
MAPPING = {
    "skill_files": {"general_skills": "general.md", "pick": "pick.md"},
    "task_to_skill": {"pick_and_place_simple": "pick"},
    "task_keywords": {"pick_and_place_simple": ["put", "place"]},
}


def _import(source: Path, folder: Path) -> None:
    """What was imported can be written as a bank and read back."""
    draft, warnings = read_foreign(source, HEADER)
    whole(warnings)
    write_bank(draft, folder / "out")
    assert len(read_bank(folder / "out").skills) == len(draft.skills)


def claude(data: bytes, folder: Path) -> None:
    path = folder / "claude.json"
    path.write_bytes(data)
    _import(path, folder)


def mapping(given: tuple[str, bytes], folder: Path) -> None:
    name, data = given
    for file in ("general.md", "pick.md"):
        (folder / file).write_text("# Title\n\nDo this first. Then that.\n")
    (folder / "skill_mapping.json").write_bytes(as_json(MAPPING))
    (folder / name).write_bytes(data)
    _import(folder / "skill_mapping.json", folder)


# -- questions and passages ------------------------------------------------------------------------------------------

QUESTIONS = [
    {"id": "q1", "question": "Who was born in Velmora?", "golden_answers": ["Ada", "Brindle"], "data_source": "nq",
     "split": "train", "gold_ids": ["p1"]},
    {"question": {"text": "Where?"}, "answer": "['Here', 'there']", "answer_aliases": ["yonder"]},
    {"env_kwargs": {"question": "When", "ground_truth": {"target": ["1931"]}}, "extra_info": {"split": "test"}},
]  # fmt: skip
PASSAGES = [
    {"id": "p1", "contents": '"Velmora"\nVelmora is a port.'},
    {"id": 2, "title": "Tarn", "text": "The river Tarn."},
]
_GZIP = gzip.compress(b"".join(as_json(row) + b"\n" for row in QUESTIONS), mtime=0)
TSV = b'id\ttext\ttitle\n1\t"A ""port"" town"\tVelmora\n2\tThe river\tTarn\n'


@cache
def _parquet() -> bytes:
    """A table that is one of questions and one of passages."""
    columns = {"id": ["1", "2"], "question": ["Who?", "Where?"], "answers": [["a"], ["b", "c"]], "text": ["x", "y"]}
    file = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table(columns), file)
    return file.getvalue()


def questions(given: tuple[str, bytes], folder: Path) -> None:
    name, data = given
    (folder / name).write_bytes(data)
    found = load_questions(folder / name)
    each = [question for part in found.splits.values() for question in part]
    assert each and len({question.id for question in each}) == len(each)
    assert all(q.text.strip() and q.answers and all(a.strip() for a in q.answers) for q in each)
    for question in each:
        whole(question)


def corpus(given: tuple[str, bytes], folder: Path) -> None:
    name, data = given
    (folder / name).write_bytes(data)
    rows = list(read_corpus(folder / name, BadRows()))
    assert len({row.id for row in rows}) == len(rows) and all(row.title or row.text for row in rows)
    lines = [line for line in re.split(rb"\n", data) if line.strip()]
    assert len(rows) in (len(lines), len(lines) - 1) or name.endswith(".parquet")  # one may be a header
    whole(rows)


def _named(name: str, data: st.SearchStrategy[bytes]) -> st.SearchStrategy[tuple[str, bytes]]:
    return st.tuples(st.just(name), data)


def answer(data: bytes, folder: Path) -> None:
    """A retriever that answers these bytes, to every request."""
    retriever = RemoteRetriever(["http://127.0.0.1:9"], budget=0.05)
    retriever._client = httpx.Client(transport=httpx.MockTransport(lambda request: httpx.Response(200, content=data)))
    try:
        whole(dict(retriever.info()))
        (found,) = retriever.search(["q"], 2)
        assert len(found) <= 2 and all(math.isfinite(passage.score) for passage in found)
        whole([asdict(passage) for passage in found])
    finally:
        retriever.close()


RESULT = {"result": [[{"document": {"id": "1", "title": "T", "text": "x", "contents": '"T"\nx'}, "score": 1.5}] * 3],
          "engine": "bm25", "passages": 3, "corpus_sha256": "a" * 64}  # fmt: skip


# -- responses -------------------------------------------------------------------------------------------------------

TAGS = [f"<{slash}{tag}>" for tag in ("think", "action", "search", "answer") for slash in ("", "/")]
responses = st.lists(st.one_of(st.sampled_from([*TAGS, "go to desk 1", "<ACTION>", "<<", "\n"]), texts), max_size=12)
ADMISSIBLE = ("go to desk 1", "look")


def response(parts: list[str], folder: Path) -> None:
    """The action stands in the response, up to capitals and white space; what is valid by a list is in the list."""
    text = "".join(parts)
    for rule in ("admissible", "format", "released"):
        found = actions.parse_action(text, ADMISSIBLE, rule)
        assert found.text in " ".join(text.lower().split()) and found.admissible == (found.text in ADMISSIBLE)
        assert not found.valid or rule != "admissible" or found.admissible
        found = search_actions.parse_action(text, (), rule)
        kind, content = search_actions.read_action(text)
        assert content in text and found.text == (f"<{kind}>{content}</{kind}>" if kind else "")
        assert not found.valid or kind


PARSERS: Mapping[str, Parser] = {
    "preset": Parser(st.one_of(damaged(_TOML), _lines.map(lambda pair: pair[0].encode() + b" = " + pair[1])), preset),
    "config": Parser(json_files(to_file(resolve(env="search").config)), config_file),
    "set": Parser(
        st.one_of(
            st.tuples(st.sampled_from(SETTINGS), st.one_of(texts, st.sampled_from(PIECES).map(
                lambda piece: piece.decode("utf-8", "replace")))).map("=".join), texts), assignment),
    "episodes": Parser(json_lines(_good_lines(RUN / "episodes" / "step-000001.jsonl")), episodes),
    "evaluated episodes": Parser(json_lines(_good_lines(RUN / "eval" / "step-000002.jsonl", 3)), episodes),
    "traces": Parser(json_lines([*_good_lines(RUN / "episodes" / "step-000001.jsonl", 1), {
        "task": "t", "type": "look_at_obj_in_light", "goal": "g", "won": True, "actions": ["look"]}]), traces),
    "evaluation": Parser(json_files(json.loads((RUN / "eval" / "step-000002.json").read_text())), report),
    "metrics": Parser(json_lines(_good_lines(RUN / "metrics.jsonl")), metrics),
    "run": Parser(st.one_of([_run_file(n) for n in ("config.json", "provenance.json", "status.json")]), run_files),
    "bank": Parser(
        st.one_of([_named(n, damaged((BANK / n).read_bytes())) for n in ("bank.toml", "general.md")]), bank),
    "claude": Parser(json_files(CLAUDE), claude),
    "mapping": Parser(st.one_of(_named("skill_mapping.json", json_files(MAPPING)),
        _named("pick.md", damaged(b"# Pick\n\nTake it. Put it.\n"))), mapping),
    "questions": Parser(st.one_of(
        _named("train.jsonl", json_lines(QUESTIONS)), _named("nq.jsonl.gz", damaged(_GZIP)),
        _named("q.parquet", damaged(_parquet()))), questions),
    "corpus": Parser(st.one_of(_named("c.jsonl", json_lines(PASSAGES)), _named("c.tsv", damaged(TSV)),
        _named("c.parquet", damaged(_parquet()))), corpus),
    "retriever": Parser(json_files(RESULT), answer),
    "response": Parser(responses, response),
}  # fmt: skip
