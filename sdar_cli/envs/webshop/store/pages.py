"""Pages of the shop as the original shows them: their texts in order, what can be clicked, and two ways to write them.

A page is made without HTML.  ``as_text`` joins the stripped texts by `` [SEP] ``; ``as_rich_text`` gives each its
own line and marks buttons.  A text of blanks is treated as the original's HTML parser does: one with a line break
vanishes, another is a single blank, which ``as_text`` shows as an empty part.

Source: the texts of the pages and their order are those of princeton-nlp/WebShop (MIT), web_agent_site/templates;
the two ways to write them those of its web_agent_site/envs/web_agent_text_env.py.
Left out on purpose: the observation modes ``html`` and ``url``.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from sdar_cli.envs.webshop.catalogue.records import Product

SEPARATOR = " [SEP] "
BACK, PREVIOUS, NEXT, BUY = "Back to Search", "< Prev", "Next >", "Buy Now"
SEARCH = "Search"
SUB_PAGES = ("Description", "Features", "Reviews", "Attributes")
HTML_BLANKS = " \n\t\f\r"
ESCAPES = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "'": "\\u0027"}


class Kind(IntEnum):
    """What a text is part of: plain text, a button, an option value, or a product's link."""

    TEXT = 0
    BUTTON = 1
    OPTION = 2
    LINK = 3


class Node(NamedTuple):
    """A visible text of a page."""

    kind: Kind
    text: str


class Target(NamedTuple):
    """Something to click.  ``value``: the option's name, the product's asin, or the button's text."""

    kind: Kind
    value: str


@dataclass(frozen=True, slots=True)
class Page:
    """A page.  ``targets``: what can be clicked, by the lower-case text that clicks it, in the original's order."""

    nodes: Sequence[Node]
    targets: Mapping[str, Target]
    has_search_bar: bool = False


def _nodes(kind: Kind, texts: Iterable[str]) -> list[Node]:
    """Texts as the HTML parser keeps them: no node for an empty one or for blanks with a line break."""
    out = []
    for text in texts:
        if text.strip(HTML_BLANKS):
            out.append(Node(kind, text))
        elif text and "\n" not in text:
            out.append(Node(kind, " "))
    return out


def _texts(*texts: str) -> list[Node]:
    return _nodes(Kind.TEXT, texts)


def _buttons(*texts: str) -> list[Node]:
    return _nodes(Kind.BUTTON, texts)


def _button_targets(*texts: str) -> dict[str, Target]:
    return {text.lower(): Target(Kind.BUTTON, text) for text in texts}


def index_page(instruction: str) -> Page:
    """The first page, with the search bar."""
    nodes = [*_texts("WebShop", "Instruction: ", instruction), *_buttons(SEARCH)]
    return Page(nodes, _button_targets(SEARCH), has_search_bar=True)


def _head(instruction: str) -> list[Node]:
    return [*_texts("Instruction:", instruction), *_buttons(BACK)]


def results_page(instruction: str, page: int, total: int, products: Iterable[Product]) -> Page:
    """Products found.  page: its number, usually from 1.  total: how many were found on all pages."""
    buttons = [PREVIOUS, NEXT] if page > 1 else [NEXT]
    nodes = [*_head(instruction), *_texts(f"Page {page} (Total results: {total})"), *_buttons(*buttons)]
    targets = _button_targets(BACK, *buttons)
    for product in products:
        nodes += _nodes(Kind.LINK, (product.asin,))
        nodes += _texts(product.title, product.price_tag)
        targets[product.asin.lower()] = Target(Kind.LINK, product.asin)
    return Page(nodes, targets)


def item_body(product: Product, show_attrs: bool) -> Page:
    """An item page without its head: equal for all goals."""
    nodes: list[Node] = []
    buttons = [*SUB_PAGES[: 4 if show_attrs else 3], BUY]
    targets = _button_targets(BACK, PREVIOUS, *buttons)
    for name, values in product.options.items():
        nodes += _texts(name)
        nodes += _nodes(Kind.OPTION, values)
        targets.update((value, Target(Kind.OPTION, name)) for value in values)
    nodes += _texts(product.title, f"Price: {product.price_tag}", "Rating: N.A.")
    return Page([*nodes, *_buttons(*buttons)], targets)


def item_page(instruction: str, body: Page) -> Page:
    """A product with its options and buttons."""
    return Page([*_head(instruction), *_buttons(PREVIOUS), *body.nodes], body.targets)


def sub_page(instruction: str, product: Product, name: str) -> Page:
    """One of ``SUB_PAGES`` of a product.  No product has reviews."""
    texts: list[str] = []
    if name == "Description":
        texts = [product.description]
    elif name == "Features":
        texts = [f" {bullet}" for bullet in product.bullets]
    elif name == "Attributes":
        attributes = [f" {attribute}" for attribute in product.attributes]
        texts = [*attributes, product.category, product.query, product.product_category]
    nodes = [*_head(instruction), *_buttons(PREVIOUS), *_texts(*texts)]
    return Page(nodes, _button_targets(BACK, PREVIOUS))


def done_page(asin: str, options: Mapping[str, str], reward: float) -> Page:
    """The page after a purchase, which shows the reward."""
    dumped = json.dumps(options, sort_keys=True)
    for mark, escape in ESCAPES.items():
        dumped = dumped.replace(mark, escape)
    head = ["Thank you for shopping with us!", "Your code: ", "None", " (Paste it in your MTurk interface.)"]
    bought = ["Purchased", "asin", asin, "options", dumped]
    bought += ["attrs", "None", "category", "None", "query", "None", "product category", "None"]
    target = ["Target", "asin", "options", "attrs", "price upper", "instuction text"]
    target += ["category", "product category", "query", "Goal ", "None"]
    score = ["Reward", "Your score (min 0.0, max 1.0)", str(reward), "Reward Details ", "None"]
    return Page(_texts(*head, *bought, *target, *score), {})


def as_text(page: Page) -> str:
    """The original's observation mode ``text``."""
    return SEPARATOR.join([node.text.strip() for node in page.nodes])


def as_rich_text(page: Page, url: str, visited: Collection[str]) -> str:
    """The original's observation mode ``text_rich``.

    url: the page's address; an option counts as chosen when it stands there in double quotes.
    visited: asins whose page was opened since the index page.
    """
    chosen, lines = "", []
    for kind, text in page.nodes:
        if kind is Kind.TEXT:
            lines.append(text)
            continue
        clicked = (kind is Kind.OPTION and f'"{text}"' in url) or (kind is Kind.LINK and text in visited)
        if clicked and kind is Kind.OPTION:
            chosen = f"You have clicked {text}.\n{chosen}"
        lead = {Kind.OPTION: "  ", Kind.LINK: "\n"}.get(kind, "")
        lines.append(
            f"{lead}[clicked button] {text} [clicked button_]" if clicked else f"{lead}[button] {text} [button_]"
        )
    return chosen + "".join(f"{line}\n" for line in lines)
