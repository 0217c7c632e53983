"""Reading pages, wording them, and which actions count as admissible."""

from __future__ import annotations

import copy
import pickle
from dataclasses import asdict

import pytest

from sdar_cli.envs.actions import parse_action
from sdar_cli.envs.base import TurnView
from sdar_cli.envs.webshop import prompt
from sdar_cli.envs.webshop.prompt import ANY_SEARCH, ActionList, Page, Result, admissible_actions, read_page

GOAL = "i need memory foam ankle boots, size 9, width wide, and price lower than 60.00 dollars"
HEAD = f"Instruction: [SEP] {GOAL} [SEP] Back to Search [SEP] "
SEARCH = f"WebShop [SEP] Instruction: [SEP] {GOAL} [SEP] Search"
LINES = [f"BSYNBABE{c}A [SEP] Orbresk Memory Foam Ankle Boots {c} [SEP] $4{n}.99" for n, c in enumerate("BDFGKL")]
RESULTS = f"{HEAD}Page 1 (Total results: 50) [SEP] Next > [SEP] " + " [SEP] ".join(LINES)
RESULT_CLICKS = ["back to search", "next >", *(f"bsynbabe{c}a" for c in "bdfgkl")]
ITEM = (
    f"{HEAD}< Prev [SEP] size [SEP] 8 [SEP] 9 [SEP] width [SEP] medium [SEP] wide [SEP] Orbresk Memory Foam Ankle Boots"
    " [SEP] Price: $19.99 to $27.50 [SEP] Rating: N.A. [SEP] Description [SEP] Features [SEP] Reviews [SEP] Buy Now"
)
ITEM_CLICKS = ["back to search", "< prev", "description", "features", "reviews", "buy now", "8", "9", "medium", "wide"]
FEATURES = f"{HEAD}< Prev [SEP] Ankle boots by Orbresk. [SEP] Memory foam."
DONE = "Thank you for shopping with us! [SEP] Your code: [SEP] None [SEP] Your score (min 0.0, max 1.0) [SEP] 1.0"


def view(text: str, clicks: list[str], search: bool = False, **more) -> TurnView:
    return TurnView(GOAL, text, admissible_actions(clicks, search), **more)


def text_of(seen: TurnView, style: str = "compact", **more) -> str:
    return prompt.messages(seen, style, **more)[-1]["content"]


def test_pages_are_read():
    assert read_page(SEARCH) == Page("search")
    assert read_page(FEATURES).body == "Ankle boots by Orbresk. Memory foam."
    assert read_page(f"{HEAD}< Prev") == Page("text")
    assert read_page(DONE).kind == "done"
    results = read_page(RESULTS, admissible_actions(RESULT_CLICKS, False))
    assert (results.kind, results.body, len(results.results)) == ("results", "page 1", 6)
    assert results.results[0] == Result("bsynbabeba", "Orbresk Memory Foam Ankle Boots B", "$40.99")
    item = read_page(ITEM, admissible_actions(ITEM_CLICKS, False))
    assert (item.kind, item.name, item.price) == ("item", "Orbresk Memory Foam Ankle Boots", "$19.99 to $27.50")
    assert item.options == {"size": ("8", "9"), "width": ("medium", "wide")}


def test_a_left_page_is_read_without_its_actions():
    assert read_page(ITEM).name == "Orbresk Memory Foam Ankle Boots"
    assert read_page(RESULTS).kind == "results"


def test_an_empty_page_of_results_has_no_lines():
    empty = f"{HEAD}Page 6 (Total results: 50) [SEP] < Prev [SEP] Next >"
    assert read_page(empty, admissible_actions(["back to search", "< prev", "next >"], False)).results == ()


def test_a_result_without_a_name_does_not_shift_the_others():
    text = f"{HEAD}Page 1 (Total results: 2) [SEP] Next > [SEP] A1 [SEP] $5.0 [SEP] A2 [SEP] Lamp [SEP] $6.0"
    page = read_page(text, admissible_actions(["back to search", "next >", "a1", "a2"], False))
    assert page.results == (Result("a1", "", "$5.0"), Result("a2", "Lamp", "$6.0"))


@pytest.mark.parametrize("text", ["", "...", "Instruction:", "[button] Search [button_]\nInstruction: x", HEAD])
def test_what_is_no_page_is_shown_as_it_is(text):
    seen = view(text, ["buy now"])
    assert read_page(text).kind in ("other", "text")
    assert "buy now" in text_of(seen) and "click[buy now]" in text_of(seen, "full")


@pytest.mark.parametrize("text", [SEARCH, RESULTS, ITEM, FEATURES])
def test_goal_of_a_page(text):
    assert prompt.goal_of(text) == GOAL


def test_no_goal_on_the_last_page():
    assert prompt.goal_of(DONE) == ""
    assert prompt.goal_of("Instruction:") == ""


def test_body_is_what_follows_the_instruction():
    assert prompt.body_of(FEATURES) == (
        "'Back to Search' [SEP] '< Prev' [SEP] 'Ankle boots by Orbresk.' [SEP] 'Memory foam.'"
    )
    assert prompt.body_of(SEARCH) == "'Search'"
    assert prompt.body_of("'cut' [SEP] ...") == "'cut' [SEP] ..."


def test_admissible_actions_of_a_page():
    assert list(admissible_actions(["search"], True)) == [ANY_SEARCH, "click[search]"]
    assert list(admissible_actions(["buy now", "a / b"], False)) == ["click[buy now]", "click[a / b]"]
    assert isinstance(admissible_actions([], True), tuple)


@pytest.mark.parametrize("action", ["search[boots]", "search[a b: c]", "search[x]y]", ANY_SEARCH, "click[search]"])
def test_every_search_is_in_a_list_with_a_search_bar(action):
    assert action in admissible_actions(["search"], True)


@pytest.mark.parametrize(
    "action",
    ["search[]", "search[ ]", "search", "search[a[b]", "search[a]b", "find[a]", "", "click[buy now]", "search[a\nb]"],
)
def test_what_the_shop_would_not_understand_is_not(action):
    assert action not in admissible_actions(["search"], True)


def test_no_search_without_a_search_bar():
    assert "search[boots]" not in admissible_actions(["buy now"], False)
    assert None not in admissible_actions(["search"], True)


def test_parsing_a_response_accepts_a_search():
    listed = admissible_actions(["search"], True)
    parsed = parse_action("<think>find</think><action>Search[red  Boots]</action>", listed, "admissible")
    assert (parsed.text, parsed.valid, parsed.admissible) == ("search[red boots]", True, True)


def test_copies_of_a_list_still_know_every_search():
    seen = view(SEARCH, ["search"], True)
    copies = [pickle.loads(pickle.dumps(seen.admissible)), copy.deepcopy(seen).admissible, asdict(seen)["admissible"]]
    assert all(isinstance(made, ActionList) and "search[a]" in made for made in copies)


def test_hidden_actions_are_not_shown():
    assert prompt.shown_actions(view(SEARCH, ["search"], True)) == [ANY_SEARCH]
    assert "click[search]" not in text_of(view(SEARCH, ["search"], True), "full")


def test_compact_search_page():
    seen = view(SEARCH, ["search"], True)
    assert text_of(seen, skill="choose size.") == (
        f"Skill: choose size.\nTask: {GOAL}\nNow: search page\nsearch[<your query>]"
    )


def test_compact_results_list_the_first_ones():
    seen = view(RESULTS, RESULT_CLICKS, history=((SEARCH, "search[boots]"),))
    lines = [f"bsynbabe{c}a orbresk memory foam ankle boots {c} $4{n + 1}" for n, c in enumerate("bdfgk")]
    expected = [f"Task: {GOAL}", "Obs: search page", "Act: search[boots]", "Now: page 1", *lines]
    assert text_of(seen).split("\n") == [*expected, "click: back to search, next >"]


def test_compact_item_lists_options_by_name():
    seen = view(ITEM, ITEM_CLICKS, history=((RESULTS, "click[bsynbabeba]"), (FEATURES, "click[< prev]")))
    assert text_of(seen) == (
        f"Task: {GOAL}\nObs: results page\nAct: click[bsynbabeba]\n"
        "Obs: ankle boots by orbresk. memory foam.\nAct: click[< prev]\n"
        "Now: orbresk memory foam ankle boots $20-28\nsize: 8, 9\nwidth: medium, wide\n"
        "click: back to search, < prev, description, features, reviews, buy now"
    )


def test_compact_prompts_shorten_long_names_and_texts():
    long = ITEM.replace("Orbresk Memory Foam Ankle Boots", "Orbresk " + "very " * 30 + "long")
    assert "orbresk very very very very very very very ... $20-28" in text_of(view(long, ITEM_CLICKS))
    text = f"{HEAD}< Prev [SEP] " + "word " * 80
    history = text_of(view(ITEM, ITEM_CLICKS, history=((text, "click[< prev]"),)))
    assert history.count("word") == prompt.GIST_WORDS
    assert text_of(view(text, ["< prev"])).count("word") == 80


def test_full_prompt_explains_and_lists_every_action():
    seen = view(ITEM, ITEM_CLICKS, history=((RESULTS, "click[bsynbabeba]"),), turn=2)
    text = text_of(seen, "full", skill="Choose the size.")
    for part in (GOAL, "Choose the size.", "taken 2 steps", "Did: click[bsynbabeba]", "<think>", "<action>"):
        assert part in text
    assert all(f"\n- click[{click}]" in text for click in ITEM_CLICKS)
    assert "'Price: $19.99 to $27.50' [SEP] 'Rating: N.A.'" in text


def test_skill_may_stand_in_a_system_message():
    system, user = prompt.messages(view(ITEM, ITEM_CLICKS), "compact", "choose.", "system")
    assert system == {"role": "system", "content": "choose."}
    assert "choose." not in user["content"]


def test_follow_up_says_only_what_is_new():
    seen = view(ITEM, ITEM_CLICKS, history=((RESULTS, "click[bsynbabeba]"),))
    compact, full = (prompt.follow_up(seen, style)[0]["content"] for style in ("compact", "full"))
    assert compact.startswith("Now: orbresk") and GOAL not in compact
    assert full.startswith("Result of your action:\n") and GOAL not in full


@pytest.mark.parametrize(("price", "found"), [("$5.0", [5.0]), ("$1,019.99 to $27", [1019.99, 27.0]), ("?", [])])
def test_amounts(price, found):
    assert prompt.amounts(price) == found
