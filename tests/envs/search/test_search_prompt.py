"""The wording of Search-QA: what a policy sees of the question, its searches and what they brought."""

from __future__ import annotations

import pytest
from search_material import PASSAGES

from sdar_cli.envs.base import TurnView
from sdar_cli.envs.search.information import sdar, search_r1
from sdar_cli.envs.search.prompt import PASSAGE_WORDS, follow_up, messages
from sdar_cli.retrieval.passages import Passage

QUESTION = "Where was Ada Brindle born?"


def view(*steps: tuple[str, str], turns: int | None = None) -> TurnView:
    """After the (action, observation) pairs; the first thing seen is empty."""
    seen = ["", *(observation for _, observation in steps)]
    history = tuple((before, action) for before, (action, _) in zip(seen, steps, strict=False))
    return TurnView(QUESTION, seen[-1], (), history, len(steps) if turns is None else turns, "search")


def text(seen: TurnView, style: str, skill: str = "") -> str:
    (message,) = messages(seen, style, skill)
    assert message["role"] == "user"
    return message["content"]


def test_the_compact_prompt() -> None:
    assert text(view(), "compact") == f"Question: {QUESTION}"
    steps = [("<search>ada</search>", search_r1(PASSAGES[:2])), ("", ""), ("<search>x</search>", search_r1([]))]
    assert text(view(*steps), "compact", "search first.").split("\n") == [
        "Skill: search first.",
        f"Question: {QUESTION}",
        "Search: ada",
        "- Velmora is a port town on the river Tarn.",
        "- Ada Brindle was born in Velmora in 1931.",
        "Search:",
        "- nothing",
        "Search: x",
        "- No search results found.",
    ]


def test_compact_passages_are_short_and_have_a_title_where_it_is_needed() -> None:
    long = Passage("p", "The Tide Atlas", " ".join(f"w{n}" for n in range(PASSAGE_WORDS + 1)))
    (line,) = text(view(("<search>q</search>", sdar([long]))), "compact").split("\n")[2:]
    assert line.startswith("- The Tide Atlas: w0 w1") and line.endswith(f"w{PASSAGE_WORDS - 1} ...")


def test_the_full_prompt_shows_every_step_and_no_thought() -> None:
    shown = text(view(("<search>ada</search>", search_r1(PASSAGES[:1])), ("", "")), "full", "Look twice.")
    assert QUESTION in shown and "Look twice." in shown
    assert (
        'Step 1: <search>ada</search>\n<information>Doc 1(Title: "Velmora") Velmora is a port town on the river '
        "Tarn.</information>\n\nStep 2: (no action)\n(It brought nothing.)"
    ) in shown
    assert "<search>" in text(view(), "full") and "<answer>" in text(view(), "full")


def test_steps_keep_their_numbers_when_old_ones_are_cut_off() -> None:
    steps = [(f"<search>q{n}</search>", search_r1([Passage(f"p{n}", f"T{n}", "x")])) for n in range(1, 4)]
    whole = view(*steps)
    later = TurnView(whole.goal, whole.observation, (), whole.history[1:], 3, "search")
    assert "Step 1" not in text(later, "full")
    assert 'Step 2: <search>q2</search>\n<information>Doc 1(Title: "T2")' in text(later, "full")
    alone = TurnView(whole.goal, whole.observation, (), (), 3, "search")
    assert "Step 3" in text(alone, "full") and "T3: x" in text(alone, "compact")


@pytest.mark.parametrize("style", ["compact", "full"])
def test_a_transcript_goes_on_with_what_the_action_brought(style: str) -> None:
    (message,) = follow_up(view(("<search>ada</search>", search_r1(PASSAGES[:1]))), style)
    assert "port town" in message["content"] and QUESTION not in message["content"]


def test_a_skill_may_be_a_system_message() -> None:
    system, user = messages(view(), "compact", "Look twice.", "system")
    assert (system["role"], system["content"]) == ("system", "Look twice.")
    assert "Look twice." not in user["content"]
