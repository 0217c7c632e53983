"""What the engine's tests share: a hand-made catalogue in the original's formats, and where the golden files lie."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from places import SHARED

GOLDEN = SHARED / "data" / "webshop"
CATALOGUE = GOLDEN / "synthetic_1000"
needs_golden = pytest.mark.skipif(
    not (GOLDEN / "golden_rewards.jsonl").is_file(), reason=f"no golden files in {GOLDEN}; set SDAR_SHARED"
)


def golden(name: str) -> list[dict[str, Any]]:
    """The rows of a golden file; none when it is not there."""
    path = GOLDEN / name
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def golden_nouns() -> dict[str, list[str]]:
    return {row["name"]: row["nouns"] for row in golden("golden_nouns.jsonl")}


def row(asin: str, **changes: Any) -> dict[str, Any]:
    """A row of items_shuffle.json as the original needs it."""
    return {
        "asin": asin,
        "name": f"Name {asin}",
        "full_description": "Words about it",
        "small_description": ["First bullet", "Second bullet"],
        "pricing": "$5.00",
        "images": ["x.jpg"],
        "category": "garden",
        "query": " Side Tables ",
        "product_category": "Home › Tables › Side",
        "customization_options": "",
        **changes,
    }


def options(**names: list[str]) -> dict[str, list[dict[str, str]]]:
    """customization_options with these values."""
    return {name: [{"value": value} for value in values] for name, values in names.items()}


def write(folder: Path, rows: list[Any], ins: dict[str, Any], human: dict[str, Any], size: str = "full") -> Path:
    """Write a catalogue's three files."""
    folder.mkdir(parents=True, exist_ok=True)
    end = "" if size == "full" else "_1000"
    (folder / f"items_shuffle{end}.json").write_text(json.dumps(rows), encoding="utf-8")
    (folder / f"items_ins_v2{end}.json").write_text(json.dumps(ins), encoding="utf-8")
    (folder / "items_human_ins.json").write_text(json.dumps(human), encoding="utf-8")
    return folder


def wish(text: str, attributes: list[str], wanted: list[str]) -> dict[str, Any]:
    """An entry of items_human_ins.json."""
    return {"instruction": text, "instruction_attributes": attributes, "instruction_options": wanted}
