"""Differences between two banks."""

from __future__ import annotations

from dataclasses import replace

from sdar_cli.skills.bank import load_bank
from sdar_cli.skills.diff import diff_banks
from sdar_cli.skills.write import renamed, write_bank

BANK = load_bank("alfworld")
HEAT, COOL = "pick_heat_then_place_in_recep", "pick_cool_then_place_in_recep"


def test_a_bank_equals_itself():
    record = diff_banks(BANK, BANK)
    assert record["same"]
    assert not any(record[key] for key in ("bank", "added", "removed", "changed", "keywords", "order"))


def test_every_kind_of_change(tmp_path):
    skills = [s for s in BANK.skills if s.id != COOL] + [replace(BANK.of(COOL)[0], id="chill")]
    skills = [replace(s, brief="heat.", text=s.text.replace("a mug", "a pan")) if s.id == HEAT else s for s in skills]
    words = {**BANK.categories, HEAT: ("heat", "boiling", "warm")}
    turned = dict([*list(words.items())[1:], *list(words.items())[:1]])
    other = write_bank(renamed(BANK, version="2", skills=skills, categories=turned), tmp_path / "b")
    record = diff_banks(BANK, other)
    assert not record["same"] and record["sha256"] == [BANK.sha256, other.sha256]
    assert record["bank"] == {"version": ["1.0.0", "2"]}
    assert [s["id"] for s in record["added"]] == ["chill"] and [s["id"] for s in record["removed"]] == [COOL]
    (change,) = record["changed"]
    assert change["id"] == HEAT and set(change["fields"]) == {"brief", "text"}
    changed = [line for line in change["diff"] if line[:1] in "+-" and line[:3] not in ("+++", "---")]
    assert [line[:36] for line in changed] == [
        "-1. Find the object: food, a mug, a ",
        "+1. Find the object: food, a pan, a ",
    ]
    assert record["keywords"] == {HEAT: {"added": ["boiling"], "removed": ["hot"]}}
    assert record["order"] == [list(BANK.categories), list(turned)]


def test_a_new_category_is_no_new_order(tmp_path):
    extra = replace(BANK.skills[1], id="x", category="new")
    more = {"new": ("brand new",), **BANK.categories}
    other = write_bank(renamed(BANK, skills=[*BANK.skills, extra], categories=more), tmp_path / "b")
    record = diff_banks(BANK, other)
    assert record["order"] is None and record["keywords"] == {"new": {"added": ["brand new"], "removed": []}}
