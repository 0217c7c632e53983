"""Products as the original's files hold them: a JSON file read in pieces, and a product of a row.

Rows that the original leaves out (asin 'nan', over 10 characters) and rows it fails on are distinguished, because a
strict load refuses only the second kind.  Prices are dollars.

Source: file formats and loading rules of princeton-nlp/WebShop (MIT), web_agent_site/engine/engine.py.
Left out on purpose: images, ratings, reviews and seller fields, which the text environment never shows.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import IO, Any

from sdar_cli.base.errors import PrerequisiteError

GET_FILES = "get the WebShop data files (see its setup.sh), or leave out the folder to use the synthetic catalogue"
NO_PRICE = 100.0
"""Dollars of a product whose row names no price."""
DUMMY_ATTRIBUTES = ["DUMMY_ATTR"]
CHUNK = 1 << 20
"""Characters read at a time."""
LONGEST_VALUE = 1 << 26
"""Characters after which a value that still does not parse is called broken, not cut off."""
DECODER = json.JSONDecoder()
BLANK = re.compile(r"[ \t\r\n]*")
NOT_PRICE = re.compile(r"[^\d.]")


@dataclass(frozen=True, slots=True)
class Product:
    """One product as the shop shows it.  ``pricing`` is one amount or the two ends of a range, in dollars."""

    docid: int
    asin: str
    title: str
    description: str
    bullets: tuple[str, ...]
    attributes: tuple[str, ...]
    options: Mapping[str, tuple[str, ...]]
    category: str
    query: str
    product_category: str
    pricing: tuple[float, ...]
    price_tag: str

    @property
    def contents(self) -> str:
        """The text the search index is made of."""
        options = ", and ".join(f"{name}: {', '.join(values)}" for name, values in self.options.items())
        return " ".join([self.title, self.description, self.bullets[0], options]).lower()


class BadRow(Exception):
    """A row that is not loaded.  ``skipped_by_original``: by the original's own rules; else it crashes on the row."""

    def __init__(self, reason: str, skipped_by_original: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.skipped_by_original = skipped_by_original


class JsonStream:
    """Items of one JSON array or object in a file, in the memory of the largest item.

    progress: hears of every megabyte that was read.
    Raises PrerequisiteError naming the file and the number of the item (from 0) where it is not JSON.
    """

    def __init__(self, path: Path, chunk: int = CHUNK, progress: Callable[[int], None] = lambda done: None) -> None:
        self.path = path
        self.chunk = chunk
        self.number = 0
        self._progress = progress
        self._megabytes = 0
        self._text = ""
        self._at = 0

    def rows(self) -> Iterator[Any]:
        """Values of an array."""
        return self._items("[", "]", self._value)

    def entries(self) -> Iterator[tuple[str, Any]]:
        """Keys and values of an object; a key may come twice."""
        return self._items("{", "}", self._entry)

    def _items(self, opening: str, closing: str, read: Callable[[IO[str]], Any]) -> Iterator[Any]:
        with self.path.open(encoding="utf-8-sig") as file:
            try:
                self._expect(file, opening)
                more = self._peek(file) != closing
                while more:
                    yield read(file)
                    self.number += 1
                    more = self._peek(file) == ","
                    self._at += more
                self._expect(file, closing)
                if self._peek(file):
                    raise ValueError("text after the end")
            except (ValueError, RecursionError) as error:
                why = f"item {self.number} is not JSON: {error}"
                raise PrerequisiteError(f"{self.path} cannot be read", why=why, fix=GET_FILES) from error

    def _entry(self, file: IO[str]) -> tuple[str, Any]:
        self._peek(file)
        key = self._value(file)
        self._expect(file, ":")
        return key, self._value(file)

    def _more(self, file: IO[str]) -> bool:
        rest = self._text[self._at :]
        new = file.read(max(self.chunk, len(rest)))
        self._text, self._at = rest + new, 0
        megabytes = os.lseek(file.fileno(), 0, os.SEEK_CUR) >> 20
        if megabytes > self._megabytes:
            self._progress(megabytes - self._megabytes)
            self._megabytes = megabytes
        return bool(new)

    def _peek(self, file: IO[str]) -> str:
        """The next character that is not blank; empty at the end of the file."""
        while True:
            match = BLANK.match(self._text, self._at)
            assert match is not None
            self._at = match.end()
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more(file):
                return ""

    def _expect(self, file: IO[str], mark: str) -> None:
        found = self._peek(file)
        if found != mark:
            raise ValueError(f"{mark!r} expected, found {found!r}")
        self._at += 1

    def _value(self, file: IO[str]) -> Any:
        self._peek(file)
        while True:
            try:
                value, end = DECODER.raw_decode(self._text, self._at)
            except ValueError:
                if len(self._text) - self._at > LONGEST_VALUE or not self._more(file):
                    raise
                continue
            if end < len(self._text) or not self._more(file):  # a number at the very end may be longer
                self._at = min(end, len(self._text))
                return value


def _pricing(value: Any) -> tuple[tuple[float, ...], str]:
    """Amounts and tag of ``''``, ``'$5'`` or ``'$5$9'``.  Raises BadRow where the original fails."""
    if not value:
        return (NO_PRICE,), f"${NO_PRICE}"
    try:
        amounts = [float(Decimal(NOT_PRICE.sub("", part))) for part in value.split("$")[1:]]
    except (AttributeError, InvalidOperation) as error:
        raise BadRow("a price is not an amount") from error
    if not amounts:
        raise BadRow("a price has no $")
    if len(amounts) == 1:
        return (amounts[0],), f"${amounts[0]}"
    return (amounts[0], amounts[1]), f"${amounts[0]} to ${amounts[1]}"


def _options(value: Any) -> dict[str, tuple[str, ...]]:
    """Values by option name, both in lower case.  Raises BadRow where the original fails."""
    out: dict[str, tuple[str, ...]] = {}
    try:
        for name, contents in (value or {}).items():
            if contents is not None:
                values = (content["value"].strip().replace("/", " | ").lower() for content in contents)
                out[name.lower()] = tuple(values)
    except (AttributeError, KeyError, TypeError) as error:
        raise BadRow("customization_options are not as expected") from error
    return out


def _texts(value: Any, what: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise BadRow(f"{what} is no list of texts")
    return tuple(value)


def _check(row: Any, seen: Collection[str]) -> None:
    """Raise BadRow for a row that is left out, or whose fields are not of the kinds the original needs.

    The original takes ``category`` of every row and never reads it, so it may hold anything."""
    if not isinstance(row, dict) or not isinstance(row.get("asin"), str):
        raise BadRow("the row is no object with an asin")
    if row["asin"] == "nan":
        raise BadRow("asin 'nan'", skipped_by_original=True)
    if len(row["asin"]) > 10:
        raise BadRow("asin over 10 characters", skipped_by_original=True)
    if row["asin"] in seen:
        raise BadRow("asin seen before", skipped_by_original=True)
    for name in ("name", "full_description", "query", "product_category"):
        if not isinstance(row.get(name), str):
            raise BadRow(f"{name} is no text")
    if "category" not in row:
        raise BadRow("no category")
    if not isinstance(row.get("images"), list | str) or not row["images"]:
        raise BadRow("no image")
    if not row.get("small_description", []) and row.get("small_description") != "":
        raise BadRow("no small_description")
    if "customization_options" not in row:
        raise BadRow("customization_options are not as expected")


def parse_row(row: Any, entry: Any, seen: Collection[str]) -> Product:
    """A product of its row in items_shuffle and its entry in items_ins (None: it has none).

    seen: asins of the products before it.

    Raises BadRow where the original leaves the row out or fails on it.
    """
    _check(row, seen)
    if entry is not None and not isinstance(entry, dict):
        raise BadRow("its items_ins entry is no object")
    bullets = row["small_description"]
    attributes = DUMMY_ATTRIBUTES if entry is None else entry.get("attributes", DUMMY_ATTRIBUTES)
    pricing, tag = _pricing(row.get("pricing"))
    return Product(
        docid=len(seen),
        asin=row["asin"],
        title=row["name"],
        description=row["full_description"],
        bullets=_texts(bullets if isinstance(bullets, list) else [bullets], "small_description"),
        attributes=_texts(attributes, "attributes"),
        options=_options(row["customization_options"]),
        category=row["category"] if isinstance(row["category"], str) else "",
        query=row["query"].lower().strip(),
        product_category=row["product_category"],
        pricing=pricing,
        price_tag=tag,
    )
