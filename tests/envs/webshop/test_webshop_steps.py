"""WebShop episodes as steps, and steps as briefs."""

from __future__ import annotations

from sdar_cli.envs.base import Act, Trace
from sdar_cli.envs.webshop.steps import brief, general_brief, steps
from sdar_cli.skills.bank import load_bank

PAGE = " [SEP] ".join(
    [
        "Instruction:",
        "a shirt",
        "Back to Search",
        "< Prev",
        "color",
        "red",
        "blue",
        "size",
        "s",
        "xl",
        "A Shirt",
        "Price: $9.00",
        "Rating: N.A.",
    ]
)
CLICKS = tuple(f"click[{text}]" for text in ("< prev", "red", "blue", "s", "xl", "buy now"))


def steps_of(*actions: str | Act) -> list[str]:
    acts = tuple(act if isinstance(act, Act) else Act(act) for act in actions)
    return [step for _, step in steps(Trace("f", 1, "t", "k", "a shirt", True, acts))]


def on_page(value: str) -> Act:
    return Act(f"click[{value}]", True, PAGE, CLICKS)


def test_options_have_their_names_where_the_page_is_known():
    order = steps_of("search[red shirt]", "click[b000000001]", on_page("red"), on_page("xl"), "click[buy now]")
    assert order == ["search", "open a result", "choose color", "choose size", "buy"]
    assert steps_of("click[red]") == ["choose an option"]


def test_the_brief_is_in_the_words_of_the_bank():
    assert brief(["choose color", "choose size", "buy"]) == load_bank("webshop").of("apparel")[0].brief
    assert (
        brief(["search", "open a result", "choose color", "buy"]) == "search, then open a result, then color, then buy."
    )


def test_second_tries_pages_and_mistakes():
    assert steps_of("search[a]", "click[b000000001]", "click[< prev]", "click[b000000002]", "search[b]") == [
        "search", "open a result", "open another result", "search again",
    ]  # fmt: skip
    assert steps_of("click[features]") == ["read the features"]
    assert steps_of(Act("click[nothing]", acted=False)) == ["do what the page does not offer"]
    assert general_brief(["search again", "choose color"], ["open another result"]) == (
        "search again, do not open another result."
    )
    assert general_brief([], ["choose color"]) == ""
