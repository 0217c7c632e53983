"""What is wrong with a model, found before its weights are loaded: template, ends, pad, positions, LoRA targets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sdar_cli.base.errors import ConfigError, PrerequisiteError
from sdar_cli.config.schema import RunConfig
from sdar_cli.models.loading import bundled_models, further_ends, load_config, load_tokenizer_and_date, model_location

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedConfig, PreTrainedTokenizerBase

ADAPTED = ("Linear", "Conv1D", "Conv2d", "Embedding")
"""Kinds of layers that can have an adapter."""
SHOWN = 5
"""Tokens named in a message."""


def check_model(config: RunConfig) -> list[str]:
    """Warnings about the model of a configuration; nothing is generated, and no weight is read.

    Raises PrerequisiteError where it is not there or cannot be read, ConfigError where the configuration does not fit.
    """
    model_location(config.model.name)
    lora = config.model.lora
    checks_lora = bool(lora.rank) and lora.targets != "all-linear"
    plain = config.model.chat_template is None and not config.model.ends
    if config.model.name in bundled_models() and plain and not checks_lora and longest_row(config) <= SMALL:
        return []  # it ships with the package, whose tests load it
    facts = load_config(config.model)
    empty = _without_weights(facts, config.model.name)
    if checks_lora:
        _check_targets(empty, [part.strip() for part in lora.targets.split(",")])
    tokenizer, dated = load_tokenizer_and_date(config.model)
    rows = int(empty.get_input_embeddings().weight.shape[0])
    notes = _positions(config, facts, empty)
    notes += _vocabulary(tokenizer, rows, config.model.name)
    notes += _ends(tokenizer, config, _known_ends(config, facts, tokenizer), rows)
    if dated:
        notes.append(
            f"the chat template writes the date of the clock into prompts: all of them hold "
            f"{config.model.template_date} instead, so that a run can be repeated (model.template_date)"
        )
    return notes


SMALL = 2048
"""Tokens that every bundled model has positions for."""


def longest_row(config: RunConfig) -> int:
    """Tokens of the longest prompt with its response that the budgets allow."""
    model = config.model
    if config.env.context == "transcript":
        return model.max_context_tokens
    taught = config.algo.coef > 0 and config.train.steps > 0
    shown = taught or config.train.with_skill or config.eval.with_skill
    budget = max(model.max_prompt_tokens, config.teacher.max_prompt_tokens) if shown else model.max_prompt_tokens
    return budget + model.max_response_tokens


def _without_weights(facts: PreTrainedConfig, name: str) -> nn.Module:
    """The model's layers, whose parameters take no memory."""
    from accelerate import init_empty_weights
    from transformers import AutoModelForCausalLM

    try:
        with init_empty_weights():
            return AutoModelForCausalLM.from_config(facts, trust_remote_code=False)
    except Exception as error:  # of any class of the library, for a config.json that contradicts itself
        raise PrerequisiteError(
            f"{name} cannot be used as a causal language model",
            why=f"{type(error).__name__}: {error}".splitlines()[0],
            fix="choose a model that generates text, or mend its config.json",
        ) from error


def _check_targets(model: nn.Module, targets: Sequence[str]) -> None:
    """Every name of ``model.lora.targets`` is a layer of the model: the library drops those that are not."""
    kinds = {name: type(module).__name__ for name, module in model.named_modules()}
    usable = [name for name, kind in kinds.items() if kind in ADAPTED and not name.endswith("lm_head")]
    absent = [target for target in targets if not any(f".{name}".endswith(f".{target}") for name in usable)]
    if absent:
        own = sorted({name.rpartition(".")[2] for name in usable if kinds[name] != "Embedding"})
        raise ConfigError(
            f"model.lora.targets names {', '.join(map(repr, absent))}, which no layer of the model is called",
            why=f"its own are {', '.join(own)}",
            fix=f"--set model.lora.targets={','.join(own)}, or leave it at all-linear",
        )


def _positions(config: RunConfig, facts: PreTrainedConfig, model: nn.Module) -> list[str]:
    """Budgets against the positions: an error where positions are learned, else a warning."""
    limit = getattr(facts.get_text_config(), "max_position_embeddings", None)
    longest = longest_row(config)
    if not isinstance(limit, int) or longest <= limit:
        return []
    keys = "model.max_context_tokens" if config.env.context == "transcript" else "model.max_prompt_tokens"
    room = max(limit - config.model.max_response_tokens, 1)
    fix = f"--set {keys}={limit if config.env.context == 'transcript' else room}"
    if (
        config.env.context != "transcript"
        and longest > config.model.max_prompt_tokens + config.model.max_response_tokens
    ):
        fix += f" --set teacher.max_prompt_tokens={room}"
    text = f"a prompt with its response may have {longest} tokens, and the model has {limit} positions"
    if _learned_positions(model, limit):
        raise ConfigError(
            text, why="its positions are learned, and there are no others (max_position_embeddings)", fix=fix
        )
    return [f"{text} (max_position_embeddings): behind them its answers are noise; {fix}"]


def _learned_positions(model: nn.Module, limit: int) -> bool:
    """Whether the model has a table of positions (OPT's has two rows more)."""
    tables = [(name, module) for name, module in model.named_modules() if type(module).__name__.endswith("Embedding")]
    return any(
        limit <= getattr(module, "num_embeddings", 0) <= limit + 2 and ("pos" in name.lower() or name.endswith("wpe"))
        for name, module in tables
    )


def _vocabulary(tokenizer: PreTrainedTokenizerBase, rows: int, name: str) -> list[str]:
    """Tokens without a row of the embedding.  Raises ConfigError where every prompt would hold one."""
    outside = {number: token for token, number in tokenizer.get_vocab().items() if number >= rows}
    if not outside:
        return []
    chat = [{"role": "user", "content": "stub"}]
    text = str(tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True))
    used = [outside[i] for i in tokenizer(text, add_special_tokens=False)["input_ids"] if i in outside]
    if used:
        raise ConfigError(
            f"the chat template of {name} writes {used[0]}, which has no row of the embedding",
            why=f"the tokenizer has {len(tokenizer)} tokens, the embedding {rows} rows",
            fix="resize the embedding (model.resize_token_embeddings) and save the model again",
        )
    notes = []
    pad = outside.pop(tokenizer.pad_token_id, None)
    if pad is not None:
        notes.append(f"the pad token {pad} has no row of the embedding: the end token pads instead")
    if outside:
        some = ", ".join(list(outside.values())[:SHOWN])
        notes.append(f"{len(outside)} tokens have no row of the embedding, and a prompt that holds one fails: {some}")
    return notes


def _known_ends(config: RunConfig, facts: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """The ends that tokenizer and generation settings name."""
    from transformers import GenerationConfig

    try:
        settings = GenerationConfig.from_pretrained(model_location(config.model.name), revision=config.model.revision)
    except OSError:  # a folder without generation_config.json: what config.json says is used
        settings = GenerationConfig.from_model_config(facts)
    named: Any = settings.eos_token_id
    return {tokenizer.eos_token_id, *(named if isinstance(named, list) else [named])} - {None}


def _ends(tokenizer: PreTrainedTokenizerBase, config: RunConfig, known: set[int], rows: int) -> list[str]:
    """Ends that the settings do not name.  Raises ConfigError where the model can write none of them."""
    added = further_ends(tokenizer, config.model, known)
    if not any(number < rows for number in {*known, *added}):
        raise ConfigError(
            f"no end token of {config.model.name} has a row of the embedding, so no response would end",
            why=f"they are {', '.join(map(str, tokenizer.convert_ids_to_tokens(sorted({*known, *added}))))}",
            fix="--set 'model.ends=[\"TOKEN\"]' with the token that ends a turn",
        )
    named = set(tokenizer.convert_tokens_to_ids(list(config.model.ends)))
    return [
        f"the chat template ends a turn with {tokenizer.convert_ids_to_tokens(number)}, which the model's settings do "
        "not name as an end: responses end there too"
        for number in added
        if number not in named
    ]
