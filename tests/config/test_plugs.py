"""Arguments of plugs: how they are set, merged, stored, and checked before a run starts."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sdar_cli.base.errors import ConfigError
from sdar_cli.config.older import SCHEMA
from sdar_cli.config.plugs import PLUGS, check_plugs, named_plugs
from sdar_cli.config.presets import resolve
from sdar_cli.config.schema import RunConfig
from sdar_cli.runs.rundir import differences
from sdar_cli.sweep.grid import parse_grid
from sdar_cli.train.preflight import missing

GATE = "def soft(batch, beta, *, threshold: float, names: tuple[str, ...] = ()):\n    return batch\n"


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A current folder with a guest's gate."""
    (tmp_path / "plugs_of_a_guest.py").write_text(GATE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield tmp_path
    sys.modules.pop("plugs_of_a_guest", None)


def algo(*sets: str) -> RunConfig:
    return resolve(sets=["algo.gate=plugs_of_a_guest:soft", *sets]).config


def test_a_table_one_entry_and_a_preset_set_the_same(place: Path) -> None:
    whole = algo('algo.gate_args={threshold=0.1, names=["a"]}')
    assert whole.algo.gate_args == {"threshold": 0.1, "names": ["a"]}
    assert algo("algo.gate_args.threshold=0.1", 'algo.gate_args.names=["a"]') == whole
    (place / "p.toml").write_text(
        '[algo]\ngate = "plugs_of_a_guest:soft"\n[algo.gate_args]\nthreshold = 0.1\nnames = ["a"]\n'
    )
    assert resolve(presets=["p.toml"]).config == whole
    assert resolve(presets=["p.toml"], sets=["algo.gate_args.threshold=1"]).config.algo.gate_args["threshold"] == 1
    assert resolve(presets=["p.toml"], sets=["algo.gate_args={}", "algo.gate=gap"]).config.algo.gate_args == {}


def test_an_entry_below_a_table_below_a_field() -> None:
    config = resolve(sets=['train.sinks=["csv"]', "train.sink_args.csv.deep.er=1"]).config
    assert config.train.sink_args == {"csv": {"deep": {"er": 1}}}
    assert RunConfig().train.sink_args == {}, "the default is not the table that was changed"


@pytest.mark.parametrize("key", ["algo.gate.threshold", "algo.gate_arg.threshold", "algo.coef.x"])
def test_a_key_below_a_field_that_is_no_table_is_unknown(key: str) -> None:
    with pytest.raises(ConfigError, match="unknown key"):
        resolve(sets=[f"{key}=1"])


@pytest.mark.parametrize("value", ["{a = 2020-01-01}", "{a = nan}", "[1]", "5"])
def test_arguments_are_a_table_of_json_values(value: str) -> None:
    with pytest.raises(ConfigError, match=r"algo\.gate_args"):
        resolve(sets=[f"algo.gate_args={value}"])


def test_they_are_stored_and_an_old_file_without_them_has_the_defaults(place: Path) -> None:
    config = algo("algo.gate_args.threshold=0.1")
    tree = config.model_dump(mode="json")
    (place / "config.json").write_text(json.dumps(tree))
    assert resolve(config_file=place / "config.json").config == config
    default = resolve().config
    old = default.model_dump(mode="json")
    for plug in PLUGS:
        section, _, name = plug.arguments.partition(".")
        del old[section][name]
    del old["engine"]["name"], old["train"]["sinks"]
    (place / "old.json").write_text(json.dumps(old))
    again = resolve(config_file=place / "old.json").config
    assert again == default and differences(again, default) == {}
    assert differences(again, resolve(sets=['train.sinks=["csv"]']).config) == {"train.sinks": ((), ("csv",))}


def test_an_engine_of_an_older_file_is_found_again(place: Path) -> None:
    """Its three settings were in ``train``; in a file of this version they are unknown there."""
    config = resolve(sets=["engine.name=plugs_of_a_guest:soft", "engine.args.a=1", "engine.batch=7"]).config
    old = {**config.model_dump(mode="json"), "schema": 2}
    engine = old.pop("engine")
    old["train"] |= {"engine": engine["name"], "engine_args": engine["args"], "generate_batch": engine["batch"]}
    (place / "old.json").write_text(json.dumps(old))
    assert resolve(config_file=place / "old.json").config == config
    (place / "old.json").write_text(json.dumps({**old, "schema": SCHEMA}))
    with pytest.raises(ConfigError, match="3 problems in the configuration"):
        resolve(config_file=place / "old.json")


def test_what_fits_passes_and_a_built_in_without_arguments_is_not_imported() -> None:
    check_plugs(algo("algo.gate_args.threshold=0.1", 'algo.gate_args.names=["a"]'))
    named = {plug.key: plug.name for plug in named_plugs(RunConfig())}
    assert named["engine.name"] == "hf" and named["algo.shaping"] == "none" and "train.sinks" not in named


@pytest.mark.parametrize(
    "sets, text",
    [
        (["algo.gate=plugs_of_a_guest:soft"], "missing a required argument: 'threshold'"),
        (["algo.gate=plugs_of_a_guest:soft", "algo.gate_args.treshold=1"], "did you mean 'threshold'?"),
        (["algo.gate=plugs_of_a_guest:soft", "algo.gate_args.threshold=high"], "argument threshold = 'high'"),
        (["algo.gate_args.threshold=1"], "algo.gate, algo.gate_args: the arguments of gate 'gap' do not fit"),
        (["algo.shaping_args.x=1"], "algo.shaping = none takes no arguments"),
        (["skills.retrieval_args.x=1"], "the arguments of retrieval 'task-type' do not fit"),
        (["train.sink_args.csv.x=1"], "train.sinks does not name 'csv'"),
        (['train.sinks=["csv"]', "train.sink_args.csv.x=1"], "the arguments of sink 'csv' do not fit"),
        (["algo.gate=plugs_of_a_guest:nothing"], "has no attribute 'nothing'"),
        (["skills.evolve=plugs_of_a_guest:soft"], "do not fit"),
    ],
)
def test_what_does_not_fit_is_an_error_before_a_run(sets: list[str], text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        missing(resolve(sets=sets).config)
    assert text in caught.value.render() and caught.value.exit_code == 2


def test_every_problem_is_named_at_once() -> None:
    config = algo("algo.gate_args.x=1", "algo.objective_args.y=2", "engine.args.z=3")
    with pytest.raises(ConfigError) as caught:
        check_plugs(config)
    assert len(caught.value.problems) == 3 and "engine.name" in caught.value.render()


def test_a_module_that_is_not_there_is_missing_and_no_config_error() -> None:
    views = 'teacher.views=[{retrieval="not_there_a:f"}]'
    sets = ["algo.gate=not_there_b:f", 'train.sinks=["not_there_c:f"]', views]
    found = missing(resolve(sets=sets).config)
    assert {item.what.split("'")[1] for item in found} == {"not_there_a", "not_there_b", "not_there_c"}


def test_a_sweep_varies_an_argument() -> None:
    axis = parse_grid("algo.gate_args.threshold=0.1,0.2")
    assert [dict(choice.settings) for choice in axis.choices] == [
        {"algo.gate_args.threshold": 0.1},
        {"algo.gate_args.threshold": 0.2},
    ]
    with pytest.raises(ConfigError, match="unknown key"):
        parse_grid("algo.gate.threshold=1")


def test_settings_that_a_guest_may_read_are_not_called_ignored() -> None:
    sets = ["skills.ucb_c=2", "skills.embedding_model=x"]
    assert any("ucb_c" in text for text in resolve(sets=sets).warnings)
    guest = resolve(sets=[*sets, "skills.retrieval=plugs_of_a_guest:soft"]).warnings
    assert not any("ucb_c" in text for text in guest)
