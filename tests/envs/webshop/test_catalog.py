"""The catalogue: files read in pieces, rows kept and left out, the store, prices."""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import pickle
import random
from pathlib import Path
from typing import Any

import pytest
import webshop_material as material
from webshop_material import options, row, write

from sdar_cli.base.errors import PrerequisiteError
from sdar_cli.envs.webshop.catalogue import catalog as module
from sdar_cli.envs.webshop.catalogue.catalog import Catalog, file_sha256, open_catalog
from sdar_cli.envs.webshop.catalogue.records import JsonStream

VALUES = ['a"\\]},{[', {"k": [1, {"z": None}], "é": "☆\n"}, [], {}, "", -1.5e3, 12345678901, True, None, "\U0001f600"]


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def opened(folder: Path, rows: list[Any], cache: Path, ins: dict[str, Any] | None = None, **how: Any) -> Catalog:
    return open_catalog(write(folder, rows, ins or {}, {}), cache=cache, **how)


# -- JSON in pieces


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 64, 1 << 20])
@pytest.mark.parametrize("indent", [None, 2])
def test_a_stream_reads_what_json_reads(tmp_path: Path, chunk: int, indent: int | None) -> None:
    path = tmp_path / "x.json"
    path.write_text(json.dumps(VALUES, indent=indent), encoding="utf-8")
    assert list(JsonStream(path, chunk).rows()) == VALUES
    entries = {f'k"{number}': value for number, value in enumerate(VALUES)}
    path.write_text(json.dumps(entries, indent=indent, ensure_ascii=False), encoding="utf-8")
    assert dict(JsonStream(path, chunk).entries()) == entries


@pytest.mark.parametrize("text", [" [ ] ", "[]"])
def test_an_empty_array_has_no_rows(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    assert list(JsonStream(path).rows()) == []


@pytest.mark.parametrize(
    ("text", "item"),
    [("[1, 2", 2), ("[1, nope]", 1), ("", 0), ("{}", 0), ("[1 2]", 1), ("[1] 2", 1), ('[1, "abc', 1), ("[1,]", 1)],
)
def test_broken_json_names_file_and_item(tmp_path: Path, text: str, item: int) -> None:
    path = tmp_path / "broken.json"
    path.write_text(text)
    with pytest.raises(PrerequisiteError) as caught:
        list(JsonStream(path, 1).rows())
    assert str(path) in caught.value.what
    assert f"item {item} " in caught.value.why


def test_a_stream_reports_every_megabyte(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(json.dumps(["x" * (1 << 18)] * 11))  # 2.75 MB and some marks
    progress: list[int] = []
    assert len(list(JsonStream(path, 1000, progress.append).rows())) == 11
    assert progress == [1, 1]


def test_a_stream_holds_one_item_not_the_file(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(json.dumps(["x" * 100] * 1000))
    stream = JsonStream(path, 64)
    assert max(len(stream._text) for _ in stream.rows()) < 1000


# -- rows


def test_a_row_becomes_a_product(tmp_path: Path, cache: Path) -> None:
    choices = {"Color": [{"value": " Red/Blue "}, {"value": "TEAL"}], "Size": None, "Fit": []}
    ins = {"A": {"attributes": ["solid wood"]}}
    product = opened(tmp_path, [row("A", customization_options=choices, name="Big Table")], cache, ins).product(0)
    assert (product.docid, product.asin, product.title) == (0, "A", "Big Table")
    assert dict(product.options) == {"color": ("red | blue", "teal"), "fit": ()}
    assert product.attributes == ("solid wood",)
    assert product.query == "side tables"
    assert product.contents == "big table words about it first bullet color: red | blue, teal, and fit: "


def test_other_shapes_of_fields(tmp_path: Path, cache: Path) -> None:
    rows = [row("A", small_description="Only one"), row("B", small_description=""), row("C", full_description="")]
    found = opened(tmp_path, rows, cache)
    assert [product.bullets for product in found][:2] == [("Only one",), ("",)]
    assert found.product(0).attributes == ("DUMMY_ATTR",)
    assert found.product(2).contents == "name c  first bullet "
    assert found.without_entry == 3


@pytest.mark.parametrize(
    ("text", "pricing", "tag"),
    [
        ("", (100.0,), "$100.0"),
        (None, (100.0,), "$100.0"),
        ("$877.80", (877.8,), "$877.8"),
        ("$1,426.43", (1426.43,), "$1426.43"),
        ("$19.99$27.99", (19.99, 27.99), "$19.99 to $27.99"),
        ("$1$2$3", (1.0, 2.0), "$1.0 to $2.0"),
        ("from $5 each", (5.0,), "$5.0"),
    ],
)
def test_prices_and_tags(tmp_path: Path, cache: Path, text: Any, pricing: tuple[float, ...], tag: str) -> None:
    product = opened(tmp_path, [row("A", pricing=text)], cache).product(0)
    assert (product.pricing, product.price_tag) == (pricing, tag)


BAD = [
    ({"pricing": "12.99"}, "a price has no $"),
    ({"pricing": "$free"}, "a price is not an amount"),
    ({"pricing": 12}, "a price is not an amount"),
    ({"images": []}, "no image"),
    ({"name": None}, "name is no text"),
    ({"full_description": None}, "full_description is no text"),
    ({"small_description": []}, "no small_description"),
    ({"small_description": [None]}, "small_description is no list of texts"),
    ({"customization_options": {"Color": [{"url": "x"}]}}, "customization_options are not as expected"),
    ({"customization_options": ["x"]}, "customization_options are not as expected"),
]


@pytest.mark.parametrize(("changes", "reason"), BAD, ids=lambda value: str(value)[:40])
def test_rows_the_original_fails_on_are_counted_and_refused_when_strict(
    tmp_path: Path, cache: Path, changes: dict[str, Any], reason: str
) -> None:
    rows = [row("A"), row("B", **changes), row("C")]
    found = opened(tmp_path, rows, cache)
    assert [product.asin for product in found] == ["A", "C"]
    assert found.skipped == {reason: 1}
    assert found.bad == [(1, reason)]
    assert reason in found.notices()[0]
    with pytest.raises(PrerequisiteError) as caught:
        opened(tmp_path, rows, cache, strict=True)
    assert f"row 1 of {tmp_path / 'items_shuffle.json'}" in caught.value.what
    assert reason in caught.value.why


def test_the_originals_own_rules_leave_rows_out_even_when_strict(tmp_path: Path, cache: Path) -> None:
    rows = [row("nan"), row("A"), row("B" * 11), row("A", images=[]), row("C")]
    found = opened(tmp_path, rows, cache, strict=True)
    assert [product.asin for product in found] == ["A", "C"]
    assert found.skipped == {"asin 'nan'": 1, "asin over 10 characters": 1, "asin seen before": 1}


def test_num_products_counts_rows_before_any_is_left_out(tmp_path: Path, cache: Path) -> None:
    rows = [row("nan"), row("A"), row("B")]
    assert [product.asin for product in opened(tmp_path, rows, cache, num_products=2)] == ["A"]


def test_a_file_without_a_usable_row_is_an_error_and_leaves_no_store(tmp_path: Path, cache: Path) -> None:
    with pytest.raises(PrerequisiteError, match="no usable product"):
        opened(tmp_path, [row("nan")], cache)
    assert list((cache / "webshop").iterdir()) == []


# -- files and the store


def test_the_full_files_are_taken_unless_told_otherwise(tmp_path: Path, cache: Path) -> None:
    write(tmp_path, [row("SMALL")], {}, {}, "small")
    assert open_catalog(tmp_path, cache=cache).product(0).asin == "SMALL"
    write(tmp_path, [row("FULL")], {}, {})
    assert open_catalog(tmp_path, cache=cache).product(0).asin == "FULL"
    assert open_catalog(tmp_path, size="small", cache=cache).product(0).asin == "SMALL"
    (tmp_path / "items_ins_v2.json").unlink()
    with pytest.raises(PrerequisiteError) as caught:
        open_catalog(tmp_path, cache=cache)
    assert "items_ins_v2.json" in caught.value.why


def test_a_store_is_made_once_per_content(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = opened(tmp_path, [row("A")], cache)
    monkeypatch.setattr(module, "_build", lambda *args: pytest.fail("built again"))
    assert open_catalog(tmp_path, cache=cache).key == first.key
    monkeypatch.undo()
    assert opened(tmp_path, [row("A", name="Other")], cache).product(0).title == "Other"
    assert len([path for path in (cache / "webshop").iterdir() if not path.name.endswith("-digests.json")]) == 2


def test_a_large_files_hash_is_remembered_until_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REMEMBER_HASH_FROM", 1)
    path = tmp_path / "x"
    path.write_text("one")
    os.utime(path, ns=(1, 1))
    first = file_sha256(path, tmp_path / "memory")
    path.write_text("two")
    os.utime(path, ns=(1, 1))
    assert file_sha256(path, tmp_path / "memory") == first  # same size and time: not read again
    os.utime(path, ns=(2, 2))
    assert file_sha256(path, tmp_path / "memory") != first


def test_lookups(tmp_path: Path, cache: Path) -> None:
    rows = [row("C"), row("A", category="beauty"), row("B", query="Rugs")]
    found = opened(tmp_path, rows, cache)
    assert [found.docid(asin) for asin in ("A", "B", "C", "D", "", "A" * 11)] == [1, 2, 0, None, None, None]
    assert found.asins() == ["C", "A", "B"]
    assert found.having("category", "garden") == [0, 2]
    assert found.having("query", "rugs") == [2]
    assert found.having("query", "chairs") == []
    assert list(found.texts())[2].startswith("name b")


def _title(found: Catalog, docid: int, answers: Any) -> None:
    answers.put(found.product(docid).title)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_share_a_catalogue(tmp_path: Path, cache: Path, method: str) -> None:
    found = opened(tmp_path, [row("A"), row("B")], cache)
    assert pickle.loads(pickle.dumps(found)).product(1) == found.product(1)
    context = multiprocessing.get_context(method)
    answers = context.Queue()
    processes = [context.Process(target=_title, args=(found, docid, answers)) for docid in (0, 1)]
    for process in processes:
        process.start()
    assert sorted(answers.get(timeout=60) for _ in processes) == ["Name A", "Name B"]
    for process in processes:
        process.join()


# -- prices


def test_prices_are_drawn_per_range_in_order_and_leave_the_global_generator_alone(tmp_path: Path, cache: Path) -> None:
    rows = [row("A", pricing="$1$9"), row("B"), row("C", pricing="$10$20"), row("D", pricing="$30$30")]
    found = opened(tmp_path, rows, cache)
    state = random.getstate()
    prices = found.draw_prices(random.Random(4)).tolist()
    assert random.getstate() == state
    random.seed(4)
    assert prices == [random.uniform(1, 9), 5.0, random.uniform(10, 20), random.uniform(30, 30)]
    random.setstate(state)
    assert not any(math.isnan(price) for price in prices)


@material.needs_golden
def test_the_golden_catalogue_has_three_rows_left_out(cache: Path) -> None:
    found = open_catalog(material.CATALOGUE, cache=cache, strict=True)
    assert len(found) == 1000
    assert sum(found.skipped.values()) == 3
    assert found.notices()[0].startswith("1 row of ")


def test_options_of_equal_lower_case_names_keep_the_last(tmp_path: Path, cache: Path) -> None:
    choices = {**options(Color=["x"], size=["1"]), **options(color=["y"])}
    assert dict(opened(tmp_path, [row("A", customization_options=choices)], cache).product(0).options) == {
        "color": ("y",),
        "size": ("1",),
    }
