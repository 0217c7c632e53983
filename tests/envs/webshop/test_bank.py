"""The bundled WebShop bank: its categories are the task types, and its briefs say what the expert does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from choosing import retrieve

from sdar_cli.envs.base import Task
from sdar_cli.envs.webshop.catalogue.goods import GOODS, PLURAL, TASK_TYPES, category_of
from sdar_cli.envs.webshop.catalogue.synth import make_catalogue
from sdar_cli.envs.webshop.expert import PROCEDURES
from sdar_cli.skills.bank import load_bank
from sdar_cli.skills.choose.strategies import match_keyword, skill_text

BANK = load_bank("webshop")
BRIEFS = {
    "general": "search feature and item, open a fitting result, buy last.",
    "apparel": "choose color, then size, then buy.",
    "footwear": "choose size, then width, then buy.",
    "home": "open the cheapest fitting result, choose style, then buy.",
    "electronics": "read features; if the feature is missing try the next result; choose power, then buy.",
    "accessories": "choose material, then color, then buy.",
    "beauty": "choose scent, then size, then buy.",
    "other": "choose flavor or variety, then pack, then buy.",
}


def test_bank_loads_with_a_category_per_task_type():
    assert (BANK.name, BANK.environment, BANK.licence) == ("webshop", "webshop", "Apache-2.0")
    assert set(BANK.categories) == set(TASK_TYPES)
    assert {skill.category: skill.brief for skill in BANK.skills} == BRIEFS


@pytest.mark.parametrize("skill", BANK.skills, ids=lambda skill: skill.id)
def test_texts_have_a_readable_length(skill):
    assert 120 <= len(skill.text.split()) <= 250
    assert "\n" not in skill.when


@pytest.mark.parametrize("kind", TASK_TYPES)
def test_brief_names_the_steps_of_the_expert_in_order(kind):
    procedure, brief = PROCEDURES[kind], BRIEFS[kind]
    places = [brief.index(name) for name in procedure.options]
    assert places == sorted(places)
    assert ("cheapest" in brief) == procedure.cheapest
    assert not procedure.check or procedure.check in brief
    offered = set(GOODS[kind].options) | ({"variety"} if kind == "other" else set())
    assert set(procedure.options) == offered


@pytest.mark.parametrize("kind", TASK_TYPES)
def test_retrieval_by_type_shows_general_and_category(kind):
    chosen = retrieve(BANK, Task("0", kind, "train"), "", "task-type")
    assert skill_text(chosen, "brief") == f"{BRIEFS['general']} {BRIEFS[kind]}"


def test_keywords_find_the_category_of_every_synthetic_instruction(tmp_path: Path):
    folder = make_catalogue(tmp_path / "shop")
    rows = {row["asin"]: row for row in json.loads((folder / "items_shuffle_1000.json").read_text())}
    texts = [(e["asin"], e["instruction"]) for es in _load(folder / "items_human_ins.json").values() for e in es]
    texts += [(asin, e["instruction"]) for asin, e in _load(folder / "items_ins_v2_1000.json").items() if len(e) > 1]
    wrong = []
    for asin, text in texts:
        kind = category_of(rows[asin]["category"], rows[asin]["product_category"])
        found = match_keyword(BANK, text)
        if found is None or found[0] != kind:
            wrong.append((text, kind, found))
    assert not wrong
    assert len(texts) > 900


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("i'm looking for white men's sneakers in a size 9", "footwear"),
        ("i want a clear phone case that is easy to install", "electronics"),
        ("find me a console table with storage", "home"),
        ("i need a pack of gluten free granola bars", "other"),
        ("show me a black xx-large long sleeve t-shirt", "apparel"),
        ("i would like a sulfate free shampoo, 8 fl oz", "beauty"),
        ("get me a leather crossbody handbag", "accessories"),
    ],
)
def test_keywords_find_the_category_of_other_requests(text, kind):
    found = match_keyword(BANK, text)
    assert found and found[0] == kind


def test_every_noun_of_the_catalogue_is_a_keyword_of_its_kind():
    for kind, goods in GOODS.items():
        for noun in goods.nouns:
            assert noun in BANK.categories[kind]
            assert noun in PLURAL or kind == "other" or f"{noun}s" in BANK.categories[kind]


def _load(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))
