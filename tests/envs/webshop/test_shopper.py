"""The scripted shoppers, alone and in the shop: the right procedure wins, every other loses."""

from __future__ import annotations

import random
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from sdar_cli.envs.webshop.catalogue.catalog import open_catalog
from sdar_cli.envs.webshop.catalogue.goods import TASK_TYPES, category_of
from sdar_cli.envs.webshop.catalogue.nouns import open_nouns
from sdar_cli.envs.webshop.catalogue.synth import make_catalogue
from sdar_cli.envs.webshop.expert import PROCEDURES, Habits, Memory, Move, Shopper, Wish, clumsy, expert
from sdar_cli.envs.webshop.lucene.bm25 import Index
from sdar_cli.envs.webshop.prompt import Page, Result, admissible_actions, read_page
from sdar_cli.envs.webshop.store.goals import load_goals
from sdar_cli.envs.webshop.store.shop import Shop

MAX_TURNS = 15
NO_LIMIT = float("inf")


@pytest.fixture(scope="module")
def shops(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Shop]:
    """The default catalogue's shop with human and with synthetic goals."""
    root = tmp_path_factory.mktemp("shopper")
    folder = make_catalogue(root / "shop")
    catalog = open_catalog(folder, cache=root / "cache")
    index, nouns = Index.build(catalog.texts(), root / "index"), open_nouns(folder)
    return {kind: Shop(catalog, load_goals(catalog, kind), index, nouns) for kind in ("human", "synthetic")}


def kind_of(shop: Shop, goal: int) -> str:
    return category_of(shop.goals[goal].category, shop.goals[goal].product_category)


def play(shop: Shop, goal: int, shopper: Shopper) -> Iterator[tuple[str, list[str], Move, float, bool]]:
    """(page, clickables, move, reward, done) of every turn; every action must be admissible."""
    session = shop.start(goal)
    for _ in range(MAX_TURNS):
        page, clickables = session.observation, session.clickables
        actions = admissible_actions(clickables, session.has_search_bar)
        move = shopper.act(page, clickables, session.has_search_bar)
        assert move.action in actions, move
        assert 1 <= len(move.thought.split()) <= 3
        _, reward, done = session.step(move.action)
        yield page, clickables, move, reward, done
        if done:
            return


def outcome(shop: Shop, goal: int, shopper: Shopper) -> tuple[float, int]:
    """Reward and number of turns of an episode."""
    turns = list(play(shop, goal, shopper))
    return turns[-1][3], len(turns)


@pytest.mark.parametrize("goals", ["human", "synthetic"])
@pytest.mark.parametrize("given_goal", [False, True], ids=["instruction", "goal"])
def test_expert_with_the_right_skill_wins(shops, goals, given_goal):
    shop = shops[goals]
    played = [
        outcome(shop, n, Shopper(g.instruction, kind_of(shop, n), g if given_goal else None))
        for n, g in enumerate(shop.goals[:300])
    ]
    assert sum(reward == 1 for reward, _ in played) >= 0.97 * len(played)
    assert sum(turns for _, turns in played) / len(played) < 7


@pytest.mark.parametrize("kind", TASK_TYPES)
def test_every_other_skill_loses(shops, kind):
    shop = shops["human"]
    numbers = [n for n in range(300) if kind_of(shop, n) == kind][:12]
    others = [other for other in ("", *TASK_TYPES) if other != kind]
    rewards = [outcome(shop, n, Shopper(shop.goals[n].instruction, other))[0] for n in numbers for other in others]
    assert sum(reward == 1 for reward in rewards) <= 0.05 * len(rewards)
    assert sum(rewards) / len(rewards) > 0.3, "partial rewards show the way"


def test_clumsy_wins_now_and_then(shops):
    shop, rng, rewards = shops["human"], random.Random(0), []
    for n in range(300):
        habits = Habits.draw(rng, kind_of(shop, n))
        rewards.append(outcome(shop, n, Shopper(shop.goals[n].instruction, habits=habits, rng=rng))[0])
    assert 0.08 <= sum(reward == 1 for reward in rewards) / len(rewards) <= 0.3


def test_clumsy_repeats_with_the_same_random_numbers(shops):
    def run() -> list[Move]:
        rng = random.Random(7)
        shop = shops["human"]
        shopper = Shopper(shop.goals[3].instruction, habits=Habits.draw(rng, "home"), rng=rng)
        return [move for _, _, move, _, _ in play(shop, 3, shopper)]

    assert run() == run()


def test_two_past_pages_are_enough_to_know_the_next_move(shops):
    """What the policy sees must decide what it is taught: the expert's memory is that of a compact prompt's window."""
    shop, same, total = shops["human"], 0, 0
    for n in range(150):
        goal, kind = shop.goals[n], kind_of(shop, n)
        past: list[tuple[str, str]] = []
        for page, clickables, move, _, _ in play(shop, n, Shopper(goal.instruction, kind)):
            memory = Memory(Wish.read(goal.instruction))
            for seen, action in past[-2:]:
                memory.note(seen, action)
            same += expert(memory, read_page(page, admissible_actions(clickables, False)), kind) == move
            total += 1
            past.append((page, move.action))
    assert same >= 0.98 * total


def test_moves_of_a_won_episode(shops):
    shop = shops["human"]
    number = next(n for n in range(100) if kind_of(shop, n) == "footwear")
    goal = shop.goals[number]
    moves = [move for _, _, move, _, _ in play(shop, number, Shopper(goal.instruction, "footwear"))]
    assert [move.thought for move in moves] == ["search item", "open result", "choose size", "choose width", "buy now"]
    assert [move.action for move in moves[1:4]] == [f"click[{text}]" for text in (goal.asin.lower(), *goal.options)]


@pytest.mark.parametrize(
    ("instruction", "item", "limit"),
    [
        (
            "i am looking for a quick dry coat, color red, size m, and price lower than 40.00 dollars",
            "quick dry coat",
            40,
        ),
        ("find me arch support boots with size 9 and wide width.", "arch support boots", NO_LIMIT),
        ("Find me compact totes with color: red, and price lower than 1,030.00 dollars", "compact totes", 1030),
        ("i'm looking for an eco friendly lamp in white", "eco friendly lamp", NO_LIMIT),
        ("blue shampoo", "blue shampoo", NO_LIMIT),
    ],
)
def test_an_instruction_is_taken_apart(instruction, item, limit):
    wish = Wish.read(instruction)
    assert (wish.item, wish.limit) == (item, limit)


@pytest.mark.parametrize(
    ("tail", "name", "offered", "value"),
    [
        ("with size s and red color", "size", ("xs", "s", "m"), "s"),
        ("with color: light blue, and size: m", "color", ("blue", "light blue"), "light blue"),
        ("in navy, size 10", "size", ("1", "10"), "10"),
        ("with size mini", "scent", ("rose", "mint"), None),
        ("with men's shirt", "size", ("s",), None),
        ("with size medium and wide width", "size", ("wide", "medium"), "medium"),
    ],
)
def test_the_wanted_value_of_an_option(tail, name, offered, value):
    assert Wish("item", tail, 1.0).value(name, offered) == value


def test_a_known_goal_decides_values_and_attributes():
    human = SimpleNamespace(attributes=("backup",), options=("m",))
    pairs = SimpleNamespace(attributes=("backup",), options=(("size", "m"), ("color", "red")))
    assert Wish.read("i need a coat with size s", human).value("size", ("s", "m")) == "m"
    wish = Wish.read("i need a coat", pairs)
    assert wish.values == ("m", "red")
    assert wish.missing("night mode") and not wish.missing("Backup. More")


def results(*lines: tuple[str, str]) -> Page:
    return Page("results", results=tuple(Result(f"a{n}", name, price) for n, (name, price) in enumerate(lines)))


def move(
    skill: str, page: Page, text: str = "i need a red wool cap, and price lower than 30.00 dollars", **known
) -> str:
    return expert(Memory(Wish.read(text), **known), page, skill).action


def test_results_are_chosen_by_fit_then_price():
    page = results(
        ("Wool Cap", "$5"), ("Red Wool Cap", "$90"), ("Red Wool Cap", "$20.00 to $40.00"), ("Red Wool Cap", "$9")
    )
    assert move("apparel", page) == "click[a2]"
    assert move("home", page) == "click[a3]"
    assert move("apparel", results(("Hat", "$5"), ("Scarf", "$5"))) == "click[a0]"


def test_what_was_turned_down_is_not_opened_again():
    page = results(("A Cap", "$5"), ("B Cap", "$5"), ("C Cap", "$5"))
    assert move("electronics", page, left=["A Cap"]) == "click[a1]"
    assert move("electronics", page, left=["A Cap", "C Cap"]) == "click[next >]"
    assert move("electronics", results()) == "click[back to search]"


def test_electronics_are_read_before_they_are_bought():
    text = "i need a long range desktop fan with usb power"
    page = Page("item", "Velmora Desktop Fan", "$5", options={"power": ("usb", "solar")})
    assert move("electronics", page, text) == "click[features]"
    assert move("electronics", page, text, read="Desktop fan. Backup.") == "click[< prev]"
    assert move("electronics", page, text, read="Desktop fan. Long range.") == "click[usb]"
    assert move("electronics", page, text, read="Long range.", chosen={"usb"}) == "click[buy now]"
    assert move("electronics", page, text, read="Backup.", left=["A", "B"]) == "click[usb]", "the last try is bought"


def test_a_page_without_the_wanted_value_is_left():
    page = Page("item", "Red Wool Cap", "$5", options={"color": ("blue",), "material": ("felt",)})
    text = "i need a wool cap with red color and felt material"
    assert move("accessories", page, text, chosen={"felt"}) == "click[< prev]"
    assert move("accessories", page, "i need a wool cap", chosen={"felt"}) == "click[buy now]"


def test_options_are_forgotten_with_the_item():
    memory = Memory(Wish.read("i need a cap"))
    item = "Instruction: [SEP] x [SEP] Back to Search [SEP] < Prev [SEP] Cap [SEP] Price: $5.0 [SEP] Rating: N.A."
    listed = "Instruction: [SEP] x [SEP] Back to Search [SEP] Page 1 (Total results: 1) [SEP] Next >"
    memory.note(item, "click[red]")
    memory.note(item, "click[features]")
    assert memory.chosen == {"red"}
    memory.note("Instruction: [SEP] x [SEP] Back to Search [SEP] < Prev [SEP] Long range.", "click[< prev]")
    assert memory.read.strip() == "Long range." and memory.chosen == {"red"}
    memory.note(item, "click[< prev]")
    memory.note(listed, "click[a1]")
    assert (memory.left, memory.chosen, memory.read) == (["Cap"], set(), "")
    memory.note("WebShop [SEP] Instruction: [SEP] x [SEP] Search", "search[cap]")
    assert memory.left == []


def test_clumsy_types_some_of_the_words_in_order():
    memory, rng = Memory(Wish.read("i need a red wool cap")), random.Random(1)
    habits = Habits("", words=0.7, hurry=0.0, wander=0.0, wild=0.0)
    queries = {
        clumsy(memory, Page("search"), admissible_actions(["search"], True), habits, rng).action for _ in range(50)
    }
    assert queries == {"search[red wool]", "search[red cap]", "search[wool cap]"}


def test_there_is_a_procedure_for_every_task_type():
    assert tuple(PROCEDURES) == TASK_TYPES
    assert len(set(PROCEDURES.values())) == len(PROCEDURES)


def test_a_shopper_of_a_real_looking_request_types_words_only():
    text = "i would like some gluten free, low-carb bars (pack of 6), and price lower than 20.00 dollars"
    query = Wish.read(text).query()
    assert query and not set(query) & set("[](),$")
