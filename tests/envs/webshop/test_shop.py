"""The shop's pages and moves on a hand-made catalogue: what can be clicked, what it does, and the quirks kept."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from webshop_material import options, row, wish, write

from sdar_cli.envs.webshop.catalogue.catalog import open_catalog
from sdar_cli.envs.webshop.catalogue.nouns import Nouns, heuristic
from sdar_cli.envs.webshop.store.goals import load_goals
from sdar_cli.envs.webshop.store.shop import DEVIATIONS, Shop, ShopSession

COUNT = 60
RED = row(
    "B000000000",
    name="Red Chair",
    customization_options=options(Color=["Red", "Dark Blue"], Size=["Big", "Red"]),
    small_description=["Soft ", "", " \n", "   "],
    pricing="$30",
)
TRICKY = row(
    "B000000001",
    name=" <b>Lamp</b> & 'more' ",
    full_description="",
    customization_options=options(Kind=["Description", "Buy Now", "< Prev", "it's", 'say "x"', "Next >", "search"]),
)
ROWS = [RED, TRICKY] + [row(f"B{number:09d}", category="beauty", query="Lip Balms") for number in range(2, COUNT)]
ASKED = "a red chair, and price lower than"
HEAD = "Instruction: [SEP] a red chair [SEP] Back to Search"
Start = Callable[..., ShopSession]


class Everything:
    """A search that finds all products for any words, in order, and remembers the words."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def search(self, text: str, k: int) -> list[int]:
        self.asked.append(text)
        return [] if "nothing" in text else list(range(COUNT))[:k]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    human = {RED["asin"]: [wish("a red chair", ["soft"], ["red", "big"])]}
    return write(tmp_path_factory.mktemp("shop"), ROWS, {}, human)


@pytest.fixture
def start(folder: Path) -> Start:
    """Starts a session of the only goal, its text without the limit on the price."""
    catalog = open_catalog(folder, cache=folder / "cache")
    goals = load_goals(catalog, "human")

    def begin(**how: Any) -> ShopSession:
        how = {"seed": 0, **how}
        begin_with = {name: how.pop(name) for name in ("seed", "session_id") if name in how}
        shop = Shop(catalog, goals, Everything(), Nouns(tagger=lambda: (heuristic, "words")), **how)
        return shop.start(0, **begin_with)

    return begin


def plain(session: ShopSession) -> str:
    """The observation with the goal's text cut down to what was asked."""
    return session.observation.replace(session.goal.instruction, "a red chair")


def run(session: ShopSession, *actions: str) -> ShopSession:
    for action in actions:
        session.step(action)
    return session


def item(session: ShopSession, number: int = 0) -> ShopSession:
    return run(session, "search[x]", f"click[b{number:09d}]")


def test_the_index_page(start: Start) -> None:
    session = start()
    assert session.goal.instruction.startswith(ASKED)
    assert plain(session) == "WebShop [SEP] Instruction: [SEP] a red chair [SEP] Search"
    assert (session.clickables, session.has_search_bar, session.place) == (["search"], True, "index")
    assert session.url == "http://127.0.0.1:3000/0"


def test_results_come_in_pages_of_ten_and_next_never_ends(start: Start) -> None:
    session = run(start(), "search[Some WORDS]")
    first = "B000000000 [SEP] Red Chair [SEP] $30.0 [SEP] B000000001"
    assert plain(session).startswith(f"{HEAD} [SEP] Page 1 (Total results: 50) [SEP] Next > [SEP] {first}")
    assert session.clickables == ["back to search", "next >", *(f"b{number:09d}" for number in range(10))]
    assert session.url.endswith("/search_results/0/some+words/1")
    run(session, *["click[next >]"] * 6)
    assert plain(session) == f"{HEAD} [SEP] Page 7 (Total results: 50) [SEP] < Prev [SEP] Next >"
    run(session, "click[< prev]", "click[< Prev]")
    assert session.clickables[3] == "b000000040"


def test_an_item_and_its_options(start: Start) -> None:
    session = item(start())
    assert plain(session) == (
        f"{HEAD} [SEP] < Prev [SEP] color [SEP] red [SEP] dark blue [SEP] size [SEP] big [SEP] red [SEP] Red Chair "
        "[SEP] Price: $30.0 [SEP] Rating: N.A. [SEP] Description [SEP] Features [SEP] Reviews [SEP] Buy Now"
    )
    buttons = ["back to search", "< prev", "description", "features", "reviews", "buy now"]
    assert session.clickables == [*buttons, "red", "dark blue", "big"]
    before = session.observation
    run(session, "click[dark blue]", "click[BIG]")
    assert session.observation == before
    assert session.url.endswith('/item_page/0/B000000000/x/1/{"color": "dark blue", "size": "big"}')


def test_a_value_of_two_options_sets_the_last(start: Start) -> None:
    assert item(start()).step("click[red]").done is False
    session = run(item(start()), "click[red]")
    assert session.url.endswith('{"size": "red"}')


def test_sub_pages_and_blank_texts(start: Start) -> None:
    session = item(start())
    run(session, "click[big]", "click[features]")
    # ' Soft ', ' ' (an empty bullet keeps the page's blank: an empty part), ' \n' (gone), '    ' (an empty part)
    assert plain(session) == f"{HEAD} [SEP] < Prev [SEP] Soft [SEP]  [SEP] "
    assert session.clickables == ["back to search", "< prev"]
    assert session.url.endswith("/item_sub_page/0/B000000000/x/1/Features/{'size': 'big'}")
    run(session, "click[< prev]", "click[reviews]")
    assert plain(session) == f"{HEAD} [SEP] < Prev"
    run(session, "click[< prev]")
    assert session.url.endswith('{"size": "big"}')  # options are kept
    run(session, "click[description]")
    assert plain(session) == f"{HEAD} [SEP] < Prev [SEP] Words about it"


def test_the_attributes_page_is_shown_when_wanted(start: Start) -> None:
    session = item(start(show_attrs=True), 2)
    assert session.clickables[4:] == ["reviews", "attributes", "buy now"]
    run(session, "click[attributes]")
    assert plain(session).endswith("< Prev [SEP] DUMMY_ATTR [SEP] beauty [SEP] lip balms [SEP] Home › Tables › Side")
    assert "attributes" not in item(start(), 2).clickables


def test_a_purchase(start: Start) -> None:
    session = item(start())
    assert session.purchase is None
    run(session, "click[red]", "click[red]")
    turn = session.step("click[buy now]")
    # 'soft' is in a bullet; 'red' is met, 'big' is not; 30 dollars are below any limit: 3 of 4
    assert turn.reward == 0.75
    assert turn.done
    assert session.purchase is not None
    assert (session.purchase.attr_matches, session.purchase.option_matches, session.purchase.r_price) == (1, 1, True)
    assert '[SEP] options [SEP] {"size": "red"} [SEP]' in turn.observation
    assert "Your score (min 0.0, max 1.0) [SEP] 0.75 [SEP]" in turn.observation
    assert (session.clickables, session.has_search_bar, session.place) == ([], False, "done")
    again = session.step("click[buy now]")
    assert again == (turn.observation, 0.0, False)


def test_a_finished_session_can_search_and_buy_again(start: Start) -> None:
    session = run(item(start()), "click[buy now]")
    assert run(session, "search[x]").place == "search_results"
    assert item(session, 5).step("click[buy now]").done


def test_ways_back(start: Start) -> None:
    session = run(start(), "search[x]", "click[next >]", "click[b000000012]")
    assert run(session, "click[< prev]").url.endswith("/x/2")  # the same page of results
    session = run(item(start()), "click[big]", "click[< prev]", "click[b000000000]")
    assert session.url.endswith("/{}")  # options are gone
    session = run(item(start()), "click[back to search]")
    assert session.place == "index"
    session = run(item(start()), "click[big]", "search[y z]", "click[b000000000]")
    assert session.url.endswith("/y+z/1/{}")


@pytest.mark.parametrize(
    "action",
    [
        "",
        "click",
        "search[]",
        "click[]",
        "search[x",
        "search[a[b]c]",
        "say search[x]",
        "Search[x]",
        "search[a\nb]",
        "click[search]",
        "click[back to search]",
        "click[b000000000]",
        "click [search]",
        "buy[now]",
    ],
)
def test_actions_that_change_nothing(start: Start, action: str) -> None:
    session = start()
    assert session.step(action) == (session.observation, 0.0, False)
    assert session.place == "index"


def test_text_after_the_bracket_is_ignored_and_brackets_are_greedy(start: Start) -> None:
    assert run(start(), "search[x] and more").url.endswith("/x/1")
    assert run(start(), "search[a] [b]").place == "index"  # the verb would be 'search[a] '
    assert run(start(), "search[a]b]").url.endswith("/a]b/1")


def test_words_in_the_address_decide_what_prev_does(start: Start) -> None:
    session = run(start(), "search[item_page x]", "click[b000000000]", "click[features]", "click[< prev]")
    assert session.url.endswith("/search_results/0/item_page+x/1")  # not the item
    session = run(start(), "search[search_results]", "click[b000000000]", "click[< prev]")
    assert plain(session) == f"{HEAD} [SEP] Page 0 (Total results: 50) [SEP] Next >"
    assert run(session, "click[next >]").clickables[2] == "b000000000"
    session = run(
        start(session_id="my_item_page"), "search[x]", "click[b000000000]", "click[features]", "click[< prev]"
    )
    assert session.place == "search_results"


def test_options_that_read_like_buttons(start: Start) -> None:
    assert run(item(start(), 1), "click[description]").place == "item_sub_page"
    assert run(item(start(), 1), "click[< prev]").place == "search_results"
    assert item(start(), 1).step("click[buy now]").done
    assert run(item(start(), 1), "click[next >]").url.endswith('{"kind": "next >"}')
    assert run(item(start(), 1), "click[search]").url.endswith("{}")  # never clickable
    session = run(start(), "search[search_results]", "click[b000000001]", "click[next >]")
    assert session.url.endswith("/search_results/0/search_results/2")


def test_special_marks_are_shown_as_they_are(start: Start) -> None:
    session = item(start(), 1)
    assert "[SEP] <b>Lamp</b> & 'more' [SEP] Price" in session.observation
    run(session, "click[it's]")
    assert '{"kind": "it\\u0027s"}' in session.step("click[buy now]").observation


def test_an_empty_description_shows_nothing(start: Start) -> None:
    session = run(start(), "search[x]", "click[b000000001]", "click[description]")
    assert plain(session) == f"{HEAD} [SEP] < Prev"


def test_rich_text_marks_buttons_choices_and_visits(start: Start) -> None:
    session = item(start(mode="text_rich"))
    run(session, "click[dark blue]", "click[big]")
    lines = plain(session).split("\n")
    assert lines[:4] == ["You have clicked big.", "You have clicked dark blue.", "Instruction:", "a red chair"]
    assert lines[4:7] == ["[button] Back to Search [button_]", "[button] < Prev [button_]", "color"]
    assert lines[7:10] == ["  [button] red [button_]", "  [clicked button] dark blue [clicked button_]", "size"]
    assert lines[-3:] == ["[button] Reviews [button_]", "[button] Buy Now [button_]", ""]
    run(session, "click[< prev]")
    assert "\n\n[clicked button] B000000000 [clicked button_]\nRed Chair\n$30.0\n\n[button] B000000001" in plain(
        session
    )
    run(session, "click[back to search]", "search[x]")
    assert "\n\n[button] B000000000 [button_]\n" in plain(session)  # visits are forgotten


def test_rich_text_takes_a_quoted_word_of_the_query_for_a_choice(start: Start) -> None:
    session = run(start(mode="text_rich"), 'search["red"]', "click[b000000000]")
    assert session.observation.startswith("You have clicked red.\nYou have clicked red.\n")
    assert "  [clicked button] red [clicked button_]" in session.observation
    quoted = run(item(start(mode="text_rich"), 1), 'click[say "x"]')
    assert not quoted.observation.startswith("You have")  # the address escapes the quotes


def test_categories_and_queries_are_listed_whole(start: Start) -> None:
    session = run(start(), "search[<c> beauty and more]")
    assert "Page 1 (Total results: 58)" in session.observation
    assert "Page 1 (Total results: 58)" in run(start(), "search[<q> lip balms]").observation
    assert "Page 1 (Total results: 0)" in run(start(), "search[<q> balms]").observation
    assert "Page 1 (Total results: 0)" in run(start(), "search[<c>  beauty]").observation  # its first word is empty


def test_random_products_are_drawn_anew_for_every_page(start: Start) -> None:
    session = run(start(seed=7), "search[<r>]")
    rng = random.Random(7)
    first, second = rng.sample(range(COUNT), 50), rng.sample(range(COUNT), 50)
    assert session.clickables[2:] == [f"b{number:09d}" for number in first[:10]]
    run(session, "click[next >]")
    assert session.clickables[3:] == [f"b{number:09d}" for number in second[10:20]]


@pytest.mark.parametrize("action", ["search[<a> solid wood]", "search[<a>]", "search[<c>]"])
def test_searches_the_original_fails_on_change_nothing(start: Start, action: str) -> None:
    session = run(item(start()), "click[big]")
    before = (session.observation, session.url, session.clickables)
    assert session.step(action) == (before[0], 0.0, False)
    assert (session.observation, session.url, session.clickables) == before
    assert any(action.startswith(known.split(" ")[0].rstrip("]")) for known in DEVIATIONS)


def test_other_crashes_of_the_original_change_nothing(tmp_path: Path) -> None:
    """Fewer than 50 products to draw from, and an asin with lower-case letters."""
    human = {"b00": [wish("x", ["a"], [])]}
    catalog = open_catalog(write(tmp_path, [row("b00")], {}, human), cache=tmp_path / "cache")
    session = Shop(catalog, load_goals(catalog, "human"), Few(), Nouns()).start(0)
    assert run(session, "search[<r>]").place == "index"
    assert run(session, "search[x]").clickables == ["back to search", "next >", "b00"]
    assert run(session, "click[b00]").place == "search_results"
    assert len(DEVIATIONS) == 5


class Few:
    def search(self, text: str, k: int) -> list[int]:
        return [0]


def test_the_words_reach_the_search_in_lower_case_and_once(start: Start) -> None:
    session = run(start(), "search[Two  Words ]", "click[next >]", "search[nothing]")
    engine = session.shop._engine
    assert isinstance(engine, Everything)
    assert engine.asked == ["two  words ", "nothing"]
    assert plain(session) == f"{HEAD} [SEP] Page 1 (Total results: 0) [SEP] Next >"


def test_sessions_of_a_shop_do_not_touch_each_other(start: Start) -> None:
    one = start()
    two = one.shop.start(0, session_id="other")
    item(one).step("click[big]")
    assert two.place == "index"
    item(two)
    assert one.url.endswith('{"size": "big"}')
    assert two.url.endswith("/other/B000000000/x/1/{}")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_shop_can_be_inherited_by_forked_workers(start: Start) -> None:
    session = item(start())
    child = os.fork()
    if not child:
        os._exit(0 if run(session, "click[buy now]").place == "done" else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert session.place == "item_page"
