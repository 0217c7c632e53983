"""Preset files, precedence and its record, and errors reported together."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from sdar_cli.base.errors import ConfigError
from sdar_cli.base.resources import resource_dir
from sdar_cli.config.merge import Merger, field_table, flatten, nest, suggest
from sdar_cli.config.presets import ABOUT, KINDS, list_presets, load_preset, paper_columns, resolve

ALL = [(kind, name) for kind in KINDS for name in list_presets(kind)]


def problem(**given: object) -> str:
    with pytest.raises(ConfigError) as caught:
        resolve(**given)  # type: ignore[arg-type]
    return caught.value.render()


@pytest.mark.parametrize("kind, name", ALL)
def test_every_preset_file_resolves_and_describes_itself(kind: str, name: str) -> None:
    preset = load_preset(name, kind)
    assert len(preset.description) > 20
    resolved = resolve(presets=[f"{kind}/{name}"])
    assert any(source == f"preset {kind}/{name}.toml" for source in resolved.sources.values())


@pytest.mark.parametrize("name", list_presets("methods"))
def test_every_method_says_what_it_is(name: str) -> None:
    about = load_preset(name, "methods").about
    assert set(ABOUT) - {"paper"} <= set(about) <= set(ABOUT)
    assert all(about[key] for key in ABOUT if key != "paper")
    assert about["optimises"].endswith(".") and about["reduces_to"].endswith(".")
    assert about["sink"].split()[0] in ("none", "loss", "advantage")


@pytest.mark.parametrize("name", list_presets("methods"))
def test_the_sink_is_the_one_of_the_settings(name: str) -> None:
    algo = resolve(method=name).config.algo
    sink = "none" if algo.coef == 0 else "loss" if algo.shaping == "none" else "advantage"
    assert load_preset(name, "methods").about["sink"].split()[0] == sink


@pytest.mark.parametrize("name", [name for name in list_presets("methods") if "paper" in load_preset(name).about])
def test_figures_of_the_paper_are_four_per_model_and_those_of_the_name(name: str) -> None:
    paper = load_preset(name, "methods").about["paper"]
    assert list(paper) == ["Qwen2.5-3B", "Qwen2.5-7B", "Qwen3-1.7B"]
    figures = r"\d+\.\d( / \d+\.\d){3}"
    for text in paper.values():
        assert re.fullmatch(rf"{figures}( without, {figures} with skills)?", text)
    assert paper == load_preset(re.sub("-(paper|released)$", "", name)).about["paper"]


@pytest.mark.parametrize(
    "model, method",
    [(model, method) for model in list_presets("models") for method in load_preset(model, "models").methods],
)
def test_what_a_model_wants_for_a_method_can_be_set(model: str, method: str) -> None:
    preset = load_preset(model, "models")
    assert method in list_presets("methods")
    resolved = resolve(model=model, method=method)
    own = {key for key, source in resolved.sources.items() if source == f"{preset.label} for {method}"}
    wanted = flatten_tree(preset.methods[method])
    assert {key: flatten(resolved.config)[key] for key in own} == wanted != {}


def flatten_tree(tree: Mapping[str, Any]) -> dict[str, Any]:
    merger = Merger()
    merger.put_tree(tree, "here")
    assert not merger.problems
    return {key: value for key, value in merger.values.items() if merger.sources[key] == "here"}


def test_no_file_lies_outside_the_kinds() -> None:
    root = resource_dir("presets")
    assert {path.parent.name for path in root.rglob("*.toml") if path != root / "paper.toml"} <= {*KINDS, "sweeps"}


@pytest.mark.parametrize("model", [name for name in list_presets("models") if name != "instruct"])
@pytest.mark.parametrize("method", list_presets("methods"))
def test_every_model_works_with_every_method(model: str, method: str) -> None:
    env = "alfworld-real" if "qwen" in model else model.removeprefix("tiny-")
    resolved = resolve(model=model, method=method, env=env)
    assert resolved.config.method == method
    assert resolved.parameters
    zero_mean = {"grpo-opsd": ["constant 1/2", "expected gradient of zero"]}.get(method, [])
    assert len(resolved.warnings) == len(zero_mean)
    for warning, words in zip(resolved.warnings, zero_mean, strict=True):
        assert words in warning


def test_defaults_are_the_tiny_policy_on_generated_games() -> None:
    resolved = resolve()
    config = resolved.config
    assert (config.env.source, config.model.name, config.method) == ("generated", "tiny-alfworld", "sdar")
    assert config.env.max_turns == 15
    assert resolved.sources["model.name"] == "preset models/tiny-alfworld.toml"
    assert resolved.sources["algo.adv_std"] == "default"


def test_an_environment_brings_its_own_policy(tmp_path: Path) -> None:
    resolved = resolve(env="webshop")
    assert (resolved.config.skills.bank, resolved.config.env.max_turns) == ("webshop", 15)
    assert (resolved.config.model.name, resolved.config.train.tasks_per_step) == ("tiny-webshop", 7)
    assert (resolved.config.algo.coef, resolved.warnings) == (0.1, [])
    own = tmp_path / "shop.toml"
    own.write_text('extends = "envs/webshop"\n[env]\nmax_turns = 9\n')
    assert resolve(env=str(own)).config.model.name == "tiny-webshop"
    assert resolve(env="alfworld-real").config.model.name == "tiny-alfworld"
    assert "another benchmark than webshop" in " ".join(resolve(env="webshop", model="tiny-alfworld").warnings)
    assert resolve(env="webshop", model="qwen3-1.7b").warnings == []
    search = resolve(env="search").config
    assert (search.model.name, search.skills.bank, search.env.prompt) == ("tiny-search", "search", "compact")
    assert (search.env.max_turns, search.env.history, search.env.valid_action) == (4, 4, "admissible")


def test_each_level_wins_over_the_one_before_and_is_remembered(tmp_path: Path) -> None:
    extra = tmp_path / "extra.toml"
    extra.write_text("[algo]\ncoef = 0.3\ngate_beta = 2.0\nkl_coef = 0.02\n")
    # coef: method 0.01 or 0 < the model for that method 0.1 < file 0.3 < --set 0.4 < flag 0.5
    model = resolve(model="qwen2.5-3b-instruct")
    assert (model.config.algo.coef, model.sources["algo.coef"]) == (0.01, "preset methods/sdar.toml")
    tiny = resolve()
    assert (tiny.config.algo.coef, tiny.sources["algo.coef"]) == (0.1, "preset models/tiny-alfworld.toml for sdar")
    method = resolve(model="qwen2.5-3b-instruct", method="grpo")
    assert (method.config.algo.coef, method.sources["algo.coef"]) == (0.0, "preset methods/grpo.toml")
    file = resolve(method="grpo", presets=[str(extra)])
    assert (file.config.algo.coef, file.sources["algo.coef"]) == (0.3, f"preset {extra}")
    assigned = resolve(method="grpo", presets=[str(extra)], sets=["algo.coef=0.4"])
    assert (assigned.config.algo.coef, assigned.sources["algo.coef"]) == (0.4, "--set")
    flag = resolve(presets=[str(extra)], sets=["algo.coef=0.4"], flags={"algo.coef": (0.5, "--coef")})
    assert (flag.config.algo.coef, flag.sources["algo.coef"]) == (0.5, "--coef")
    assert (flag.config.algo.gate_beta, flag.sources["algo.gate_beta"]) == (2.0, f"preset {extra}")


def test_the_model_wins_over_the_environment() -> None:
    assert resolve().config.env.max_turns == 15
    resolved = resolve(model="qwen3-1.7b")
    assert (resolved.config.env.max_turns, resolved.sources["env.max_turns"]) == (50, "preset models/instruct.toml")


def test_later_preset_files_win(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 2)):
        (tmp_path / f"{name}.toml").write_text(f"seed = {seed}\n")
    files = [str(tmp_path / "a.toml"), str(tmp_path / "b.toml")]
    assert resolve(presets=files).config.seed == 2
    assert resolve(presets=files[::-1]).config.seed == 1


@pytest.mark.parametrize(
    "reference", ["qwen2.5-1.5b-instruct", "Qwen/Qwen2.5-1.5B-Instruct", "qwen/qwen2.5-1.5b-INSTRUCT"]
)
def test_a_model_is_found_by_preset_name_or_hugging_face_id(reference: str) -> None:
    config = resolve(model=reference).config
    assert config.model.name == "Qwen/Qwen2.5-1.5B-Instruct"
    assert (config.train.tasks_per_step, config.train.group_size, config.train.lr) == (16, 8, 1e-6)
    assert (config.algo.coef, config.algo.kl_coef, config.algo.dual_clip) == (0.01, 0.01, 3.0)


def test_other_models_get_the_generic_settings(tmp_path: Path) -> None:
    for reference in ("someone/else", str(tmp_path)):
        resolved = resolve(model=reference)
        assert (resolved.config.model.name, resolved.sources["model.name"]) == (reference, "--model")
        assert resolved.config.model.max_response_tokens == 512
        assert resolved.parameters is None


@pytest.mark.parametrize("reference", ["qwen2.5-1.5b-instrct", "./no-such-folder", "/no/such/folder", "instruct"])
def test_what_is_no_model_is_refused(reference: str) -> None:
    assert "unknown model" in problem(model=reference)


def test_misspelt_names_get_suggestions() -> None:
    assert "did you mean 'qwen2.5-1.5b-instruct'" in problem(model="qwen2.5-1.5b-instrct")
    assert "did you mean 'alfworld'" in problem(env="alfwrld")
    assert "did you mean 'grpo'" in problem(method="gpro")
    assert "did you mean 'methods/grpo'" in problem(presets=["method/grpo"])
    assert "did you mean 'algo.gate'" in problem(sets=["algo.gat=none"])
    assert "did you mean 'algo.gate_beta'" in problem(sets=["gate_beta=1"])
    assert "did you mean 'train.lr'" in problem(sets=["model.lr=1"])
    assert "it is a section, with" in problem(sets=["train=1"])


def test_suggest_keeps_quiet_about_the_unrelated() -> None:
    assert suggest("zzzzzz", list(field_table())) == ""


def test_all_errors_at_once_each_with_its_source(tmp_path: Path) -> None:
    bad = tmp_path / "bad.toml"
    bad.write_text('nonsense = 1\n[train]\nlr = -1.0\ngroup_size = "many"\n')
    text = problem(
        method="sdr",
        presets=[str(bad), "nowhere.toml"],
        sets=["algo.gat=gap", "seed=-1", "noequals", "env.games_train=2"],
        flags={"algo.gate": ("gapp", "--gate")},
    )
    assert text.startswith("error: 10 problems in the configuration")
    for expected in (
        "unknown method 'sdr'",
        "no preset file 'nowhere.toml'",
        f"preset {bad}: unknown key 'nonsense'",
        f"preset {bad}: train.lr = -1.0",
        f"preset {bad}: train.group_size = 'many'",
        "--set: unknown key 'algo.gat'",
        "--set: seed = -1",
        "--set noequals: write KEY=VALUE",
        "--gate: algo.gate = 'gapp'",
        "train.tasks_per_step (6) exceeds env.games_train (2)",
    ):
        assert expected in text


def test_contradictions_name_both_sources_and_stand_beside_bad_values() -> None:
    text = problem(sets=["skills.retrieval=none", "train.lr=-1"])
    assert "algo.coef from preset models/tiny-alfworld.toml for sdar, skills.retrieval from --set" in text
    assert "train.lr = -1" in text


def test_a_contradiction_with_a_bad_value_is_not_reported() -> None:
    text = problem(sets=["skills.retrieval=none", "algo.coef=-1"])
    assert "algo.coef = -1" in text
    assert "equals the student's" not in text


@pytest.mark.parametrize(
    "assignment, key, value",
    [
        ("train.lr=1e-6", "train.lr", 1e-6),
        ("train.steps=1_000", "train.steps", 1000),
        ("model.thinking=true", "model.thinking", True),
        ("algo.gate=none", "algo.gate", "none"),
        ('algo.gate="none"', "algo.gate", "none"),
        ("algo.dual_clip=none", "algo.dual_clip", None),
        ("model.revision=1234567", "model.revision", "1234567"),
        ("model.revision=1e5", "model.revision", "1e5"),
        ("name=2024", "name", "2024"),
        ("model.name=a=b", "model.name", "a=b"),
        ("eval.split = valid_unseen", "eval.split", "valid_unseen"),
    ],
)
def test_set_values_are_toml_or_bare_text(assignment: str, key: str, value: object) -> None:
    resolved = resolve(sets=[assignment])
    assert flatten(resolved.config)[key] == value
    assert resolved.sources[key] == "--set"


def test_data_implies_real_games_unless_said_otherwise() -> None:
    flagged = resolve(flags={"env.data": ("/games", "--data")})
    assert flagged.config.env.source == "real"
    assert flagged.sources["env.source"] == "--data (env.data implies it)"
    assert resolve(sets=["env.data=/games", "env.source=generated"]).config.env.source == "generated"


def test_a_config_file_comes_back_as_it_was(tmp_path: Path) -> None:
    first = resolve(model="Qwen/Qwen3-1.7B", sets=["env.data=/x", "env.source=generated", "algo.dual_clip=none"]).config
    path = tmp_path / "config.json"
    path.write_text(json.dumps(first.model_dump(mode="json")))
    again = resolve(config_file=path)
    assert again.config == first
    assert again.sources["train.lr"] == f"--config {path}"
    assert resolve(config_file=tmp_path).config == first  # a run directory


def test_presets_apply_over_a_config_file_only_when_named(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(resolve(sets=["algo.coef=0.7"]).config.model_dump(mode="json")))
    assert resolve(config_file=path).config.algo.coef == 0.7
    assert resolve(config_file=path, method="grpo").config.algo.coef == 0


@pytest.mark.parametrize("content", ["{", "[1]", '{"algo": {"old_key": 1}}'])
def test_a_bad_config_file_is_an_error_naming_it(tmp_path: Path, content: str) -> None:
    path = tmp_path / "config.json"
    path.write_text(content)
    assert str(path) in problem(config_file=path)


def test_broken_toml_is_an_error_naming_the_file(tmp_path: Path) -> None:
    path = tmp_path / "broken.toml"
    path.write_text("a = = 1")
    assert str(path) in problem(presets=[str(path)])


def test_a_bare_model_name_in_set_is_warned_about() -> None:
    assert any("--model also loads" in text for text in resolve(sets=["model.name=a/b"]).warnings)


def test_flatten_and_nest_are_inverse() -> None:
    config = resolve().config
    assert nest(flatten(config)) == config.model_dump()


def test_the_figures_of_the_paper_have_a_column_each() -> None:
    columns = paper_columns()
    assert len(columns) == 4 == len(set(columns))
    for name in list_presets("methods"):
        for model, values in load_preset(name, "methods").about.get("paper", {}).items():
            assert len(values.partition(" without")[0].split(" / ")) == len(columns), (name, model)
