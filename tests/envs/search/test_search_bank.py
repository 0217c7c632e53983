"""The bundled Search-QA bank: retrieval by the question, by the generated kind, and as the release routes."""

from __future__ import annotations

import pytest
from choosing import choose, retrieve

from sdar_cli.base.errors import ConfigError
from sdar_cli.base.resources import resource_dir
from sdar_cli.envs.base import Task
from sdar_cli.envs.search.data.questions import SOURCES
from sdar_cli.envs.search.data.world import KINDS, make_puzzles, make_world
from sdar_cli.skills.bank import GENERAL, load_bank
from sdar_cli.skills.choose.strategies import match_keyword

BANK = load_bank("search")
CATEGORIES = ("comparison", "multi_hop", "entity_attribute", "direct_retrieval")


def chosen(task_type: str, question: str, strategy: str) -> list[str]:
    return [skill.id for skill in retrieve(BANK, Task("x/1", task_type, "train"), question, strategy)]


def test_bank_loads() -> None:
    assert (BANK.name, BANK.environment, BANK.licence) == ("search", "search", "Apache-2.0")
    assert tuple(BANK.categories) == CATEGORIES  # the order in which keywords are tried
    assert {skill.category for skill in BANK.skills} == {GENERAL, *CATEGORIES}
    assert set(BANK.routes) == set(SOURCES) and set(BANK.types) == set(KINDS)


@pytest.mark.parametrize("skill", BANK.skills, ids=lambda skill: skill.id)
def test_texts_have_a_readable_length(skill) -> None:
    assert 150 <= len(skill.text.split()) <= 250
    assert len(skill.brief.split()) <= 14


def test_keywords_find_the_kind_of_every_generated_question() -> None:
    """By the question alone: what the oracle of the task's type says."""
    for puzzle in make_puzzles(make_world(0), 0):
        match = match_keyword(BANK, puzzle.text)
        assert match and match[0] == BANK.types[puzzle.kind], (puzzle.text, match)


@pytest.mark.parametrize(
    ("question", "category"),
    [
        ("Which film came out first, Blind Shaft or The Mask Of Fu Manchu?", "comparison"),
        ("Are both Baiyin and Xinghua cities?", "comparison"),
        ("Who was Tom's father?", "multi_hop"),
        ("Where was the place of death of the director of film The Singer Of My City?", "multi_hop"),
        ("Who was the producer of Bone?", "entity_attribute"),
        ("what is the capital of norway?", "entity_attribute"),
        ("when did the isle of wight become an island?", "direct_retrieval"),
        ("Who directs Orwell's story?", "direct_retrieval"),  # whole words: no "or" in it
    ],
)
def test_keywords_on_other_questions(question: str, category: str) -> None:
    assert chosen("nq", question, "keyword") == ["general", category]


def test_the_data_set_does_not_matter_unless_routed() -> None:
    question = "Who wrote The Painted Harbor?"
    assert {tuple(chosen(source, question, "keyword")) for source in SOURCES} == {("general", "direct_retrieval")}
    routed = {source: chosen(source, question, "released")[1] for source in SOURCES}
    assert routed == {
        "nq": "direct_retrieval",
        "triviaqa": "direct_retrieval",
        "popqa": "entity_attribute",
        "hotpotqa": "multi_hop",
        "2wikimultihopqa": "multi_hop",
        "musique": "multi_hop",
        "bamboogle": "multi_hop",
    }
    skill = BANK.of("multi_hop")[0]
    why = choose(BANK, Task("x", "musique", ""), question, "released").why
    assert why[skill.id] == "the data set is musique"


def test_the_kind_of_a_generated_question_is_a_type() -> None:
    assert chosen("bridge", "", "task-type") == ["general", "multi_hop"]
    assert chosen("multi_hop", "", "task-type") == ["general", "multi_hop"]
    with pytest.raises(ConfigError, match="task type 'nq'"):
        chosen("nq", "", "task-type")


@pytest.mark.parametrize("bank", ["search", "webshop", "alfworld"])
def test_no_route_is_an_error(bank: str) -> None:
    with pytest.raises(ConfigError, match=f"bank {bank} has no route for 'bridge'"):
        retrieve(load_bank(bank), Task("x", "bridge", ""), "", "released")


def test_a_route_to_no_category_is_refused(tmp_path) -> None:
    for file in (resource_dir("skillbanks") / "search").iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    header = tmp_path / "bank.toml"
    header.write_text(header.read_text().replace('nq = "direct_retrieval"', 'nq = "direct"'))
    with pytest.raises(ConfigError) as caught:
        load_bank(tmp_path)
    assert "nq to direct" in caught.value.why
