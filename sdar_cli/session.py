"""What training and evaluation share: environment, panel, skill bank, model and collector, opened together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from sdar_cli.base import distributed
from sdar_cli.base.errors import ConfigError, PrerequisiteError, RunFailedError
from sdar_cli.base.files import read_json_object
from sdar_cli.config.plugs import ENGINE
from sdar_cli.config.schema import EngineConfig, RunConfig
from sdar_cli.envs.base import Environment, Task
from sdar_cli.envs.panels import Panel, make_panel
from sdar_cli.envs.registry import benchmark, open_environment
from sdar_cli.rollout.collect import Collector
from sdar_cli.runs.checkpoints import refuse_damaged
from sdar_cli.runs.provenance import gpu_name
from sdar_cli.skills.bank import Bank, load_bank
from sdar_cli.skills.choose.retriever import Retriever
from sdar_cli.skills.choose.strategies import skill_text

if TYPE_CHECKING:
    from peft import LoraConfig
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from sdar_cli.base.display import Reporter

SKILLS_FILE = "skills.json"
"""Of a checkpoint: what the run has learnt about its skills."""


@dataclass
class Session:
    """Open resources of one process.  Made by ``open_session``."""

    config: RunConfig
    reporter: Reporter
    environment: Environment
    panel: Panel
    train_tasks: list[Task]
    """Empty in an evaluation."""
    bank: Bank
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    collector: Collector
    retriever: Retriever = field(init=False)

    def __post_init__(self) -> None:
        self.retriever = Retriever(self.bank, self.config.skills, self.config.seed)

    def adopt(self, model: PreTrainedModel, around: Callable[[], AbstractContextManager] | None = None) -> None:
        """Generate with this model from now on (the trainer's, with its adapters)."""
        from sdar_cli.models.loading import computing

        self.model = model
        around = around or partial(computing, model.device)
        settings = engine_settings(self.config)
        engine = ENGINE.bind(settings.name, settings.args)(model, self.tokenizer, settings, around)
        self.collector = Collector(self.config, self.environment, engine, self.tokenizer)

    def push(self, version: int) -> None:
        """Let the engine sample with the model's present weights, as version ``version``; one that shares the model
        does so already.  Every process must call it."""
        from sdar_cli.models.weights import stream_weights

        self.collector.engine.push(stream_weights(self.model), version)

    def skill_for(self, task: Task, goal: str, step: int | None = None) -> str:
        """The skill text shown to the policy at a step of training; without a step, in evaluation with skills."""
        chosen = self.retriever.choose(self.config.skills.retrieval, task, goal, step)
        return skill_text(chosen.skills, self.config.skills.form)

    def peft_config(self) -> LoraConfig | None:
        """The adapter of ``model.lora``, or None for full fine-tuning."""
        lora = self.config.model.lora
        if lora.rank == 0:
            return None
        from peft import LoraConfig

        parts = [part.strip() for part in lora.targets.split(",")]
        targets = lora.targets if lora.targets == "all-linear" else parts
        return LoraConfig(
            r=lora.rank,
            lora_alpha=lora.alpha,
            lora_dropout=lora.dropout,
            target_modules=targets,
            task_type="CAUSAL_LM",
        )

    def provenance(self) -> Mapping[str, object]:
        """What identifies the data and the model of this run."""
        # of an environment that has more than its tasks
        identity: Mapping[str, object] = getattr(self.environment, "identity", dict)()
        return {
            "corpus_sha256": None,
            **identity,
            "panel": {"split": self.panel.split, "tasks": len(self.panel.tasks), "sha256": self.panel.sha256},
            "panel_sha256": self.panel.sha256,
            "skill_bank": {"name": self.bank.name, "version": self.bank.version},
            "skill_bank_sha256": self.bank.sha256,
            "model": self.config.model.name,
            "chat_template_sha256": sha256(self.tokenizer.get_chat_template().encode()).hexdigest(),
            "template_date": self.config.model.template_date,
            "model_commit": getattr(self.model.config, "_commit_hash", None),
            "parameters": sum(p.numel() for p in self.model.parameters()),
            "dtype": str(self.model.dtype),
            "device": str(self.model.device),
            "gpu": gpu_name(),
            "train_tasks_sha256": make_panel(self.train_tasks).sha256 if self.train_tasks else None,
        }


def engine_settings(config: RunConfig) -> EngineConfig:
    """The section ``engine``; an ``engine.max_len`` of 0 becomes the longest prompt and response together, tokens."""
    model = config.model
    prompt = max(model.max_prompt_tokens, config.teacher.max_prompt_tokens)
    longest = max(
        prompt + model.max_response_tokens, model.max_context_tokens if config.env.context == "transcript" else 0
    )
    return config.engine.model_copy(update={"max_len": config.engine.max_len or longest})


def eval_split(config: RunConfig) -> str:
    """The held-out split: as configured, else the environment's."""
    return config.eval.split or benchmark(config.env.name).held_out(config.env)


@contextmanager
def open_session(
    config: RunConfig, reporter: Reporter, checkpoint: Path | None = None, training: bool = True
) -> Iterator[Session]:
    """Open everything a run needs, data first so that bad data stops it before a model is loaded.

    checkpoint: load the weights (or the adapter) saved there.  Raises SdarError subclasses.
    """
    from sdar_cli.models.check import check_model

    _require_one_device(config)
    for note in check_model(config):
        reporter.warn(note)
    bank = open_bank(config)
    with ExitStack() as stack:
        with distributed.main_first():  # games are made, and checked, once
            environment = stack.enter_context(open_environment(config.env, reporter))
            panel = make_panel(environment.tasks(eval_split(config)), config.eval.games)
            train_tasks = environment.tasks(config.env.train_split) if training else []
            environment.preflight([*panel.tasks, *train_tasks])
        counts = [f"{len(train_tasks)} to train on"] if training else []
        counts.append(f"{len(panel.tasks)} held out ({panel.split})")
        noun = benchmark(config.env.name).noun
        reporter.info(f"{config.env.source} {config.env.name} {noun}: {', '.join(counts)}")
        retriever = Retriever(bank, config.skills, config.seed)
        _check_bank(retriever, config, [*panel.tasks, *train_tasks])
        reporter.info(f"loading {checkpoint or config.model.name}")
        if checkpoint is not None:
            refuse_damaged(checkpoint)
        model, tokenizer = _load(config, checkpoint)
        size = sum(p.numel() for p in model.parameters())
        reporter.info(f"{size:,} parameters, {str(model.dtype).removeprefix('torch.')} on {model.device}")
        session = Session(config, reporter, environment, panel, train_tasks, bank, model, tokenizer, None)  # type: ignore[arg-type]
        session.retriever = retriever
        if checkpoint is not None:
            load_skills(retriever, checkpoint)
        session.adopt(model)
        yield session


def open_bank(config: RunConfig) -> Bank:
    """The skill bank of a configuration.  Raises ConfigError for a bad one, or one of another environment."""
    bank, name = load_bank(config.skills.bank), benchmark(config.env.name).name
    if bank.environment != name:
        raise ConfigError(
            f"skill bank {bank.name} is for {bank.environment}, not for {name}", fix="--set skills.bank=NAME"
        )
    return bank


def load_skills(retriever: Retriever, checkpoint: Path) -> bool:
    """Take over what a checkpoint knows of its run's skills; False where it knows nothing of this bank.

    Raises RunFailedError where its file is damaged.
    """
    path = checkpoint / SKILLS_FILE
    state = read_json_object(path) if path.is_file() else {"bank": None}
    try:
        if state["bank"] != retriever.bank.sha256:
            return False
        retriever.load(state)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RunFailedError(f"{path} is damaged", why=f"{type(error).__name__}: {error}") from error
    return True


def _check_bank(retriever: Retriever, config: RunConfig, tasks: Sequence[Task]) -> None:
    """The bank has a skill for every type of task that will be played."""
    for task in {task.type: task for task in tasks}.values():
        for strategy in config.retrievals:
            retriever.choose(strategy, task, "")  # raises for a type it knows nothing of


def _require_one_device(config: RunConfig) -> None:
    """One process on at most one GPU, for now: anything else would train something other than the settings."""
    import torch

    if distributed.launched_world_size() > 1:
        raise PrerequisiteError("only sdar train runs in several processes", fix="start sdar without torchrun")
    if config.model.device != "cpu" and torch.cuda.device_count() > 1:
        raise PrerequisiteError(
            f"{torch.cuda.device_count()} GPUs are visible and one process uses one",
            fix="torchrun --nproc_per_node N -m sdar_cli train …, or CUDA_VISIBLE_DEVICES=0 sdar train …",
        )


def _load(config: RunConfig, checkpoint: Path | None) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    import torch
    from transformers.utils import logging

    from sdar_cli.models.loading import fit_together, load_model, load_policy, load_tokenizer

    logging.disable_progress_bar()  # of loading and saving weights; a tiny model's flicker by

    if config.train.threads:
        torch.set_num_threads(config.train.threads)
    adapter = checkpoint is not None and (checkpoint / "adapter_config.json").exists()
    if checkpoint is None or adapter:
        model, tokenizer = load_policy(config.model)
        if adapter:
            from peft import PeftModel

            model = PeftModel.from_pretrained(model, str(checkpoint))
        return model, tokenizer
    tokenizer = load_tokenizer(config.model)
    model = load_model(config.model.model_copy(update={"name": str(checkpoint), "revision": None}))
    fit_together(model, tokenizer, config.model)
    return model, tokenizer
