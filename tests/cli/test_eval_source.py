"""Which run or model ``sdar eval`` plays."""

from __future__ import annotations

from pathlib import Path

import pytest

from sdar_cli.commands.eval import _source
from sdar_cli.errors import ConfigError
from sdar_cli.presets import resolve
from sdar_cli.runs import RunDir


def make(runs: Path, env: str, name: str, *sets: str) -> RunDir:
    """A run without training, which needs no checkpoint."""
    return RunDir.create(runs, resolve(env=env, sets=[f"name={name}", "train.steps=0", *sets]).config)


def test_env_chooses_the_latest_run_of_its_benchmark(tmp_path: Path) -> None:
    make(tmp_path, "webshop", "old")
    make(tmp_path, "webshop", "shop", "env.products=300", "env.games_seed=5")
    make(tmp_path, "alfworld", "house")
    run, config, _ = _source(None, None, None, "webshop", (), {}, tmp_path)
    assert run is not None and run.name == "shop"
    assert (config.env.name, config.env.products, config.env.games_seed) == ("webshop", 300, 5)  # as it was trained
    run, config, _ = _source(None, None, None, None, (), {}, tmp_path)
    assert run is not None and (run.name, config.env.name) == ("house", "alfworld")


def test_another_preset_of_the_benchmark_is_played_with_its_latest_run(tmp_path: Path) -> None:
    make(tmp_path, "alfworld", "house")
    make(tmp_path, "webshop", "shop")
    run, config, _ = _source(None, None, None, "alfworld-real", (), {}, tmp_path)
    assert run is not None and (run.name, config.env.source) == ("house", "real")


def test_without_a_run_of_the_benchmark_it_is_the_bundled_policy(tmp_path: Path) -> None:
    make(tmp_path, "alfworld", "house")
    run, config, path = _source(None, None, None, "webshop", ["env.products=300"], {}, tmp_path)
    assert (run, path, config.model.name, config.env.products) == (None, None, "tiny-webshop", 300)
    with pytest.raises(ConfigError, match="no run of webshop"):
        _source(None, 6, None, "webshop", (), {}, tmp_path)
