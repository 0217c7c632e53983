"""The shop: pages and what actions do to them, as in the original's text environment.

``Shop`` holds what all episodes share and never changes but for bounded caches, so it can be used by many sessions
and inherited by forked workers.  ``ShopSession`` is one episode: a goal, a page and a few fields.

An action is ``search[words]`` or ``click[text]``; anything else, and a text that cannot be clicked, changes nothing.
There is no limit on steps, and a finished session continues: the caller stops.  Rewards are between 0 and 1.

Quirks of the original that are kept: the search works on every page; ``Next >`` never ends; a page's kind is found
in its address, so words of the query such as ``item_page`` change what ``< Prev`` does; a value of two options sets
the last; option values that read like a button act as one.  ``<r>``, ``<c> word`` and ``<q> words`` as the first
words list 50 random products, a category and the products found by a query.

Source: behaviour of princeton-nlp/WebShop (MIT), web_agent_site/envs/web_agent_text_env.py and engine/engine.py.
"""

from __future__ import annotations

import functools
import json
import random
from typing import Literal, NamedTuple, Protocol

from sdar_cli.envs.webshop.catalogue.catalog import Catalog
from sdar_cli.envs.webshop.catalogue.nouns import Nouns
from sdar_cli.envs.webshop.store import pages as render
from sdar_cli.envs.webshop.store.goals import Goal, Goals
from sdar_cli.envs.webshop.store.pages import Kind, Page, Target
from sdar_cli.envs.webshop.store.reward import Reward, score

DEVIATIONS = {
    "search[<a> words]": "raises TypeError in the original; changes nothing here",
    "search[<c>]": "raises IndexError in the original; changes nothing here",
    "search[<r>] with fewer than 50 products": "raises ValueError in the original; changes nothing here",
    "click on a product whose asin has lower-case letters": "raises KeyError in the original; changes nothing here",
    "no change": "the original's reward is the integer 0; the float 0.0 here",
}
"""Where a step differs from the original's."""

Mode = Literal["text", "text_rich"]
HITS = 50
PER_PAGE = 10
ADDRESS = "http://127.0.0.1:3000"
PLACES = ("search_results", "item_page", "item_sub_page", "done")
"""Kinds of pages in the order in which the original looks for them in an address."""
SUB_PAGE_NAMES = {name.lower(): name for name in render.SUB_PAGES}
CACHED_QUERIES = 4096
CACHED_ITEMS = 4096


class Search(Protocol):
    """Finds products: docids, best first."""

    def search(self, text: str, k: int) -> list[int]: ...


class Turn(NamedTuple):
    """What an action led to.  ``done``: this action was a purchase."""

    observation: str
    reward: float
    done: bool


def read_action(text: str) -> tuple[str, str] | None:
    """(verb, argument) of the first line, split at its last bracket that holds something: the original's pattern
    ``(.+)\\[(.+)\\]``, in time proportional to the text."""
    line = text.partition("\n")[0]
    end = line.rfind("]")
    start = line.rfind("[", 1, max(end - 1, 0))
    return (line[:start], line[start + 1 : end]) if start > 0 else None


class Shop:
    """What all episodes share.  mode: how pages are written.  show_attrs: whether items have the Attributes page."""

    def __init__(
        self,
        catalog: Catalog,
        goals: Goals,
        search: Search,
        nouns: Nouns,
        *,
        mode: Mode = "text",
        show_attrs: bool = False,
    ) -> None:
        self.catalog = catalog
        self.goals = goals
        self.nouns = nouns
        self.mode = mode
        self._engine = search
        self._show_attrs = show_attrs
        self._ranked = functools.lru_cache(CACHED_QUERIES)(self._rank)
        self.item_body = functools.lru_cache(CACHED_ITEMS)(self._item_body)
        """A product's item page without its head, by docid."""

    def start(self, goal: int, *, session_id: str | None = None, seed: int = 0) -> ShopSession:
        """A new episode.  session_id: as in the original's addresses (the goal's number).  seed: of ``<r>``."""
        return ShopSession(self, self.goals[goal], str(goal) if session_id is None else session_id, seed)

    def find(self, keywords: list[str], rng: random.Random) -> list[int] | tuple[int, ...] | None:
        """Docids of a query's products; None where the original fails."""
        first, rest = keywords[0], keywords[1:]
        if first == "<r>":
            return rng.sample(range(len(self.catalog)), HITS) if len(self.catalog) >= HITS else None
        if first == "<a>":
            return None
        if first == "<c>":
            return self.catalog.having("category", rest[0].strip()) if rest else None
        if first == "<q>":
            return self.catalog.having("query", " ".join(rest).strip())
        return self._ranked(" ".join(keywords))

    def _rank(self, text: str) -> tuple[int, ...]:
        return tuple(self._engine.search(text, HITS))

    def _item_body(self, docid: int) -> Page:
        return render.item_body(self.catalog.product(docid), self._show_attrs)


class ShopSession:
    """One episode.  Made by ``Shop.start``; begins on the index page."""

    __slots__ = (
        "_keywords",
        "_number",
        "_options",
        "_page",
        "_place",
        "_product",
        "_rng",
        "_sub_page",
        "_visited",
        "goal",
        "observation",
        "purchase",
        "session_id",
        "shop",
    )

    def __init__(self, shop: Shop, goal: Goal, session_id: str, seed: int) -> None:
        self.shop = shop
        self.goal = goal
        self.session_id = session_id
        self.purchase: Reward | None = None
        """The parts of the latest purchase's reward."""
        self._rng = random.Random(seed)
        self._index()

    @property
    def clickables(self) -> list[str]:
        """Texts that can be clicked, in the original's order; ``search`` among them, although it does nothing."""
        return list(self._page.targets)

    @property
    def has_search_bar(self) -> bool:
        """Whether the page shows the search bar.  A search works without it."""
        return self._page.has_search_bar

    @property
    def place(self) -> str:
        """The kind of the page: ``index`` or one of ``PLACES``."""
        return self._place

    @property
    def url(self) -> str:
        """The page's address in the original."""
        if self._place == "index":
            return f"{ADDRESS}/{self.session_id}"
        parts = [ADDRESS, self._place, self.session_id]
        if self._product is not None:
            parts.append(self.shop.catalog.product(self._product).asin)
        if self._place != "done":
            parts += ["+".join(self._keywords), str(self._number)]
        if self._place == "item_page":
            parts.append(json.dumps(self._options))
        elif self._place == "item_sub_page":
            parts += [self._sub_page, str(self._options)]
        elif self._place == "done":
            parts.append(str(self._options))
        return "/".join(parts)

    def step(self, action: str) -> Turn:
        """Act.  An action that is not understood or not possible changes nothing and is worth 0."""
        read = read_action(action)
        if read is not None:
            verb, argument = read[0], read[1].lower()
            if verb == "search":
                self._search(argument.split(" "), 1)
            elif verb == "click" and argument != "search":
                target = self._page.targets.get(argument)
                if target is not None:
                    return self._click(argument, target)
        return Turn(self.observation, 0.0, False)

    def _click(self, name: str, target: Target) -> Turn:
        if name == render.BUY.lower():
            return Turn(*self._buy())
        if name == render.BACK.lower():
            self._index()
        else:
            self._move(name, target)
        return Turn(self.observation, 0.0, False)

    def _move(self, name: str, target: Target) -> None:
        """Go to another page of the results or of a product."""
        place = self._place_by_address() if name in (render.NEXT.lower(), render.PREVIOUS.lower()) else ""
        if place == "search_results":
            self._search(self._keywords, self._number + (1 if name == render.NEXT.lower() else -1))
        elif place == "item_page" and name == render.PREVIOUS.lower():
            self._search(self._keywords, self._number)
        elif name in SUB_PAGE_NAMES:
            self._open_sub_page(SUB_PAGE_NAMES[name])
        else:
            self._open_item(name, target)

    def _place_by_address(self) -> str:
        url = self.url
        return next((place for place in PLACES if place in url), "")

    def _index(self) -> None:
        self._keywords: list[str] = []
        self._number = 0
        self._product: int | None = None
        self._options: dict[str, str] = {}
        self._visited: set[str] = set()
        self._sub_page = ""
        self._show("index", render.index_page(self.goal.instruction))

    def _search(self, keywords: list[str], number: int) -> None:
        """Show page ``number`` of a query's results, searched anew."""
        found = self.shop.find(keywords, self._rng)
        if found is None:
            return
        self._keywords, self._number = keywords, number
        self._product, self._options = None, {}
        shown = found[(number - 1) * PER_PAGE : number * PER_PAGE]
        products = [self.shop.catalog.product(docid) for docid in shown]
        self._show("search_results", render.results_page(self.goal.instruction, number, len(found), products))

    def _open_item(self, name: str, target: Target) -> None:
        """Show an item: a product that was clicked, or the one in view, with an option that was clicked."""
        if target.kind is Kind.LINK:
            docid = self.shop.catalog.docid(name.upper())
            if docid is None:
                return
            self._product = docid
            self._visited.add(name.upper())
        elif target.kind is Kind.OPTION:
            self._options = {**self._options, target.value: name}
        assert self._product is not None
        self._show("item_page", render.item_page(self.goal.instruction, self.shop.item_body(self._product)))

    def _open_sub_page(self, name: str) -> None:
        assert self._product is not None
        self._sub_page = name
        product = self.shop.catalog.product(self._product)
        self._show("item_sub_page", render.sub_page(self.goal.instruction, product, name))

    def _buy(self) -> tuple[str, float, bool]:
        assert self._product is not None
        product = self.shop.catalog.product(self._product)
        price = float(self.shop.goals.prices[self._product])
        self.purchase = score(product, self.goal, price, self._options, self.shop.nouns)
        self._show("done", render.done_page(product.asin, self._options, self.purchase.total))
        return self.observation, self.purchase.total, True

    def _show(self, place: str, page: Page) -> None:
        self._place = place
        self._page = page
        if self.shop.mode == "text":
            self.observation = render.as_text(page)
        else:
            self.observation = render.as_rich_text(page, self.url, self._visited)
