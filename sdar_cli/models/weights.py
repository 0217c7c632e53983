"""The weights of a model that is being trained, one full tensor after the other, as an engine of its own needs them.

Whatever holds the parameters - this process alone, FSDP2, ZeRO-3, a LoRA adapter - the names and shapes are those of
the plain Hugging Face model.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from sdar_cli.base.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor, nn

WRAPPERS = {"_checkpoint_wrapped_module", "_orig_mod", "_fsdp_wrapped_module", "base_layer"}
"""Parts of a parameter's name that wrappers add: activation checkpointing, torch.compile, FSDP, an adapter."""


def stream_weights(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """(Hugging Face name, full tensor) of every parameter, in the order of the modules.  A tied head is sent once.

    One tensor at a time is whole.  LoRA: W + scaling * B A, computed in float32 beside the model, whose own weights
    stay as they are.  With sharded weights every process must read the stream to its end: each tensor is a collective.
    A tensor may be a view of the parameter: copy it, do not change it.  Raises ConfigError for an adapter that is not
    plain LoRA.
    """
    sent: set[int] = set()
    for name, module in model.named_modules(remove_duplicate=False):
        adapter = hasattr(module, "base_layer") and hasattr(module, "lora_A")
        owner = module.base_layer if adapter else module
        for own_name, parameter in owner.named_parameters(recurse=False):
            if id(parameter) in sent or ".lora_" in f".{name}.{own_name}":
                continue
            sent.add(id(parameter))
            full_name = plain_name(f"{name}.{own_name}" if name else own_name)
            if adapter and own_name == "weight":
                yield full_name, _merged(module, full_name)
            else:
                with _gathered([parameter]):
                    yield full_name, _full(parameter)


def plain_name(name: str) -> str:
    """A parameter's name without what wrappers have added to it."""
    text = ".".join(part for part in name.split(".") if part not in WRAPPERS)
    return text.removeprefix("module.").removeprefix("base_model.model.")


def _merged(module: nn.Module, name: str) -> Tensor:
    """W + sum over the active adapters of scaling * B A, of a layer of peft, in the dtype of W."""
    weight, adapters = module.base_layer.weight, [a for a in module.active_adapters if a in module.lora_A]
    if getattr(module, "lora_magnitude_vector", None) or getattr(module, "merged", False):
        raise ConfigError(
            f"the adapter of {name} cannot be sent to the engine",
            why="it is a DoRA adapter, or merged already; only plain LoRA is added here",
            fix="use plain LoRA (model.lora.*)",
        )
    pairs = [(module.lora_A[a].weight, module.lora_B[a].weight, module.scaling[a]) for a in adapters]
    with _gathered([weight, *(matrix for a, b, _ in pairs for matrix in (a, b))]):
        merged = _full(weight).float()
        for a, b, scaling in pairs:
            delta = scaling * (_full(b).float() @ _full(a).float())
            merged = merged + (delta.T if getattr(module, "fan_in_fan_out", False) else delta)
        return merged.to(weight.dtype)


def _full(parameter: Tensor) -> Tensor:
    """The whole tensor: of FSDP2's shards, or as it is (ZeRO-3's inside ``_gathered``)."""
    tensor = parameter.detach()
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def _gathered(parameters: Sequence[Tensor]) -> AbstractContextManager:
    """Inside, the parameters that ZeRO-3 holds in shards are whole."""
    if not any(hasattr(parameter, "ds_id") for parameter in parameters):
        return nullcontext()
    from deepspeed.zero import GatheredParameters

    return GatheredParameters(list(parameters))
