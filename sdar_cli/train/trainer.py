"""SDARTrainer: GRPO as TRL implements it, on ragged multi-turn samples, plus the gated distillation term.

With ``arguments.py`` the only file that touches TRL.  TRL's own rollout, reward and batching are not used: one call of
``training_step`` is one optimizer update on a part of the samples of the present step, in the micro-batches of
``plan.py``.  TRL gives the settings, the fused log-prob computation, LoRA, optimizer, mixed precision and saving.  The
loss is our own: TRL's gathers its metrics from all processes in every micro-batch, so each would need as many.
``tests/train/test_contract.py`` compares the two losses, and checks which of TRL's members are relied on.

Several processes: every one holds the model and takes its part of each update's samples; see ``distributed.py``.
Left out: sharded weights, generation by vLLM, the router loss of a mixture of experts.
"""

from __future__ import annotations

import random
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers import Trainer
from transformers.trainer_callback import PrinterCallback
from trl import GRPOTrainer
from trl.models.utils import disable_gradient_checkpointing

from sdar_cli.algo.batch import hide
from sdar_cli.algo.distill import distillation
from sdar_cli.algo.mismatch import truncated_ratio
from sdar_cli.algo.objectives import needs_heads, signed
from sdar_cli.algo.policy import clipped_policy_loss, kl_k3
from sdar_cli.algo.registry import GATE, OBJECTIVE, SCHEDULE, SHAPING
from sdar_cli.algo.schedule import coefficient, linear
from sdar_cli.base import distributed
from sdar_cli.base.errors import NotFiniteError
from sdar_cli.base.files import write_json_atomic
from sdar_cli.base.seeds import seed_of
from sdar_cli.config.schema import RunConfig
from sdar_cli.rollout.samples import Sample
from sdar_cli.rollout.step import Metrics
from sdar_cli.runs.checkpoints import checkpoint_path, publish
from sdar_cli.train.arguments import grpo_arguments
from sdar_cli.train.callback import StepCallback
from sdar_cli.train.finite import check_weights, trainable, update_problem
from sdar_cli.train.mismatch import check_gap, largest_gap
from sdar_cli.train.rows import PolicyScores, Signals, TeacherScores, collate, micro_batches
from sdar_cli.train.score import ForwardPass, Scoring
from sdar_cli.train.shadow import ShadowWeights
from sdar_cli.train.shape import of_all_processes, shape_advantages
from sdar_cli.train.tokens import TokenRecord
from sdar_cli.train.totals import StepTotals

if TYPE_CHECKING:
    from peft import PeftConfig
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

SHADOW_FILE = "teacher.safetensors"
# TRL's own use of it
warnings.filterwarnings("ignore", message=".*gradient_checkpointing.*deprecated", category=FutureWarning)


@dataclass(frozen=True)
class StepData:
    """What a rollout hands to the updates: samples, with teacher prompts where the step has a teacher."""

    samples: Sequence[Sample]
    normaliser: float
    """Sum of the token weights over all samples."""
    metrics: Metrics = field(default_factory=dict)


Rollout = Callable[["SDARTrainer", int], StepData]
"""(trainer, step starting at 1) to the samples of that step."""
AfterStep = Callable[["SDARTrainer", int, Metrics], bool]
"""(trainer, step, metrics) after the last update of a step; True asks to save and stop."""


class SDARTrainer(Scoring, GRPOTrainer):
    """See the module's text.

    ``rollout`` makes the samples of a step, ``after_step`` receives its metrics, ``warn`` shows a line to the user.
    """

    def __init__(
        self,
        config: RunConfig,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        folder: Path,
        rollout: Rollout,
        after_step: AfterStep,
        peft_config: PeftConfig | None = None,
        warn: Callable[[str], None] = warnings.warn,
    ) -> None:
        from datasets import Dataset

        placeholder = Dataset.from_dict({"prompt": [""] * max(8, config.train.updates_per_step)})
        super().__init__(
            model=model,
            reward_funcs=_no_reward,
            args=grpo_arguments(config, folder, model.device),
            train_dataset=placeholder,
            processing_class=tokenizer,
            peft_config=peft_config,
        )
        self.remove_callback(PrinterCallback)
        self.add_callback(StepCallback(self, after_step))
        self.run_config, self.updates = config, config.train.updates_per_step
        self.rollout, self.warn = rollout, warn
        algo = config.algo
        self.gate = GATE.bind(algo.gate, algo.gate_args)
        self.objective = OBJECTIVE.bind(algo.objective, algo.objective_args)
        self.shaping = None if algo.shaping == "none" else SHAPING.bind(algo.shaping, algo.shaping_args)
        self.schedule = SCHEDULE.bind(algo.coef_schedule, algo.coef_schedule_args)
        self.largest_gap = largest_gap(self.model, half=self.args.bf16)
        self.taught = config.algo.coef > 0
        self.keeps_hidden = self.taught and self.shaping is None and needs_heads(self.objective)
        self.coef, self.policy_coef = config.algo.coef, config.algo.policy_coef
        decay = {"live": None, "frozen": 1.0, "ema": config.teacher.ema_decay}[config.teacher.weights]
        self.shadow = ShadowWeights(self.model, decay) if decay is not None and self.taught else None
        self.initial = ShadowWeights(self.model, 1.0) if config.algo.kl_coef > 0 else None
        self.samples: list[Sample] = []
        """All samples of the present step, those of other processes included."""
        self._parts: list[list[list[Sample]]] = []
        """Per update of the present step, this process's micro-batches."""
        self._chunks: list[list[Sample]] = []
        """Per update of the present step, this process's samples."""
        self._signals: dict[Sample, Signals] = {}
        self._old: dict[Sample, PolicyScores] = {}
        """Their signals under the weights that sampled; those of the first update come from its own forward passes."""
        self._sampled: list[Sample] = []
        """Samples of the present forward pass, in the first update of a step: the weights are those that sampled."""
        self._normaliser = 1.0
        self.skipped = 0
        """Updates of the present step that were left out."""
        self.step_metrics: Metrics = {}
        self.totals = StepTotals(len(config.views))

    def _prepare_inputs(self, generation_batch: Any) -> Any:
        """Batches are made in ``training_step``; nothing is left to prepare."""
        return generation_batch

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Tensor:
        """One optimizer update's forward and backward passes; the first of a step plays and scores its samples.

        ``inputs`` (placeholders of the data loader) are ignored.
        """
        step, update = divmod(self.state.global_step, self.updates)
        if update == 0:
            self._begin_step(step + 1)
        began, before = time.perf_counter(), self.totals.copy()
        loss = torch.zeros((), device=self.accelerator.device)
        for part in self._parts[update]:
            batch = collate(part, self._signals, self.processing_class.pad_token_id, self.accelerator.device)
            self._sampled = [] if update else part
            loss += Trainer.training_step(self, model, batch, num_items_in_batch)
        if update == 0:
            check_gap(self._old, self.run_config, self.largest_gap)
        distributed.add_gradients(self.model)
        problem = update_problem(self.run_config, self.model, self.totals, before, loss)
        if problem is not None:
            loss = self._leave_out(f"update {update + 1} of step {step + 1}: {problem}", before)
        self.totals.sums["seconds_update"] += time.perf_counter() - began
        return loss

    def _leave_out(self, problem: str, before: StepTotals) -> Tensor:
        """An update without gradients, which the optimizer passes over.

        Raises NotFiniteError where the run must stop.
        """
        if self.run_config.train.on_nonfinite == "stop":
            raise NotFiniteError(
                problem, why="a rate too high, a dtype too narrow, or a gate or objective undefined there"
            )
        self.warn(f"{problem}; the update is left out (train.on_nonfinite = skip)")
        self.totals = before
        self.model.zero_grad(set_to_none=True)
        self.skipped += 1
        return torch.zeros((), device=self.accelerator.device)

    def _begin_step(self, step: int) -> None:
        torch.manual_seed(seed_of(self.run_config.seed, "update", step))  # dropout of adapters, nothing else
        self._set_coefficients(step)
        data = self.rollout(self, step)
        self.samples = list(data.samples)
        random.Random(seed_of(self.run_config.seed, "shuffle", step)).shuffle(self.samples)
        self._parts = [self._own_parts(self.samples[i :: self.updates]) for i in range(self.updates)]
        self._chunks = [[sample for part in parts for sample in part] for parts in self._parts]
        self._normaliser = data.normaliser
        self.totals, self.skipped = StepTotals(len(self.run_config.views)), 0
        self.step_metrics = dict(data.metrics)
        self._metrics["train"].clear()
        self._signals = self._score_chunks()

    def _own_parts(self, samples: Sequence[Sample]) -> list[list[Sample]]:
        """This process's micro-batches of an update.  Gradients are added up at its end: a filler is left out."""
        train = self.run_config.train
        parts = micro_batches(
            samples,
            train.micro_batch,
            train.micro_tokens,
            processes=distributed.world_size(),
            process=distributed.rank(),
        )
        return [part for part in parts if part]

    def _score_chunks(self) -> dict[Sample, Signals]:
        """The signals of this process's samples, under the weights of before the step's first update."""
        own = [sample for chunk in self._chunks for sample in chunk]
        began = time.perf_counter()
        teacher = self.score_teacher(own) if self.coef > 0 else {}
        self.step_metrics["seconds_teacher"] = time.perf_counter() - began
        began = time.perf_counter()
        reference = self.score_reference(own) if self.initial is not None else {}
        shapes = self.shaping is not None and self.coef > 0
        self._old = {}
        for chunk in self._chunks[0 if shapes else 1 :]:  # the first update's old policy is the current one
            self._old |= self.score_old(chunk)
        shaped = self._shape(self._old, teacher) if shapes else {}
        first = set(self._chunks[0])
        signals = {
            sample: Signals(
                advantage=shaped.get(sample, sample.advantage),
                old=None if sample in first else self._old[sample],
                reference=reference.get(sample),
                teacher=teacher.get(sample),
            )
            for sample in own
        }
        self.totals.sums["seconds_update"] += time.perf_counter() - began
        return signals

    def _set_coefficients(self, step: int) -> None:
        algo, over = self.run_config.algo, self.run_config.algo.coef_steps or self.run_config.train.steps
        if self.taught:
            self.coef = coefficient(self.schedule, step, over, algo.coef, algo.coef_end)
        if algo.policy_coef_end is not None:
            self.policy_coef = linear(step, over, algo.policy_coef, algo.policy_coef_end)

    def _shape(
        self, old: Mapping[Sample, PolicyScores], teacher: Mapping[Sample, TeacherScores]
    ) -> dict[Sample, list[float]]:
        """The shaped advantages of all samples of the step; each process gives the scores of its own."""
        assert self.shaping is not None
        own = {sample: (old[sample], teacher[sample].logps) for sample in old}
        signals = {
            sample: Signals(sample.advantage, scores, None, TeacherScores(logps, ()))
            for sample, (scores, logps) in of_all_processes(own, self.samples).items()
        }
        weights = [view.weight for view in self.run_config.views]
        clip = self.run_config.algo.shaping_clip
        shaped, metrics = shape_advantages(self.samples, signals, self.shaping, weights, self.coef, clip)
        self.step_metrics |= metrics
        return shaped

    def _compute_loss(self, model: Any, inputs: dict[str, Tensor]) -> Tensor:
        """policy_coef * GRPO + coef * distillation + kl_coef * KL(ref) - entropy_coef * entropy, one normaliser.

        Every term is a sum over tokens of weight * value, so the micro-batches of an update add up.  No process waits
        for another here: ranks may have different numbers of rows.
        """
        scored = self.forward_rows(inputs, model)
        for i, sample in enumerate(self._sampled):
            self._old[sample] = scored.policy_scores(i, sample)  # for the record: the batch is made
        algo = self.run_config.algo
        weights, mask = inputs["tool_mask"], inputs["response_mask"]
        old = inputs.get("old_per_token_logps", scored.logps.detach())
        losses = clipped_policy_loss(scored.logps, old, inputs["advantages"], algo.clip_eps, algo.dual_clip)
        sampler, turns = inputs["sampler_logps"], inputs["turn_ids"]
        ratio = truncated_ratio(old, sampler, mask, turns, self.run_config.correction, algo.tis_cap)
        policy = (weights * hide(ratio * losses, mask)).sum()
        total = self.policy_coef * policy
        if self.coef > 0:
            distilled = self._distil(inputs, scored, weights * ratio if algo.tis_distill else weights)
            if self.shaping is None:
                total = total + self.coef * distilled
        if self.initial is not None:
            kl = (weights * hide(kl_k3(scored.logps, inputs["reference"]), mask)).sum()
            total = total + algo.kl_coef * kl
            self.totals.sums["kl"] += kl.item()
        entropy = (weights * hide(scored.entropy, mask)).sum()
        if algo.entropy_coef > 0:
            total = total - algo.entropy_coef * entropy
        self.totals.count(inputs, scored.logps, policy, entropy, algo.clip_eps)
        return total / self.normaliser

    @property
    def normaliser(self) -> float:
        """What an update's sum over tokens is divided by: its share of the step's token weights.

        Every update of a step has the same divisor, whatever rows the shuffle gave it (TRL's ``dapo``).
        """
        return max(self._normaliser, 1.0) / self.updates

    def _distil(self, inputs: dict[str, Tensor], scored: ForwardPass, weights: Tensor) -> Tensor:
        """The sum over views of weight * distillation term, un-normalised.  A shaping only wants its metrics."""
        total = torch.zeros((), device=weights.device)
        objective = self.objective if self.shaping is None else signed
        for index, view in enumerate(self.run_config.views):
            term, sums = distillation(
                self.token_batch(inputs, scored, index),
                gate=self.gate,
                objective=objective,
                beta=self.run_config.algo.gate_beta,
                weights=weights,
            )
            self.totals.parts[index].append(sums)
            total = total + view.weight * term
        return total

    @torch.no_grad()
    def token_records(self) -> dict[Sample, TokenRecord]:
        """Of every sample of the step, in every process, after its updates: scores and gate under the policy that
        sampled it."""
        own = {
            sample: TokenRecord(
                self._old[sample], signals.reference, signals.teacher.logps if signals.teacher else (), None
            )
            for sample, signals in self._signals.items()
        }
        records = of_all_processes(own, self.samples)
        if self.coef == 0 or self.shaping is not None:
            return records
        gates = self._gates(records)
        return {sample: replace(record, gate=gates[sample]) for sample, record in records.items()}

    def _gates(self, records: Mapping[Sample, TokenRecord]) -> dict[Sample, Tensor]:
        """The gate of the teacher's first view under the policy that sampled, (T,) per sample."""
        signals = {
            sample: Signals(sample.advantage, record.old, record.reference, TeacherScores(record.teacher, ()))
            for sample, record in records.items()
        }
        gates = {}
        for part in micro_batches(list(signals), self.run_config.train.micro_batch):
            inputs = collate(part, signals, self.processing_class.pad_token_id, torch.device("cpu"))
            scored = ForwardPass(inputs["old_per_token_logps"], inputs["old_entropy"], None)
            values = self.gate(self.token_batch(inputs, scored, 0), self.run_config.algo.gate_beta)
            for sample, gate in zip(part, values, strict=True):
                gates[sample] = gate[: len(sample.response_ids)]
        return gates

    def finished_metrics(self) -> Metrics:
        """The metrics of the step whose last update has just been made, over all processes."""
        totals = self.totals.over_processes()
        out = self.step_metrics | totals.loss_metrics(reference=self.initial is not None)
        if self.skipped:
            out["skipped_updates"] = self.skipped
        if self.taught:
            out["coef"] = self.coef
        if self.coef > 0:
            out |= totals.teacher_metrics(shapes=self.shaping is not None)
        return out

    def generating(self) -> AbstractContextManager:
        """The model can generate inside this block (no gradient checkpointing, mixed precision as in training)."""
        stack = ExitStack()
        if self.args.gradient_checkpointing:
            stack.enter_context(disable_gradient_checkpointing(self.model, self.args.gradient_checkpointing_kwargs))
        stack.enter_context(self.accelerator.autocast())
        return stack

    def save_step(self, step: int, more: Mapping[str, object] | None = None) -> Path:
        """Write the checkpoint of ``step`` finished steps (the first process does); returns its folder.

        more: JSON files to be part of it, by name.
        """
        if not distributed.is_main():
            return checkpoint_path(Path(self.args.output_dir), step)
        from safetensors.torch import save_file

        shadow = self.shadow.values.items() if self.shadow is not None else ()
        check_weights([*trainable(self.model), *shadow], f"before the checkpoint of step {step}")
        self._save_checkpoint(self.model, None)
        written = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
        if self.shadow is not None:
            save_file(self.shadow.values, written / SHADOW_FILE)
        for name, value in (more or {}).items():
            write_json_atomic(written / name, value)
        return publish(written, step, self.run_config.train.keep)

    def load_weights(self, checkpoint: Path) -> None:
        """Load the policy of a checkpoint without training (``train`` always makes an update)."""
        self._load_from_checkpoint(str(checkpoint))

    def resume_from(self, checkpoint: Path) -> None:
        """Load the teacher's own weights of a checkpoint (the rest is loaded by ``train``)."""
        from safetensors.torch import load_file

        if self.shadow is not None:
            self.shadow.load(load_file(checkpoint / SHADOW_FILE, device=str(self.model.device)))


def _no_reward(completions: list[Any], **kwargs: Any) -> list[float]:
    """TRL demands a reward function; rewards come with the episodes instead."""
    raise RuntimeError("rewards come with the episodes")
