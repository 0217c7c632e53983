"""A run's settings as TRL's."""

from __future__ import annotations

from pathlib import Path

import torch
from trl import GRPOConfig

from sdar_cli.config.schema import RunConfig


def grpo_arguments(config: RunConfig, folder: Path, device: torch.device) -> GRPOConfig:
    """TRL's settings for a run.  One of its global steps is one optimizer update."""
    train, algo = config.train, config.algo
    schedule = "constant_with_warmup" if train.lr_schedule == "constant" else train.lr_schedule
    return GRPOConfig(
        output_dir=str(folder),
        max_steps=train.steps * train.updates_per_step,
        per_device_train_batch_size=train.group_size,
        num_generations=train.group_size,
        gradient_accumulation_steps=1,
        steps_per_generation=train.updates_per_step,
        learning_rate=train.lr,
        lr_scheduler_type=schedule,
        warmup_steps=train.warmup_steps,
        weight_decay=train.weight_decay,
        max_grad_norm=train.grad_clip,
        loss_type="dapo",
        epsilon=algo.clip_eps,
        delta=algo.dual_clip,
        beta=0.0,
        temperature=config.model.temperature,
        max_completion_length=config.model.max_response_tokens,
        gradient_checkpointing=config.model.gradient_checkpointing,
        use_cpu=device.type == "cpu",
        bf16=device.type == "cuda" and torch.cuda.is_bf16_supported(),
        save_strategy="no",
        eval_strategy="no",
        logging_strategy="no",
        report_to=[],
        disable_tqdm=True,
        ignore_data_skip=True,
        dataloader_pin_memory=False,
        seed=config.seed,
    )
