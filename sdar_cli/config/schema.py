"""The configuration of a run: typed, frozen, no unknown keys.

Every field has its unit or meaning in ``description``; ``sdar train --dry-run`` prints each value and
where it came from.  Loading of presets is in ``presets.py``, merging in ``merge.py``, what fields must agree on in
``checks.py``.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal, NamedTuple

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from sdar_cli.config.checks import cross_field_problems
from sdar_cli.config.choices import BENCHMARKS, FORMS, METRIC, PLACEMENTS, RETRIEVALS, WORDINGS

Positive = Annotated[int, Field(gt=0)]
NonNegative = Annotated[int, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]

GATES = ("gap", "entropy", "soft-or", "none")
"""Names of ``algo.gates``; an outsider's gate is an import path ``package.module:function``."""
OBJECTIVES = ("surrogate", "signed", "k1", "k3", "reverse-kl", "forward-kl", "jsd")
"""Names of ``algo.objectives``; import paths as for gates."""
SHAPINGS = ("none", "rlsd", "belief", "grsd", "t-dur")
"""Names of ``algo.shaping``, and ``none``; import paths as for gates."""
SCHEDULES = ("constant", "linear", "warm-down", "atod")
"""Names of ``algo.schedule``; import paths as for gates."""
EVOLUTIONS = ("none", "drop")
"""``none``, and names of ``skills.evolve``; import paths as for gates."""
RUN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
IMPORT_PATH = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


def _one_of(value: str, names: tuple[str, ...]) -> str:
    if value in names or IMPORT_PATH.fullmatch(value):
        return value
    raise ValueError(f"should be one of {', '.join(names)}, or an import path package.module:function")


def _check_run_name(value: str) -> str:
    if RUN_NAME.fullmatch(value):
        return value
    raise ValueError("should be letters, digits, '.', '_' or '-', starting with a letter or digit")


GateName = Annotated[str, AfterValidator(lambda value: _one_of(value, GATES))]
ObjectiveName = Annotated[str, AfterValidator(lambda value: _one_of(value, OBJECTIVES))]
ShapingName = Annotated[str, AfterValidator(lambda value: _one_of(value, SHAPINGS))]
EvolutionName = Annotated[str, AfterValidator(lambda value: _one_of(value, EVOLUTIONS))]
ScheduleName = Annotated[str, AfterValidator(lambda value: _one_of(value, SCHEDULES))]
RunName = Annotated[str, AfterValidator(_check_run_name)]
MetricName = Annotated[str, AfterValidator(METRIC.check_name)]


class Section(BaseModel):
    """Base of every section: frozen; unknown keys, NaN and infinities refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class EnvConfig(Section):
    name: BENCHMARKS = Field(default="alfworld", description="the benchmark")
    source: Literal["generated", "real"] = Field(
        default="generated", description="generated games (no download) or the released game files"
    )
    data: str | None = Field(
        default=None,
        description="alfworld: folder that holds json_2.1.1, or that folder; default $ALFWORLD_DATA; webshop: folder "
        "of the original's files; search: folder of questions, and of a corpus unless env.retriever is set; implies "
        "source=real",
    )
    size: Literal["small", "full"] = Field(default="small", description="size of generated houses")
    games_seed: NonNegative = Field(default=0, description="seed of the generator")
    games_train: Positive = Field(default=120, description="number of generated training games")
    games_eval: Positive = Field(default=66, description="number of generated held-out games")
    train_split: str = Field(default="train", description="split trained on")
    max_turns: Positive = Field(default=15, description="turns before an episode is stopped")
    workers: NonNegative = Field(default=0, description="engine processes; 0 = one per core")
    step_timeout: float = Field(
        default=120.0,
        gt=0,
        description="seconds a worker may take to answer before it is restarted; search: a remote search, all tries",
    )
    max_failed: Fraction = Field(default=0.25, description="share of failed episodes in a step that stops the run")
    prompt: WORDINGS = Field(default="compact", description="prompt wording: short, or with instructions")
    context: Literal["window", "transcript"] = Field(
        default="window", description="one prompt per turn from the last turns, or one growing sequence per episode"
    )
    history: NonNegative = Field(default=2, description="past (observation, action) pairs shown, context=window only")
    valid_action: Literal["admissible", "format", "released"] = Field(
        default="admissible",
        description="a valid action: format and in the admissible list; format only; the released code's rule",
    )
    observation: Literal["text", "text_rich"] = Field(default="text", description="webshop: how pages are written")
    show_attrs: bool = Field(default=False, description="webshop: items have a page of attributes")
    goals: Literal["human", "synthetic"] = Field(
        default="human", description="webshop: instructions written for people, or made of every choice of options"
    )
    split_rule: Literal["product-disjoint", "original", "released"] = Field(
        default="product-disjoint",
        description="webshop: no product in two splits; the original's numbers; the released code's (which leaks)",
    )
    price_seed: NonNegative = Field(default=4, description="webshop: seed of prices and price limits")
    products: Positive = Field(default=1000, description="webshop: products of the generated catalogue")
    retriever: str | None = Field(
        default=None,
        description="search: folder of an index, http://HOST:PORT (several with commas between), or "
        "opensearch+http://HOST:PORT/INDEX; default: an index of the data's corpus, made once",
    )
    top_k: Annotated[int, Field(ge=1, le=50)] = Field(default=3, description="search: passages per query")
    information: Literal["search_r1", "sdar"] = Field(
        default="search_r1", description="search: passages as Search-R1 writes them, or as the released code does"
    )
    max_observation_tokens: NonNegative = Field(
        default=0, description="tokens of an observation, the rest is cut off; 0 = all of it"
    )
    invalid_hint: Literal["none", "search_r1"] = Field(
        default="none", description="search: after a missing action show nothing (released), or say what was wrong"
    )
    score_scope: Literal["final_action", "released"] = Field(
        default="final_action",
        description="search: what is judged: the last action, or the last answer block of the whole history, passages "
        "included (released code)",
    )
    on_error: Literal["mask", "end"] = Field(
        default="mask",
        description="search: when a search fails for good: take its episodes out of the loss, or end the run",
    )
    questions_per_source: NonNegative = Field(
        default=0, description="search: questions of each data set in a panel, drawn with games_seed; 0 = all"
    )
    skip_bad: bool = Field(default=False, description="search: leave out bad rows, at most 1 % of them")
    cache: bool = Field(default=True, description="search: remember answers of the retriever")
    win_reward: float = Field(default=1.0, description="reward of a won episode")


class LoraConfig(Section):
    rank: NonNegative = Field(default=0, description="rank of the adapter; 0 = full fine-tuning")
    alpha: float = Field(default=32.0, gt=0, description="scale numerator")
    dropout: Fraction = Field(default=0.0, description="dropout on the adapter's input")
    targets: str = Field(default="all-linear", description="module names, comma-separated, or all-linear")


class ModelConfig(Section):
    name: str = Field(default="tiny-alfworld", description="bundled model, Hugging Face id or local path")
    revision: str | None = Field(default=None, description="commit or tag of the Hugging Face model")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        default="auto", description="of the weights; auto: bfloat16 under a LoRA adapter on a GPU, float32 elsewhere"
    )
    device: Literal["auto", "cpu", "cuda"] = Field(default="auto", description="where the model runs")
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
    bank: str = Field(default="alfworld", description="bundled bank or folder")
    retrieval: RETRIEVALS = Field(default="task-type", description="how skills are chosen")
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
        description=f"what becomes of skills in training: {', '.join(EVOLUTIONS)}, or package.module:function",
    )
    evolve_min_uses: Positive = Field(default=5, description="evolve=drop: groups in a row with a low gap")
    evolve_threshold: float = Field(default=-0.2, description="evolve=drop: a mean gap below this is low, nats")


class ViewConfig(Section):
    """One context of the teacher.  What is None is taken from ``skills`` and ``teacher``."""

    retrieval: RETRIEVALS | None = None
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
    gate: GateName = Field(default="gap", description="gap, entropy, soft-or, none, or package.module:function")
    gate_beta: float = Field(default=5.0, ge=0, description="sharpness of the gate")
    gate_entropy: Literal["nats", "log-vocab"] = Field(
        default="nats", description="entropy a gate reads: raw nats (paper), or divided by log |V|, so in [0, 1]"
    )
    objective: ObjectiveName = Field(
        default="surrogate", description=f"distillation objective: {', '.join(OBJECTIVES)}, or package.module:function"
    )
    shaping: ShapingName = Field(
        default="none",
        description="none: the teacher enters as a loss; else how it reshapes the advantages instead: "
        f"{', '.join(SHAPINGS[1:])}, or package.module:function",
    )
    shaping_clip: float = Field(default=0.2, gt=0, lt=1, description="range 1 +- this of a shaping's token factor")
    coef: float = Field(
        default=0.1, ge=0, description="strength of the teacher's signal (lambda), loss or shaping; 0 = no teacher"
    )
    coef_schedule: ScheduleName = Field(
        default="constant", description=f"coef over the steps: {', '.join(SCHEDULES)}, or package.module:function"
    )
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
    lr: float = Field(default=5e-4, gt=0, description="learning rate")
    lr_schedule: Literal["constant", "linear", "cosine"] = Field(
        default="constant", description="learning-rate schedule"
    )
    warmup_steps: NonNegative = Field(default=0, description="linear warm-up in updates")
    weight_decay: float = Field(default=0.0, ge=0, description="AdamW weight decay")
    grad_clip: float = Field(default=1.0, gt=0, description="gradient norm bound")
    threads: NonNegative = Field(default=0, description="torch threads on a CPU; 0 = leave as it is")
    generate_batch: Positive = Field(default=64, description="prompts per generation call: memory, and other draws")
    save_every: NonNegative = Field(default=2, description="steps between checkpoints; 0 = only the last")
    keep: Positive = Field(default=3, description="checkpoints kept")
    eval_every: NonNegative = Field(
        default=0, description="steps between evaluations on the panel; 0 = none between before and after"
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
    env: EnvConfig = EnvConfig()
    model: ModelConfig = ModelConfig()
    skills: SkillsConfig = SkillsConfig()
    teacher: TeacherConfig = TeacherConfig()
    algo: AlgoConfig = AlgoConfig()
    train: TrainConfig = TrainConfig()
    eval: EvalConfig = EvalConfig()

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
    def retrievals(self) -> set[str]:
        """Every strategy that may choose a skill: the evaluation's and those of the views."""
        return {self.skills.retrieval, *(view.retrieval for view in self.views)}

    @model_validator(mode="after")
    def _fields_agree(self) -> RunConfig:
        problems = cross_field_problems(self)
        if problems:
            text = "; ".join(problem.text for problem in problems)
            raise PydanticCustomError("cross_field", "{text}", {"text": text, "problems": problems})
        return self
