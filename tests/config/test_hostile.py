"""Settings that are valid in form and impossible, and flags that contradict the method's name."""

from __future__ import annotations

from pathlib import Path

import pytest

from sdar_cli.base.errors import ConfigError
from sdar_cli.config.presets import load_preset, resolve


@pytest.mark.parametrize(
    "value", ["9" * 5000, "[" * 5000, "-" + "9" * 4400, '{a = "' + "x" * 5000, "9" * 400, "1e400", "inf", "nan"]
)
@pytest.mark.parametrize("key", ["train.lr", "train.steps", "algo.gate_args.threshold", "eval.split"])
def test_an_impossible_value_names_its_key(key: str, value: str) -> None:
    try:
        resolve(sets=[f"{key}={value}"])
    except ConfigError as error:
        text = f"{error.what} {error.why}"
        assert key.partition("_args")[0] in text and len(text) < 1000
    else:
        assert key in ("eval.split", "algo.gate_args.threshold")


@pytest.mark.parametrize("value", [{"\ud800": 1}, {"a": ["\udc00"]}])
def test_half_a_character_in_a_table_of_arguments(value: dict) -> None:
    with pytest.raises(ConfigError, match=r"engine\.args.*surrogates not allowed"):
        resolve(flags={"engine.args": (value, "a flag")})


@pytest.mark.parametrize("levels", [50, 51, 300])
def test_a_table_of_arguments_has_an_end(levels: int) -> None:
    value: object = 1
    for _ in range(levels):
        value = {"a": value}
    if levels <= 50:
        config = resolve(flags={"engine.args": (value, "a flag")}).config
        assert config.model_dump(mode="json")["engine"]["args"] == value
        return
    with pytest.raises(ConfigError, match=r"engine\.args"):
        resolve(flags={"engine.args": (value, "a flag")})


def test_a_preset_that_extends_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("itself.toml").write_text('extends = "itself.toml"')
    Path("one.toml").write_text('extends = "./two.toml"')
    Path("two.toml").write_text(f'extends = "{tmp_path}/one.toml"')
    for name in ("itself", "one", "two"):
        with pytest.raises(ConfigError, match=rf"{name}\.toml extends itself|extends itself") as caught:
            load_preset(f"{name}.toml")
        assert f"{name}.toml" in caught.value.what + caught.value.why
    for number in range(30):
        Path(f"p{number}.toml").write_text(f'extends = "p{number + 1}.toml"')
    with pytest.raises(ConfigError, match="chain of"):
        load_preset("p0.toml")


@pytest.mark.parametrize(
    "content",
    [b"\xff", b"a = " + b"9" * 5000, b"a = " + b"[" * 5000, b"extends = 3", b"about = 3", b"methods = 3",
     b"[methods]\ngrpo = 3", b"envs = []", b"parameters = 'many'", b"description = []", b"env = 3", b"[env]\nname = 3"],
)  # fmt: skip
def test_a_broken_preset_names_its_file(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        resolve(presets=[str(path)])
    assert "mine.toml" in caught.value.what + caught.value.why


@pytest.mark.parametrize(
    ("flags", "word"),
    [({"algo.coef": (0.1, "--coef")}, "has a teacher"), ({"algo.gate": ("entropy", "--gate")}, "algo.gate ignored")],
)
def test_a_flag_against_the_methods_name_is_said(flags, word: str) -> None:
    assert resolve(method="grpo").warnings == []
    assert any(word in warning for warning in resolve(method="grpo", flags=flags).warnings)


def test_the_released_method_has_the_released_values_of_a_benchmark() -> None:
    def values(env: str, model: str = "qwen2.5-3b-instruct", **more):
        algo = resolve(env=env, model=model, method="sdar-released", **more).config.algo
        return algo.kl_coef, algo.invalid_penalty

    assert values("alfworld-real") == (0.01, 0.1)
    assert values("search-real") == (0.001, 0.01)
    assert values("search-real", sets=["algo.kl_coef=0.5"]) == (0.5, 0.01)


def test_settings_of_training_do_not_matter_where_nothing_is_trained() -> None:
    sets = ["env.games_train=2", "train.updates_per_step=99"]
    with pytest.raises(ConfigError, match="2 problems"):
        resolve(env="alfworld", sets=sets)
    assert resolve(env="alfworld", sets=sets, training=False).config.train.updates_per_step == 99
