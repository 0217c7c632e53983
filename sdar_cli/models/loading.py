"""Models by name: the bundled tiny policies, a local folder, or a Hugging Face id."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdar_cli.base.errors import ConfigError, PrerequisiteError
from sdar_cli.base.resources import PACKAGE
from sdar_cli.config.presets import load_preset
from sdar_cli.config.schema import ModelConfig
from sdar_cli.envs.registry import benchmark, built_in
from sdar_cli.models.template import turn_end, use_template

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

OWN_CODE = "trust_remote_code"


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


def load_tokenizer(config: ModelConfig) -> PreTrainedTokenizerBase:
    """The tokenizer of a model with the chat template of the configuration, its date fixed; pads on the left.

    It has an end and a pad token: the template's turn end where it names no end, the end where it names no pad.
    Raises PrerequisiteError where it cannot be loaded, ConfigError where the template is unusable or no end is known.
    """
    return load_tokenizer_and_date(config)[0]


def load_tokenizer_and_date(config: ModelConfig) -> tuple[PreTrainedTokenizerBase, bool]:
    """``load_tokenizer``, and whether its template would have asked the clock."""
    from transformers import AutoTokenizer

    tokenizer = _load(AutoTokenizer.from_pretrained, config.name, config.revision)
    dated = use_template(tokenizer, config.name, config.chat_template, date.fromisoformat(config.template_date))
    if tokenizer.eos_token_id is None:
        tokenizer.eos_token = _end_without_eos(tokenizer, config)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.padding_side = "left"
    return tokenizer, dated


def _end_without_eos(tokenizer: PreTrainedTokenizerBase, config: ModelConfig) -> str:
    """The token that ends responses of a tokenizer that names none."""
    if config.ends:
        return config.ends[0]
    found = turn_end(tokenizer)
    if found is None:
        raise ConfigError(
            f"{config.name} names no end token (eos), so no response would end",
            why="the tokenizer has none, and its chat template ends a turn with no token of its own",
            fix="--set 'model.ends=[\"TOKEN\"]' with the token that ends a turn",
        )
    return str(tokenizer.convert_ids_to_tokens(found))


def load_model(config: ModelConfig) -> PreTrainedModel:
    """The causal language model of a configuration, in its dtype and on its device, without adapters."""
    from transformers import AutoModelForCausalLM

    model = _load(AutoModelForCausalLM.from_pretrained, config.name, config.revision, dtype=choose_dtype(config))
    return model.to(choose_device(config))


def load_policy(config: ModelConfig) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Model and tokenizer, made to agree: every end of a response is among the model's generation settings, and the pad
    token has a row of its embedding."""
    tokenizer = load_tokenizer(config)
    model = load_model(config)
    fit_together(model, tokenizer, config)
    return model, tokenizer


def base_model(model: Any) -> Any:
    """The model under an adapter of peft; the model itself where it has none."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def fit_together(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, config: ModelConfig) -> None:
    """See ``load_policy``; for a model that was loaded from elsewhere (a checkpoint)."""
    named = model.generation_config.eos_token_id
    known = {tokenizer.eos_token_id, *(named if isinstance(named, list) else [named])} - {None}
    added = further_ends(tokenizer, config, known)
    if added:
        model.generation_config.eos_token_id = sorted(known | set(added))
    if tokenizer.pad_token_id >= model.get_input_embeddings().weight.shape[0]:
        tokenizer.pad_token = tokenizer.eos_token


def further_ends(tokenizer: PreTrainedTokenizerBase, config: ModelConfig, known: set[int]) -> list[int]:
    """Ids that end a response beside those ``known``: the template's turn end and ``model.ends``, sorted.

    Raises ConfigError where an entry of ``model.ends`` is no single token.
    """
    found = set()
    for text in config.ends:
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        if len(ids) != 1:
            raise ConfigError(
                f"model.ends names {text!r}, which is no token of {config.name}",
                why=f"the tokenizer cuts it into {len(ids)} pieces",
                fix=f"name one of its special tokens: {', '.join(tokenizer.all_special_tokens) or 'it has none'}",
            )
        found.add(ids[0])
    end = turn_end(tokenizer)
    return sorted((found | ({end} if end is not None else set())) - known)


def load_config(config: ModelConfig) -> PreTrainedConfig:
    """What the model's ``config.json`` says.  Raises PrerequisiteError where it is missing or cannot be read."""
    from transformers import AutoConfig

    return _load(AutoConfig.from_pretrained, config.name, config.revision)


def _load(loader, name: str, revision: str | None, **kwargs):
    """Whatever a folder or the hub holds; code that a model brings is never run, and nobody is asked about it."""
    try:
        return loader(model_location(name), revision=revision, trust_remote_code=False, **kwargs)
    except Exception as error:  # of transformers, tokenizers and safetensors, whatever a broken file makes them raise
        text = str(error).strip() or type(error).__name__
        if OWN_CODE in text:
            raise PrerequisiteError(
                f"the model {name} needs code of its own, which is never run",
                why="its config.json maps classes to Python files (auto_map)",
                fix="choose a model that the transformers library knows, or upgrade transformers",
            ) from error
        raise PrerequisiteError(
            f"cannot load the model {name}",
            why=text.splitlines()[0],
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
