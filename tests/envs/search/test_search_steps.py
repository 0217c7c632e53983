"""Search-QA episodes as steps, and steps as briefs."""

from __future__ import annotations

from sdar_cli.envs.base import Act, Trace
from sdar_cli.envs.search.steps import brief, general_brief, steps

QUESTION = "Who is the spouse of the author of Blue Harbour?"


def done(*actions: str) -> list[str]:
    acts = tuple(Act(action) for action in actions)
    return [step for _, step in steps(Trace("f", 1, "t", "k", QUESTION, True, acts))]


def test_a_bridge_is_crossed():
    order = done(
        "<search>author of Blue Harbour</search>", "<search>Ann Miller spouse</search>", "<answer>Bob</answer>"
    )
    assert order == ["search a name of the question", "search what that leads to", "answer"]
    assert brief(order) == "search a name of the question, then search what that leads to, then answer."


def test_more_of_the_same_and_mistakes():
    assert done("<search>blue harbour</search>", "<search>Blue  Harbour</search>", "<search>the author</search>") == [
        "search a name of the question",
        "repeat a search",
        "search another name of the question",
    ]
    assert done("<search>Ann Miller</search>", "<search>Bob Smith</search>")[1] == "search what that leads to in turn"
    assert done("", "<search> </search>") == ["send neither a search nor an answer"] * 2
    assert done("<answer>Bob</answer>") == ["answer before any search"]


def test_general_advice():
    assert (
        general_brief([], ["answer before any search", "repeat a search"])
        == "search before you answer, do not repeat a search."
    )
    assert general_brief(["answer"], ["send neither a search nor an answer"]) == ""
