"""Questions from files: Search-R1's parquet, JSON lines, or both, of the seven data sets and any other.

A row has a question and its answers (``layouts`` says where), and may have ``id``, ``data_source`` and ``split`` (also
as ``extra_info.split``).  Without a split, files with ``train`` in their name are for training and all others held out;
where everything would be on one side, a hash of each question holds one in five out.  No question is on both sides;
one that comes twice in its data set has the answers of both rows.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sdar_cli.base.errors import PrerequisiteError
from sdar_cli.envs.search.answers import normalize
from sdar_cli.envs.search.data.layouts import READ, UNUSED, answers_of, by_lower_key, question_text
from sdar_cli.retrieval.corpus import BadRows
from sdar_cli.retrieval.rows import read_rows

SOURCES = ("nq", "triviaqa", "popqa", "hotpotqa", "2wikimultihopqa", "musique", "bamboogle")
"""The data sets of the paper, by the names its code uses."""
KINDS = (".jsonl", ".jsonl.gz", ".parquet")
CORPUS_STEMS = ("corpus", "wiki-18")
"""Files of these names hold passages."""
HELD_OUT = 5
"""One question in this many is held out where the files do not name a split."""
TRAIN, EVAL = "train", "eval"


@dataclass(frozen=True)
class Question:
    """One question.  ``id``: with its source, ``nq/17``; ``source``: its data set or kind; ``gold``: ids of the
    passages that hold the answer, if known; ``split``: where the row or its file puts it."""

    id: str
    text: str
    answers: tuple[str, ...]
    source: str
    split: str
    gold: tuple[str, ...] = ()

    @property
    def content(self) -> str:
        """A digest of question and answers: an id alone does not distinguish one file's ``train_0`` from another's."""
        return _digest(self.text, self.answers)


@dataclass
class Questions:
    """The questions by split, sorted by id, and what a user should hear."""

    splits: dict[str, list[Question]]
    notices: list[str] = field(default_factory=list)


def load_questions(path: Path, *, skip_bad: bool = False) -> Questions:
    """The questions of a file or of the files in a folder.

    Raises PrerequisiteError for no files, and for bad rows (file and line; ``skip_bad``: up to 1 % are left out).
    """
    bad, rows = BadRows(skip_bad, "--set env.skip_bad=true"), 0
    found: list[Question] = []
    for file in question_files(path):
        split = TRAIN if "train" in stem(file).lower() else EVAL
        for where, values in read_rows(file):
            rows += 1
            try:
                found.append(_question(values, source_of(file), split, bad.unread))
            except ValueError as error:
                bad.note(where, str(error))
    if not found:
        raise PrerequisiteError(f"{path} holds no question", why="; ".join(bad.first), fix="give files of questions")
    bad.check(rows)
    notices = [f"{bad.count} of {rows} question rows left out: {'; '.join(bad.first)}"] if bad.count else []
    if bad.unread:
        notices.append(f"keys of the rows that are not read: {', '.join(sorted(bad.unread)[:20])}")
    unique, twice, differ = _once(_named(found))
    if twice:
        notices.append(f"{twice} questions come twice in their data set: each is kept once, held out if any of them is")
    if differ:
        notices.append(
            f"the answers differ for {len(differ)} questions that come twice: all of them count (first {differ[0]})"
        )
    splits = {name: [q for q in unique if q.split == name] for name in (TRAIN, EVAL)}
    if not all(splits.values()):
        splits = {name: [replace(q, split=name) for q in unique if _held_out(q) is (name == EVAL)] for name in splits}
        notices.append(
            f"one question in {HELD_OUT} is held out, by a hash of its text: neither rows nor files name a split"
        )
    return Questions(splits, notices)


def other_sources(questions: Questions) -> list[str]:
    """Data sets besides the seven."""
    return sorted({q.source for part in questions.splits.values() for q in part} - set(SOURCES))


def question_files(path: Path) -> list[Path]:
    """The files of questions at a path, sorted.  Raises PrerequisiteError for none."""
    files = sorted(p for p in path.iterdir() if p.name.endswith(KINDS)) if path.is_dir() else [path]
    files = [file for file in files if stem(file) not in CORPUS_STEMS]
    if not files or not files[0].exists():
        raise PrerequisiteError(
            f"no questions at {path}", fix=f"give --data a file, or a folder of files, that end in {', '.join(KINDS)}"
        )
    return files


def stem(file: Path) -> str:
    """A file's name without its ending: ``nq.train`` of ``nq.train.jsonl.gz``."""
    return next((file.name.removesuffix(kind) for kind in KINDS if file.name.endswith(kind)), file.name)


def source_of(file: Path) -> str:
    """The data set a file is of by its name; its stem where it is none of the seven."""
    name = stem(file).lower()
    return next((source for source in SOURCES if name.startswith(source)), name)


def _question(row: Any, fallback_source: str, split: str, unread: set[str]) -> Question:
    """A question of a row's values; keys that are not read go to ``unread``.  Raises ValueError with the reason."""
    if isinstance(row, ValueError):
        raise row
    if not isinstance(row, Mapping):
        raise ValueError("it is no object")
    values = by_lower_key(row)
    text, answers = question_text(values), answers_of(values)
    unread.update(values.keys() - READ - UNUSED)
    digest = _digest(text, answers)  # half a character pair is a ValueError
    source, name = values.get("data_source"), values.get("id")
    gold = values.get("gold_ids") or ()
    return Question(
        id="_".join(str(digest if name is None else name).split()) or digest,
        text=text if text.endswith("?") else f"{text}?",
        answers=answers,
        source=source.strip() if isinstance(source, str) and source.strip() else fallback_source,
        split=_split(values) or split,
        gold=tuple(map(str, gold)) if isinstance(gold, Sequence) and not isinstance(gold, str) else (),
    )


def _digest(text: str, answers: Sequence[str]) -> str:
    return hashlib.sha256("\n".join([text, *answers]).encode()).hexdigest()[:12]


def _split(values: Mapping[str, Any]) -> str:
    """The split that a row names; empty where it names none."""
    more = values.get("extra_info")
    named = values.get("split") or (more.get("split") if isinstance(more, Mapping) else None)
    return "" if not isinstance(named, str) or not named else TRAIN if named == TRAIN else EVAL


def _named(questions: Sequence[Question]) -> list[Question]:
    """The same questions with ids that begin with the source and are different."""
    counts: Counter[str] = Counter()
    out = []
    for question in questions:
        name = question.id if question.id.startswith(f"{question.source}/") else f"{question.source}/{question.id}"
        counts[name] += 1
        out.append(replace(question, id=name if counts[name] == 1 else f"{name}~{counts[name]}"))
    return out


def _once(questions: Sequence[Question]) -> tuple[list[Question], int, list[str]]:
    """Every question of a source once, sorted by id; how many were left out; ids of those whose answers differed.

    Of several the held-out one is kept, then one with known passages, then the first; its answers come first, and the
    others' follow.
    """
    kept: dict[tuple[str, str], Question] = {}
    held_out: set[str] = set()
    differ: dict[str, None] = {}
    for question in sorted(questions, key=lambda q: (q.split != EVAL, not q.gold)):
        text = normalize(question.text) or question.text
        if question.split == EVAL:
            held_out.add(text)
        elif text in held_out and (question.source, text) not in kept:  # of another data set
            continue
        first = kept.setdefault((question.source, text), question)
        known = set(map(normalize, first.answers))
        more = tuple(answer for answer in question.answers if normalize(answer) not in known)
        if more:
            kept[question.source, text] = replace(first, answers=(*first.answers, *more))
            differ[first.id] = None
    return sorted(kept.values(), key=lambda q: q.id), len(questions) - len(kept), list(differ)


def _held_out(question: Question) -> bool:
    return hashlib.sha256(normalize(question.text).encode()).digest()[0] % HELD_OUT == 0


def stratified(questions: Sequence[Question], per_source: int, seed: int) -> list[Question]:
    """At most ``per_source`` (0 = all) of each data set, the same for the same seed whatever their order; by id."""
    if per_source == 0:
        return sorted(questions, key=lambda q: q.id)
    groups: dict[str, list[Question]] = {}
    for question in sorted(questions, key=lambda q: q.id):
        groups.setdefault(question.source, []).append(question)
    chosen = []
    for source, members in sorted(groups.items()):
        rng = random.Random(f"search/panel/{seed}/{source}")
        chosen += members if len(members) <= per_source else rng.sample(members, per_source)
    return sorted(chosen, key=lambda q: q.id)
