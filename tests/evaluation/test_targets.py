"""What ``sdar eval`` evaluates, and that it is never something else in silence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sdar_cli.base.errors import ConfigError, PrerequisiteError
from sdar_cli.config.presets import resolve
from sdar_cli.evaluation.targets import Asked, Saving, choose_targets, path_of


def make_run(runs: Path, name: str, env: str, steps: tuple[int, ...], created: int, sets: tuple[str, ...] = ()) -> None:
    path = runs / name
    path.mkdir(parents=True)
    config = resolve(env=env, sets=sets).config
    (path / "config.json").write_text(json.dumps(config.model_dump(mode="json")))
    (path / "provenance.json").write_text(json.dumps({"created": str(created)}))
    for step in steps:
        (path / "checkpoints" / f"step-{step:06d}").mkdir(parents=True)


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    folder = tmp_path / "runs"
    make_run(folder, "shop-old", "webshop", (18,), 1)
    make_run(folder, "shop-new", "webshop", (2, 18), 2, ("env.products=300",))
    make_run(folder, "house", "alfworld", (6, 12), 3, ("env.games_eval=30",))
    return folder


def chosen(runs: Path, *envs: str, run=None, checkpoint=None, model=None, flags=None, sets=()):
    return choose_targets(Asked(run, checkpoint, model, envs, sets, flags or {}, runs))


def test_the_latest_run_with_its_own_settings(runs: Path) -> None:
    (target,) = chosen(runs)
    assert target.title == "alfworld: house/step-000012" and "latest run" in target.why
    assert target.config.env.games_eval == 30
    (target,) = chosen(runs, checkpoint=6)
    assert target.title == "alfworld: house/step-000006"


def test_a_benchmark_alone_is_its_own_latest_run(runs: Path) -> None:
    """Not the latest run, which is one of another benchmark."""
    (target,) = chosen(runs, "webshop")
    assert target.title == "webshop: shop-new/step-000018"
    assert target.why == f"shop-new is the latest run of generated webshop under {runs}"
    assert target.config.env.products == 300


def test_a_benchmark_without_a_run_is_its_bundled_policy(runs: Path, tmp_path: Path) -> None:
    (target,) = chosen(tmp_path / "nothing", "webshop")
    assert target.title == "webshop: tiny-webshop" and target.run is None
    assert "the bundled tiny-webshop is evaluated" in target.why
    (target,) = chosen(runs, "alfworld-real")  # house is of generated games
    assert target.title == "alfworld-real: tiny-alfworld" and "no run of real alfworld" in target.why
    with pytest.raises(ConfigError, match="no run of"):
        chosen(tmp_path / "nothing", "webshop", checkpoint=6)


def test_all_benchmarks(runs: Path, monkeypatch) -> None:
    monkeypatch.setattr("sdar_cli.base.plugins.Kind.names", lambda kind: ("alfworld", "webshop"))
    targets = chosen(runs, "all")
    assert [target.benchmark for target in targets] == ["alfworld", "webshop"]
    assert [target.config.env.name for target in targets] == ["alfworld", "webshop"]
    assert [t.benchmark for t in chosen(runs, "webshop,alfworld", "webshop")] == ["webshop", "alfworld"]


def test_another_benchmark_only_where_the_run_was_named(runs: Path) -> None:
    (target,) = chosen(runs, "webshop", run="house")
    assert target.title == "webshop: house/step-000012" and target.why == "house was trained on alfworld"
    assert target.config.env.name == "webshop" and target.config.skills.bank == "webshop"


def test_a_model(runs: Path) -> None:
    (target,) = chosen(runs, model="tiny-alfworld")
    assert (target.title, target.run, target.checkpoint) == ("alfworld: tiny-alfworld", None, None)
    assert [t.title for t in chosen(runs, "alfworld", "webshop", model="tiny-webshop")] == [
        "alfworld: tiny-webshop", "webshop: tiny-webshop"
    ]  # fmt: skip
    with pytest.raises(ConfigError, match="--model excludes"):
        chosen(runs, model="tiny-alfworld", run="house")


def test_missing_runs_and_checkpoints(runs: Path) -> None:
    with pytest.raises(PrerequisiteError) as caught:
        chosen(runs, run="house", checkpoint=7)
    assert caught.value.why == "checkpoints: 6, 12"
    make_run(runs, "fresh", "alfworld", (), 4)
    with pytest.raises(PrerequisiteError, match="fresh has no such checkpoint"):
        chosen(runs)
    make_run(runs, "untrained", "alfworld", (), 5, ("train.steps=0",))
    assert chosen(runs)[0].title == "alfworld: untrained/untrained"
    with pytest.raises(ConfigError, match="unknown environment 'webshpo'"):
        chosen(runs, "webshpo")


def test_one_split_is_not_for_several_benchmarks(runs: Path) -> None:
    with pytest.raises(ConfigError, match="--split is for one benchmark"):
        chosen(runs, "alfworld,webshop", flags={"eval.split": ("eval", "--split")})
    assert len(chosen(runs, "alfworld,webshop", flags={"eval.games": (5, "--games")})) == 2


def test_where_results_go(runs: Path) -> None:
    """Never under a name that the training's own evaluations have."""
    key = {"panel": {"split": "eval"}}
    run, model = chosen(runs, "webshop")[0], chosen(runs, model="tiny-alfworld")[0]
    plain = path_of(run, key, Saving())
    assert plain.parent == runs / "shop-new" / "eval" and plain.name.startswith("panel-000018-eval-")
    assert path_of(run, key, Saving(name="wide")).name == "wide.json"
    assert path_of(run, key, Saving(name="wide", several=True)).name == "wide-webshop.json"
    assert path_of(run, {**key, "x": 1}, Saving()) != plain
    assert path_of(model, key, Saving()).parent == Path("evals/tiny-alfworld")
    assert path_of(model, key, Saving(name="base")) == Path("evals/base/alfworld.json")
    assert path_of(model, key, Saving(folder=Path("out"), name="base")) == Path("out/alfworld.json")
