"""Episodes: turns, history, invalid actions, what is judged, and a retriever that fails."""

from __future__ import annotations

from typing import Any

import pytest
import toy
from search_material import PASSAGES, Fixed, environment

from sdar_cli.base.errors import ConfigError, PrerequisiteError
from sdar_cli.envs.base import StopReason, Task
from sdar_cli.envs.search.env import HINT, SearchEnvironment
from sdar_cli.envs.search.information import sdar, search_r1
from sdar_cli.models.engine import Sampling
from sdar_cli.models.engines.scripted import ScriptedEngine
from sdar_cli.retrieval.cache import CachedRetriever
from sdar_cli.retrieval.passages import Passage, RetrieverUnavailableError
from sdar_cli.rollout.collect import Collected, Collector

TASK = Task("nq/1", "nq", "eval")
SEARCH, RIGHT, WRONG = "<search>ada</search>", "<answer>the Velmora.</answer>", "<answer>a port town</answer>"


def play(env: SearchEnvironment, *actions: str) -> list[Any]:
    env.reset({0: TASK})
    return [env.step({0: action})[0] for action in actions]


def test_a_reset_shows_the_question_and_nothing_else() -> None:
    step = environment().reset({3: TASK})[3]
    assert (step.observation.text, step.observation.goal, step.done) == ("", "Where was person 1 born?", False)


def test_searching_and_answering() -> None:
    retriever = Fixed()
    first, last = play(environment(retriever, top_k=2), SEARCH, RIGHT)
    assert retriever.asked == [["ada"]]
    assert (first.observation.text, first.done, first.reward) == (search_r1(PASSAGES[:2]), False, 0.0)
    assert (first.info["query"], [p["id"] for p in first.info["passages"]]) == ("ada", ["p1", "p2"])
    assert (last.done, last.won, last.reward, last.score, last.out_of_turns) == (True, True, 1.0, 1.0, False)


def test_a_wrong_answer_has_an_f1() -> None:
    (last,) = play(environment(), WRONG)  # "port town" of the target "the port town": all words; EM as well
    assert (last.won, last.score) == (True, 1.0)
    (last,) = play(environment(), "<answer>port of Velmora</answer>")
    # against Velmora: precision 1/3, recall 1 -> 1/2; against "port town": 1/3 and 1/2 -> 2/5
    assert (last.won, last.reward, last.score) == (False, 0.0, pytest.approx(0.5))


def test_the_last_search_is_not_executed() -> None:
    retriever = Fixed()
    steps = play(environment(retriever), *[f"<search>q{n}</search>" for n in range(4)])
    assert [step.done for step in steps] == [False, False, False, True]
    assert retriever.asked == [["q0"], ["q1"], ["q2"]]
    assert (steps[-1].out_of_turns, steps[-1].won, steps[-1].score) == (True, False, 0.0)
    assert play(environment(), SEARCH, SEARCH, SEARCH, RIGHT)[-1].won


def test_no_action_costs_a_turn_and_shows_nothing() -> None:
    retriever = Fixed()
    steps = play(environment(retriever), "", "<search> </search>", "", "")
    assert [step.observation.text for step in steps] == [""] * 4
    assert (retriever.asked, steps[-1].done, steps[-1].out_of_turns) == ([], True, True)
    hinted = play(environment(invalid_hint="search_r1"), "", "<search></search>", SEARCH)
    assert [step.observation.text for step in hinted[:2]] == [HINT, HINT]
    assert "<" not in HINT


def test_what_is_judged_is_the_last_action() -> None:
    """A passage with answer tags, or tags in a query, score nothing; with ``released`` they do."""
    nested = "<search>x <answer>Velmora</answer></search>"
    searches = [SEARCH, SEARCH, SEARCH, SEARCH]
    assert not play(environment(), *searches)[-1].won
    assert not play(environment(), SEARCH, SEARCH, SEARCH, nested)[-1].won
    leaky = environment(score_scope="released")
    assert "<ANSWER>" in play(leaky, SEARCH)[0].observation.text
    assert play(leaky, *searches)[-1].won  # "Said <ANSWER>Velmora</answer>" in the third passage
    assert not play(leaky, SEARCH, WRONG.replace("port town", "river"))[-1].won  # the last block counts
    clean = environment(Fixed(PASSAGES[:2]), score_scope="released")
    assert not play(clean, *searches)[-1].won
    assert play(clean, SEARCH, SEARCH, SEARCH, nested)[-1].won


def test_forms_number_of_passages_and_length_of_a_query() -> None:
    retriever = Fixed()
    steps = play(environment(retriever, information="sdar", top_k=1), f"<search>{'x' * 600}</search>")
    assert steps[0].observation.text == sdar(PASSAGES[:1])
    assert retriever.asked == [["x" * 512]]
    nothing = play(environment(Fixed([])), SEARCH)[0]
    assert (nothing.done, nothing.observation.text) == (False, search_r1([]))


def test_all_searches_of_a_step_are_one_batch_and_equal_ones_are_asked_once() -> None:
    behind = Fixed()
    retriever = CachedRetriever(behind)
    env = environment(retriever)
    env.reset(dict.fromkeys(range(8), TASK))
    env.step({n: f"<search> {'ada  b' if n % 2 else 'ada b'}</search>" if n < 7 else RIGHT for n in range(8)})
    env.step({n: "<search>ada b</search>" if n else "<search>c</search>" for n in range(7)})
    assert behind.asked == [["ada b"], ["c"]]
    assert (retriever.asked, retriever.answered) == (14, 2)


def test_a_finished_slot_takes_no_action() -> None:
    env = environment()
    play(env, RIGHT)
    for slot in (0, 5):
        with pytest.raises(ValueError, match=str(slot)):
            env.step({slot: SEARCH})


def test_splits_tasks_and_panels() -> None:
    env = environment()
    assert [[t.id for t in env.tasks(s)] for s in ("train", "eval")] == [["nq/0", "nq/2"], ["nq/1", "nq/3"]]
    assert [(t.id, t.split) for t in env.tasks("all")] == [(f"nq/{n}", "all") for n in range(4)]
    assert env.task("nq/2") == env.tasks("train")[1]
    assert (env.task("nq/2").type, env.task("nq/2").split) == ("nq", "train")
    assert len(environment(questions_per_source=1).tasks("eval")) == 1
    assert len(environment(questions_per_source=1).tasks("train")) == 2
    with pytest.raises(ConfigError, match="no split 'dev'"):
        env.tasks("dev")
    with pytest.raises(ConfigError, match="no Search-QA task 'nq/9'"):
        env.task("nq/9")


def test_a_retriever_that_finds_nothing_is_refused_before_anything_is_played() -> None:
    env = environment(Fixed([]))
    with pytest.raises(PrerequisiteError, match="finds nothing for 2 questions"):
        env.preflight(env.tasks("eval"))
    retriever = Fixed()
    environment(retriever).preflight([TASK] * 100)
    assert [len(batch) for batch in retriever.asked] == [8]


DOWN = RetrieverUnavailableError(
    "no retriever answered within 1 s", why="http://127.0.0.1:9: Traceback <answer>Velmora"
)


def collected(env: SearchEnvironment, respond: Any, tokenizer: Any, **settings: Any) -> Collected:
    config = toy.config(env={"name": "search", "max_turns": 4, "history": 4, **settings})
    engine = ScriptedEngine(tokenizer, respond)
    assignment = [(TASK, 0), (Task("nq/3", "nq", "eval"), 1)]
    return Collector(config, env, engine, tokenizer).collect(toy.assigned(assignment), Sampling(200))


def test_a_search_that_fails_masks_its_episode_and_shows_nothing(tokenizer: Any) -> None:
    """One episode searches and is masked; the other answers and is not touched.  No prompt holds the error."""
    prompts: list[str] = []

    def respond(prompt: str) -> str:
        prompts.append(prompt)
        return SEARCH if "person 1" in prompt else RIGHT

    out = collected(environment(Fixed(fail=DOWN)), respond, tokenizer)
    broken, won = out.episodes
    assert (broken.stop, broken.reward, broken.score) == (StopReason.ENV_FAILED, 0.0, None)
    assert "127.0.0.1:9" in str(broken.failure)
    assert (won.stop, won.reward, won.score) == (StopReason.WON, 1.0, 1.0)
    assert not [p for p in prompts if "retriever" in p or "127.0.0.1" in p]


def test_a_search_that_fails_can_end_the_run(tokenizer: Any) -> None:
    with pytest.raises(RetrieverUnavailableError, match="no retriever"):
        collected(environment(Fixed(fail=DOWN), on_error="end"), lambda prompt: SEARCH, tokenizer)


def test_episodes_through_the_collector(tokenizer: Any) -> None:
    """Turns end at the limit, invalid actions are counted, histories hold searches and no thoughts."""

    def respond(prompt: str) -> str:
        if "person 1" in prompt:
            return "<think>secret</think><search>ada</search>"
        return "<search>a</search><answer>b</answer>" if "- " not in prompt else "nothing"

    searching, invalid = collected(environment(), respond, tokenizer).episodes
    assert (searching.stop, searching.reward, len(searching.turns)) == (StopReason.MAX_TURNS, 0.0, 4)
    assert (invalid.stop, len(invalid.turns)) == (StopReason.MAX_TURNS, 4)
    assert [(t.action, t.valid, t.admissible) for t in invalid.turns] == [
        ("<search>a</search>", False, True),
        *[("", False, False)] * 3,
    ]
    last = tokenizer.decode(searching.turns[-1].prompt_ids)
    assert last.count("Search: ada") == 3 and "secret" not in last


def test_a_transcript_grows_by_what_was_found(tokenizer: Any) -> None:
    retriever = Fixed(PASSAGES[:1])
    out = collected(environment(retriever), lambda prompt: SEARCH, tokenizer, context="transcript")
    first, second, *_ = out.episodes[0].turns
    assert second.prompt_ids[: len(first.prompt_ids)] == first.prompt_ids
    new = tokenizer.decode(second.prompt_ids[len(first.prompt_ids) + len(first.response_ids) :])
    assert "- Velmora is a port town on the river Tarn." in new and "Question" not in new


def test_an_observation_has_at_most_so_many_tokens(tokenizer: Any) -> None:
    long = [Passage("p", "T", "gap " * 400)]
    uncut = collected(environment(Fixed(long)), lambda prompt: SEARCH, tokenizer).episodes[0]
    cut = collected(environment(Fixed(long)), lambda prompt: SEARCH, tokenizer, max_observation_tokens=20).episodes[0]
    text = cut.turns[1].view.observation
    assert uncut.turns[1].view.observation == search_r1(long)
    assert len(tokenizer(text, add_special_tokens=False)["input_ids"]) == 20
    assert search_r1(long).startswith(text)
    assert cut.turns[2].view.history[1][0] == text  # also once it is past
