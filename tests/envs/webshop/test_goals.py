"""Goals: texts, limits, order and weights, by hand; against the original in test_verify."""

from __future__ import annotations

import itertools
import random
from pathlib import Path
from typing import Any

import pytest
from webshop_material import options, row, wish, write

from sdar_cli.base.errors import PrerequisiteError
from sdar_cli.envs.webshop.catalogue.catalog import open_catalog
from sdar_cli.envs.webshop.store.goals import NO_LIMIT, SHUFFLE_SEED, Goals, Kind, draw, load_goals, price_limit


def load(folder: Path, rows: list[Any], ins: dict[str, Any], human: dict[str, Any], kind: Kind, **how: Any) -> Goals:
    return load_goals(open_catalog(write(folder, rows, ins, human), cache=folder / "cache"), kind, **how)


def template(text: str | None, attributes: Any) -> dict[str, Any]:
    return {"attributes": ["x"], "instruction": text, "instruction_attributes": attributes}


@pytest.mark.parametrize(
    ("price", "steps"),
    [
        (5.0, (10, 20, 30, 40)),
        (10.0, (20, 30, 40, 50)),  # a step must be above the price
        (969.0, (970, 980, 990)),
        (979.99, (980, 990)),
        (980.0, ()),  # only 990 is left: no limit
        (2000.0, ()),
    ],
)
def test_the_limit_is_the_larger_of_two_of_the_next_four_steps(price: float, steps: tuple[int, ...]) -> None:
    found = {price_limit(price, random.Random(seed)) for seed in range(200)}
    assert found == ({float(step) for step in steps[1:]} if steps else {NO_LIMIT})


def test_no_draw_without_a_limit() -> None:
    rng = random.Random(1)
    state = rng.getstate()
    price_limit(985.0, rng)
    assert rng.getstate() == state


def test_human_goals(tmp_path: Path) -> None:
    rows = [row("A", pricing="$2000"), row("B", pricing="$5")]
    human = {
        "B": [wish("..a rug...", ["soft"], ["red"]), wish("nothing asked", [], [])],
        "GONE": [wish("x", ["y"], [])],
        "A": [wish("a table. ", ["solid wood", "round"], [])],
    }
    goals = load(tmp_path, rows, {}, human, "human")
    table, rug = sorted(goals, key=lambda goal: goal.asin)
    assert (table.instruction, table.price_upper, table.options) == ("a table. ", NO_LIMIT, ())
    assert rug.instruction == f"a rug, and price lower than {rug.price_upper:.2f} dollars"
    assert (rug.attributes, rug.options, rug.weight) == (("soft",), ("red",), 1.0)
    assert (rug.category, rug.query, rug.title) == ("garden", "side tables", "Name B")
    assert goals.skipped == {"of a product that is not in the catalogue": 1, "no attributes": 1}
    assert goals.cumulative_weights == [0.0, 1.0, 2.0]


def test_synthetic_goals_are_one_per_choice_of_options(tmp_path: Path) -> None:
    choices = options(size=["s", "m", "l"], Color=["red", "red", "teal"])
    rows = [row("A", customization_options=choices, pricing="$2000"), row("B", pricing="$2000")]
    ins = {"A": template("Find it", ["soft", "round"]), "B": template("Find that", ["soft"])}
    goals = load(tmp_path, rows, ins, {}, "synthetic")
    made = [("A", pairs) for pairs in itertools.product(("red", "red", "teal"), ("s", "m", "l"))] + [("B", ())]
    random.Random(SHUFFLE_SEED).shuffle(made)
    assert [(goal.asin, tuple(value for _, value in goal.options)) for goal in goals] == made
    first = next(goal for goal in goals if goal.options == (("color", "teal"), ("size", "m")))
    assert first.instruction == "Find it with color: teal, and size: m"
    # 'soft' is asked for in 9 + 1 goals, 'round' in 9
    assert first.weight == (1 / 10 + 1 / 9) / 2
    assert next(goal.weight for goal in goals if goal.asin == "B") == 1 / 10


def test_synthetic_entries_without_goals_are_counted(tmp_path: Path) -> None:
    rows = [row("A", customization_options={"Color": []}), row("B"), row("C"), row("D"), row("E")]
    ins = {"A": template("a", ["x"]), "B": template("b", []), "C": template(None, None), "D": template("d", ["x"])}
    goals = load(tmp_path, rows, ins, {}, "synthetic")
    assert [goal.asin for goal in goals] == ["D"]
    assert goals.skipped == {
        "no items_ins entry, original fails": 1,
        "no instruction_attributes, original fails": 1,
        "an option has no values": 1,
    }
    # the product without values has its limit drawn all the same, so D's is the second draw
    rng = random.Random(4)
    price_limit(5.0, rng)
    assert goals[0].price_upper == price_limit(5.0, rng)
    no_entry, without = goals.failing
    assert no_entry == f"row 4 (from 0), E, of {tmp_path / 'items_shuffle.json'}: no items_ins entry"
    assert without == f"the entry of B in {tmp_path / 'items_ins_v2.json'}: no instruction_attributes"
    with pytest.raises(
        PrerequisiteError, match=r"row 4 \(from 0\), E, of .*items_shuffle.json cannot be used"
    ) as caught:
        load(tmp_path, rows, ins, {}, "synthetic", strict=True)
    assert caught.value.why == "no items_ins entry; the original fails on it"
    rows, ins = rows[:4], ins | {"B": template("b", None)}
    with pytest.raises(PrerequisiteError, match=r"the entry of B in .*items_ins_v2.json"):
        load(tmp_path / "other", rows, ins, {}, "synthetic", strict=True)


@pytest.mark.parametrize(
    "entry", [None, {"instruction": None}, {"instruction": "x", "instruction_attributes": ["a"]}, {"instruction": "x"}]
)
def test_a_human_entry_the_original_fails_on(tmp_path: Path, entry: Any) -> None:
    goals = load(tmp_path, [row("A")], {}, {"A": [entry, wish("x", ["a"], [])]}, "human")
    assert len(goals) == 1
    assert goals.skipped == {"not as expected, original fails": 1}
    with pytest.raises(PrerequisiteError, match=r"entry 0 \(from 0\) of A in .*items_human_ins.json cannot be used"):
        load(tmp_path, [row("A")], {}, {"A": [entry, wish("x", ["a"], [])]}, "human", strict=True)


def test_an_entry_without_attributes_is_left_out_before_anything_else_of_it_is_read(tmp_path: Path) -> None:
    entries = [{"instruction_attributes": []}, wish("x", ["a"], [])]
    goals = load(tmp_path, [row("A")], {}, {"A": entries}, "human", strict=True)
    assert len(goals) == 1 and goals.skipped == {"no attributes": 1}


def test_missing_goals_are_errors(tmp_path: Path) -> None:
    with pytest.raises(PrerequisiteError, match="no human goal"):
        load(tmp_path, [row("A")], {}, {}, "human")
    found = open_catalog(tmp_path, cache=tmp_path / "cache")
    for broken in ("[]", "{"):
        (tmp_path / "items_human_ins.json").write_text(broken)
        with pytest.raises(PrerequisiteError, match="cannot be read"):
            load_goals(found, "human")
    (tmp_path / "items_human_ins.json").unlink()
    with pytest.raises(PrerequisiteError, match="cannot be read"):
        load_goals(found, "human")


def test_goals_are_a_sequence(tmp_path: Path) -> None:
    rows = [row(f"A{number}") for number in range(5)]
    goals = load(tmp_path, rows, {f"A{n}": template(f"find {n}", ["x"]) for n in range(5)}, {}, "synthetic")
    assert [goal.index for goal in goals] == list(range(5))
    assert goals[-1] == goals[4]
    assert goals[1:3] == [goals[1], goals[2]]
    with pytest.raises(IndexError):
        goals[5]


def test_another_price_seed_gives_other_limits_in_the_same_order(tmp_path: Path) -> None:
    rows = [row(f"A{number:02d}") for number in range(30)]
    human = {r["asin"]: [wish("x", ["a"], [])] for r in rows}
    one = load(tmp_path, rows, {}, human, "human")
    two = load(tmp_path, rows, {}, human, "human", price_seed=5)
    assert [goal.asin for goal in one] == [goal.asin for goal in two]
    assert [goal.price_upper for goal in one] != [goal.price_upper for goal in two]


def test_a_limit_draws_by_weight_after_the_shuffle(tmp_path: Path) -> None:
    rows = [row(f"A{number:02d}") for number in range(20)]
    human = {r["asin"]: [wish("x", ["a"], [])] for r in rows}
    goals = load(tmp_path, rows, {}, human, "human")
    order = [goal.asin for goal in goals]
    rng = random.Random(SHUFFLE_SEED)
    rng.shuffle(list(range(20)))
    expected: list[int] = []
    while len(expected) < 6:
        number = min(int(rng.uniform(0, 20)) + 1, 19)  # all weights are 1, and the original is one too high
        if number not in expected:
            expected.append(number)
    goals.limit(6)
    assert [goal.asin for goal in goals] == [order[number] for number in expected]
    assert goals.cumulative_weights == [0, 1, 2, 3, 4, 5, 6]
    goals.limit(100)
    assert len(goals) == 6


def test_a_draw_is_one_too_high_as_in_the_original() -> None:
    """Weights 1, 0 and 3: a place in the first goal's share gives number 1, in the third's 3, held down to 2."""
    rng = random.Random(0)
    counts = [0, 0, 0]
    for _ in range(6000):
        counts[draw([0.0, 1.0, 1.0, 4.0], rng)] += 1
    assert counts[0] == 0
    assert 1400 < counts[1] < 1600


def test_the_global_generator_is_left_alone(tmp_path: Path) -> None:
    state = random.getstate()
    load(tmp_path, [row("A", pricing="$1$9")], {}, {"A": [wish("x", ["a"], [])]}, "human")
    assert random.getstate() == state
