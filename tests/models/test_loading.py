"""Models by name: the bundled one, folders, and the errors for what is missing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from sdar_cli.base.errors import ConfigError, PrerequisiteError
from sdar_cli.config.presets import model_preset
from sdar_cli.config.schema import ModelConfig
from sdar_cli.models.loading import bundled_models, choose_dtype, load_model, load_tokenizer, model_location
from sdar_cli.skills.bank import load_bank


def test_a_folder_is_loaded(model_folder: Path, tokenizer) -> None:
    config = ModelConfig(name=str(model_folder), device="cpu")
    model = load_model(config)
    assert model.dtype == torch.float32 and model.device.type == "cpu"
    assert sum(p.numel() for p in model.parameters()) == 34_016
    assert load_tokenizer(config).get_vocab() == tokenizer.get_vocab()


def test_the_wanted_dtype(model_folder: Path) -> None:
    assert load_model(ModelConfig(name=str(model_folder), device="cpu", dtype="bfloat16")).dtype == torch.bfloat16
    assert choose_dtype(ModelConfig(device="cpu")) == torch.float32


def test_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(PrerequisiteError, match="no model at"):
        model_location(str(tmp_path / "none"))
    with pytest.raises(PrerequisiteError, match="cannot load the model"):
        load_tokenizer(ModelConfig(name=str(tmp_path)))  # it is there, and empty


def test_a_model_that_was_never_downloaded_is_a_prerequisite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No traceback of the hub: what is missing, and what to do."""
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(PrerequisiteError, match="cannot load the model nobody/nothing") as caught:
        load_tokenizer(ModelConfig(name="nobody/nothing"))
    assert caught.value.exit_code == 3 and caught.value.why and caught.value.fix


def test_a_tokenizer_without_a_chat_template_is_refused(model_folder: Path, tmp_path: Path) -> None:
    """A base model would see no roles at all."""
    folder = tmp_path / "base"
    shutil.copytree(model_folder, folder)
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings.pop("chat_template", None)
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    with pytest.raises(ConfigError, match="has no chat template"):
        load_tokenizer(ModelConfig(name=str(folder)))


def test_a_tokenizer_without_padding_gets_one_on_the_left(model_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "unpadded"
    shutil.copytree(model_folder, folder)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings.pop("pad_token")
    settings["padding_side"] = "right"
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    loaded = load_tokenizer(ModelConfig(name=str(folder)))
    assert loaded.pad_token == loaded.eos_token and loaded.padding_side == "left"


@pytest.fixture(scope="module")
def bundled():
    config = ModelConfig(device="cpu")
    return load_model(config), load_tokenizer(config)


@pytest.mark.parametrize("name", bundled_models())
def test_a_bundled_model_is_what_its_preset_says(name: str) -> None:
    model, tokenizer = load_model(ModelConfig(name=name, device="cpu")), load_tokenizer(ModelConfig(name=name))
    assert sum(p.numel() for p in model.parameters()) == model_preset(name).parameters
    assert model.config.vocab_size >= len(tokenizer)
    assert model.config.eos_token_id == tokenizer.eos_token_id


def test_the_bundled_tokenizer_is_short_on_its_own_texts(bundled) -> None:
    """An observation, an action and every brief of the bundled bank: at least three characters a token."""
    _, tokenizer = bundled
    texts = [skill.brief for skill in load_bank("alfworld").skills]
    texts.append("You arrive at countertop 1. On the countertop 1, you see a apple 1, and a mug 2.")
    texts.append("<think>find apple</think><action>take apple 1 from countertop 1</action>")
    for text in texts:
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert tokenizer.decode(ids) == text
        assert len(text) / len(ids) > 3
