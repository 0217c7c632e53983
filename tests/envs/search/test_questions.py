"""Questions from Search-R1's parquet and from JSON lines: data sets, splits, ids, panels, and rows that are bad."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from search_material import DATA, needs_real, write_lines

from sdar_cli.base.errors import PrerequisiteError
from sdar_cli.envs.search.data.questions import SOURCES, load_questions, source_of, stratified


def row(n: int, **more: Any) -> dict[str, Any]:
    return {"question": f"Who wrote book {n}?", "golden_answers": [f"Author {n}"], **more}


def search_r1_row(n: int, source: str, split: str) -> dict[str, Any]:
    """The columns of the parquet files that Search-R1's scripts write."""
    return {
        "id": f"{split}_{n}",
        "question": f"who wrote book {n} of {source}",
        "golden_answers": [f"Author {n}", f"A. {n}"],
        "data_source": source,
        "prompt": [{"role": "user", "content": f"Answer the given question. who wrote book {n}?"}],
        "ability": "fact-reasoning",
        "reward_model": {"style": "rule", "ground_truth": {"target": [f"Author {n}", f"A. {n}"]}},
        "extra_info": {"split": split, "index": n},
    }


def write_parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)


def test_the_parquet_files_of_search_r1(tmp_path: Path) -> None:
    write_parquet(
        tmp_path / "train.parquet", [search_r1_row(n, s, "train") for s in ("nq", "hotpotqa") for n in range(3)]
    )
    write_parquet(tmp_path / "test.parquet", [search_r1_row(n + 9, s, "test") for s in SOURCES for n in range(2)])
    found = load_questions(tmp_path)
    assert [len(found.splits[name]) for name in ("train", "eval")] == [6, 14]
    assert found.notices == []
    first = next(q for q in found.splits["train"] if q.source == "nq")
    assert (first.id, first.text) == ("nq/train_0", "who wrote book 0 of nq?")  # a question mark is added
    assert first.answers == ("Author 0", "A. 0")
    assert {q.source for q in found.splits["eval"]} == set(SOURCES)
    ids = [q.id for part in found.splits.values() for q in part]
    assert len(set(ids)) == len(ids)


def test_only_what_the_reward_model_holds(tmp_path: Path) -> None:
    bare = {key: value for key, value in search_r1_row(1, "nq", "test").items() if key != "golden_answers"}
    write_parquet(tmp_path / "a.parquet", [bare, {**bare, "question": "other"}])
    found = load_questions(tmp_path / "a.parquet")
    assert {q.answers for part in found.splits.values() for q in part} == {("Author 1", "A. 1")}


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("NQ-open.dev.jsonl", "nq"),
        ("2wikimultihopqa_dev_questions.jsonl", "2wikimultihopqa"),
        ("popqa_sample1000.jsonl.gz", "popqa"),
        ("music.jsonl", "music"),
        ("musique.train.jsonl", "musique"),
    ],
)
def test_the_data_set_by_the_name_of_the_file(name: str, source: str) -> None:
    assert source_of(Path(name)) == source


def test_a_split_is_that_of_the_row_then_of_the_file(tmp_path: Path) -> None:
    write_lines(tmp_path / "nq.train.jsonl", [row(1), row(2, split="dev"), row(3, extra_info={"split": "test"})])
    write_lines(tmp_path / "popqa.jsonl", [row(4), row(5, split="train")])
    found = load_questions(tmp_path)
    names = {name: sorted(q.text[-2] for q in part) for name, part in found.splits.items()}
    assert names == {"train": ["1", "5"], "eval": ["2", "3", "4"]}


def test_one_question_in_five_is_held_out_where_nothing_says_which(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "nq.jsonl", [row(n) for n in range(1000)])
    found = load_questions(path)
    assert 150 < len(found.splits["eval"]) < 250
    assert len(found.splits["eval"]) + len(found.splits["train"]) == 1000
    assert "held out, by a hash" in found.notices[0]
    write_lines(path, [row(n) for n in reversed(range(1000))])  # no order, and no neighbours, matter
    assert load_questions(path).splits == found.splits


def test_no_question_is_on_both_sides_and_one_with_known_passages_is_kept(tmp_path: Path) -> None:
    write_lines(tmp_path / "a.train.jsonl", [row(1, data_source="nq"), row(2, data_source="nq")])
    rows = [row(1, data_source="popqa"), row(1, data_source="popqa", gold_ids=["p1"], golden_answers=["x"])]
    write_lines(tmp_path / "b.jsonl", rows)
    found = load_questions(tmp_path)
    assert [q.text for q in found.splits["train"]] == ["Who wrote book 2?"]
    assert [(q.gold, q.answers) for q in found.splits["eval"]] == [(("p1",), ("x", "Author 1"))]
    assert found.notices[0].startswith("2 questions come twice")


@pytest.mark.parametrize(
    ("values", "answers"),
    [
        ({"golden_answers": '["Marlow", "Great Marlow"]'}, ("Marlow", "Great Marlow")),
        ({"golden_answers": "['Marlow', \"St. Mary's\"]"}, ("Marlow", "St. Mary's")),
        ({"golden_answers": ['["Marlow", "Great Marlow"]']}, ("Marlow", "Great Marlow")),
        ({"golden_answers": "('Marlow', 'Great Marlow')"}, ("Marlow", "Great Marlow")),
        ({"golden_answers": ["[sic]", "(a 'remark')"]}, ("[sic]", "(a 'remark')")),
        ({"golden_answers": [1931, 0]}, ("1931", "0")),
        ({"Answer": "Marlow"}, ("Marlow",)),
        ({"answer": "Marlow", "answer_aliases": ["Great Marlow", "Marlow"]}, ("Marlow", "Great Marlow")),
        ({"possible_answers": '["Marlow"]', "obj": "not read"}, ("Marlow",)),
        ({"obj": "Marlow", "o_aliases": '["Great Marlow"]'}, ("Marlow", "Great Marlow")),
        ({"answer": {"value": "Marlow", "aliases": ["Great Marlow"]}}, ("Marlow", "Great Marlow")),
        ({"answers": {"text": ["Marlow"], "answer_start": [4]}}, ("Marlow",)),
        ({"env_kwargs": {"ground_truth": {"target": ["Marlow"]}}}, ("Marlow",)),
        ({"reward_model": {"ground_truth": "['Marlow', 'Great Marlow']"}}, ("Marlow", "Great Marlow")),
    ],
)
def test_answers_of_public_layouts(tmp_path: Path, values: dict[str, Any], answers: tuple[str, ...]) -> None:
    found = load_questions(write_lines(tmp_path / "nq.jsonl", [{"question": "Where?", **values}]))
    assert [q.answers for part in found.splits.values() for q in part] == [answers]


def test_a_nested_question_and_keys_that_are_not_read(tmp_path: Path) -> None:
    nested = {"extra_info": {"question": "Where was Ada born"}, "env_kwargs": {"ground_truth": {"target": ["Marlow"]}}}
    found = load_questions(write_lines(tmp_path / "nq.jsonl", [{**nested, "hops": 2}]))
    (question,) = [q for part in found.splits.values() for q in part]
    assert (question.text, question.answers) == ("Where was Ada born?", ("Marlow",))
    assert "keys of the rows that are not read: hops" in found.notices


def test_a_question_with_two_answers_has_both_and_that_is_said(tmp_path: Path) -> None:
    rows = [row(1, id="a"), row(1, id="b", golden_answers=["Other"]), row(2, id="c"), row(2, id="d")]
    found = load_questions(write_lines(tmp_path / "nq.jsonl", rows))
    answers = {q.id: q.answers for part in found.splits.values() for q in part}
    assert answers == {"nq/a": ("Author 1", "Other"), "nq/c": ("Author 2",)}
    assert found.notices[1] == "the answers differ for 1 questions that come twice: all of them count (first nq/a)"


def test_a_pipe_is_no_file_of_questions(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "nq.jsonl")
    with pytest.raises(PrerequisiteError, match=r"nq\.jsonl is no regular file"):
        load_questions(tmp_path)


def test_ids_are_of_the_source_and_different(tmp_path: Path) -> None:
    rows = [row(1, id="a 1"), row(2, id="a 1"), row(3), row(4, id=7), row(5, id=""), row(6, id="nq/x")]
    write_lines(tmp_path / "nq.train.jsonl", rows)
    write_lines(tmp_path / "nq.jsonl", [row(9, id="a 1")])
    found = load_questions(tmp_path)
    by_text = {q.text[-2]: q.id for part in found.splits.values() for q in part}
    assert sorted(by_text[n] for n in "129") == ["nq/a_1", "nq/a_1~2", "nq/a_1~3"]
    assert (by_text["4"], by_text["6"]) == ("nq/7", "nq/x")
    (tmp_path / "moved").mkdir()
    moved = load_questions(write_lines(tmp_path / "moved" / "nq.jsonl", rows[::-1]))
    assert by_text["3"] in {q.id for part in moved.splits.values() for q in part}  # named by its content, not its place


def test_the_content_of_a_question_is_its_text_and_its_answers(tmp_path: Path) -> None:
    """Files number their rows alike, so an id does not distinguish one panel from another."""
    digests = set()
    for n, answer in ((1, "x"), (1, "y"), (2, "x")):
        path = write_lines(tmp_path / "nq.jsonl", [row(n, id="test_0", split="test", golden_answers=[answer]), row(3)])
        (question,) = [q for q in load_questions(path).splits["eval"] if q.id == "nq/test_0"]
        digests.add(question.content)
    assert len(digests) == 3


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ("{", "not JSON"),
        ("[1]", "no object"),
        ({"golden_answers": ["x"]}, "no question"),
        ({"question": " ", "golden_answers": ["x"]}, "no question"),
        ({"question": 3, "golden_answers": ["x"]}, "no question"),
        ({"question": "q?"}, "no answers"),
        ({"question": "q?", "golden_answers": []}, "no answers"),
        ({"question": "q?", "golden_answers": [" "]}, "answers are empty"),
        ({"question": "q?", "golden_answers": [3.5]}, "its golden_answers holds a float"),
        ({"question": "q?", "golden_answers": [[1]]}, "its golden_answers is a list of lists"),
        ({"question": "q?", "golden_answers": "['a' 'b']"}, "its golden_answers is a list written as a text"),
        ({"question": "q?", "answer": {"wert": "x"}}, "its answer is an object with the keys wert"),
        ('{"question": "\\ud800?", "golden_answers": ["x"]}', "surrogates"),
    ],
)
def test_a_bad_row_is_named_with_file_and_line(tmp_path: Path, bad: Any, reason: str) -> None:
    path = write_lines(tmp_path / "nq.jsonl", [row(1), bad, *(row(n) for n in range(2, 150))])
    with pytest.raises(PrerequisiteError) as caught:
        load_questions(path)
    assert f"{path}:2" in caught.value.what and "env.skip_bad" in caught.value.fix
    assert reason in caught.value.why
    found = load_questions(path, skip_bad=True)
    assert sum(map(len, found.splits.values())) == 149
    assert found.notices[0].startswith("1 of 150 question rows left out") and f"{path}:2" in found.notices[0]


def test_at_most_one_row_in_a_hundred_is_skipped(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "nq.jsonl", ["{", *(row(n) for n in range(98))])
    with pytest.raises(PrerequisiteError, match="1 of 99 rows"):
        load_questions(path, skip_bad=True)


def test_nothing_to_ask(tmp_path: Path) -> None:
    write_lines(tmp_path / "corpus.jsonl", [{"id": "1", "contents": "x"}])
    for path in (tmp_path, tmp_path / "absent", tmp_path / "absent.jsonl"):
        with pytest.raises(PrerequisiteError, match="no questions at"):
            load_questions(path)
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(PrerequisiteError, match="holds no question"):
        load_questions(tmp_path)


def test_a_single_text_is_an_answer(tmp_path: Path) -> None:
    found = load_questions(write_lines(tmp_path / "x.jsonl", [{"question": "q", "answer": " Velmora "}]))
    assert [q.answers for part in found.splits.values() for q in part] == [("Velmora",)]


def test_a_stratified_panel_is_the_same_for_the_same_seed(tmp_path: Path) -> None:
    rows = [row(n, data_source=s, split="test") for s, count in (("nq", 40), ("bamboogle", 3)) for n in range(count)]
    everything = load_questions(write_lines(tmp_path / "all.jsonl", [*rows, row(99, split="train")])).splits["eval"]
    panel = stratified(everything, 5, seed=0)
    assert [sum(q.source == s for q in panel) for s in ("nq", "bamboogle")] == [5, 3]
    shuffled = random.Random(1).sample(everything, len(everything))
    assert stratified(shuffled, 5, seed=0) == panel
    assert stratified(everything, 5, seed=1) != panel
    assert stratified(shuffled, 0, seed=0) == everything


@needs_real
def test_the_real_files() -> None:
    found = load_questions(DATA)
    everything = [q for part in found.splits.values() for q in part]
    assert {q.source for q in everything} == set(SOURCES)
    assert sum(bool(q.gold) for q in everything) == 661  # two of the 662 are the same question
    texts = {name: {q.text for q in part} for name, part in found.splits.items()}
    assert not texts["train"] & texts["eval"]
