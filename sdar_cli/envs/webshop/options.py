"""The settings of WebShop."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from sdar_cli.base.section import NonNegative, Positive
from sdar_cli.envs.options import EnvOptions


class WebShopOptions(EnvOptions):
    """``data``: a folder of the original's files; without it a catalogue is generated."""

    name: str = Field(default="webshop", description="the environment")
    observation: Literal["text", "text_rich"] = Field(default="text", description="how pages are written")
    show_attrs: bool = Field(default=False, description="items have a page of attributes")
    goals: Literal["human", "synthetic"] = Field(
        default="human", description="instructions written for people, or made of every choice of options"
    )
    split_rule: Literal["product-disjoint", "original", "released"] = Field(
        default="product-disjoint",
        description="no product in two splits; the original's numbers; the released code's (which leaks)",
    )
    price_seed: NonNegative = Field(default=4, description="seed of prices and price limits")
    products: Positive = Field(default=1000, description="products of the generated catalogue")
