"""What a run would do and need, and what of it is missing, found without loading a model or a game."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sdar_cli.base.errors import Missing, PrerequisiteError, SdarError
from sdar_cli.base.resources import cache_dir, resource_dir
from sdar_cli.config.plugs import check_plugs, named_plugs
from sdar_cli.config.presets import Resolved
from sdar_cli.config.schema import RunConfig
from sdar_cli.envs.registry import bank_folder, benchmark
from sdar_cli.models.check import check_model
from sdar_cli.models.hub import has_config, is_cached, missing_encoder
from sdar_cli.session import eval_split
from sdar_cli.train.dummy import check_loss

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
    found = benchmark(config.env.name).missing(config.env)
    found = [*(found or _missing_splits(config)), *_missing_bank(config)]
    found += [*_missing_modules(config), *_missing_model(config)]
    encoder = config.skills.embedding_model
    return found + (missing_encoder(encoder) if "embedding" in config.retrievals and encoder else [])


def problems(resolved: Resolved, runs_dir: Path, resumed: bool) -> tuple[list[Missing], list[str]]:
    """(everything that would end the run before its first game, notes about what is used otherwise than it says)."""
    absent = missing(resolved.config)
    notes: list[str] = []
    for check in _checks(resolved, runs_dir, resumed):
        try:
            notes += check()
        except SdarError as error:
            absent.append(Missing(f"{error.what}{f' ({error.why})' if error.why else ''}", error.fix))
        except ModuleNotFoundError as error:
            absent.append(Missing(f"Python package {error.name!r}", "sdar doctor"))
    return absent, notes


def require(resolved: Resolved, runs_dir: Path, resumed: bool) -> None:
    """The same checks before a run.  Raises the first one's SdarError."""
    for check in _checks(resolved, runs_dir, resumed):
        check()


def _checks(resolved: Resolved, runs_dir: Path, resumed: bool) -> list[Callable[[], Sequence[str]]]:
    """What is cheap to try, without what ``missing`` has found to be absent."""
    config = resolved.config
    checks: list[Callable[[], Sequence[str]]] = [lambda: _check_device(config)]
    if not _missing_modules(config):
        checks.append(lambda: check_loss(config))
    if not _missing_bank(config):
        checks.append(lambda: _check_bank(config))
    if _model_is_here(config):
        checks.append(lambda: check_model(config))
    checks.append(lambda: _check_storage(resolved, runs_dir, resumed))
    return checks


def _check_device(config: RunConfig) -> Sequence[str]:
    if config.model.device == "cuda":
        from sdar_cli.models.loading import choose_device

        choose_device(config.model)
    return ()


def _check_bank(config: RunConfig) -> Sequence[str]:
    if config.retrievals != {"none"}:
        from sdar_cli.session import open_bank

        open_bank(config)
    return ()


def _model_is_here(config: RunConfig) -> bool:
    """Whether its files can be read without a download; the rest is checked when the run has loaded it."""
    name = config.model.name
    is_folder = name.startswith((".", "/", "~")) or Path(name).expanduser().is_dir()
    return is_folder or "/" not in name or has_config(name)


def _check_storage(resolved: Resolved, runs_dir: Path, resumed: bool) -> Sequence[str]:
    """The runs folder can be written, and has room for the checkpoints."""
    place = _writable(runs_dir, "--runs-dir DIR, a folder of yours")
    if resolved.config.env.source == "generated":
        _writable(cache_dir(), "export SDAR_CACHE=DIR, a folder of yours")
    sizes = estimates(resolved.config, resolved.parameters)
    needed = sizes.disk_total if sizes and not resumed else None
    free = shutil.disk_usage(place).free
    if needed and free < needed:
        raise PrerequisiteError(
            f"{place} has {free / 1e9:.3g} GB left, and the run's checkpoints need {needed / 1e9:.3g} GB",
            why=f"{resolved.config.train.keep} are kept (train.keep)",
            fix="--set train.keep=1, or --runs-dir DIR on another disk",
        )
    return ()


def _writable(folder: Path, fix: str) -> Path:
    """The nearest folder above that exists.  Raises PrerequisiteError where nothing can be made in it."""
    folder = folder.expanduser().absolute()
    place = next(path for path in (folder, *folder.parents) if path.exists())
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        why = f"{place} is read-only, or belongs to somebody else" if place.is_dir() else f"{place} is no folder"
        raise PrerequisiteError(f"nothing can be written to {folder}", why=why, fix=fix)
    return place


def _missing_splits(config: RunConfig) -> list[Missing]:
    """Splits that are played and not among those of the data, where the environment can say which there are."""
    found = benchmark(config.env.name).splits(config.env)
    if found is None:
        return []
    wanted = {"eval.split": eval_split(config)}
    wanted |= {"env.train_split": config.env.train_split} if config.train.steps else {}
    fix = f"--set {{}}=NAME, one of {', '.join(found)}, or add the data"
    return [Missing(f"split {split!r} ({key})", fix.format(key)) for key, split in wanted.items() if split not in found]


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
