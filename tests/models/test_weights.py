"""The stream of weights: names and tensors of the plain model, whatever holds them, and nothing changed by reading."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from types import ModuleType

import pytest
import torch
import toy

from sdar_cli.base.errors import ConfigError
from sdar_cli.models.weights import plain_name, stream_weights


def sent_by(model) -> dict[str, torch.Tensor]:
    found = [(name, tensor.clone()) for name, tensor in stream_weights(model)]
    assert len(found) == len(dict(found)), "a name was sent twice"
    return dict(found)


def same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], within: float = 0.0) -> None:
    assert list(found) == list(expected)
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype and found[name].shape == tensor.shape
        assert float((found[name] - tensor).abs().max()) <= within, name


def plain(model) -> dict[str, torch.Tensor]:
    """As transformers names them; the head is the embedding."""
    assert model.config.tie_word_embeddings
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def adapted(model, **more):
    """With a LoRA adapter that does something."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(3)
    found = get_peft_model(model, LoraConfig(r=3, lora_alpha=5, target_modules="all-linear", **more))
    for name, parameter in found.named_parameters():
        if "lora_" in name:
            parameter.data.normal_()
    return found


def test_a_plain_model_is_sent_as_it_is(tokenizer) -> None:
    model = toy.make_model(tokenizer)
    found = sent_by(model)
    same(found, plain(model))
    assert "lm_head.weight" not in found and next(iter(found)) == "model.embed_tokens.weight"


@pytest.mark.parametrize("more", [{}, {"use_rslora": True}])
def test_an_adapter_is_added_beside_the_model(tokenizer, more: dict) -> None:
    """The stream is what peft's own merge gives; the model is bit for bit what it was."""
    model = adapted(toy.make_model(tokenizer), **more)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    found = sent_by(model)
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())
    merged = plain(model.merge_and_unload())
    same(found, merged, within=1e-5)
    untouched = plain(toy.make_model(tokenizer))
    changed = [name for name, tensor in found.items() if not torch.equal(tensor, untouched[name])]
    assert changed and all("_proj" in name for name in changed)


def test_an_adapter_on_half_precision_is_added_in_single(tokenizer) -> None:
    model = adapted(toy.make_model(tokenizer).bfloat16())
    name = "model.layers.0.self_attn.q_proj.weight"
    layer = model.base_model.model.model.layers[0].self_attn.q_proj
    a, b = layer.lora_A["default"].weight.double(), layer.lora_B["default"].weight.double()
    exact = layer.base_layer.weight.double() + 5 / 3 * b @ a
    found = sent_by(model)[name]
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, exact.float().bfloat16())


def test_an_adapter_of_another_kind_is_refused(tokenizer) -> None:
    with pytest.raises(ConfigError, match="cannot be sent"):
        sent_by(adapted(toy.make_model(tokenizer), use_dora=True))


@pytest.mark.parametrize(
    "name",
    [
        "module.model.layers.0.mlp.up_proj.weight",
        "_orig_mod.model.layers.0.mlp.up_proj.weight",
        "base_model.model.model.layers.0.mlp.up_proj.base_layer.weight",
        "module.base_model.model.model.layers.0._checkpoint_wrapped_module.mlp.up_proj.base_layer.weight",
        "model.layers.0.mlp.up_proj.weight",
    ],
)
def test_wrappers_leave_no_trace_in_names(name: str) -> None:
    assert plain_name(name) == "model.layers.0.mlp.up_proj.weight"


def test_activation_checkpointing_and_compilation_change_no_name(tokenizer) -> None:
    from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper

    model = toy.make_model(tokenizer)
    expected = plain(model)
    for number, layer in enumerate(model.model.layers):
        model.model.layers[number] = checkpoint_wrapper(layer)
    same(sent_by(torch.nn.ModuleDict({"module": model})), expected)


@pytest.mark.parametrize("lora", [False, True])
def test_shards_of_fsdp_are_put_together(tokenizer, lora: bool) -> None:
    """One process with a group of its own: every parameter is a DTensor."""
    from torch import distributed
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor import DTensor

    model = toy.make_model(tokenizer)
    model = adapted(model) if lora else model
    expected = sent_by(model)
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    try:
        mesh = distributed.init_device_mesh("cpu", (1,))
        fully_shard(model, mesh=mesh)
        assert all(isinstance(p, DTensor) for p in model.parameters())
        same(sent_by(model), expected, within=1e-6)
    finally:
        distributed.destroy_process_group()


@pytest.mark.parametrize("lora", [False, True])
def test_shards_of_zero_3_are_whole_while_they_are_read(tokenizer, monkeypatch, lora: bool) -> None:
    """DeepSpeed's part is played by a stand-in: outside ``GatheredParameters`` a parameter is empty."""
    model = toy.make_model(tokenizer)
    model = adapted(model) if lora else model
    expected = sent_by(model)
    shards = {}
    for number, parameter in enumerate(model.parameters()):
        parameter.ds_id, shards[number] = number, parameter.data
        parameter.data = torch.empty(0)

    @contextmanager
    def gathered(parameters):
        for each in parameters:
            each.data = shards[each.ds_id]
        yield
        for each in parameters:
            each.data = torch.empty(0)

    zero = ModuleType("deepspeed.zero")
    zero.GatheredParameters = gathered  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "deepspeed", ModuleType("deepspeed"))
    monkeypatch.setitem(sys.modules, "deepspeed.zero", zero)
    same(sent_by(model), expected)
