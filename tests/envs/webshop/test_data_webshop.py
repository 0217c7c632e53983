"""``sdar data make webshop`` and ``sdar data verify webshop`` as a user or a script meets them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from webshop_material import row, wish, write

from sdar_cli.cli import main
from sdar_cli.envs.webshop.catalogue.goods_nouns import TAGGER

FILES = ["items_human_ins.json", "items_ins_v2.json", "items_shuffle.json", "nouns.json.gz"]


class Result(NamedTuple):
    code: int
    out: str
    err: str


Sdar = Callable[..., Result]


@pytest.fixture
def sdar(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sdar:
    monkeypatch.setenv("SDAR_CACHE", str(tmp_path / "cache"))

    def run(*words: str | Path) -> Result:
        with pytest.raises(SystemExit) as caught:
            main(["data", *map(str, words)])
        captured = capsys.readouterr()
        return Result(int(caught.value.code or 0), captured.out, captured.err)

    return run


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}


def test_a_catalogue_is_made_once(sdar: Sdar, tmp_path: Path) -> None:
    words = ("make", "webshop", "--products", "12", "--seed", "3", "--out", tmp_path / "shop", "--json")
    made = sdar(*words)
    assert made.code == 0, made.err
    record = json.loads(made.out)
    assert record == {
        "out": str(tmp_path / "shop"),
        "generator": 3,
        "products": 12,
        "seed": 3,
        "bad_rows": False,
        "files": FILES,
    }
    before = contents(tmp_path / "shop")
    assert sorted(before) == ["catalogue.json", *FILES]  # nothing half made is left
    assert len(json.loads(before["items_shuffle.json"][0])) == 12
    again = sdar(*words)
    assert json.loads(again.out) == record and contents(tmp_path / "shop") == before


def test_without_a_folder_it_comes_here(sdar: Sdar, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert sdar("make", "webshop", "--products", "12", "--seed", "3").code == 0
    assert (tmp_path / "webshop-12-3" / "items_shuffle.json").is_file()
    alfworld = sdar("make", "alfworld")
    assert alfworld.code == 2 and "Missing option '--out'" in alfworld.err


def test_a_folder_with_anything_else_is_refused(sdar: Sdar, tmp_path: Path) -> None:
    words = ("make", "webshop", "--products", "5", "--out", tmp_path / "shop")
    assert sdar(*words).code == 0
    before = contents(tmp_path / "shop")
    for more in (("--seed", "1"), ("--bad-rows",)):
        other = sdar(*words, *more)
        assert other.code == 2 and "already holds another catalogue" in other.err
        assert "products 5, seed 0, bad_rows False" in other.err
    assert contents(tmp_path / "shop") == before
    (tmp_path / "shop" / "nouns.json.gz").unlink()
    incomplete = sdar(*words)
    assert incomplete.code == 2 and "is incomplete: nouns.json.gz missing" in incomplete.err
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").touch()
    taken = sdar("make", "webshop", "--out", tmp_path / "other")
    assert taken.code == 2 and "already holds files" in taken.err and "thesis.txt" in taken.err
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["thesis.txt"]
    (tmp_path / "empty").mkdir()
    assert sdar("make", "webshop", "--products", "5", "--out", tmp_path / "empty").code == 0


def test_verify_counts_what_is_there_and_what_is_left_out(sdar: Sdar, tmp_path: Path) -> None:
    shop = tmp_path / "shop"
    assert sdar("make", "webshop", "--products", "10", "--bad-rows", "--out", shop).code == 0
    result = sdar("verify", "webshop", "--data", shop, "--json")
    assert result.code == 0, result.err
    report = json.loads(result.out)
    assert report["products"] == report["indexed"] == 14  # the 10, and 4 odd rows that the original takes
    assert report["rows_left_out"] == {
        "asin 'nan'": 1,
        "asin over 10 characters": 1,
        "asin seen before": 1,
        "a price has no $": 1,
        "no image": 1,
    }
    assert report["bad_rows"] == [{"row": 13, "reason": "a price has no $"}, {"row": 14, "reason": "no image"}]
    assert report["goals"]["human"] == 6 and report["goals"]["synthetic"] > 6
    assert report["goals_left_out"]["human"] == {}
    assert report["tagger"] == TAGGER
    assert "row 13 (from 0): a price has no $" in result.err and "rows left out: 1 (no image)" in result.err


def test_strict_names_file_and_row(sdar: Sdar, tmp_path: Path) -> None:
    shop = tmp_path / "shop"
    assert sdar("make", "webshop", "--products", "10", "--bad-rows", "--out", shop).code == 0
    result = sdar("verify", "webshop", "--data", shop, "--strict")
    assert result.code == 3 and f"row 13 of {shop / 'items_shuffle.json'}" in result.err
    good = tmp_path / "good"
    assert sdar("make", "webshop", "--products", "10", "--out", good).code == 0
    assert sdar("verify", "webshop", "--data", good, "--strict").code == 0
    human = json.loads((good / "items_human_ins.json").read_text())
    asin = next(iter(human))
    human[asin].append({"instruction": "a lamp", "instruction_attributes": ["red"]})
    (good / "items_human_ins.json").write_text(json.dumps(human))
    place = f"entry 1 (from 0) of {asin} in {good / 'items_human_ins.json'}"
    lenient = sdar("verify", "webshop", "--data", good)
    assert lenient.code == 0 and f"{place}: not as expected; the original fails on it" in lenient.out
    strict = sdar("verify", "webshop", "--data", good, "--strict")
    assert strict.code == 3 and f"{place} cannot be used" in strict.err


def test_without_data_the_cached_catalogue_is_checked(sdar: Sdar, monkeypatch: pytest.MonkeyPatch) -> None:
    from sdar_cli.envs.webshop import commands as data_webshop

    ensure = data_webshop.ensure_catalogue
    monkeypatch.setattr(data_webshop, "ensure_catalogue", lambda: ensure(products=5))
    result = sdar("verify", "webshop")
    assert result.code == 0 and "5 products of" in result.out and "the catalogue can be used" in result.out


def test_no_catalogue_is_a_prerequisite(sdar: Sdar, tmp_path: Path) -> None:
    result = sdar("verify", "webshop", "--data", tmp_path / "none")
    assert result.code == 3 and "items_shuffle_1000.json" in result.err


@pytest.fixture
def golden(tmp_path: Path) -> tuple[Path, Path]:
    """A catalogue whose single goal has no price limit, and golden files for it written by hand."""
    data = write(tmp_path / "data", [row("A", pricing="$2000")], {}, {"A": [wish("a table.", ["x"], [])]})
    goal: dict[str, Any] = {"idx": 0, "asin": "A", "instruction_text": "a table", "attributes": ["x"]}
    goal |= {"price_upper": 1000000, "goal_options": [], "weight": 1, "category": "garden", "query": "side tables"}
    goal |= {"product_category": "Home › Tables › Side", "name": "Name A"}
    out = tmp_path / "golden"
    out.mkdir()
    (out / "golden_goals_human.jsonl").write_text(json.dumps(goal) + "\n")
    (out / "golden_prices_human.json").write_text(json.dumps({"seed_before_load": 4, "prices": {"A": 2000}}))
    return data, out


def test_against_golden_files(sdar: Sdar, golden: tuple[Path, Path]) -> None:
    data, out = golden
    words = ("verify", "webshop", "--data", data, "--against", out)
    good = sdar(*words)
    assert good.code == 0, good.err
    assert good.out.splitlines() == [
        "golden_goals_human.jsonl: 1 of 1 records agree",
        "golden_prices_human.json: 1 of 1 records agree",
        f"all 2 records agree with the original's in {out}",
    ]
    path = out / "golden_goals_human.jsonl"
    path.write_text(path.read_text().replace("a table", "a chair"))
    bad = sdar(*words, "--json")
    assert bad.code == 1
    report = json.loads(bad.out)
    assert (report["records"], report["differ"]) == (2, 1)
    assert report["files"]["golden_prices_human.json"] == {
        "records": 1,
        "agree": 1,
        "documented_deviations": 0,
        "differences": [],
    }
    assert report["files"]["golden_goals_human.jsonl"]["differences"] == [
        {"record": 0, "what": "goal instruction_text", "expected": '"a chair"', "found": '"a table"'}
    ]
    assert 'record 0, goal instruction_text: expected "a chair", found "a table"' in bad.err
    assert f"1 of 2 records differ from {out}" in bad.err


@pytest.mark.parametrize(
    ("words", "option"),
    [
        (("make", "webshop", "--out", "x", "--games", "200"), "--games"),
        (("make", "webshop", "--out", "x", "--no-check"), "--no-check"),
        (("make", "webshop", "--out", "x", "--split", "eval"), "--split"),
        (("make", "alfworld", "--out", "x", "--products", "5"), "--products"),
        (("make", "alfworld", "--out", "x", "--bad-rows"), "--bad-rows"),
        (("verify", "webshop", "--replay"), "--replay"),
        (("verify", "webshop", "--workers", "2"), "--workers"),
        (("verify", "alfworld", "--against", "x"), "--against"),
        (("verify", "alfworld", "--strict"), "--strict"),
    ],
)
def test_options_of_the_other_environment_are_refused(
    sdar: Sdar, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], option: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = sdar(*words)
    assert result.code == 2 and f"No such option: {option}" in result.err
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("command", ["make", "verify"])
def test_help_gives_examples(sdar: Sdar, command: str) -> None:
    assert sdar(command, "webshop", "--help").out.count(f"sdar data {command} webshop") >= 2
