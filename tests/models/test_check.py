"""Model folders from the wild: every fault is met before the weights are loaded, and says how to mend it."""

from __future__ import annotations

import copy
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import torch
import toy
from transformers import GPT2Config, GPT2LMHeadModel

from sdar_cli.base.errors import ConfigError, PrerequisiteError, RunFailedError, SdarError
from sdar_cli.config.schema import EngineConfig, RunConfig
from sdar_cli.models.check import check_model
from sdar_cli.models.engine import Sampling, generate
from sdar_cli.models.engines.hf import HuggingFaceEngine
from sdar_cli.models.loading import load_policy, load_tokenizer
from sdar_cli.models.template import fix_date, reads_clock

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.fixture
def saved(tokenizer, tmp_path: Path):
    """Save a model with a changed tokenizer; returns its configuration."""

    def save(change=lambda tokenizer, model: None, model=None, **settings: Any) -> RunConfig:
        own, made = copy.deepcopy(tokenizer), model or toy.make_model(tokenizer)
        own.chat_template = CHATML
        made.resize_token_embeddings(len(own))
        change(own, made)
        made.save_pretrained(tmp_path)
        own.save_pretrained(tmp_path)
        return toy.config(model={"name": str(tmp_path), "device": "cpu", **settings})

    return save


def test_a_model_that_fits_says_nothing(saved) -> None:
    assert check_model(saved()) == []
    assert check_model(toy.config(model={"name": "tiny-alfworld"})) == []


def test_the_turn_end_of_the_template_ends_a_response(saved) -> None:
    def change(tokenizer, model) -> None:
        tokenizer.chat_template = CHATML.replace("<|im_end|>", "<|turn|>")
        tokenizer.add_special_tokens({"additional_special_tokens": ["<|turn|>"]})
        model.resize_token_embeddings(len(tokenizer))

    config = saved(change)
    assert any("<|turn|>" in note for note in check_model(config))
    model, tokenizer = load_policy(config.model)
    ends = HuggingFaceEngine(model, tokenizer, EngineConfig(batch=1)).ends
    assert set(tokenizer.convert_tokens_to_ids(["<|turn|>", "<|im_end|>"])) <= ends


def test_ends_can_be_set(saved) -> None:
    config = saved(ends=("<|im_start|>",))
    model, tokenizer = load_policy(config.model)
    assert (
        tokenizer.convert_tokens_to_ids("<|im_start|>")
        in HuggingFaceEngine(model, tokenizer, EngineConfig(batch=1)).ends
    )
    with pytest.raises(ConfigError, match="'two words', which is no token"):
        check_model(saved(ends=("two words",)))


def test_a_tokenizer_without_an_end_takes_the_turn_end(saved) -> None:
    def change(tokenizer, model) -> None:
        tokenizer.eos_token = None
        tokenizer.pad_token = None

    config = saved(change)
    check_model(config)
    loaded = load_tokenizer(config.model)
    assert loaded.eos_token == loaded.pad_token == "<|im_end|>"


def test_no_end_at_all_is_refused(saved) -> None:
    def change(tokenizer, model) -> None:
        tokenizer.eos_token = None
        tokenizer.chat_template = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"

    with pytest.raises(ConfigError, match="names no end token") as caught:
        check_model(saved(change))
    assert "model.ends" in caught.value.fix


def test_a_pad_token_outside_the_embedding_is_not_used(saved) -> None:
    config = saved(lambda tokenizer, model: tokenizer.add_special_tokens({"pad_token": "[NEWPAD]"}))
    assert any("[NEWPAD]" in note for note in check_model(config))
    model, tokenizer = load_policy(config.model)
    assert tokenizer.pad_token == tokenizer.eos_token
    engine = HuggingFaceEngine(model, tokenizer, EngineConfig(batch=4))
    assert len(generate(engine, [[5, 6, 7], [5]], Sampling(2, greedy=True), [0, 0])) == 2
    with pytest.raises(ConfigError, match=r"\[NEWPAD\], which has no row"):
        engine.submit(0, [tokenizer.convert_tokens_to_ids("[NEWPAD]")], Sampling(2, greedy=True), 0)


def test_a_template_that_writes_a_token_outside_the_embedding_is_refused(saved) -> None:
    def change(tokenizer, model) -> None:
        tokenizer.chat_template = "<|new|>" + CHATML
        tokenizer.add_special_tokens({"additional_special_tokens": ["<|new|>"]})

    with pytest.raises(ConfigError, match=r"writes <\|new\|>"):
        check_model(saved(change))


def test_a_budget_over_rotary_positions_is_said_and_over_learned_ones_refused(saved, tokenizer) -> None:
    def narrow(tokenizer, model) -> None:
        model.config.max_position_embeddings = 64

    assert any("64 positions" in note for note in check_model(saved(narrow)))
    sizes = {"n_embd": 8, "n_layer": 1, "n_head": 1, "n_positions": 64}
    learned = GPT2LMHeadModel(GPT2Config(vocab_size=len(tokenizer), eos_token_id=tokenizer.eos_token_id, **sizes))
    with pytest.raises(ConfigError, match="64 positions") as caught:
        check_model(saved(model=learned))
    assert "--set model.max_prompt_tokens=" in caught.value.fix


def test_lora_targets_must_all_exist(saved) -> None:
    config = saved(lora={"rank": 4, "targets": "q_proj, c_attn"})
    with pytest.raises(ConfigError, match="names 'c_attn'") as caught:
        check_model(config)
    assert "q_proj" in caught.value.why
    assert check_model(saved(lora={"rank": 4, "targets": "q_proj, v_proj"})) == []


@pytest.mark.parametrize("call", ["strftime_now('%d %b %Y')", 'strftime_now( "%d %b %Y" )'])
def test_the_date_of_a_template_is_fixed(saved, call: str) -> None:
    def change(tokenizer, model) -> None:
        tokenizer.chat_template = "{% if strftime_now is defined %}{{ " + call + " }}{% endif %}" + CHATML

    config = saved(change, template_date="2020-02-03")
    assert any("2020-02-03" in note for note in check_model(config))
    chat = [{"role": "user", "content": "hi"}]
    assert load_tokenizer(config.model).apply_chat_template(chat, tokenize=False).startswith("03 Feb 2020")


def test_a_date_that_cannot_be_fixed_is_refused() -> None:
    with pytest.raises(ConfigError, match="the date or the time of the clock"):
        fix_date("{{ strftime_now(format) }}", date(2020, 1, 1))
    assert reads_clock("{{ strftime_now (x) }}") and not reads_clock("{% if strftime_now is defined %}{% endif %}")


def test_an_own_template_replaces_the_models(saved, tmp_path: Path) -> None:
    own = tmp_path / "own.jinja"
    own.write_text("OWN " + CHATML)
    config = saved(chat_template=str(own))
    chat = [{"role": "user", "content": "hi"}]
    assert load_tokenizer(config.model).apply_chat_template(chat, tokenize=False).startswith("OWN ")
    own.write_bytes(b"\xff")
    with pytest.raises(ConfigError, match=r"model\.chat_template"):
        check_model(config)
    own.unlink()
    with pytest.raises(ConfigError, match="no chat template at"):
        check_model(config)


def test_a_broken_template_is_an_error_with_a_fix(saved) -> None:
    def change(tokenizer, model) -> None:
        tokenizer.chat_template = "{{ messages[5].content }}{{ 1 // 0 }}"

    with pytest.raises(ConfigError, match="cannot be rendered"):
        check_model(saved(change))


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json"])
@pytest.mark.parametrize("content", [None, b"", b"{", b"[]", b"\xff\xfe", b'{"model_type": "nothing"}'])
def test_a_damaged_folder_is_a_clear_error(saved, tmp_path: Path, name: str, content: bytes | None) -> None:
    config = saved()
    (tmp_path / name).unlink()
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(SdarError) as caught:
        check_model(config)
    assert caught.value.fix


def test_code_of_a_model_folder_is_never_run(saved, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = saved()
    mark = tmp_path / "written"
    (tmp_path / "own.py").write_text(f"open({str(mark)!r}, 'w')\nclass Config: pass\n")
    (tmp_path / "config.json").write_text('{"model_type": "ownkind", "auto_map": {"AutoConfig": "own.Config"}}')
    monkeypatch.setattr("builtins.input", lambda *words: "y")
    with pytest.raises(PrerequisiteError, match="code of its own, which is never run"):
        check_model(config)
    assert not mark.exists()


@pytest.mark.parametrize("greedy", [True, False])
def test_destroyed_weights_do_not_play(saved, greedy: bool) -> None:
    model, tokenizer = load_policy(saved().model)
    with torch.no_grad():
        model.get_input_embeddings().weight.fill_(float("nan"))
    with pytest.raises(RunFailedError, match="not finite"):
        generate(HuggingFaceEngine(model, tokenizer, EngineConfig()), [[5, 6]], Sampling(2, greedy=greedy), [0])
