"""Models by name: the bundled tiny policies, a local folder, or a Hugging Face id."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from sdar_cli.base.errors import ConfigError, PrerequisiteError
from sdar_cli.base.resources import PACKAGE
from sdar_cli.config.presets import load_preset
from sdar_cli.config.schema import ModelConfig
from sdar_cli.envs.registry import benchmark, built_in

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def bundled_models() -> dict[str, str]:
    """The models of the package, in the order of their environments: name to what it is (their preset's words)."""
    found = {}
    for name in dict.fromkeys(benchmark(env).default_model for env in built_in()):
        preset = load_preset(name, "models")
        if preset.values.get("model", {}).get("name") == name:
            found[name] = preset.description
    return found


def model_location(name: str) -> str:
    """Where ``from_pretrained`` finds a model: a folder of the package, a given folder, or the id itself.

    Raises PrerequisiteError when a name looks like a path and is not there.
    """
    if name in bundled_models():
        folder = PACKAGE / "tiny" / name.replace("-", "_")
        if not (folder / "model.safetensors").exists():
            raise PrerequisiteError(f"the bundled model {name} has no weights", fix=f"sdar models build {name}")
        return str(folder)
    path = Path(name).expanduser()
    if path.is_dir():
        return str(path)
    if name.startswith((".", "/", "~")):
        raise PrerequisiteError(f"no model at {name}", fix="give a folder that holds config.json, or a model id")
    return name


def load_tokenizer(name: str, revision: str | None = None) -> PreTrainedTokenizerBase:
    """The tokenizer of a model, padding on the left, with a pad token."""
    from transformers import AutoTokenizer

    tokenizer = _load(AutoTokenizer.from_pretrained, name, revision)
    if not tokenizer.chat_template:
        raise ConfigError(f"{name} has no chat template", fix="choose an instruction-tuned model")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.padding_side = "left"
    return tokenizer


def load_model(config: ModelConfig) -> PreTrainedModel:
    """The causal language model of a configuration, in its dtype and on its device, without adapters."""
    from transformers import AutoModelForCausalLM

    model = _load(AutoModelForCausalLM.from_pretrained, config.name, config.revision, dtype=choose_dtype(config))
    return model.to(choose_device(config))


def _load(loader, name: str, revision: str | None, **kwargs):
    try:
        return loader(model_location(name), revision=revision, **kwargs)
    except (OSError, ValueError) as error:
        raise PrerequisiteError(
            f"cannot load the model {name}",
            why=str(error).strip().splitlines()[0],
            fix="check the name and the network, or give a local folder with --model",
        ) from error


def choose_device(config: ModelConfig) -> torch.device:
    """The device asked for; ``auto`` takes a GPU when there is one."""
    import torch

    if config.device == "cuda" and not torch.cuda.is_available():
        raise PrerequisiteError("no CUDA GPU is visible", fix="--set model.device=cpu")
    use_gpu = config.device == "cuda" or (config.device == "auto" and torch.cuda.is_available())
    return torch.device("cuda" if use_gpu else "cpu")


def computing(device: torch.device) -> AbstractContextManager:
    """How a forward pass computes on a device: bfloat16 autocast where training uses it, so that an evaluation
    of a checkpoint computes what the run's own evaluation did."""
    import torch

    if device.type == "cuda" and torch.cuda.is_bf16_supported():
        return torch.autocast("cuda", torch.bfloat16)
    return nullcontext()


def choose_dtype(config: ModelConfig) -> torch.dtype:
    """The dtype of the weights.  ``auto``: bfloat16 for the frozen base of a LoRA run on a GPU, else float32.

    Weights that are trained stay in float32, since steps of 1e-6 vanish in bfloat16; on such a GPU the
    computation itself runs in bfloat16 (autocast).  On most CPUs bfloat16 is several times slower.
    """
    import torch

    if config.dtype != "auto":
        return getattr(torch, config.dtype)
    on_gpu = choose_device(config).type == "cuda"
    return torch.bfloat16 if config.lora.rank and on_gpu and torch.cuda.is_bf16_supported() else torch.float32
