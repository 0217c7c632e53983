"""Questions from files: Search-R1's parquet, JSON lines, or both, of the seven data sets and any other.

A row has ``question`` and its answers (``golden_answers``, ``answer``, or Search-R1's ``reward_model.ground_truth.target``, a
text or a list), and may have ``id`` and ``data_source``.  Files with ``train`` in their name are the training split, all others
the held-out one; where only one kind is there, a hash of each question puts one in five into ``eval``.  No question
is in both: one that is held out is dropped from training.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sdar_cli.envs.search.answers import normalize
from sdar_cli.errors import PrerequisiteError
from sdar_cli.retrieval.corpus import BadRows, read_rows

SOURCES = ("nq", "triviaqa", "popqa", "hotpotqa", "2wikimultihopqa", "musique", "bamboogle")
"""The data sets of the paper, by the names its code uses."""
KINDS = (".jsonl", ".jsonl.gz", ".parquet")
HELD_OUT = 5
"""One question in this many is held out where the files do not say."""


@dataclass(frozen=True)
class Question:
    """One question.  ``source``: its data set or kind; ``gold``: ids of passages that hold the answer, if known."""

    id: str
    text: str
    answers: tuple[str, ...]
    source: str
    gold: tuple[str, ...] = ()


@dataclass
class Questions:
    """The questions by split, and what a user should hear."""

    splits: dict[str, list[Question]]
    notices: list[str] = field(default_factory=list)


def load_questions(path: Path, *, skip_bad: bool = False, per_source: int = 0, seed: int = 0) -> Questions:
    """The questions of a file or of the files in a folder.

    per_source: at most this many held-out questions of each data set, drawn with ``seed``; 0 = all.
    Raises PrerequisiteError for no files, and for bad rows (file and line; ``skip_bad``: up to 1 % are left out).
    """
    files = _files(path)
    bad, rows = BadRows(skip_bad), 0
    by_file: dict[Path, list[Question]] = {}
    for file in files:
        by_file[file] = []
        for number, (where, values) in enumerate(read_rows(file)):
            rows += 1
            try:
                by_file[file].append(_question(values, f"{_stem(file)}-{number}", _source_of(file)))
            except ValueError as error:
                bad.note(where, str(error))
    bad.check(rows)
    out = _split(by_file)
    if bad.count:
        out.notices.insert(0, f"{bad.count} of {rows} question rows left out: {'; '.join(bad.first)}")
    unknown = sorted({q.source for part in out.splits.values() for q in part} - set(SOURCES))
    if unknown:
        out.notices.append(f"data sets beside the seven: {', '.join(unknown)}")
    if per_source:
        out.splits["eval"] = stratified(out.splits["eval"], per_source, seed)
    return out


def _files(path: Path) -> list[Path]:
    files = sorted(p for p in path.iterdir() if p.name.endswith(KINDS)) if path.is_dir() else [path]
    files = [file for file in files if _stem(file) not in ("corpus", "wiki-18")]
    if not files or not files[0].is_file():
        raise PrerequisiteError(f"no questions at {path}", fix=f"give a file, or a folder of files, of {', '.join(KINDS)}")
    return files


def _stem(file: Path) -> str:
    return file.name.split(".")[0]


def _source_of(file: Path) -> str:
    """The data set a file is of by its name; its stem where it is none of the seven."""
    stem = _stem(file).lower()
    known = [source for source in SOURCES if stem.replace("-", "_").startswith(source)]
    return max(known, key=len) if known else stem


def _question(values: Any, fallback_id: str, fallback_source: str) -> Question:
    """A question of a row's values.  Raises ValueError with the reason."""
    if isinstance(values, ValueError):
        raise values
    if not isinstance(values, Mapping):
        raise ValueError("it is no object")
    text = values.get("question")
    if not isinstance(text, str) or not text.strip():
        raise ValueError("it has no question")
    text = text.strip()
    source = values.get("data_source")
    gold = values.get("gold_ids") or ()
    return Question(
        id=str(values.get("id") or fallback_id),
        text=text if text.endswith("?") else f"{text}?",
        answers=_answers(values),
        source=source if isinstance(source, str) and source else fallback_source,
        gold=tuple(map(str, gold)) if isinstance(gold, Sequence) and not isinstance(gold, str) else (),
    )


def _answers(values: Mapping[str, Any]) -> tuple[str, ...]:
    found: Any = None
    for key in ("golden_answers", "answers", "answer"):
        if values.get(key) is not None:
            found = values[key]
            break
    else:
        for outer in ("reward_model", "env_kwargs"):
            truth = values.get(outer)
            truth = truth.get("ground_truth") if isinstance(truth, Mapping) else None
            if isinstance(truth, Mapping) and truth.get("target") is not None:
                found = truth["target"]
                break
    if isinstance(found, str):
        found = [found]
    if not isinstance(found, Sequence) or not all(isinstance(each, str) for each in found):
        raise ValueError("it has no answers")
    kept = tuple(each.strip() for each in found if each.strip())
    if not kept:
        raise ValueError("its answers are empty")
    return kept


def _split(by_file: Mapping[Path, list[Question]]) -> Questions:
    """Training and held-out questions; ids made unique, repeated questions dropped."""
    parts: dict[str, list[Question]] = {"train": [], "eval": []}
    for file, questions in by_file.items():
        parts["train" if "train" in _stem(file).lower() else "eval"] += questions
    notices = []
    if not parts["train"] or not parts["eval"]:
        everything = [*parts["train"], *parts["eval"]]
        held = {True: "eval", False: "train"}
        parts = {"train": [], "eval": []}
        for question in everything:
            parts[held[_held_out(question.text)]].append(question)
        notices.append(f"one question in {HELD_OUT} is held out, by a hash of its text: no file is named for training")
    seen: set[str] = set()
    out: dict[str, list[Question]] = {}
    for name in ("eval", "train"):
        kept = []
        for question in parts[name]:
            key = normalize(question.text) or question.text
            if key not in seen:
                seen.add(key)
                kept.append(question)
        if len(kept) < len(parts[name]):
            notices.append(f"{len(parts[name]) - len(kept)} {name} questions come twice or are held out: dropped")
        out[name] = _unique(kept)
    return Questions(out, notices)


def _unique(questions: Sequence[Question]) -> list[Question]:
    """The same questions with ids that are different."""
    counts: Counter[str] = Counter()
    out = []
    for question in questions:
        counts[question.id] += 1
        number = counts[question.id]
        name = question.id if number == 1 else f"{question.id}~{number}"
        out.append(Question(name, question.text, question.answers, question.source, question.gold))
    return out


def _held_out(text: str) -> bool:
    return hashlib.sha256(normalize(text).encode()).digest()[0] % HELD_OUT == 0


def stratified(questions: Sequence[Question], per_source: int, seed: int) -> list[Question]:
    """At most ``per_source`` of each data set, the same ones for the same seed whatever their order."""
    groups: dict[str, list[Question]] = {}
    for question in sorted(questions, key=lambda q: q.id):
        groups.setdefault(question.source, []).append(question)
    chosen = []
    for source, members in sorted(groups.items()):
        rng = random.Random(f"search/panel/{seed}/{source}")
        chosen += members if len(members) <= per_source else rng.sample(members, per_source)
    return sorted(chosen, key=lambda q: q.id)

