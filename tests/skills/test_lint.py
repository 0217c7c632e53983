"""Each rule of the linter on a bank that breaks it, and none on the bundled ones."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from sdar_cli.envs.base import Task
from sdar_cli.skills.bank import Bank, Skill, load_bank
from sdar_cli.skills.duplicates import SKETCH, WORDS, candidates, similar_pairs
from sdar_cli.skills.lint import Goal, lint_bank, lint_panel, lint_tokens, summary

LONG = "Look everywhere before you go back, open what is closed, and carry only one thing at a time to its place."


def skill(identity: str, category: str = "heat", text: str | None = None, brief: str | None = None) -> Skill:
    words = (
        text if text is not None else f"{identity} is about something that no other skill here mentions, {identity}."
    )
    return Skill(identity, category, "always", brief or f"do {identity}", words, f"{identity}.md")


def bank(*skills: Skill, **keywords: tuple[str, ...]) -> Bank:
    return Bank("b", "1", "alfworld", "x", "0" * 64, skills, keywords or {"heat": ("hot",)})


def goal(text: str, kind: str = "heat", number: int = 0) -> Goal:
    return Goal(Task(f"{kind}-{number}", kind, "eval"), text)


def checks(findings) -> list[tuple[str, str, str]]:
    return [(f.level, f.check, f.where) for f in findings]


@pytest.mark.parametrize("name", ["alfworld", "webshop", "search"])
def test_bundled_banks_are_clean(name):
    assert [f for f in lint_bank(load_bank(name)) if f.level != "note"] == []


def test_equal_texts_of_one_category_are_an_error_of_two_a_warning():
    same = bank(
        skill("a", text=LONG),
        skill("b", text=LONG.upper() + " !"),
        skill("c", "cool", LONG),
        heat=("hot",),
        cool=("cold",),
    )
    assert checks(lint_bank(same)) == [("error", "duplicate", "b.md"), ("warning", "duplicate", "c.md")]


def test_a_changed_word_makes_a_near_duplicate_and_other_words_none():
    near = bank(skill("a", text=LONG), skill("b", text=LONG.replace("thing", "object")))
    assert checks(lint_bank(near)) == [("warning", "near-duplicate", "b.md")]
    half = LONG[: len(LONG) // 2] + " whereas the other half of this text is about quite different matters altogether"
    assert checks(lint_bank(bank(skill("a", text=LONG), skill("b", text=half)))) == []


def test_empty_and_short_texts_and_repeated_briefs():
    found = lint_bank(bank(skill("a", text="---"), skill("b", text="Take it."), skill("c", brief="Do b!")))
    assert checks(found) == [
        ("warning", "duplicate-brief", "c.md"),
        ("error", "empty", "a.md"),
        ("warning", "short", "b.md"),
    ]


def test_keywords_that_cannot_decide():
    found = lint_bank(
        bank(skill("a"), tea=("tea",), towel=("tea towel", "linen", "the"), none=(), again=("linen", "cotton"))
    )
    assert checks(found) == [
        ("warning", "unreachable-keyword", "towel"),
        ("note", "common-keyword", "towel"),
        ("warning", "no-keywords", "none"),
        ("warning", "unreachable-keyword", "again"),
    ]
    assert "tea comes before and has 'tea'" in found[0].text


def test_a_keyword_of_its_own_category_shadows_nothing():
    assert checks(lint_bank(bank(skill("a"), towel=("towel", "tea towel")))) == []


def test_keywords_inside_words_are_noted_plurals_are_not():
    found = lint_bank(bank(skill("a"), hats=("hat", "hats"), other=("thatch", "chat room")))
    assert checks(found) == [("note", "keyword-inside-word", "hats")]
    assert "chat, thatch" in found[0].text
    goals = [goal("find what is there", "hats")]
    inside = [f for f in lint_panel(bank(skill("a", "hats"), hats=("hat",)), goals) if f.check == "keyword-inside-word"]
    assert "what" in inside[0].text and "goals" in inside[0].text


def test_coverage_of_a_panel():
    tested = bank(
        skill("a"), skill("b", "cool"), skill("c", "idle"), heat=("hot",), cool=("cold", "put"), idle=("never",)
    )
    goals = [goal("put a hot mug", n) for n in ()] + [
        goal("put a hot mug on a desk"),
        goal("put it there", "heat", 1),
        goal("cold put", "cool"),
        goal("put something", "new"),
    ]
    assert checks(lint_panel(tested, goals)) == [
        ("error", "uncovered-type", "new"),
        ("warning", "unreached-category", "idle"),
        ("warning", "keyword-of-other-type", "cool"),
        ("warning", "keyword-matches-all", "cool"),
    ]
    found = lint_panel(bank(skill("a")), [goal("a hot mug"), goal("a cold one", number=1)])
    assert checks(found) == [("warning", "uncovered-goal", "keywords")] and "heat-1" in found[0].text


def test_a_type_is_covered_by_the_category_that_names_it():
    tested = replace(bank(skill("a")), types={"warm": "heat"})
    assert checks(lint_panel(tested, [goal("a hot mug", "warm"), goal("a cup", "warm", 1)])) == [
        ("warning", "uncovered-goal", "keywords")
    ]


def test_token_budgets():
    tested = bank(
        skill("g", "general", "a b c", "g g"), skill("a", text="one two three four five six seven", brief="x y z")
    )

    def words(text: str) -> int:
        return len(text.split())

    # briefs: 2 + 3 words; texts: 3 + 7.  Without a prompt there is room for all of the budget.
    assert checks(lint_tokens(tested, words, 20, {})) == []
    assert checks(lint_tokens(tested, words, 9, {})) == [
        ("warning", "long", "heat"),
        ("warning", "over-budget", "heat"),
    ]
    assert checks(lint_tokens(tested, words, 24, {"heat": 20}))[0] == ("error", "over-budget", "heat")
    assert checks(lint_tokens(tested, words, 25, {"heat": 20}))[0] == ("warning", "long", "heat")


def test_summary_counts_levels():
    found = lint_bank(bank(skill("a", text="---"), skill("b", text="Take it.")))
    assert summary(found) == {"errors": 1, "warnings": 1, "notes": 0}


def test_work_grows_with_the_number_of_skills_and_not_with_its_square():
    """Worst cases: texts that all begin alike, and texts that are all the same."""
    rng = random.Random(0)
    vocabulary = [f"w{i}" for i in range(500)]
    for count in (200, 800):
        alike = [
            "the same beginning of ten words for every text here " + " ".join(rng.choices(vocabulary, k=30))
            for _ in range(count)
        ]
        for texts in (alike, [LONG] * count):
            pairs = list(candidates([WORDS.findall(text) for text in texts]))
            assert len(pairs) <= SKETCH * count
    assert len(similar_pairs([LONG] * 50)) == 49


def test_a_repeat_is_found_among_many_that_begin_alike():
    rng = random.Random(1)
    start = "the same beginning of ten words for every text here "
    texts = [start + " ".join(f"w{rng.randrange(3000)}" for _ in range(60)) for _ in range(300)]
    texts.append(texts[150].replace(texts[150].split()[-5], "changed"))
    assert [(pair.later, pair.earlier) for pair in similar_pairs(texts)] == [(300, 150)]


def test_the_pairs_do_not_depend_on_the_process():
    """Python's own hash of a text differs between processes; the sketch must not use it."""
    from sdar_cli.skills.duplicates import _sketches

    assert sorted(next(_sketches([["take", "it", "to", "the", "desk"]]))) == SKETCHED


SKETCHED = [7754124522494487966, 14872642581764206520]
