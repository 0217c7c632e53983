"""The synthetic catalogue: the same bytes for a seed, families that make a procedure matter, exact nouns."""

from __future__ import annotations

import gzip
import hashlib
import itertools
import json
import re
import tracemalloc
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from sdar_cli.base.errors import ConfigError
from sdar_cli.envs.webshop.catalogue import goods, goods_nouns, synth
from sdar_cli.envs.webshop.catalogue.catalog import open_catalog
from sdar_cli.envs.webshop.store.reward import color_of, options_met, similar

FILES = ("items_shuffle_1000.json", "items_ins_v2_1000.json", "items_human_ins.json")
DIGEST_OF_70 = "7da35e3f7722e4de746f40fd4891c79fb31711cc8b47f0b40ca0a850f28034af"
"""Of 70 products with seed 0, the three files and the unpacked noun cache in turn."""


def contents(folder: Path) -> list[bytes]:
    paths = sorted(path for path in folder.iterdir() if path.suffix == ".json")
    return [path.read_bytes() for path in paths] + [gzip.decompress((folder / synth.NOUNS_FILE).read_bytes())]


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synth.make_catalogue(tmp_path_factory.mktemp("shop") / "default")


@pytest.fixture(scope="module")
def rows(folder: Path) -> list[dict[str, Any]]:
    return read(folder / FILES[0])


@pytest.fixture(scope="module")
def families(rows: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    count = len(rows) // synth.FAMILY
    return [rows[number::count] for number in range(count)]


def kind_of(row: dict[str, Any]) -> str:
    return goods.category_of(row["category"], row["product_category"])


def dollars(row: dict[str, Any]) -> list[float]:
    return [float(number) for number in re.findall(r"\$(\d+\.\d\d)", row["pricing"])]


def test_the_bytes_of_a_seed_never_change(tmp_path):
    """A change here needs a new ``VERSION``: users' goals would be other goals."""
    digest = hashlib.sha256(b"".join(contents(synth.make_catalogue(tmp_path / "a", 70, 0)))).hexdigest()
    assert digest == DIGEST_OF_70


def test_another_seed_gives_another_catalogue(tmp_path):
    first, again, other = (
        contents(synth.make_catalogue(tmp_path / name, 35, s)) for name, s in zip("abc", (1, 1, 2), strict=True)
    )
    assert first == again
    assert all(one != two for one, two in zip(first, other, strict=True))


def test_default_set_has_the_original_names_and_form(folder, rows):
    assert sorted(path.name for path in folder.iterdir()) == sorted([*FILES, synth.NOUNS_FILE])
    assert len(rows) == synth.PRODUCTS
    assert len({row["asin"] for row in rows}) == len(rows)
    assert all(re.fullmatch(r"[A-Z0-9]{10}", row["asin"]) for row in rows)
    assert all(re.fullmatch(r"|\$\d+\.\d\d(\$\d+\.\d\d)?", row["pricing"]) for row in rows)
    assert {len(dollars(row)) for row in rows} == {0, 1, 2}
    assert all(row["images"] and " › " in row["product_category"] for row in rows)


def test_other_sizes_have_the_names_of_the_full_set(tmp_path):
    folder = synth.make_catalogue(tmp_path / "few", 3)
    assert (folder / "items_shuffle.json").is_file() and (folder / "items_ins_v2.json").is_file()
    assert all(json.loads(content) is not None for content in contents(folder))


def test_half_of_the_names_are_short(rows):
    words = [len(row["name"].split()) for row in rows]
    assert sum(count <= 5 for count in words) >= len(words) / 2
    assert max(words) <= 8


def test_every_kind_has_as_many_goals(rows, folder):
    kinds = {row["asin"]: kind_of(row) for row in rows}
    counts: dict[str, int] = defaultdict(int)
    for asin, entries in read(folder / FILES[2]).items():
        counts[kinds[asin]] += len(entries)
    assert sum(counts.values()) == synth.GOALS * synth.PRODUCTS // synth.FAMILY
    assert set(counts) == set(goods.TASK_TYPES)
    assert max(counts.values()) - min(counts.values()) <= synth.GOALS


def test_goals_ask_for_what_their_product_has(rows, folder):
    by_asin, instructions = {row["asin"]: row for row in rows}, read(folder / FILES[1])
    for asin, entries in read(folder / FILES[2]).items():
        row = by_asin[asin]
        offered = {v["value"] for values in row["customization_options"].values() for v in values}
        for entry in entries:
            assert set(entry["instruction_options"]) <= offered
            assert len(entry["instruction_options"]) == len(row["customization_options"])
            assert entry["instruction_attributes"] == instructions[asin]["instruction_attributes"]
            assert set(entry["instruction_attributes"]) <= set(instructions[asin]["attributes"])
            assert all(text in entry["instruction"] for text in entry["instruction_attributes"])
        assert dollars(row), "a limit needs a price"
    assert set(instructions) == set(by_asin)


def test_a_feature_of_electronics_is_told_on_the_features_page_only(families, folder):
    instructions = read(folder / FILES[1])
    for family in (f for f in families if kind_of(f[0]) == "electronics"):
        wanted = {instructions[row["asin"]].get("instruction_attributes", [""])[0] for row in family} - {""}
        assert len(wanted) == 1
        feature = wanted.pop()
        holding = [feature in " ".join(row["small_description"]).lower() for row in family]
        assert sum(holding) == synth.GOALS
        indexed = [" ".join([row["name"], row["full_description"], row["small_description"][0]]) for row in family]
        assert not any(feature in text.lower() for text in indexed)
        assert len({row["name"] for row in family}) == len(family)


def test_only_the_cheapest_of_a_home_family_is_below_the_limit_for_sure(families, folder):
    goals = read(folder / FILES[2])
    for family in (f for f in families if kind_of(f[0]) == "home"):
        cheapest, *others = sorted(family, key=dollars)
        assert [row["asin"] in goals for row in family].count(True) == 1
        assert cheapest["asin"] in goals
        assert dollars(others[0])[0] >= dollars(cheapest)[0] + 39.99


def test_names_differ_by_feature_in_the_other_families(families):
    for family in (f for f in families if kind_of(f[0]) not in ("home", "electronics")):
        assert len({row["small_description"][1] for row in family}) == synth.FAMILY


@pytest.mark.parametrize("kind", goods.TASK_TYPES)
def test_values_and_features_cannot_be_taken_for_each_other(kind):
    """By the reward's own rule: a neighbour of what is wanted earns nothing, the wanted value always counts."""
    sold = goods.GOODS[kind]
    assert not [pair for pair in itertools.combinations([*sold.features, *goods.EXTRAS], 2) if similar(*pair)]
    for name, values in {**sold.options, **goods.GARDEN_OPTIONS}.items():
        for value in values:
            assert options_met([value], [value]) == options_met([value], [(name, value)]) == 1
            others = [other for other in values if color_of(other) != color_of(value)]
            assert not any(options_met([other], [value]) for other in others)


def test_nouns_are_known_for_every_name(rows, folder):
    cache = json.loads(gzip.decompress((folder / synth.NOUNS_FILE).read_bytes()))
    assert cache["tagger"] == goods_nouns.TAGGER
    assert set(cache["nouns"]) == {row["name"] for row in rows}
    assert all(
        row["query"].removesuffix("s") in [n.removesuffix("s") for n in cache["nouns"][row["name"]]] for row in rows
    )


@pytest.mark.parametrize(
    ("category", "path", "kind"),
    [
        ("fashion", "Clothing, Shoes & Jewelry › Women › Clothing › Dresses", "apparel"),
        ("fashion", "Clothing, Shoes & Jewelry › Women › Shoes › Pumps", "footwear"),
        ("fashion", "Clothing, Shoes & Jewelry › Men › Accessories › Belts", "accessories"),
        ("fashion", "Clothing, Shoes & Jewelry › Luggage & Travel Gear › Backpacks", "accessories"),
        ("electronics", "Cell Phones & Accessories › Cases, Holsters & Sleeves › Basic Cases", "electronics"),
        ("garden", "Home & Kitchen › Furniture › Living Room Furniture › Tables", "home"),
        ("garden", "Patio, Lawn & Garden › Gardening › Seeds", "other"),
        ("beauty", "Beauty & Personal Care › Oral Care › Toothbrushes & Accessories", "beauty"),
        ("grocery", "Grocery & Gourmet Food › Snack Foods › Bars", "other"),
        ("", "Electronics › Home Audio", "electronics"),
        ("", "Home & Kitchen › Bath", "home"),
        ("", "", "other"),
    ],
)
def test_category_of(category, path, kind):
    assert goods.category_of(category, path) == kind


def test_bad_rows_come_on_request_and_are_left_out_by_the_reader(tmp_path):
    good = synth.make_catalogue(tmp_path / "good", 35)
    bad = synth.make_catalogue(tmp_path / "bad", 35, bad_rows=True)
    clean, mixed = (read(folder / "items_shuffle.json") for folder in (good, bad))
    assert mixed[:35] == clean
    assert {"nan", "B0TOOLONGBYFAR", clean[0]["asin"]} <= {row["asin"] for row in mixed[35:]}
    catalog = open_catalog(bad, cache=tmp_path / "cache")
    assert 35 < len(catalog) < len(mixed)
    assert len(open_catalog(good, cache=tmp_path / "cache")) == 35


def test_memory_does_not_grow_with_the_catalogue(tmp_path):
    peaks = []
    for products in (140, 560):
        tracemalloc.start()
        synth.make_catalogue(tmp_path / str(products), products)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.3 * peaks[0] + 100_000


@pytest.mark.parametrize("products", [0, -1, synth.MOST])
def test_impossible_numbers_are_refused(tmp_path, products):
    with pytest.raises(ConfigError, match=str(products)):
        synth.make_catalogue(tmp_path / "x", products)
    assert not (tmp_path / "x").exists()


def test_codes_are_all_different():
    assert len({synth.asin_of(index, 3) for index in range(5_000)}) == 5_000


def test_a_catalogue_is_never_written_over(tmp_path):
    folder = synth.make_catalogue(tmp_path, 7)
    before = contents(folder)
    with pytest.raises(ConfigError, match="already holds"):
        synth.make_catalogue(tmp_path, 7, seed=1)
    assert contents(folder) == before


def test_the_cached_set_is_made_once(tmp_path, monkeypatch):
    monkeypatch.setenv("SDAR_CACHE", str(tmp_path))
    folder = synth.ensure_catalogue(14, 5)
    assert tmp_path in folder.parents
    stamp = (folder / synth.NOUNS_FILE).stat().st_mtime_ns
    assert synth.ensure_catalogue(14, 5) == folder
    assert (folder / synth.NOUNS_FILE).stat().st_mtime_ns == stamp
    names = sorted(path.name for path in folder.parent.iterdir())
    assert names == [folder.name, f"{folder.name}-digests.json"]
