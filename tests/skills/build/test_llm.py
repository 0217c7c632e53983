"""The builder ``llm`` against a real server on this machine, and a tiny model that cannot do it."""

from __future__ import annotations

import json
import sys

import pytest

from sdar_cli.base.errors import ConfigError, PrerequisiteError, RunFailedError
from sdar_cli.models import chat as chat_module
from sdar_cli.models.chat import Endpoint, open_chat
from sdar_cli.skills.build.llm import Answer, Asking, ask, cost_line, questions, without_repeats, write_skills
from sdar_cli.skills.build.traces import read_traces
from skills.episodes import HEAT, LOST, UNHEATED, WIN, demonstration, trained, write

from .llm_server import GOOD, KEY, OTHER, RULE, reply


@pytest.fixture
def pauses() -> list[float]:
    return []


@pytest.fixture
def endpoint(server, pauses) -> Endpoint:
    return Endpoint("m", 500, pauses.append)


@pytest.fixture
def question(tmp_path):
    lines = [
        demonstration(LOST, False),
        demonstration(WIN, True),
        demonstration(UNHEATED, False),
        demonstration(WIN, True),
    ]
    (found,) = questions(read_traces(write(tmp_path / "a.jsonl", lines)).episodes, "alfworld", Asking())
    return found


def test_a_good_answer_becomes_skills_with_their_episodes(server, endpoint, question):
    server.answers = [reply(GOOD)]
    skills, warnings = write_skills([question], endpoint, Asking(), lambda: None)
    assert warnings == [] and len(server.asked) == 1
    first, second = skills
    assert (first.id, first.category, first.brief) == (f"{HEAT}-1", HEAT, "heat it, then move it.")
    assert first.text == f"# Heat before moving\n\n{RULE['advice']}"
    # Shown: won and lost in turn, the shortest first: lines 2, 1, 4, 3.
    assert [trace.line for trace in question.shown] == [2, 1, 4, 3]
    assert (first.sources, second.sources) == (("a.jsonl:2,4",), ("a.jsonl:1",))


def test_what_is_asked(server, endpoint, question):
    server.answers = [reply(GOOD)]
    ask(question, endpoint, Asking())
    (asked,) = server.asked
    assert (asked["model"], asked["temperature"], asked["max_tokens"]) == ("m", 0.0, 500)
    assert asked["response_format"]["json_schema"]["schema"] == Answer.model_json_schema()
    text = asked["messages"][1]["content"]
    assert "2 won, 2 lost" in text and '"evidence"' in text and "did: heat apple 1 with microwave 1" in text
    assert server.keys == [f"Bearer {KEY}"]


@pytest.mark.parametrize(
    ("bad", "fault"),
    [
        ("I think you should heat it.", "no JSON object"),
        ("{", "no JSON object"),
        ({"skills": []}, "skills: "),
        ({"skills": [{**RULE, "evidence": []}]}, "skills.0.evidence"),
        ({"skills": [{**RULE, "evidence": [5]}]}, "names attempt 5, and there are 1 to 4"),
        ({"skills": [{**RULE, "more": 1}]}, "skills.0.more"),
        ({"rules": [RULE]}, "skills: Field required"),
    ],
)
def test_an_unusable_answer_is_sent_back_with_its_fault(server, endpoint, question, bad, fault):
    server.answers = [reply(bad), reply(GOOD)]
    assert len(ask(question, endpoint, Asking()).skills) == 2
    first, second = server.asked
    assert second["messages"][:2] == first["messages"]
    assert second["messages"][2] == {"role": "assistant", "content": bad if isinstance(bad, str) else json.dumps(bad)}
    assert fault in second["messages"][3]["content"]


def test_json_in_a_fence_after_a_thought_is_read(server, endpoint, question):
    server.answers = [reply(f"<think>{{not this}}</think>\n```json\n{json.dumps(GOOD)}\n```")]
    assert ask(question, endpoint, Asking()).skills[0].title == RULE["title"]


def test_after_so_many_bad_answers_it_ends(server, endpoint, question):
    server.answers = [reply("no")]
    with pytest.raises(RunFailedError, match=f"no usable answer about {HEAT} in 3 tries"):
        ask(question, endpoint, Asking(retries=2))
    assert len(server.asked) == 3


def test_a_busy_server_is_asked_again_with_pauses(server, endpoint, question, pauses):
    server.answers = [(500, "oops"), (429, "slow down", ("Retry-After", "7")), (503, "x"), reply(GOOD)]
    assert ask(question, endpoint, Asking()).skills
    assert pauses == [1.0, 7.0, 4.0]


def test_a_broken_server_ends_it_and_shows_no_key(server, endpoint, question, pauses):
    server.answers = [(500, f"internal error for {KEY}")]
    with pytest.raises(RunFailedError) as caught:
        ask(question, endpoint, Asking())
    assert len(server.asked) == 4 and len(pauses) == 3
    assert "HTTP 500: internal error for ***" in caught.value.why
    assert KEY not in caught.value.render()


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (reply(None, refusal="I cannot help with that."), RunFailedError, "I cannot help"),
        (reply(""), RunFailedError, "empty"),
        ((401, f"bad key {KEY}"), PrerequisiteError, "refuses the key"),
        ((404, "no such model"), ConfigError, "no such model"),
        ((200, "<html>"), RunFailedError, "does not answer in JSON"),
        ((200, {"error": "x"}), RunFailedError, "unknown form"),
        ((200, {"choices": []}), RunFailedError, "unknown form"),
    ],
)
def test_refusals_and_wrong_answers_end_it_at_once(server, endpoint, question, pauses, answer, error, words):
    server.answers = [answer]
    with pytest.raises(error) as caught:
        ask(question, endpoint, Asking())
    assert words in caught.value.render() and KEY not in caught.value.render()
    assert len(server.asked) == 1 and pauses == []


def test_a_missing_server(monkeypatch, question, pauses):
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    with pytest.raises(RunFailedError, match="did not answer in 4 tries"):
        ask(question, Endpoint("m", 500, pauses.append), Asking())


def test_address_and_key_come_from_the_environment(server, question, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    server.answers = [reply(GOOD)]
    ask(question, open_chat("endpoint", "m", 500), Asking())
    assert server.keys == [None]
    monkeypatch.setenv("OPENAI_BASE_URL", "https://name:password@host/v1/")
    assert Endpoint("m", 1).where == "https://host/v1"
    monkeypatch.setenv("OPENAI_BASE_URL", "ftp://host")
    with pytest.raises(ConfigError, match="no address"):
        Endpoint("m", 1)
    monkeypatch.delenv("OPENAI_BASE_URL")
    with pytest.raises(PrerequisiteError, match="OPENAI_BASE_URL is not set"):
        Endpoint("m", 1)


def test_the_cost_is_shown_before(endpoint, question):
    line = cost_line([question, question], endpoint, "m", Asking(answer_tokens=100, retries=2))
    tokens = 2 * (sum(len(message["content"]) for message in question.messages) // 4)
    assert line.startswith(f"m ({endpoint.where}): 2 requests about 8 episodes, about {tokens:,} prompt tokens")
    assert "at most 200 answer tokens" in line and "up to 3 times" in line


def test_episodes_are_shown_as_far_as_there_is_room(tmp_path):
    lines = [trained(WIN, True), trained(LOST, False)] * 50
    episodes = read_traces(write(tmp_path / "a.jsonl", lines)).episodes
    (small,) = questions(episodes, "alfworld", Asking(prompt_tokens=300))
    (large,) = questions(episodes, "alfworld", Asking(prompt_tokens=3000))
    assert 2 <= len(small.shown) < len(large.shown) < 100
    assert sum(trace.won for trace in large.shown) in (len(large.shown) // 2, (len(large.shown) + 1) // 2)
    assert "saw: seen 0" in large.messages[1]["content"]


def test_repeats_are_left_out_and_their_sources_kept(server, endpoint, question):
    near = {**RULE, "advice": RULE["advice"].replace("Only then", "Then"), "evidence": [4]}
    server.answers = [reply({"skills": [RULE, OTHER, near]})]
    skills, warnings = write_skills([question], endpoint, Asking(), lambda: None)
    assert [skill.id for skill in skills] == [f"{HEAT}-1", f"{HEAT}-2"]
    assert skills[0].sources == ("a.jsonl:2,4", "a.jsonl:3")
    assert warnings == [f"{HEAT}-3 repeats {HEAT}-1 and was left out"]
    assert without_repeats([]) == ([], [])


def test_no_more_skills_than_wanted(server, endpoint, question):
    server.answers = [reply(GOOD)]
    skills, _ = write_skills([question], endpoint, Asking(most=1), lambda: None)
    assert len(skills) == 1


def test_a_tiny_model_gives_no_usable_answer(model_folder, question):
    """The path through transformers to its end: a random model writes no JSON."""
    chat = open_chat("transformers", str(model_folder), 8)
    with pytest.raises(RunFailedError, match="no usable answer") as caught:
        ask(question, chat, Asking(retries=1))
    assert "no JSON object" in caught.value.why
    chat.model.config.max_position_embeddings = 20
    with pytest.raises(ConfigError, match="context is 20"):
        ask(question, chat, Asking())


def test_without_vllm_the_error_names_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(PrerequisiteError) as caught:
        open_chat("vllm", "m", 8)
    assert "sdar[vllm]" in caught.value.fix


def test_the_key_is_nowhere_in_the_objects(endpoint):
    assert KEY not in repr(vars(endpoint)) and KEY not in repr(vars(chat_module))
