"""Scripted searchers in the generated world: the right procedure always wins, a wrong or clumsy one mostly fails."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from sdar_cli.envs.base import Task, TurnView
from sdar_cli.envs.registry import open_environment
from sdar_cli.envs.search import expert as searcher
from sdar_cli.envs.search.actions import read_action
from sdar_cli.envs.search.data.world import KINDS
from sdar_cli.envs.search.expert import (
    Asked,
    Fact,
    Habits,
    Seen,
    expert,
    facts_in,
    read_facts,
    read_question,
    searches,
)
from sdar_cli.envs.search.options import SearchOptions

Act = Callable[[Asked, list[Seen]], searcher.Move]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory):
    patch = pytest.MonkeyPatch()
    patch.setenv("SDAR_CACHE", str(tmp_path_factory.mktemp("cache")))
    with open_environment(SearchOptions(name="search", max_turns=searcher.TURNS, questions_per_source=60)) as opened:
        yield opened
    patch.undo()


def view(observation: str, past: list[tuple[str, str]]) -> TurnView:
    return TurnView("", observation, (), tuple(past), len(past), "search")


def won(environment, task: Task, act: Act) -> bool:
    """Whether a searcher answers a question."""
    step = environment.reset({0: task})[0]
    past: list[tuple[str, str]] = []
    asked = read_question(step.observation.goal)
    while not step.done:
        move = act(asked, searches(view(step.observation.text, past)))
        past.append((step.observation.text, move.action))
        step = environment.step({0: move.action})[0]
    return step.won


def share(environment, kind: str, act: Act) -> float:
    tasks = [task for task in environment.tasks("eval") if task.type == kind]
    return sum(won(environment, task, act) for task in tasks) / len(tasks)


@pytest.mark.parametrize("kind", KINDS)
def test_the_expert_wins_every_question(environment, kind: str) -> None:
    assert share(environment, kind, lambda asked, seen: expert(asked, seen, kind)) == 1.0


@pytest.mark.parametrize(
    "kind, procedure, least, most",
    [
        ("entity", "direct", 0.3, 0.8),
        ("direct", "bridge", 0.0, 0.6),
        ("bridge", "direct", 0.0, 0.1),
        ("bridge", "entity", 0.0, 0.1),
        ("comparison", "entity", 0.0, 0.0),
        ("comparison", "bridge", 0.0, 0.0),
        ("direct", "comparison", 0.0, 0.0),
    ],
)
def test_a_wrong_procedure_fails(environment, kind: str, procedure: str, least: float, most: float) -> None:
    assert least <= share(environment, kind, lambda asked, seen: expert(asked, seen, procedure)) <= most


def test_the_clumsy_searcher_wins_now_and_then(environment) -> None:
    rng, wins = random.Random(0), []
    for task in environment.tasks("eval"):
        habits = Habits.draw(rng, task.type)

        def act(asked: Asked, seen: list[Seen], habits: Habits = habits) -> searcher.Move:
            return searcher.clumsy(asked, seen, habits, rng)

        wins.append(won(environment, task, act))
    assert 0.1 < sum(wins) / len(wins) < 0.4


def test_questions_are_taken_apart() -> None:
    assert read_question("Which award did the author of Silver Atlas win?") == Asked(
        "bridge", ("Silver Atlas",), "award", "author"
    )
    assert read_question("Which award did Ada Holt win?") == Asked("entity", ("Ada Holt",), "award")
    assert read_question("Who was born last, Ada Holt or Hugo Vane?") == Asked(
        "comparison", ("Ada Holt", "Hugo Vane"), "born", later=True
    )
    with pytest.raises(ValueError, match="not a question"):
        read_question("Why?")


def test_sentences_are_read() -> None:
    assert read_facts("Ada Holt, born 1910 in Velmora, worked as poet.") == [
        Fact("Ada Holt", "born", "1910"),
        Fact("Ada Holt", "birthplace", "Velmora"),
        Fact("Ada Holt", "job", "poet"),
    ]
    assert read_facts("Ada Holt has the employer Vane Press.") == [Fact("Ada Holt", "employer", "Vane Press")]
    assert read_facts("Something else.") == []
    assert facts_in("<information>No search results found.</information>") == []


def test_a_comparison_takes_the_year_that_the_question_names() -> None:
    seen = [Seen("Ada Holt", [Fact("Ada Holt", "born", "1910")]), Seen("", [Fact("Hugo Vane", "born", "1955")])]
    for word, winner, verdict in (("first", "Ada Holt", "former"), ("last", "Hugo Vane", "latter")):
        move = expert(read_question(f"Who was born {word}, Ada Holt or Hugo Vane?"), seen, "comparison")
        assert read_action(move.action) == ("answer", winner)
        assert move.thought == f"Ada Holt, born 1910 or Hugo Vane, born 1955: {verdict}"


def test_a_bridge_is_crossed_by_the_name_that_was_found() -> None:
    asked = read_question("Where was the author of Silver Atlas born?")
    first = Seen("Silver Atlas author", [Fact("Silver Atlas", "author", "Ada Holt")])
    assert read_action(expert(asked, [], "bridge").action) == ("search", "Silver Atlas author")
    assert read_action(expert(asked, [first], "bridge").action) == ("search", "Ada Holt birthplace")
    second = Seen("Ada Holt birthplace", [Fact("Ada Holt", "birthplace", "Velmora")])
    assert read_action(expert(asked, [first, second], "bridge").action) == ("answer", "Velmora")
    assert read_action(expert(asked, [first], "entity").action) == ("search", "Silver Atlas birthplace")
    in_vain = Seen("Silver Atlas birthplace", [])
    assert read_action(expert(asked, [first, in_vain], "entity").action) == ("answer", "Ada Holt")


def test_no_query_is_made_twice_and_the_last_turn_answers() -> None:
    """After searches of somebody else, the expert continues with its own; in the last turn it answers in any case."""
    asked = read_question("Which award did Ada Holt win?")
    vague = Seen("award", [Fact("Hugo Vane", "award", "Comet")])
    assert read_action(expert(asked, [vague, vague], "entity").action) == ("search", "Ada Holt award")
    assert read_action(expert(asked, [vague, vague, vague], "entity").action) == ("answer", "Comet")
    assert read_action(expert(asked, [vague, Seen("Ada Holt award", [])], "entity").action) == ("answer", "Comet")


def test_searches_are_read_from_an_episode() -> None:
    assert searches(view("", [])) == []
    brought = '<information>Doc 1(Title: "Ada Holt") Ada Holt has the hobby chess.</information>'
    found = Seen("Ada Holt", [Fact("Ada Holt", "hobby", "chess")])
    assert searches(view(brought, [("", "<search>Ada Holt</search>")])) == [found]
    assert searches(view("", [("", "<search>Ada Holt</search>"), (brought, "")])) == [found, Seen("", [])]


def test_the_folder_of_a_world_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sdar_cli.envs.search.data import world

    monkeypatch.setenv("SDAR_CACHE", str(tmp_path))
    folder = world.ensure_world(0)
    monkeypatch.setattr(world, "write_world", None)
    assert world.ensure_world(0) == folder and (folder / "corpus.jsonl").is_file()
