"""The generated world: the same bytes for a seed, facts in one passage each, splits by name, questions answered."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from sdar_cli.envs.search.answers import normalize
from sdar_cli.envs.search.data.world import (
    CORPUS,
    KINDS,
    QUESTIONS,
    World,
    load_puzzles,
    make_puzzles,
    make_world,
    write_world,
)
from sdar_cli.envs.search.expert import read_facts, read_question


@pytest.fixture(scope="module")
def world() -> World:
    return make_world(0)


@pytest.fixture(scope="module")
def puzzles(world: World):
    return make_puzzles(world, 0)


def test_a_seed_always_gives_the_same_bytes(tmp_path: Path) -> None:
    one, two, other = (write_world(tmp_path / name, seed) for name, seed in (("a", 3), ("b", 3), ("c", 4)))
    for name in (CORPUS, QUESTIONS):
        assert (one / name).read_bytes() == (two / name).read_bytes() != (other / name).read_bytes()


def test_a_written_puzzle_is_read_back(tmp_path: Path) -> None:
    assert load_puzzles(write_world(tmp_path, 0)) == make_puzzles(make_world(0), 0)


def test_the_passages_hold_the_facts_and_no_others(world: World) -> None:
    """Read from the sentences, every fact is in the passage the world names, and nothing else."""
    found = {}
    for passage in world.passages:
        title, _, text = passage["contents"].partition("\n")
        for fact in read_facts(text):
            assert (fact.subject, fact.attribute) not in found
            found[fact.subject, fact.attribute] = (passage["id"], fact.value)
        assert {word.lower() for word in title.strip('"').split()} <= set(normalize(text).split()) | {"the"}
    assert found == world.facts


def test_every_kind_is_asked_in_both_splits(puzzles) -> None:
    counts = Counter((p.kind, p.split) for p in puzzles)
    assert set(counts) == {(kind, split) for kind in KINDS for split in ("train", "eval")}
    assert min(counts.values()) > 200
    assert len({p.text for p in puzzles}) == len({p.id for p in puzzles}) == len(puzzles)


def test_a_name_is_asked_about_in_one_split_only(puzzles) -> None:
    """In every world: the split is the name's, whatever else changes."""
    splits: dict[str, set[str]] = {}
    for p in [*puzzles, *make_puzzles(make_world(7), 7)]:
        for name in read_question(p.text).names:
            splits.setdefault(name, set()).add(p.split)
    assert all(len(found) == 1 for found in splits.values())
    held_out = sum(found == {"eval"} for found in splits.values()) / len(splits)
    assert 0.1 < held_out < 0.3


def test_the_look_ups_lead_to_the_answer(world: World, puzzles) -> None:
    texts = {passage["id"]: passage["contents"] for passage in world.passages}
    for p in puzzles:
        assert all(hop.value in texts[hop.passage] and hop.subject in texts[hop.passage] for hop in p.hops)
        if p.kind == "comparison":
            years = [int(hop.value) for hop in p.hops]
            wanted = max(years) if p.later else min(years)
            assert years[0] != years[1] and p.answer == p.hops[years.index(wanted)].subject
        elif p.kind == "bridge":
            first, second = p.hops
            assert first.value == second.subject and p.answer == second.value and second.subject not in p.text
        else:
            assert [p.answer] == [hop.value for hop in p.hops]


def test_a_puzzle_is_a_row_of_a_question_file(puzzles) -> None:
    row = json.loads(json.dumps(puzzles[0].record()))
    assert (row["question"], row["golden_answers"]) == (puzzles[0].text, [puzzles[0].answer])
    assert row["data_source"] == puzzles[0].kind and row["split"] in ("train", "eval")
    assert row["gold_ids"] == [hop.passage for hop in puzzles[0].hops]
