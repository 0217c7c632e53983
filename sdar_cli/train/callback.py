"""TRL's updates turned back into steps: what happens after each of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from transformers import TrainerCallback

from sdar_cli.rollout.step import Metrics
from sdar_cli.train.finite import check_weights, trainable


class StepCallback(TrainerCallback):
    """Checks the weights after every update, and calls ``after_step`` after the last one of a step.

    trainer: the ``SDARTrainer``, whose module imports this one.  after_step: (trainer, step, metrics) to whether
    training stops.
    """

    def __init__(self, trainer: Any, after_step: Callable[[Any, int, Metrics], bool]) -> None:
        self.trainer = trainer
        self.after_step = after_step

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        step, update = divmod(state.global_step, self.trainer.updates)
        done = self.trainer.updates if update == 0 else update
        check_weights(trainable(self.trainer.model), f"update {done} of step {step + (update > 0)}")
        if self.trainer.shadow is not None:
            self.trainer.shadow.update()
        if update == 0 and self.after_step(self.trainer, step, self.trainer.finished_metrics()):
            control.should_training_stop = True
