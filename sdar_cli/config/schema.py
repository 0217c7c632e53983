"""The configuration of a run: typed, frozen, no unknown keys.

Every field has its unit or meaning in ``description``; ``sdar train --dry-run`` prints each value and
where it came from.  Loading of presets is in ``presets.py``, merging in ``merge.py``, what fields must agree on in
``checks.py``.
"""

from __future__ import annotations

import json
import re
from datetime import date
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SerializeAsAny,
    ValidationError,
    ValidationInfo,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from sdar_cli.algo.registry import GATE, OBJECTIVE, SCHEDULE, SHAPING
from sdar_cli.base.section import Fraction, NonNegative, Positive, Section
from sdar_cli.config.checks import cross_field_problems, password_problems
from sdar_cli.config.choices import FORMS, PLACEMENTS
from sdar_cli.config.plugs import ENGINE, EVOLVE, METRIC, RETRIEVAL, SINK, names_text
from sdar_cli.envs.benchmark import Benchmark
from sdar_cli.envs.options import EnvOptions
from sdar_cli.envs.registry import ENVIRONMENT, benchmark, built_in

if TYPE_CHECKING:
    from sdar_cli.algo.mismatch import Correction

DEEPEST = 50
"""Levels of a table of arguments; what writes and shows them gives up at some hundreds."""
RUN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def default_benchmark() -> Benchmark:
    """The environment of a run that names none."""
    return benchmark(built_in()[0])


def env_options(value: Any = None) -> EnvOptions:
    """The section ``env`` as the settings of the environment that it names; the default environment without a name.

    Raises ValidationError (pydantic) for a key or value that is not the environment's, ConfigError where a guest's
    environment cannot be imported.
    """
    if isinstance(value, EnvOptions):
        return value
    values = {"name": built_in()[0], **(value or {})}
    try:
        name = ENVIRONMENT.check_name(str(values["name"]))
    except ValueError as error:
        problem = PydanticCustomError("environment", "{text}", {"text": str(error)})
        at: InitErrorDetails = {"type": problem, "loc": ("name",), "input": values["name"]}
        raise ValidationError.from_exception_data("env", [at]) from error
    return benchmark(name).options.model_validate(values)


def _check_run_name(value: str) -> str:
    if RUN_NAME.fullmatch(value):
        return value
    raise ValueError("should be letters, digits, '.', '_' or '-', starting with a letter or digit")


def _json_values(arguments: dict[str, object]) -> dict[str, object]:
    try:
        json.dumps(arguments, allow_nan=False, ensure_ascii=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"should hold JSON values: {error}") from error
    inner: list[Any] = [arguments]
    for _ in range(DEEPEST):
        lists = [each.values() if isinstance(each, dict) else each for each in inner]
        inner = [value for each in lists for value in each if isinstance(value, dict | list | tuple)]
    if inner:
        raise ValueError(f"should hold tables and lists of at most {DEEPEST} levels")
    return arguments


def _check_date(value: str) -> str:
    date.fromisoformat(value)
    return value


IsoDate = Annotated[str, AfterValidator(_check_date)]
GateName = Annotated[str, AfterValidator(GATE.check_name)]
ObjectiveName = Annotated[str, AfterValidator(OBJECTIVE.check_name)]
ShapingName = Annotated[str, AfterValidator(SHAPING.check_name)]
ScheduleName = Annotated[str, AfterValidator(SCHEDULE.check_name)]
RetrievalName = Annotated[str, AfterValidator(RETRIEVAL.check_name)]
EvolutionName = Annotated[str, AfterValidator(EVOLVE.check_name)]
EngineName = Annotated[str, AfterValidator(ENGINE.check_name)]
SinkName = Annotated[str, AfterValidator(SINK.check_name)]
Arguments = Annotated[dict[str, Any], AfterValidator(_json_values)]
"""Keyword arguments of a plug, checked against its signature before a run starts (``config.plugs``)."""
RunName = Annotated[str, AfterValidator(_check_run_name)]
MetricName = Annotated[str, AfterValidator(METRIC.check_name)]


class LoraConfig(Section):
    rank: NonNegative = Field(default=0, description="rank of the adapter; 0 = full fine-tuning")
    alpha: float = Field(default=32.0, gt=0, description="scale numerator")
    dropout: Fraction = Field(default=0.0, description="dropout on the adapter's input")
    targets: str = Field(default="all-linear", description="module names, comma-separated, or all-linear")


class ModelConfig(Section):
    name: str = Field(
        default_factory=lambda: default_benchmark().default_model,
        description="bundled model, Hugging Face id or local path",
    )
    revision: str | None = Field(default=None, description="commit or tag of the Hugging Face model")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        default="auto", description="of the weights; auto: bfloat16 under a LoRA adapter on a GPU, float32 elsewhere"
    )
    device: Literal["auto", "cpu", "cuda"] = Field(default="auto", description="where the model runs")
    chat_template: str | None = Field(default=None, description="file with a Jinja chat template; none = the model's")
    template_date: IsoDate = Field(
        default="2024-07-26", description="the date in every prompt of a template that would ask the clock"
    )
    ends: tuple[str, ...] = Field(
        default=(), description="further tokens that end a response, beside the model's own and the template's turn end"
    )
    thinking: bool = Field(default=False, description="let a Qwen3-style template open its own thinking block")
    max_prompt_tokens: Positive = Field(default=512, description="prompt budget; history is cut first, the skill last")
    max_response_tokens: Positive = Field(default=24, description="tokens generated per turn")
    max_context_tokens: Positive = Field(
        default=2048, description="length of a whole transcript, context=transcript only"
    )
    temperature: float = Field(default=1.0, gt=0, description="sampling temperature in training")
    gradient_checkpointing: bool = Field(default=False, description="trade compute for memory in the update")
    lora: LoraConfig = LoraConfig()


class SkillsConfig(Section):
    bank: str = Field(default_factory=lambda: str(default_benchmark().bank), description="bundled bank or folder")
    retrieval: RetrievalName = Field(default="task-type", description=f"how skills are chosen: {names_text(RETRIEVAL)}")
    retrieval_args: Arguments = Field(default={}, description="keyword arguments of skills.retrieval")
    form: FORMS = Field(default="brief", description="whole skill texts, or each skill's one-line brief")
    ucb_c: float = Field(
        default=1.0,
        ge=0,
        description="retrieval=ucb: exploration, in units of the reward (the paper gives no value)",
    )
    embedding_model: str | None = Field(
        default=None, description="retrieval=embedding: folder or cached id of a sentence-transformers model"
    )
    evolve: EvolutionName = Field(
        default="none",
        description=f"what becomes of skills in training: {names_text(EVOLVE)}",
    )
    evolve_args: Arguments = Field(default={}, description="keyword arguments of skills.evolve")
    evolve_min_uses: Positive = Field(default=5, description="evolve=drop: groups in a row with a low gap")
    evolve_threshold: float = Field(default=-0.2, description="evolve=drop: a mean gap below this is low, nats")


class ViewConfig(Section):
    """One context of the teacher.  What is None is taken from ``skills`` and ``teacher``.

    ``skills.retrieval_args`` belong to ``skills.retrieval``; a view with a retrieval of its own gives it no arguments.
    """

    retrieval: RetrievalName | None = None
    form: FORMS | None = None
    placement: PLACEMENTS | None = None
    weight: float = 1.0


class TeacherConfig(Section):
    placement: PLACEMENTS = Field(
        default="user",
        description="skill in the user turn (paper), as a system message, or as the released code's raw prefix",
    )
    views: tuple[ViewConfig, ...] = Field(
        default=(),
        description="teacher contexts whose terms are added, each {retrieval, form, placement, weight}; "
        "none listed = one, as skills and teacher say",
    )
    weights: Literal["live", "frozen", "ema"] = Field(
        default="live", description="teacher weights; live is the paper's"
    )
    ema_decay: Fraction = Field(default=0.95, description="decay per update, weights=ema only")
    max_prompt_tokens: Positive = Field(default=640, description="teacher prompt budget")


class AlgoConfig(Section):
    gate: GateName = Field(default="gap", description=f"token gate: {names_text(GATE)}")
    gate_args: Arguments = Field(default={}, description="keyword arguments of algo.gate, besides gate_beta")
    gate_beta: float = Field(default=5.0, ge=0, description="sharpness of the gate")
    gate_entropy: Literal["nats", "log-vocab"] = Field(
        default="nats", description="entropy a gate reads: raw nats (paper), or divided by log |V|, so in [0, 1]"
    )
    objective: ObjectiveName = Field(
        default="surrogate", description=f"distillation objective: {names_text(OBJECTIVE)}"
    )
    objective_args: Arguments = Field(default={}, description="keyword arguments of algo.objective")
    shaping: ShapingName = Field(
        default="none",
        description="none: the teacher enters as a loss; else how it reshapes the advantages instead: "
        f"{names_text(SHAPING)}",
    )
    shaping_args: Arguments = Field(default={}, description="keyword arguments of algo.shaping")
    shaping_clip: float = Field(default=0.2, gt=0, lt=1, description="range 1 +- this of a shaping's token factor")
    coef: float = Field(
        default=0.1, ge=0, description="strength of the teacher's signal (lambda), loss or shaping; 0 = no teacher"
    )
    coef_schedule: ScheduleName = Field(default="constant", description=f"coef over the steps: {names_text(SCHEDULE)}")
    coef_schedule_args: Arguments = Field(default={}, description="keyword arguments of algo.coef_schedule")
    coef_end: float = Field(default=0.0, ge=0, description="coef at the end of a schedule (warm-down: 0)")
    coef_steps: NonNegative = Field(default=0, description="steps a schedule lasts; 0 = all of train.steps")
    policy_coef: float = Field(default=1.0, ge=0, description="weight of the policy-gradient term")
    policy_coef_end: float | None = Field(
        default=None, ge=0, description="policy_coef after coef_steps, reached linearly; none = policy_coef throughout"
    )
    kl_coef: float = Field(default=0.0, ge=0, description="weight of the k3 KL to the initial model")
    entropy_coef: float = Field(default=0.0, ge=0, description="weight of the entropy bonus")
    clip_eps: float = Field(default=0.2, gt=0, lt=1, description="clip range of the importance ratio")
    dual_clip: float | None = Field(default=3.0, gt=1, description="upper bound of the ratio for negative advantages")
    tis: Literal["auto", "token", "sequence-mask", "off"] = Field(
        default="auto",
        description="truncated ratio of trainer to sampler on the policy loss, per token, or turns left out where its "
        "mean is far from 1; auto: token, but off for engine.name=hf, which samples with the trained model itself",
    )
    tis_cap: float = Field(default=2.0, gt=1, description="bound of that ratio; sequence-mask: and 1 / it below")
    tis_distill: bool = Field(default=False, description="weight the distillation term with that ratio too")
    adv_stats: Literal["episode", "turn"] = Field(
        default="episode", description="group statistics over episodes, or over all turn rows as in the released code"
    )
    adv_std: bool = Field(default=True, description="divide by the group's standard deviation")
    agg: Literal["token", "turn", "trajectory"] = Field(
        default="token", description="mean over tokens, turns or trajectories"
    )
    invalid_penalty: float = Field(default=0.05, ge=0, description="penalty of an invalid action at that turn")
    penalty_on: Literal["advantage", "reward"] = Field(
        default="advantage",
        description="subtract after normalisation, or from the turn's reward before it (released code)",
    )


class TrainConfig(Section):
    steps: NonNegative = Field(default=12, description="rollout-and-update steps; 0 = evaluate only")
    tasks_per_step: Positive = Field(default=6, description="groups per step")
    group_size: Annotated[int, Field(ge=2)] = Field(default=6, description="episodes per group")
    with_skill: bool = Field(default=False, description="show the policy itself the skill in training (Skill-GRPO)")
    updates_per_step: Positive = Field(default=2, description="optimizer updates (mini-batches) per step")
    micro_batch: Positive = Field(default=64, description="rows per forward pass of the update; memory, not results")
    micro_tokens: NonNegative = Field(
        default=0, description="tokens per forward pass of the update, padding included; memory, not results; 0 = any"
    )
    lr: float = Field(default=5e-4, gt=0, description="learning rate")
    lr_schedule: Literal["constant", "linear", "cosine"] = Field(
        default="constant", description="learning-rate schedule"
    )
    warmup_steps: NonNegative = Field(default=0, description="linear warm-up in updates")
    weight_decay: float = Field(default=0.0, ge=0, description="AdamW weight decay")
    grad_clip: float = Field(default=1.0, gt=0, description="gradient norm bound")
    threads: NonNegative = Field(default=0, description="torch threads on a CPU; 0 = leave as it is")
    sinks: tuple[SinkName, ...] = Field(
        default=(), description=f"where each step's metrics go besides metrics.jsonl: {names_text(SINK)}"
    )
    sink_args: dict[str, Arguments] = Field(
        default={}, description="keyword arguments of train.sinks, a table per name"
    )
    on_nonfinite: Literal["stop", "skip"] = Field(
        default="stop",
        description="an update whose loss or gradient is not finite: end the run, or leave the update out",
    )
    save_every: NonNegative = Field(default=2, description="steps between checkpoints; 0 = only the last")
    keep: Positive = Field(default=3, description="checkpoints kept")
    eval_every: NonNegative = Field(
        default=0, description="steps between evaluations on the panel; 0 = none between before and after"
    )


class EngineConfig(Section):
    name: EngineName = Field(default="hf", description=f"what generates: {names_text(ENGINE)}")
    args: Arguments = Field(default={}, description="keyword arguments of engine.name")
    batch: Positive = Field(default=128, description="prompts per generation call of hf: memory, not results")
    max_episodes: NonNegative = Field(default=0, description="episodes played at the same time; 0 = all")
    timeout: float = Field(default=1800.0, gt=0, description="seconds a request may take before the run stops")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        default="auto", description="of the sampler's own weights (vllm); auto: what the trained model computes in"
    )
    max_len: NonNegative = Field(
        default=0, description="tokens of prompt and response together (vllm); 0 = what the token budgets add up to"
    )
    memory: Annotated[float, Field(gt=0, le=1)] = Field(
        default=0.4, description="share of the GPU's memory for weights and KV cache (vllm)"
    )
    sleep: bool = Field(default=False, description="free the sampler's GPU memory during the update (vllm)")
    url: str | None = Field(default=None, description="address of a running vLLM server (server)")
    allow_gap: bool = Field(
        default=False, description="continue where sampler and trainer disagree about the log-probs of the same tokens"
    )


class EvalConfig(Section):
    before: bool = Field(
        default=True, description="also evaluate before training; sdar sweep does it once for all runs that share it"
    )
    split: str | None = Field(default=None, description="held-out split; default eval (generated) or valid_seen (real)")
    games: NonNegative = Field(default=0, description="N tasks spread over the sorted panel; 0 = all")
    decoding: Literal["sampled", "greedy"] = Field(default="sampled", description="how actions are decoded")
    temperature: float = Field(default=0.4, gt=0, description="sampling temperature, decoding=sampled")
    with_skill: bool = Field(default=True, description="also evaluate with the skill in the prompt")
    seeds: Positive = Field(default=1, description="sampling seeds per evaluation")
    metrics: tuple[MetricName, ...] = Field(
        default=(), description="more metrics to show: turns, invalid_ratio, failed, or package.module:metric"
    )


class View(NamedTuple):
    """A teacher context with nothing left open."""

    retrieval: str
    form: str
    placement: str
    weight: float


class RunConfig(Section):
    """Everything a run depends on."""

    name: RunName | None = Field(default=None, description="run directory under runs/; default made from the settings")
    method: str = Field(default="sdar", description="label of the method preset")
    seed: NonNegative = Field(default=0, description="seed of tasks, sampling and initial adapters")
    env: Annotated[SerializeAsAny[EnvOptions], BeforeValidator(env_options)] = Field(default_factory=env_options)
    model: ModelConfig = Field(default_factory=ModelConfig)
    skills: SkillsConfig = Field(default_factory=SkillsConfig)
    teacher: TeacherConfig = Field(default_factory=TeacherConfig)
    algo: AlgoConfig = Field(default_factory=AlgoConfig)
    train: TrainConfig = Field(default_factory=TrainConfig)
    engine: EngineConfig = Field(default_factory=EngineConfig)
    eval: EvalConfig = Field(default_factory=EvalConfig)

    @property
    def views(self) -> tuple[View, ...]:
        """The teacher's contexts; at least one."""
        return tuple(
            View(
                view.retrieval or self.skills.retrieval,
                view.form or self.skills.form,
                view.placement or self.teacher.placement,
                view.weight,
            )
            for view in self.teacher.views or (ViewConfig(),)
        )

    @property
    def correction(self) -> Correction:
        """``algo.tis`` with ``auto`` decided: a ratio per token for each engine but the one that shares the model."""
        if self.algo.tis != "auto":
            return self.algo.tis
        return "off" if self.engine.name == "hf" else "token"

    @property
    def retrievals(self) -> set[str]:
        """Every strategy that may choose a skill: the evaluation's and those of the views."""
        return {self.skills.retrieval, *(view.retrieval for view in self.views)}

    @model_validator(mode="after")
    def _fields_agree(self, info: ValidationInfo) -> RunConfig:
        training = (info.context or {}).get("training", True)
        problems = [*password_problems(self.model_dump()), *cross_field_problems(self, training=training)]
        if problems:
            text = "; ".join(problem.text for problem in problems)
            raise PydanticCustomError("cross_field", "{text}", {"text": text, "problems": problems})
        return self
