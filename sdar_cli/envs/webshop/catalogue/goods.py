"""What the synthetic catalogue sells: kinds of goods, the words of their names, their options and their shelves.

A product's name is brand, feature (not of electronics), style, noun and sometimes a tail, all from the lists here.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Goods:
    """One kind of goods.  ``options``: name to its values; a product has all the names and a few of the values."""

    category: str
    shelf: str
    nouns: tuple[str, ...]
    styles: tuple[str, ...]
    features: tuple[str, ...]
    options: dict[str, tuple[str, ...]]


def _words(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(","))


COLORS = _words("black, white, red, blue, green, yellow, purple, orange, brown, beige, dark green, light blue")
PACKS = _words("single, twin, family, bulk")
CLOTHING = "Clothing, Shoes & Jewelry › "
GOODS = {
    "apparel": Goods(
        "fashion",
        CLOTHING + "Women › Clothing",
        _words("jacket, hoodie, shirt, sweater, skirt, coat, vest, cardigan"),
        _words("casual, slim, cropped, quilted, knitted, oversized"),
        _words("machine washable, quick dry, wrinkle free, breathable, stretchy, waterproof, windproof, thermal lined"),
        {"color": COLORS, "size": _words("xs, s, m, l, xl, xxl")},
    ),
    "footwear": Goods(
        "fashion",
        CLOTHING + "Men › Shoes",
        _words("boots, sandals, loafers, sneakers, slippers, clogs, moccasins, trainers"),
        _words("hiking, canvas, ankle, platform, summer, indoor"),
        _words("non slip, arch support, memory foam, shock absorbing, lace up, wool lined, steel toe, feather light"),
        {"size": _words("6, 7, 8, 9, 10, 11, 12"), "width": _words("narrow, medium, wide")},
    ),
    "home": Goods(
        "garden",
        "Home & Kitchen › Home Décor",
        _words("lamp, rug, curtain, pillow, blanket, stool, mirror, chair"),
        _words("round, tall, bedroom, kitchen, hallway, nursery"),
        _words(
            "space saving, hand made, stain resistant, eco friendly, easy clean, fade proof, child safe, solid wood"
        ),
        {"style": _words("modern, cottage, plain, striped, floral, checked")},
    ),
    "electronics": Goods(
        "electronics",
        "Electronics › Portable Audio & Video",
        _words("speaker, headset, keyboard, camera, radio, clock, fan, microphone"),
        _words("portable, desktop, wireless, mini, foldable, outdoor"),
        _words(
            "noise cancelling, fast charging, voice control, long range, night mode, auto shutoff, dust sealed, backup"
        ),
        {"power": _words("usb, battery, mains, solar")},
    ),
    "accessories": Goods(
        "fashion",
        CLOTHING + "Women › Accessories",
        _words("wallet, backpack, belt, purse, tote, cap, satchel, lanyard"),
        _words("travel, evening, vintage, sport, weekend, business"),
        _words(
            "theft proof, compact, hand stitched, adjustable, scratch proof, double sided, magnet closure, rain cover"
        ),
        {"material": _words("leather, canvas, nylon, suede, cork, felt"), "color": COLORS},
    ),
    "beauty": Goods(
        "beauty",
        "Beauty & Personal Care › Skin & Hair Care",
        _words("shampoo, lotion, soap, cream, balm, serum, scrub, toner"),
        _words("daily, nourishing, repair, gentle, foaming, herbal"),
        _words("sulfate free, cruelty free, plant based, non greasy, vitamin rich, hydrating, fast drying, dye free"),
        {
            "scent": _words("lavender, citrus, vanilla, rose, mint, unscented"),
            "size": _words("mini, full, refill, duo"),
        },
    ),
    "other": Goods(
        "grocery",
        "Grocery & Gourmet Food › Pantry",
        _words("tea, coffee, granola, syrup, jam, popcorn, seeds, bulbs"),
        _words("morning, classic, wild, golden, autumn, village"),
        _words("organic, non gmo, hand picked, slow grown, small batch, fair trade, sun ripened, locally sourced"),
        {"flavor": _words("lemon, honey, cocoa, ginger, berry, caramel"), "pack": PACKS},
    ),
}
TASK_TYPES = tuple(GOODS)
"""The kinds of goods; a goal's task type is one of these."""
MASS = frozenset({"tea", "coffee", "granola", "syrup", "jam", "popcorn"})
"""Nouns without article and plural."""
GARDEN_NOUNS = frozenset({"seeds", "bulbs"})
PLURAL = GARDEN_NOUNS | set(GOODS["footwear"].nouns)
GARDEN_SHELF = "Patio, Lawn & Garden › Gardening"
GARDEN_OPTIONS = {"variety": _words("lily, poppy, iris, daisy, tulip, aster"), "pack": PACKS}
EXTRAS = _words("gift wrapped, clear label, printed manual, recycled box, spare parts, quality checked")
"""Attributes that no goal asks for."""
TAILS = _words("for Women, for Men, for Kids, for Students, for Gifts")
BRANDS = _words(
    "Velmora, Brindlo, Casvenna, Dorrikan, Elquist, Fennaro, Galdove, Hestrin, Jorvane, Kelluma, Lorimet, Mardune, "
    "Nelvik, Orbresk, Pellune, Quorvi, Rivanto, Solbrek, Tavmere, Ulvane, Vostrel, Wendrow, Yarrowin, Zembari"
)


def items_of(kind: str) -> list[tuple[str, str]]:
    """The (style, noun) pairs of a kind: four styles to a noun."""
    goods = GOODS[kind]
    return [(goods.styles[(n + s) % len(goods.styles)], noun) for n, noun in enumerate(goods.nouns) for s in range(4)]


def shown_features(kind: str) -> tuple[str, ...]:
    """What can stand between brand and item in a name of a kind."""
    return ("",) if kind == "electronics" else GOODS[kind].features


def name_of(brand: str, feature: str, item: str, tail: str) -> str:
    """A product's name.  feature and tail may be empty; item is style and noun."""
    words = [brand, *f"{feature} {item}".title().split()]
    return " ".join([*words, tail] if tail else words)


def category_of(category: str, product_category: str) -> str:
    """The task type of a product or goal from its two category fields, of synthetic and of real catalogues."""
    path = [part.strip() for part in product_category.split("›")]
    inner = " ".join(path[1:])
    if category == "fashion" or path[0].startswith("Clothing"):
        if "Shoes" in inner:
            return "footwear"
        worn = any(word in inner for word in ("Accessories", "Handbags", "Wallets", "Jewelry", "Watches", "Luggage"))
        return "accessories" if worn else "apparel"
    if category in ("electronics", "beauty"):
        return category
    if category == "garden":
        return "other" if path[0].startswith(("Patio", "Grocery")) else "home"
    heads = {"Electronics": "electronics", "Cell": "electronics", "Beauty": "beauty", "Home": "home"}
    return heads.get(path[0].partition(" ")[0], "other")
