"""What a run would do and need, and what of it is missing, found without loading a model or a game."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sdar_cli.base.errors import Missing
from sdar_cli.base.resources import resource_dir
from sdar_cli.config.plugs import check_plugs, named_plugs
from sdar_cli.config.schema import RunConfig
from sdar_cli.envs.registry import bank_folder, benchmark
from sdar_cli.models.hub import is_cached, missing_encoder

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


@dataclass(frozen=True)
class Workload:
    """Amounts of work.  Rows are (prompt, response) samples; their number depends on how long episodes last."""

    tasks_per_step: int
    group_size: int
    max_turns: int
    steps: int
    episodes: int
    rows_per_step_max: int
    updates: int
    evaluations: int
    panel_games: int | None
    evaluated_with_skill_too: bool
    teacher: bool


@dataclass(frozen=True)
class Estimates:
    """Bytes of memory and disk for weights and AdamW states.  memory: by what it is for; checkpoint, disk_total: None
    for adapters, which are small.

    Activations, the generation cache and the adapter of a LoRA run are not counted.
    """

    parameters: int
    dtype: str
    memory: Mapping[str, int]
    memory_total: int
    checkpoint: int | None
    disk_total: int | None


def plan(config: RunConfig) -> Workload:
    """What a run would do."""
    env, train = config.env, config.train
    episodes = train.tasks_per_step * train.group_size
    per_episode = env.max_turns if env.context == "window" else 1
    between = (train.steps - 1) // train.eval_every if train.eval_every and train.steps else 0
    evaluations = between + config.eval.before + bool(train.steps)
    return Workload(
        tasks_per_step=train.tasks_per_step,
        group_size=train.group_size,
        max_turns=env.max_turns,
        steps=train.steps,
        episodes=episodes * train.steps,
        rows_per_step_max=episodes * per_episode,
        updates=train.updates_per_step * train.steps,
        evaluations=evaluations,
        panel_games=config.eval.games or benchmark(env.name).panel_size(env),
        evaluated_with_skill_too=config.eval.with_skill,
        teacher=config.algo.coef > 0 and train.steps > 0,
    )


def estimates(config: RunConfig, parameters: int | None) -> Estimates | None:
    """Memory and disk that a run would take; None where the parameter count is unknown."""
    if parameters is None:
        return None
    dtype = _dtype(config)
    weights = parameters * BYTES[dtype]
    full = config.model.lora.rank == 0
    memory = {"weights": weights}
    if full:
        memory |= {"gradients": weights, "optimizer": 2 * weights}
        if config.algo.kl_coef > 0:
            memory["reference"] = weights
    if full and config.algo.coef > 0 and config.teacher.weights != "live":
        memory["teacher"] = weights
    checkpoint = 3 * weights if full else None
    return Estimates(
        parameters=parameters,
        dtype=dtype,
        memory=memory,
        memory_total=sum(memory.values()),
        checkpoint=checkpoint,
        disk_total=checkpoint * config.train.keep if checkpoint else None,
    )


def missing(config: RunConfig) -> list[Missing]:
    """Data, banks and modules that are not there.

    Raises ConfigError where a plug cannot be loaded or its arguments do not fit.
    """
    check_plugs(config)
    found = [*benchmark(config.env.name).missing(config.env), *_missing_bank(config)]
    found += [*_missing_modules(config), *_missing_model(config)]
    encoder = config.skills.embedding_model
    return found + (missing_encoder(encoder) if "embedding" in config.retrievals and encoder else [])


def _missing_bank(config: RunConfig) -> list[Missing]:
    bank = config.skills.bank
    if config.retrievals == {"none"} or (resource_dir("skillbanks") / bank).is_dir():
        return []
    if Path(bank).expanduser().is_dir() or bank_folder(bank):
        return []
    known = sorted(path.name for path in resource_dir("skillbanks").glob("*") if path.is_dir())
    return [Missing(f"skill bank {bank!r}", f"--set skills.bank=NAME, one of {', '.join(known)}, or a folder")]


def _missing_modules(config: RunConfig) -> list[Missing]:
    fix = "install it, or start in the folder that holds it"
    found = [(plug, plug.kind.missing_module(plug.name)) for plug in named_plugs(config)]
    return [Missing(f"module {module!r} of {plug.key} = {plug.name}", fix) for plug, module in found if module]


def _missing_model(config: RunConfig) -> list[Missing]:
    """A Hugging Face model that is not in the cache while downloads are off."""
    name = config.model.name
    offline = os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "TRUE", "YES", "ON")
    if "/" not in name or Path(name).expanduser().is_dir() or not offline or is_cached(name):
        return []
    return [Missing(f"model {name}: not in the cache, and HF_HUB_OFFLINE is set", f"hf download {name}, while online")]


def _dtype(config: RunConfig) -> str:
    if config.model.dtype != "auto":
        return config.model.dtype
    on_gpu = config.model.device == "cuda" or (config.model.device == "auto" and Path("/dev/nvidia0").exists())
    return "bfloat16" if on_gpu and config.model.lora.rank else "float32"
