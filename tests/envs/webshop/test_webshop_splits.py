"""Which goals are in which split."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sdar_cli.base.errors import ConfigError, PrerequisiteError
from sdar_cli.config.presets import resolve
from sdar_cli.envs.panels import make_panel
from sdar_cli.envs.registry import open_environment
from sdar_cli.envs.webshop.env import RULES
from sdar_cli.envs.webshop.options import WebShopOptions


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("SDAR_CACHE", str(folder))
        yield folder


def shop(**settings: Any) -> Any:
    return open_environment(WebShopOptions(name="webshop", products=400, **settings))


def test_no_product_is_in_two_splits(cache: Path) -> None:
    with shop() as environment:
        parts = {name: environment.tasks(name) for name in ("train", "eval", "test")}
        goals = environment._shop("human").goals
        asins = {name: {goals[int(t.id.partition("/")[2])].asin for t in tasks} for name, tasks in parts.items()}
        every = [t.id for tasks in parts.values() for t in tasks]
        assert len(every) == len(set(every)) == len(goals)
        assert not asins["train"] & asins["eval"] and not (asins["train"] | asins["eval"]) & asins["test"]
        assert len(parts["train"]) > 4 * len(parts["eval"]) > 0
        assert [t.id for t in parts["eval"]] == sorted(t.id for t in parts["eval"])


def test_the_originals_splits_are_numbers(cache: Path) -> None:
    with shop(goals="synthetic", split_rule="original") as environment:
        found = {n: [int(t.id.partition("/")[2]) for t in environment.tasks(n)] for n in ("test", "eval", "train")}
    assert sorted(found["test"]) == list(range(500))
    assert sorted(found["eval"]) == list(range(500, 1500))
    assert min(found["train"]) == 1500
    with shop(goals="synthetic", split_rule="released") as environment:
        assert len(environment.tasks("eval")) == 500
        with pytest.raises(ConfigError, match="no split 'test'"):
            environment.tasks("test")


def test_a_panel_is_of_its_data(cache: Path) -> None:
    def hashed(**settings: Any) -> str:
        with shop(**settings) as environment:
            panel = make_panel(environment.tasks("test"))
            assert panel.split == "test"
            return panel.sha256

    numbers = {"goals": "synthetic", "split_rule": "original"}  # the same ids in every catalogue
    assert hashed(**numbers) == hashed(**numbers)
    assert len({hashed(**numbers), hashed(**numbers, games_seed=1), hashed(**numbers, price_seed=5)}) == 3


def test_an_empty_split_is_an_error(cache: Path) -> None:
    with shop(split_rule="original") as environment, pytest.raises(PrerequisiteError, match="split train"):
        environment.tasks("train")


def test_the_released_splits_come_with_a_warning() -> None:
    warnings = resolve(env="webshop", sets=["env.split_rule=released"]).warnings
    assert any("share products" in warning for warning in warnings)
    assert not any("share products" in warning for warning in resolve(env="webshop").warnings)


@pytest.mark.parametrize("rule", RULES)
def test_every_goal_is_in_one_split_at_most(rule: str) -> None:
    for number in (0, 499, 500, 1499, 1500, 9000):
        for asin in ("B000000000", "B0P1YL0XK7", "BSYNBABABA"):
            assert sum(belongs(number, asin) for belongs in RULES[rule].values()) == 1
