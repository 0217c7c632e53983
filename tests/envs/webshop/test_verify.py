"""Golden files: the original's own, all of them, and small ones of this engine with one thing changed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import webshop_material as material
from webshop_material import options, row, wish, write

from sdar_cli.base.errors import PrerequisiteError
from sdar_cli.envs.webshop.catalogue.catalog import open_catalog
from sdar_cli.envs.webshop.catalogue.nouns import NOUNS_FILE, Nouns, write_nouns
from sdar_cli.envs.webshop.lucene.analyzer import analyze
from sdar_cli.envs.webshop.lucene.bm25 import Index
from sdar_cli.envs.webshop.parity.verify import SHOWN, Difference, FileReport, Report, verify
from sdar_cli.envs.webshop.store.goals import Kind, load_goals
from sdar_cli.envs.webshop.store.shop import Shop

GOALS, PRICES, REWARDS = "golden_goals_human.jsonl", "golden_prices_human.json", "golden_rewards.jsonl"
EPISODES, EDGE = "golden_episodes_show_attrs.jsonl", "golden_edge.jsonl"
SEARCH, ANALYZER, NOUNS = "golden_search.jsonl", "golden_analyzer.jsonl", "golden_nouns.jsonl"
SEED = 11
"""Of the prices in the small golden files; not the usual one."""


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDAR_CACHE", str(tmp_path_factory.getbasetemp() / "verify-cache"))


# -- The original's files


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> dict[str, FileReport]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SDAR_CACHE", str(tmp_path_factory.mktemp("cache")))
        report = verify(material.CATALOGUE, material.GOLDEN)
    assert report.tagger == NOUNS
    return {file.name: file for file in report.files}


@material.needs_golden
@pytest.mark.parametrize(
    ("name", "records", "deviations"),
    [
        ("golden_goals_human.jsonl", 358, 0),
        ("golden_goals_synthetic.jsonl", 3766, 0),
        ("golden_prices_human.json", 1000, 0),
        ("golden_prices_synthetic.json", 1000, 0),
        ("golden_rewards.jsonl", 2000, 0),
        ("golden_episodes.jsonl", 170, 0),
        ("golden_episodes_show_attrs.jsonl", 6, 0),
        ("golden_edge.jsonl", 23, 2),
        ("golden_search.jsonl", 710, 0),
        ("golden_analyzer.jsonl", 1500, 0),
    ],
)
def test_everything_is_as_in_the_original(
    original: dict[str, FileReport], name: str, records: int, deviations: int
) -> None:
    assert original[name] == FileReport(name, records, records, deviations, [])


# -- Small files


def catalogue(folder: Path) -> Path:
    rows = [
        row("A", name="Oak Table", pricing="$5$90", customization_options=options(Color=["red", "blue"])),
        row("B", name="Oak Chair", pricing="$700", query="chairs", product_category="Home"),
        row("C", name="Steel Lamp", category="beauty"),
    ]
    human = {
        "A": [wish("an oak table", ["solid wood"], ["red"])],
        "B": [wish("a chair", ["soft"], [])],
    }
    ins = {
        "A": {"attributes": ["solid wood"], "instruction": "Find it", "instruction_attributes": ["solid wood"]},
        "B": {"attributes": ["soft"]},
        "C": {"attributes": ["bright"]},
    }
    return write(folder, rows, ins, human)


class Recorder:
    """Golden files as the original would write them, made by this engine."""

    def __init__(self, data: Path, out: Path) -> None:
        self.catalog = open_catalog(data, cache=out)
        self.index = Index.build(self.catalog.texts(), out / "index", keys=self.catalog.asins())
        self.nouns = {product.title: product.title.lower().split() for product in self.catalog}
        self.goals = {kind: load_goals(self.catalog, kind, price_seed=SEED) for kind in kinds()}

    def shop(self, kind: Kind, **how: Any) -> Shop:
        return Shop(self.catalog, self.goals[kind], self.index, Nouns(self.nouns, "made"), **how)

    def goal(self, kind: Kind, number: int) -> dict[str, Any]:
        goal = self.goals[kind][number]
        wanted: Any = dict(goal.options) if kind == "synthetic" else list(goal.options)  # type: ignore[arg-type]
        return {
            "asin": goal.asin,
            "instruction_text": goal.instruction,
            "attributes": list(goal.attributes),
            "price_upper": goal.price_upper,
            "goal_options": wanted,
            "weight": goal.weight,
            "category": goal.category,
            "query": goal.query,
            "product_category": goal.product_category,
            "name": goal.title,
        }

    def prices(self, kind: Kind) -> dict[str, Any]:
        prices = self.goals[kind].prices.tolist()
        return {"seed_before_load": SEED, "prices": dict(zip(self.catalog.asins(), prices, strict=True))}

    def episode(self, kind: Kind, number: int, actions: list[str], **how: Any) -> dict[str, Any]:
        session = self.shop(kind, **how).start(number)

        def seen() -> dict[str, Any]:
            bar = {"has_search_bar": session.has_search_bar, "clickables": session.clickables}
            return {"obs": session.observation, "avail": bar}

        out = {"goals": kind, "session": number, "goal": self.goal(kind, number), "reset": seen(), "steps": []}
        for action in actions:
            turn = session.step(action)
            out["steps"].append({"action": action, "reward": turn.reward, "done": turn.done, **seen()})
        return out | ({"info": session.purchase.info()} if session.purchase else {})

    def reward(self, kind: Kind, number: int, asin: str, color: str) -> dict[str, Any]:
        session = self.shop(kind).start(number)
        for action in ["search[oak lamp]", f"click[{asin}]", f"click[{color}]"]:
            session.step(action)
        reward = session.step("click[buy now]").reward
        assert session.purchase is not None
        return {
            "goals": kind,
            "goal_idx": number,
            "goal": self.goal(kind, number),
            "asin": asin,
            "options": {"color": color},
            "price": self.prices(kind)["prices"][asin],
            "reward": reward,
            "info": session.purchase.info(),
            "attr_matches": session.purchase.attr_matches,
            "option_matches": session.purchase.option_matches,
        }


def kinds() -> tuple[Kind, ...]:
    return ("human", "synthetic")


def save(path: Path, rows: list[Any]) -> None:
    path.write_text("".join(json.dumps(line) + "\n" for line in rows), encoding="utf-8")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A catalogue, and a folder with golden files of every kind."""
    root = tmp_path_factory.mktemp("made")
    data, out = catalogue(root / "data"), root / "golden"
    out.mkdir()
    recorder = Recorder(data, root / "recorder")
    for kind in kinds():
        goals = range(len(recorder.goals[kind]))
        save(out / f"golden_goals_{kind}.jsonl", [{"idx": number, **recorder.goal(kind, number)} for number in goals])
        (out / f"golden_prices_{kind}.json").write_text(json.dumps(recorder.prices(kind)))
    table = next(number for number in range(2) if recorder.goals["human"][number].asin == "A")
    save(
        out / REWARDS,
        [recorder.reward("human", table, "A", "red"), recorder.reward("synthetic", 1, "A", "blue")],
    )
    actions = ["search[oak]", "click[a]", "click[attributes]", "click[< prev]", "click[red]", "click[buy now]"]
    save(out / EPISODES, [recorder.episode("human", table, actions, show_attrs=True)])
    edge = recorder.episode("synthetic", 0, ["search[<c>]", "search[table]"])
    edge |= {"reset": edge["reset"]["obs"], "steps": [{"action": "search[<c>]", "raises": "oops"}, edge["steps"][1]]}
    save(out / EDGE, [edge])
    hits = {query: recorder.index.search_scores(query) for query in ("oak table", "lamp", "none")}
    save(
        out / SEARCH,
        [
            {
                "query": query,
                "asins": [recorder.catalog.product(docid).asin for docid, _ in found],
                "scores": [round(score, 4) - 1e-6 for _, score in found],
            }
            for query, found in hits.items()
        ],
    )
    save(out / ANALYZER, [{"text": text, "tokens": analyze(text)} for text in ("Oak tables", "the")])
    save(out / NOUNS, [{"name": name, "nouns": nouns} for name, nouns in recorder.nouns.items()])
    return data, out


@pytest.fixture
def golden(made: tuple[Path, Path], tmp_path: Path) -> Path:
    """A copy of the golden files, to be changed."""
    return shutil.copytree(made[1], tmp_path / "golden")


def change(path: Path, number: int, edit: Callable[[Any], Any]) -> None:
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    edit(rows[number])
    save(path, rows)


def file(report: Report, name: str) -> FileReport:
    return next(file for file in report.files if file.name == name)


def test_all_of_it_agrees(made: tuple[Path, Path]) -> None:
    heard: list[FileReport] = []
    report = verify(*made, heard.append)
    assert heard == report.files
    assert {part.name: (part.agreeing, part.records, part.deviations) for part in report.files} == {
        GOALS: (2, 2, 0),
        "golden_goals_synthetic.jsonl": (2, 2, 0),
        PRICES: (3, 3, 0),
        "golden_prices_synthetic.json": (3, 3, 0),
        REWARDS: (2, 2, 0),
        EPISODES: (1, 1, 0),
        EDGE: (1, 1, 1),
        SEARCH: (3, 3, 0),
        ANALYZER: (2, 2, 0),
    }
    assert (report.records, report.differing, report.tagger) == (19, 0, NOUNS)


@pytest.mark.parametrize(
    ("name", "number", "edit", "what", "expected", "found"),
    [
        (GOALS, 1, lambda r: r.update(weight=2.0), "goal weight", "2.0", "1.0"),
        (REWARDS, 0, lambda r: r.update(reward=0.25), "purchase reward", "0.25", "1.0"),
        (REWARDS, 1, lambda r: r["info"].update(r_type=0.5), "purchase info r_type", "0.5", "1.0"),
        (REWARDS, 0, lambda r: r.update(option_matches=0), "purchase option_matches", "0", "1"),
        (REWARDS, 0, lambda r: r["goal"].update(category="x"), "goal category", '"x"', '"garden"'),
        (REWARDS, 0, lambda r: r.update(asin="Z"), "purchase", "product Z and goal", "nothing"),
        (EPISODES, 0, lambda r: r["steps"][4].update(obs="?"), "step 4 click[red] obs", '"?"', '"Instruction:'),
        (EPISODES, 0, lambda r: r["steps"][5].update(done=False), "step 5 click[buy now] done", "false", "true"),
        (EPISODES, 0, lambda r: r["steps"][5].update(reward=0.0), "step 5 click[buy now] reward", "0.0", "1.0"),
        (
            EPISODES,
            0,
            lambda r: r["steps"][1]["avail"]["clickables"].remove("attributes"),
            "step 1 click[a] avail clickables[5]",
            '"buy now"',
            '"attributes"',
        ),
        (EPISODES, 0, lambda r: r["steps"][0].update(url="http://x"), "step 0 search[oak] url", '"http://x"', "3000/"),
        (EPISODES, 0, lambda r: r["info"].update(r_att=0.5), "info r_att", "0.5", "1.0"),
        (EPISODES, 0, lambda r: r.update(session=9), "goal", "number 9", "nothing"),
        (EDGE, 0, lambda r: r.update(reset="WebShop"), "reset obs", '"WebShop"', '"WebShop [SEP]'),
        (
            EDGE,
            0,
            lambda r: r["steps"].insert(0, {"action": "search[oak]", "raises": "Oops"}),
            "step 0 search[oak]",
            "the original fails: Oops",
            '"Instruction:',
        ),
        (SEARCH, 0, lambda r: r["asins"].reverse(), 'search "oak table" products[0]', '"B"', '"A"'),
        (SEARCH, 0, lambda r: r["asins"].pop(), 'search "oak table" products[1:]', "[]", '["B"]'),
        (SEARCH, 1, lambda r: r["scores"].append(r["scores"].pop() + 2e-4), 'search "lamp" scores[0]', ".", "."),
        (ANALYZER, 0, lambda r: r["tokens"].append("x"), 'terms of "Oak tables"[2:]', '["x"]', "[]"),
    ],
)
def test_what_is_changed_is_found(
    made: tuple[Path, Path],
    golden: Path,
    name: str,
    number: int,
    edit: Callable[[Any], Any],
    what: str,
    expected: str,
    found: str,
) -> None:
    change(golden / name, number, edit)
    report = verify(made[0], golden)
    assert report.differing == 1
    (difference,) = file(report, name).differences
    assert (difference.record, difference.what) == (number, what)
    assert expected in difference.expected
    assert found in difference.found


def test_prices_and_goals_too_many_or_too_few(made: tuple[Path, Path], golden: Path) -> None:
    content = json.loads((golden / PRICES).read_text())
    price = content["prices"].pop("B")
    content["prices"] = {"A": content["prices"]["A"] + 1e-9, "C": 5.0, "D": 1.0}
    (golden / PRICES).write_text(json.dumps(content))
    (golden / GOALS).write_text((golden / GOALS).read_text().splitlines()[0])
    report = verify(made[0], golden)
    prices, goals = file(report, PRICES), file(report, GOALS)
    assert (prices.records, prices.agreeing) == (4, 1)
    assert [difference.what for difference in prices.differences] == ["price of A", "price of D", "price of B"]
    assert prices.differences[2] == Difference(3, "price of B", "nothing", str(price))
    assert (goals.records, goals.agreeing, goals.differences[0].expected) == (2, 1, "nothing")


def test_without_prices_the_usual_seed_is_used(made: tuple[Path, Path], golden: Path) -> None:
    (golden / PRICES).unlink()
    report = verify(made[0], golden)
    assert file(report, GOALS).agreeing < 2
    assert {difference.what for difference in file(report, GOALS).differences} == {"goal instruction_text"}


def test_nouns_come_from_the_golden_file_or_the_catalogue(
    made: tuple[Path, Path], golden: Path, tmp_path: Path
) -> None:
    rows = [{"name": name, "nouns": ["x", name]} for name in ("Oak Table", "Oak Chair", "Steel Lamp")]
    save(golden / NOUNS, rows)
    assert verify(made[0], golden).differing == 0  # a product still has its own nouns
    rows[0]["nouns"] = []
    save(golden / NOUNS, rows)
    assert file(verify(made[0], golden), REWARDS).agreeing == 0
    (golden / NOUNS).unlink()
    data = shutil.copytree(made[0], tmp_path / "data")
    write_nouns(data / NOUNS_FILE, [row["name"] for row in rows], Nouns({row["name"]: ["x"] for row in rows}, "own"))
    report = verify(data, golden)
    assert (report.tagger, file(report, REWARDS).agreeing) == ("own", 2)


def test_long_texts_are_shown_where_they_part_and_few_differences_are_kept(
    made: tuple[Path, Path], golden: Path
) -> None:
    save(golden / ANALYZER, [{"text": "oak", "tokens": ["no"]}] * (SHOWN + 3))
    change(golden / EPISODES, 0, lambda r: r["steps"][0].update(obs=r["steps"][0]["obs"].replace("Results", "R")))
    change(golden / EPISODES, 0, lambda r: r["steps"][0].update(obs=r["steps"][0]["obs"] + " more"))
    report = verify(made[0], golden)
    assert (file(report, ANALYZER).agreeing, len(file(report, ANALYZER).differences)) == (0, SHOWN)
    difference = file(report, EPISODES).differences[0]
    assert difference.expected.startswith('…"') and difference.expected.endswith(' more"')
    assert difference.found == difference.expected.removesuffix(' more"') + '"'
    assert str(difference).startswith("record 0, step 0 search[oak] obs: expected …")


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        (REWARDS, "{", "record 0 is not JSON"),
        (SEARCH, '{"query": "x"}', "record 0 has no asins"),
        (ANALYZER, '{"text": "x", "tokens": []}\n[]', "record 1 has no text, tokens"),
        (PRICES, '{"prices": {}}', "seed_before_load"),
        (PRICES, "[", "Expecting"),
    ],
)
def test_a_broken_golden_file_is_named(made: tuple[Path, Path], golden: Path, name: str, text: str, why: str) -> None:
    (golden / name).write_text(text)
    with pytest.raises(PrerequisiteError, match=name) as caught:
        verify(made[0], golden)
    assert why in caught.value.why


def test_golden_files_are_needed_and_any_will_do(made: tuple[Path, Path], tmp_path: Path, golden: Path) -> None:
    with pytest.raises(PrerequisiteError, match="no golden file"):
        verify(made[0], tmp_path)
    shutil.copy(golden / ANALYZER, tmp_path)
    report = verify(made[0], tmp_path)
    assert [str(part) for part in report.files] == [f"{ANALYZER}: 2 of 2 records agree"]
    assert report.tagger is None


def test_strict_refuses_what_the_original_fails_on(made: tuple[Path, Path], tmp_path: Path) -> None:
    data = write(tmp_path / "data", [row("A"), row("B", pricing="5")], {}, {"A": [wish("x", ["y"], [])]})
    with pytest.raises(PrerequisiteError, match="row 1 of"):
        verify(data, made[1], strict=True)
