"""``sdar data make webshop`` and ``sdar data verify webshop``: a catalogue made, and checked."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from sdar_cli.base.display import Reporter
from sdar_cli.base.errors import RunFailedError
from sdar_cli.base.files import write_json_atomic
from sdar_cli.envs.made import made_before
from sdar_cli.envs.webshop.catalogue.catalog import counting, in_thousands, open_catalog
from sdar_cli.envs.webshop.catalogue.nouns import open_nouns
from sdar_cli.envs.webshop.catalogue.synth import VERSION, ensure_catalogue, make_catalogue
from sdar_cli.envs.webshop.env import KINDS, open_index
from sdar_cli.envs.webshop.parity.verify import FileReport, Report
from sdar_cli.envs.webshop.parity.verify import verify as compare
from sdar_cli.envs.webshop.store.goals import load_goals

MANIFEST = "catalogue.json"
"""Written last, next to the files: what they were made with."""


Out = Annotated[
    Path | None, typer.Option("--out", file_okay=False, help="Folder to fill; default: webshop-PRODUCTS-SEED.")
]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Seed of the generator.")]
Products = Annotated[int, typer.Option("--products", min=1, help="Products.")]
BadRows = Annotated[bool, typer.Option("--bad-rows", help="Also a few rows that the original skips or fails on.")]
Data = Annotated[
    str | None, typer.Option("--data", help="Folder of the original's files; default: the cached generated catalogue.")
]
Against = Annotated[
    Path | None,
    typer.Option(
        "--against",
        file_okay=False,
        help="Folder of golden files: compare with what the original engine gave for these data.",
    ),
]
Strict = Annotated[
    bool,
    typer.Option("--strict", help="Stop at the first row or entry that the original fails on, and name it."),
]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]


def make(
    out: Out = None, products: Products = 1000, seed: Seed = 0, bad_rows: BadRows = False, as_json: Json = False
) -> None:
    """Write a synthetic catalogue under the original's file names.

    The same call again finds it made.

    Examples:

    sdar data make webshop --products 5000 --seed 3

    sdar data make webshop --products 100000 --seed 7 --out big-shop
    """
    began = time.perf_counter()
    out = out or Path(f"webshop-{products}-{seed}" + ("-bad-rows" if bad_rows else ""))
    wanted = {"generator": VERSION, "products": products, "seed": seed, "bad_rows": bad_rows}
    with Reporter(as_json) as reporter:
        files = made_before(out, wanted, MANIFEST, "catalogue")
        if not files:
            with counting(reporter, "writing products, thousands", products // 1000) as advance:
                make_catalogue(out, products, seed, bad_rows, in_thousands(advance))
            files = sorted(path.name for path in out.iterdir())
            write_json_atomic(out / MANIFEST, {**wanted, "files": files})
        seconds = time.perf_counter() - began
        reporter.info(f"{products} products in {out}, {seconds:.1f} s: {', '.join(files)}")
        if as_json:
            reporter.emit_object({"out": str(out), **wanted, "files": files})


def verify(data: Data = None, against: Against = None, strict: Strict = False, as_json: Json = False) -> None:
    """Load a catalogue and report what is in it and what was left out.

    With --against, goals, prices, rewards, pages and searches are compared with the original's, one by one.

    Examples:

    sdar data verify webshop --data ~/webshop/data --strict

    sdar data verify webshop --data ~/webshop/data --against golden --json
    """
    folder = Path(data).expanduser() if data else ensure_catalogue()
    with Reporter(as_json) as reporter:
        if against is None:
            report = _load(folder, strict, reporter)
            if as_json:
                reporter.emit_object(report)
            return
        result = compare(
            folder, against.expanduser(), lambda file: _report(file, reporter), strict=strict, reporter=reporter
        )
        if result.tagger:
            reporter.info(f"nouns of titles: {result.tagger}")
        if as_json:
            reporter.emit_object(_as_object(result))
        if result.differing:
            raise RunFailedError(
                f"{result.differing} of {result.records} records differ from {against}",
                why="the first differences of each file are listed above",
                fix="compare data and golden files: they must be of the same catalogue, and the golden files of the "
                "original engine",
            )
        reporter.info(f"all {result.records} records agree with the original's in {against}")


def _load(folder: Path, strict: bool, reporter: Reporter) -> Mapping[str, object]:
    """Everything an environment needs of a catalogue, loaded once, with counts."""
    began = time.perf_counter()
    reporter.info(f"loading {folder}; store and search index are made the first time")
    catalog = open_catalog(folder, strict=strict, reporter=reporter)
    reporter.info(f"{len(catalog)} products of {catalog.source}")
    _report_left_out("rows", catalog.skipped, reporter)
    for row, reason in catalog.bad:
        reporter.info(f"  row {row} (from 0): {reason}; the original fails on it")
    counts: dict[str, int] = {}
    left_out: dict[str, Counter[str]] = {}
    for kind in KINDS:
        goals = load_goals(catalog, kind, strict=strict)
        reporter.info(f"{len(goals)} {kind} goals")
        _report_left_out("entries", goals.skipped, reporter)
        for place in goals.failing:
            reporter.info(f"  {place}; the original fails on it")
        counts[kind], left_out[kind] = len(goals), goals.skipped
    index, nouns = open_index(catalog, reporter), open_nouns(folder, reporter.warn)
    reporter.info(f"search index of {index.documents} products; nouns of titles: {nouns.tagger_id}")
    seconds = time.perf_counter() - began
    reporter.info(f"the catalogue can be used ({seconds:.1f} s)")
    return {
        "data": str(folder),
        "products": len(catalog),
        "rows_left_out": catalog.skipped,
        "bad_rows": [{"row": row, "reason": reason} for row, reason in catalog.bad],
        "goals": counts,
        "goals_left_out": left_out,
        "indexed": index.documents,
        "tagger": nouns.tagger_id,
        "seconds": round(seconds, 2),
    }


def _report_left_out(what: str, counts: Counter[str], reporter: Reporter) -> None:
    for reason, count in counts.most_common():
        reporter.info(f"  {what} left out: {count} ({reason})")


def _report(file: FileReport, reporter: Reporter) -> None:
    """One file's line, and its first differences."""
    reporter.info(str(file))
    for difference in file.differences:
        reporter.info(f"  {difference}")
    more = file.records - file.agreeing - len(file.differences)
    if more > 0:
        reporter.info(f"  and {more} more")


def _as_object(report: Report) -> Mapping[str, object]:
    """The report for ``--json``."""
    files = {
        file.name: {
            "records": file.records,
            "agree": file.agreeing,
            "documented_deviations": file.deviations,
            "differences": [difference._asdict() for difference in file.differences],
        }
        for file in report.files
    }
    return {
        "data": str(report.data),
        "against": str(report.against),
        "tagger": report.tagger,
        "records": report.records,
        "differ": report.differing,
        "files": files,
    }
