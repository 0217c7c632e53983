"""The product catalogue: the original's files made once into a compact store that is used in place.

A catalogue folder holds ``items_shuffle.json`` and ``items_ins_v2.json`` (or both names with ``_1000``) and
``items_human_ins.json``.  The store lies under ``<cache>/webshop`` and is named by the sha256 of the files it was
made from.  It is one mapped file with a JSON record per product and small arrays for lookups, opened read-only:
environments and forked workers share its pages, and only products in use take memory.  A small catalogue takes the
same path as the 1.18 million products of the full one.

A docid is a product's position among the products kept, in file order; the search index has the same numbers.
Rows the original leaves out or fails on are left out and counted; ``strict`` refuses the second kind.  A product
without an entry in items_ins is kept.  Prices are dollars.  Errors are PrerequisiteError: data missing or broken.

Source: file names and loading rules of princeton-nlp/WebShop (MIT), web_agent_site/engine/engine.py.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import math
import mmap
import random
import tempfile
from array import array
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from sdar_cli.base.errors import PrerequisiteError
from sdar_cli.base.files import write_text_atomic
from sdar_cli.base.resources import cache_dir, made_once, print_warning
from sdar_cli.envs.webshop.catalogue.records import GET_FILES, BadRow, JsonStream, Product, parse_row

if TYPE_CHECKING:
    from sdar_cli.base.display import Reporter

Size = Literal["full", "small"]
FILES: dict[Size, tuple[str, str]] = {
    "full": ("items_shuffle.json", "items_ins_v2.json"),
    "small": ("items_shuffle_1000.json", "items_ins_v2_1000.json"),
}
STORE_VERSION = 3
REMEMBER_HASH_FROM = 1 << 26
"""Bytes from which a file's sha256 is remembered by path, size and time of change."""
CACHED_PRODUCTS = 4096
BAD_SHOWN = 20
MB = 1 << 20
WORTH_SHOWING = 20
"""Megabytes to read, or thousands of products to index, from which progress is shown."""
FIELDS = Product.__slots__[1:]


class Instruction(NamedTuple):
    """The template of a product's synthetic goals, unchecked.  ``combinations`` counts its choices of options."""

    docid: int
    text: Any
    attributes: Any
    combinations: int


def find_files(folder: Path, size: Size | None = None) -> tuple[Path, Path]:
    """items_shuffle and items_ins of a folder; without ``size`` the full ones when they are there."""
    size = size or ("full" if (folder / FILES["full"][0]).is_file() else "small")
    products, entries = (folder / name for name in FILES[size])
    missing = [path.name for path in (products, entries) if not path.is_file()]
    if missing:
        raise PrerequisiteError(
            f"{folder} is no WebShop catalogue", why=f"missing: {' and '.join(missing)}", fix=GET_FILES
        )
    return products, entries


def file_sha256(path: Path, memory: Path) -> str:
    """The sha256 of a file's content; a large file's is remembered under ``memory`` while it does not change."""
    stat = path.stat()
    name = hashlib.sha256(f"{path.resolve()}\n{stat.st_size}\n{stat.st_mtime_ns}".encode()).hexdigest()
    note = memory / f"sha256-{name[:32]}"
    if stat.st_size >= REMEMBER_HASH_FROM and note.is_file():
        return note.read_text()
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if stat.st_size >= REMEMBER_HASH_FROM:
        memory.mkdir(parents=True, exist_ok=True)
        write_text_atomic(note, digest)
    return digest


class _Entries:
    """items_ins on disk, by asin: an offset per entry in memory."""

    def __init__(self, source: Path, file: IO[bytes], advance: Callable[[int], None]) -> None:
        self._file = file
        self._offsets: dict[str, int] = {}
        at = 0
        for asin, entry in JsonStream(source, progress=advance).entries():
            self._offsets[asin] = at
            at += file.write(json.dumps(entry).encode() + b"\n")

    def get(self, asin: Any) -> Any:
        offset = self._offsets.get(asin) if isinstance(asin, str) else None
        if offset is None:
            return None
        self._file.seek(offset)
        return json.loads(self._file.readline())


@dataclass
class _Columns:
    """What is kept in arrays: a value per product, and the distinct categories and queries."""

    offsets: array[int] = field(default_factory=lambda: array("q", [0]))
    low: array[float] = field(default_factory=lambda: array("d"))
    high: array[float] = field(default_factory=lambda: array("d"))
    category: array[int] = field(default_factory=lambda: array("i"))
    query: array[int] = field(default_factory=lambda: array("i"))
    asins: dict[str, None] = field(default_factory=dict)
    names: dict[str, dict[str, int]] = field(default_factory=lambda: {"category": {}, "query": {}})

    def add(self, product: Product, size: int) -> None:
        self.offsets.append(self.offsets[-1] + size)
        self.low.append(product.pricing[0])
        self.high.append(product.pricing[-1] if len(product.pricing) > 1 else math.nan)
        for column, name in ((self.category, product.category), (self.query, product.query)):
            known = self.names["category" if column is self.category else "query"]
            column.append(known.setdefault(name, len(known)))
        self.asins[product.asin] = None

    def save(self, folder: Path) -> None:
        for name in ("offsets", "low", "high", "category", "query"):
            np.save(folder / f"{name}.npy", np.asarray(getattr(self, name)))
        asins = np.array(list(self.asins), dtype="U10")
        order = np.argsort(asins, kind="stable")
        np.save(folder / "asins.npy", asins[order])
        np.save(folder / "docids.npy", order)


def _build(products: Path, entries: Path, num_products: int | None, out: Path, advance: Callable[[int], None]) -> int:
    """Write the store of two files into an empty folder; return how many products it holds.

    ``advance`` hears of every megabyte that was read.
    """
    columns, skipped, without = _Columns(), Counter[str](), 0
    first_without: tuple[int, str] | None = None
    bad: list[tuple[int, str]] = []
    stream = JsonStream(products, progress=advance)
    with (
        tempfile.TemporaryFile(dir=out) as scratch,
        (out / "products.jsonl").open("wb") as records,
        (out / "instructions.jsonl").open("w", encoding="utf-8") as instructions,
    ):
        known = _Entries(entries, scratch, advance)
        for number, row in enumerate(stream.rows()):
            if number == num_products:
                break
            entry = known.get(row.get("asin") if isinstance(row, dict) else None)
            try:
                product = parse_row(row, entry, columns.asins)
            except BadRow as error:
                skipped[error.reason] += 1
                if not error.skipped_by_original and len(bad) < BAD_SHOWN:
                    bad.append((number, error.reason))
                continue
            columns.add(product, records.write(_pack(product)))
            if entry is None:
                without, first_without = without + 1, first_without or (number, product.asin)
            if entry is not None and entry.get("instruction") is not None:
                combinations = math.prod(len(values) for values in product.options.values())
                line = [product.docid, entry["instruction"], entry.get("instruction_attributes"), combinations]
                instructions.write(json.dumps(line) + "\n")
    columns.save(out)
    meta = {
        "skipped": skipped,
        "bad": bad,
        "without_entry": without,
        "first_without_entry": first_without,
        "names": columns.names,
    }
    (out / "meta.json").write_text(json.dumps(meta), encoding="utf-8")
    return len(columns.asins)


def _pack(product: Product) -> bytes:
    """A record: the product's fields in order, without its docid."""
    return json.dumps([getattr(product, name) for name in FIELDS], separators=(",", ":")).encode() + b"\n"


def _unpack(docid: int, record: bytes) -> Product:
    values = dict(zip(FIELDS, json.loads(record), strict=True))
    for name in ("bullets", "attributes", "pricing"):
        values[name] = tuple(values[name])
    values["options"] = {name: tuple(choices) for name, choices in values["options"].items()}
    return Product(docid=docid, **values)


class Catalog:
    """An opened store.  ``skipped``: rows left out, by reason.  ``bad``: the first rows the original would fail on."""

    def __init__(self, store: Path, source: Path) -> None:
        self.store = store
        self.source = source
        meta = json.loads((store / "meta.json").read_text(encoding="utf-8"))
        self.skipped: Counter[str] = Counter(meta["skipped"])
        self.bad: list[tuple[int, str]] = [(row, reason) for row, reason in meta["bad"]]
        self.without_entry: int = meta["without_entry"]
        """Products that items_ins does not name."""
        self.first_without_entry: tuple[int, str] | None = meta["first_without_entry"]
        """Row and asin of the first one."""
        self._names: dict[str, dict[str, int]] = meta["names"]
        self._arrays = {path.stem: np.load(path, mmap_mode="r") for path in store.glob("*.npy")}
        self._offsets = self._arrays["offsets"]
        with (store / "products.jsonl").open("rb") as file:
            self._records = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self.product = functools.lru_cache(CACHED_PRODUCTS)(self._product)
        """The product of a docid; the latest are kept."""

    def __reduce__(self) -> tuple[type[Catalog], tuple[Path, Path]]:
        return Catalog, (self.store, self.source)

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def __iter__(self) -> Iterator[Product]:
        return map(self._product, range(len(self)))

    @property
    def entries(self) -> Path:
        """The file of instructions and attributes."""
        return find_files(self.source.parent, "full" if self.source.name == FILES["full"][0] else "small")[1]

    @property
    def key(self) -> str:
        """What the store is named by: equal for equal files."""
        return self.store.name

    def _product(self, docid: int) -> Product:
        start, end = int(self._offsets[docid]), int(self._offsets[docid + 1])
        return _unpack(docid, self._records[start:end])

    def docid(self, asin: str) -> int | None:
        """The docid of an asin; None when no product has it."""
        asins = self._arrays["asins"]
        place = int(np.searchsorted(asins, asin)) if len(asin) <= 10 else len(asins)
        if place == len(asins) or asins[place] != asin:
            return None
        return int(self._arrays["docids"][place])

    def asins(self) -> list[str]:
        """The asin of every product, by docid: the search's order of equal scores."""
        order = np.argsort(self._arrays["docids"])
        asins: list[str] = self._arrays["asins"][order].tolist()
        return asins

    def texts(self) -> Iterator[str]:
        """The indexed text of every product, by docid."""
        return (product.contents for product in self)

    def having(self, column: Literal["category", "query"], value: str) -> list[int]:
        """Docids of the products whose category or query is exactly ``value``."""
        number = self._names[column].get(value)
        if number is None:
            return []
        found: list[int] = np.flatnonzero(self._arrays[column] == number).tolist()
        return found

    def instructions(self) -> Iterator[Instruction]:
        """Templates of synthetic goals, by docid."""
        with (self.store / "instructions.jsonl").open(encoding="utf-8") as file:
            for line in file:
                yield Instruction(*json.loads(line))

    def draw_prices(self, rng: random.Random) -> np.ndarray:
        """A price for every product: a range's is drawn evenly, one draw per range in docid order."""
        low, high = np.array(self._arrays["low"]), self._arrays["high"]
        for docid in np.flatnonzero(~np.isnan(high)):
            low[docid] = rng.uniform(float(low[docid]), float(high[docid]))
        return low

    def notices(self) -> list[str]:
        """What a user should hear about the data: rows that were left out, by reason."""
        return [
            f"{count} {'row' if count == 1 else 'rows'} of {self.source} left out: {reason}"
            for reason, count in self.skipped.most_common()
        ]


def open_catalog(
    folder: Path,
    *,
    size: Size | None = None,
    num_products: int | None = None,
    strict: bool = False,
    cache: Path | None = None,
    reporter: Reporter | None = None,
) -> Catalog:
    """The catalogue of a folder; its store is made when it is not there yet.

    size: which files to read when both sizes are there (default: full).
    num_products: rows read from the start of the file, those left out included.
    strict: refuse a file with rows the original would fail on.  cache: where stores lie.  reporter: shown the
    progress on a large file.

    Raises PrerequisiteError for missing or broken files, no usable product, or a bad row under ``strict``.
    """
    products, entries = find_files(folder, size)
    root = (cache or cache_dir()) / "webshop"
    hashes = [file_sha256(path, root) for path in (products, entries)]
    key = hashlib.sha256(json.dumps([STORE_VERSION, *hashes, num_products]).encode()).hexdigest()[:32]
    store = root / f"catalog-{key}"
    size_mb = (products.stat().st_size + entries.stat().st_size) // MB

    def make(out: Path) -> None:
        out.mkdir()
        with counting(reporter, f"reading {entries.name} and {products.name}, MB", size_mb) as advance:
            if not _build(products, entries, num_products, out, advance):
                raise PrerequisiteError(
                    f"{products} holds no usable product", why="every row is left out", fix=GET_FILES
                )

    made_once(store, make, reporter.warn if reporter else print_warning)
    catalog = Catalog(store, products)
    if strict and catalog.bad:
        row, reason = catalog.bad[0]
        raise PrerequisiteError(
            f"row {row} of {products} (from 0) cannot be used",
            why=f"{reason}; the original fails on it",
            fix="repair or remove the row, or load without strict to leave such rows out",
        )
    return catalog


@contextmanager
def counting(reporter: Reporter | None, what: str, total: int) -> Iterator[Callable[[int], None]]:
    """What to call with every unit done; it shows progress where there is someone to see it and enough to do."""
    if reporter is None or total < WORTH_SHOWING:
        yield lambda done: None
    else:
        with reporter.progress(what, total) as work:
            yield work.advance


def in_thousands(advance: Callable[[int], None]) -> Callable[[], None]:
    """What to call with every single unit, to ``advance`` by one with every thousandth."""
    numbers = itertools.count(1)

    def count() -> None:
        if next(numbers) % 1000 == 0:
            advance(1)

    return count
