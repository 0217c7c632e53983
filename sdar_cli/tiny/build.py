"""The bundled policies and the functions that rebuild them from nothing."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

Builder = Callable[..., Path]
"""(out, seed, games, workers, reporter): games, catalogues or worlds demonstrated; None, the recipe's number."""


def builder(name: str) -> Builder:
    """The function that rebuilds a bundled policy.  Raises KeyError for another name."""
    module, _, function = POLICIES[name].partition(":")
    found: Builder = getattr(import_module(module), function)
    return found


POLICIES = {
    "tiny-alfworld": "sdar_cli.tiny.warmstart:build_tiny_alfworld",
    "tiny-webshop": "sdar_cli.tiny.webshop:build_tiny_webshop",
    "tiny-search": "sdar_cli.tiny.search:build_tiny_search",
}
