"""What a purchase is worth: the share of the goal's attributes, options and price limit met, times the type's factor.

``total = (attributes met + options met + price met) / (attributes + options + 1) * r_type``, between 0 and 1.
Options bought that the goal does not name cost nothing.  A product of the wrong type is worth less or nothing:
``r_type`` is 1, 0.5, 0.1 or 0 by equal query, shared categories and shared nouns of the two titles.

Texts are compared as thefuzz 0.22 does (rapidfuzz's token_set_ratio on prepared texts).  Two things of the original
that surprise are kept: a goal's nouns are counted with repetitions, so that its own product can score below 1; and
a synthetic goal's option is compared as the text of the pair (name, value), so words of the name match too.

Source: rules of princeton-nlp/WebShop (MIT), web_agent_site/engine/goal.py; the list of colours is that of
web_agent_site/engine/normalize.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from rapidfuzz import fuzz, utils

from sdar_cli.envs.webshop.catalogue.records import Product
from sdar_cli.envs.webshop.store.goals import Goal

MATCH_ABOVE = 85
"""Points out of 100 a pair of texts must exceed to count as equal."""
TITLE_MATCH_ABOVE = 0.2
NO_NOUNS_SCORE = 0.2
"""Title score against a goal without nouns."""
WEAK_TITLE_BELOW = 0.1
CATEGORY_MARK = "›"
COLORS = tuple(
    """
    alabaster apricot aqua ash asphalt azure banana beige black blue blush bordeaux bronze brown burgundy camel camo
    caramel champagne charcoal cheetah chestnut chocolate christmas coffee cognac copper coral cranberry cream crystal
    dark denim eggplant elephant espresso fuchsia gold granite grape graphite grass gray green grey heather indigo
    ivory ivy khaki lavender lemon leopard light lilac lime magenta maroon mauve merlot midnight mint mocha multicolor
    mushroom mustard natural navy nude olive orange peach pewter pink plum purple rainbow red rose royal rust sand
    sapphire seashell silver skull slate steel stone stonewash sunflower tan taupe teal tiger turquoise violet walnut
    wheat white wine yellow
    """.split()  # noqa: SIM905
)
"""In the order they are looked for: the first one found counts, anywhere in a text ('titanium' is tan)."""
WITHOUT_LATIN_1 = dict.fromkeys(range(0x80, 0x100))


@dataclass(frozen=True, slots=True)
class TypeMatch:
    """How well the kind of product fits: the factor and what it follows from."""

    r_type: float
    query_match: bool
    category_match: bool
    title_score: float


@dataclass(frozen=True, slots=True)
class Reward:
    """A purchase's worth and its parts.  ``r_…`` are shares met, ``w_…`` their weights before the type's factor.

    ``r_option`` and ``w_option`` are None for a goal without options.
    """

    total: float
    r_type: float
    query_match: bool
    category_match: bool
    title_score: float
    r_att: float
    w_att: float
    r_option: float | None
    w_option: float | None
    r_price: bool
    w_price: float
    attr_matches: int
    option_matches: int

    def info(self) -> dict[str, float | None]:
        """The parts under the original's names; without the options' two for a goal that names none."""
        names = ["r_type", "r_att", "w_att", "query_match", "category_match", "title_score"]
        names += [] if self.r_option is None else ["r_option", "w_option"]
        return {name: getattr(self, name) for name in [*names, "r_price", "w_price"]}


def similar(first: str, second: str) -> bool:
    """Whether two texts count as equal, words in any order and either one's extra words ignored."""
    score = fuzz.token_set_ratio(_prepared(first), _prepared(second))
    return round(score) > MATCH_ABOVE


def _prepared(text: str) -> str:
    """Without U+0080 to U+00FF, in lower case, anything but letters and digits as blanks."""
    return utils.default_process(text.translate(WITHOUT_LATIN_1))


def color_of(option: str | tuple[str, str]) -> str | tuple[str, str]:
    """The colour an option stands for, else the option itself; a pair only when name or value is a colour."""
    return next((color for color in COLORS if color in option), option)


def type_match(product: Product, goal: Goal, nouns: Callable[[str], Sequence[str]]) -> TypeMatch:
    """How well a product's kind fits a goal.  ``nouns`` gives the nouns of a title in lower case."""
    query = product.query == goal.query
    categories = len(_categories(product.product_category) & _categories(goal.product_category)) >= 2
    wanted = nouns(goal.title)
    score = len(set(nouns(product.title)) & set(wanted)) / len(wanted) if wanted else NO_NOUNS_SCORE
    factor = 1.0 if query or categories or score > TITLE_MATCH_ABOVE else 0.5
    if score < WEAK_TITLE_BELOW:
        factor = 0.1 if score else 0.0
    return TypeMatch(factor, query, categories, score)


def _categories(path: str) -> set[str]:
    return {name.strip() for name in path.split(CATEGORY_MARK)}


def attributes_met(product: Product, attributes: Iterable[str]) -> int:
    """How many of a goal's attributes a product has, in its attributes or word for word in its texts."""
    texts = [product.title.lower(), " ".join(product.bullets).lower(), product.description.lower()]
    return sum(
        any(similar(own, wanted) for own in product.attributes) or any(wanted in text for text in texts)
        for wanted in attributes
    )


def options_met(chosen: Iterable[str], wanted: Iterable[str | tuple[str, str]]) -> int:
    """How many of a goal's options the chosen values meet."""
    bought = [str(color_of(value)) for value in chosen]
    return sum(any(similar(value, str(color_of(option))) for value in bought) for option in wanted)


def score(
    product: Product, goal: Goal, price: float, options: Mapping[str, str], nouns: Callable[[str], Sequence[str]]
) -> Reward:
    """The reward of buying a product.

    price: its price in dollars.  options: values chosen, by option name.  nouns: the nouns of a title.
    """
    kind = type_match(product, goal, nouns)
    attributes, wanted = len(goal.attributes), len(goal.options)
    attributes_ok, options_ok = attributes_met(product, goal.attributes), options_met(options.values(), goal.options)
    affordable = price <= goal.price_upper
    parts = attributes + wanted + 1
    return Reward(
        total=(attributes_ok + options_ok + affordable) / parts * kind.r_type,
        r_type=kind.r_type,
        query_match=kind.query_match,
        category_match=kind.category_match,
        title_score=kind.title_score,
        r_att=attributes_ok / attributes,
        w_att=attributes / parts,
        r_option=options_ok / wanted if wanted else None,
        w_option=wanted / parts if wanted else None,
        r_price=affordable,
        w_price=1 / parts,
        attr_matches=attributes_ok,
        option_matches=options_ok,
    )
