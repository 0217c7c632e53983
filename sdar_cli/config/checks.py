"""What the fields of a configuration must agree on, and settings that are legal and probably not meant."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sdar_cli.base.text import mask
from sdar_cli.config.plugs import EVOLVE, RETRIEVAL
from sdar_cli.envs.benchmark import Problem
from sdar_cli.envs.registry import benchmark, built_in

if TYPE_CHECKING:
    from sdar_cli.base.section import Section
    from sdar_cli.config.settings import Settings

SIGMOID_GATES = ("gap", "entropy", "soft-or")
"""Gates of the form sigmoid(beta * x): at beta = 0 a constant 1/2."""
UNTAUGHT = ("grpo", "skill-grpo", "skill-prompt")
"""Methods without a teacher."""
OF_TEACHER = (
    "gate", "gate_args", "gate_beta", "gate_entropy", "objective", "objective_args", "shaping", "shaping_args",
    "shaping_clip",
)  # fmt: skip
"""Settings of ``algo`` that say how a teacher's signal is used."""


def cross_field_problems(config: Settings, training: bool = True) -> list[Problem]:
    """Contradictions between fields that would make a run fail or mean nothing.

    training: False where nothing will be trained, so that settings of training contradict nothing.
    """
    env, model = config.env, config.model
    found = _training_problems(config) if training else []
    if "embedding" in config.retrievals and config.skills.embedding_model is None:
        found.append(
            Problem(
                ("skills.retrieval", "skills.embedding_model"),
                "skills.retrieval = embedding needs an encoder: set skills.embedding_model to a folder, or to the id "
                "of a sentence-transformers model in the Hugging Face cache",
            )
        )
    budget = model.max_prompt_tokens + model.max_response_tokens
    if env.context == "transcript" and model.max_context_tokens < budget:
        found.append(
            Problem(
                ("model.max_context_tokens", "model.max_prompt_tokens", "model.max_response_tokens", "env.context"),
                f"model.max_context_tokens ({model.max_context_tokens}) cannot hold one prompt and response ({budget})",
            )
        )
    return found


def _training_problems(config: Settings) -> list[Problem]:
    model, train = config.model, config.train
    found = _teacher_problems(config) if train.steps else []
    found += benchmark(config.env.name).problems(config)
    if train.steps == 0 and not config.eval.before:
        found.append(Problem(("train.steps", "eval.before"), "no training and no evaluation before it: nothing to do"))
    episodes = train.tasks_per_step * train.group_size
    if train.updates_per_step > episodes:
        found.append(
            Problem(
                ("train.updates_per_step", "train.tasks_per_step", "train.group_size"),
                f"train.updates_per_step ({train.updates_per_step}) exceeds the {episodes} episodes of a step, "
                "so a mini-batch could be empty",
            )
        )
    if model.lora.rank and "lm_head" in model.lora.targets.split(","):
        found.append(
            Problem(("model.lora.targets",), "model.lora.targets names lm_head: the output layer can have no adapter")
        )
    return found


def password_problems(values: Mapping[str, Any], above: str = "") -> list[Problem]:
    """Addresses with a user and a password: a configuration is written to the run's files."""
    found: list[Problem] = []
    for name, value in values.items():
        key = f"{above}{name}"
        if isinstance(value, dict):
            found += password_problems(value, f"{key}.")
        elif isinstance(value, str) and mask(value) != value:
            text = f"{key} holds a user or password in its address, and would be written to files: leave it out"
            found.append(Problem((key,), f"{text}, and for a retriever export SDAR_RETRIEVER_AUTH=USER:PASSWORD"))
    return found


def _teacher_problems(config: Settings) -> list[Problem]:
    """A teacher that sees what the student sees, and a loss of nothing."""
    algo, skills, train = config.algo, config.skills, config.train
    found = []
    shown = (skills.retrieval, skills.form) if train.with_skill and skills.retrieval != "none" else None
    same = [(view.retrieval, view.form) == shown if shown else view.retrieval == "none" for view in config.views]
    if algo.coef > 0 and config.teacher.weights == "live" and all(same):
        keys = ("algo.coef", "train.with_skill") if shown else ("algo.coef", "skills.retrieval")
        why = "train.with_skill is true" if shown else "skills.retrieval is none"
        found.append(
            Problem(
                keys,
                f"{why}, so the teacher's prompt equals the student's and there is nothing to distil: set algo.coef to "
                "0 or show the teacher another skill text",
            )
        )
    if train.with_skill and skills.retrieval == "none":
        found.append(
            Problem(
                ("train.with_skill", "skills.retrieval"),
                "train.with_skill needs a skill and skills.retrieval is none: choose a retrieval",
            )
        )
    if skills.evolve == "drop" and algo.coef == 0:
        found.append(
            Problem(
                ("skills.evolve", "algo.coef"),
                "skills.evolve = drop reads the teacher's gap and algo.coef is 0, so there is no teacher",
            )
        )
    no_policy = algo.policy_coef == 0 and not algo.policy_coef_end
    if no_policy and algo.coef == 0:
        found.append(Problem(("algo.coef", "algo.policy_coef"), "algo.coef and algo.policy_coef are both 0: no loss"))
    elif no_policy and algo.shaping != "none":
        found.append(
            Problem(
                ("algo.shaping", "algo.policy_coef"),
                "algo.policy_coef is 0, and a shaping acts through the policy term alone: no loss",
            )
        )
    return found


def config_warnings(config: Settings) -> list[str]:
    """Settings that are legal and probably not meant, each with what to do instead."""
    found = [*_distillation_warnings(config), *_ignored_settings(config), *_ignored_engine_settings(config)]
    model, lora = config.model, config.model.lora
    if model.dtype in ("bfloat16", "float16") and lora.rank == 0 and config.train.lr < 1e-5:
        found.append(
            f"steps of {config.train.lr:g} vanish in {model.dtype} weights: leave model.dtype at auto or use --lora"
        )
    if lora.rank and lora.dropout > 0:
        found.append(
            "with model.lora.dropout the student is scored with dropout and the teacher without: the gap is noisier"
        )
    if "ucb" in config.retrievals and config.env.win_reward > 1 and config.skills.ucb_c <= 1:
        found.append(
            f"skills.ucb_c is in units of the reward and env.win_reward is {config.env.win_reward:g}: a skill that did "
            f"badly is hardly tried again; skills.ucb_c={config.env.win_reward:g} explores as with rewards up to 1"
        )
    found += benchmark(config.env.name).warnings(config)
    if config.eval.with_skill and config.skills.retrieval == "none":
        found.append(
            "skills.retrieval is none, so the evaluation with skill shows no skill: --set eval.with_skill=false"
        )
    if config.skills.retrieval == "released":
        found.append(
            "skills.retrieval = released chooses the teacher's skill by the name of the data set, which is more than "
            "a question contains: for new work use keyword"
        )
    return [*found, *_foreign_policy(config)]


def _foreign_policy(config: Settings) -> list[str]:
    """A bundled policy of another environment."""
    owners = [name for name in built_in() if benchmark(name).default_model == config.model.name]
    at_home = benchmark(config.env.name).default_model == config.model.name
    if at_home or not owners:
        return []
    return [f"{config.model.name} was warm-started on another benchmark than {config.env.name}: expect nothing"]


def _distillation_warnings(config: Settings) -> list[str]:
    algo, teacher = config.algo, config.teacher
    found: list[str] = []
    if config.train.steps == 0:
        return found
    if algo.coef == 0:
        if config.method not in UNTAUGHT:
            found.append(f"algo.coef is 0, so this run is GRPO although its method is called {config.method}")
        if algo.coef_schedule not in ("constant", "warm-down"):
            found.append(
                "algo.coef is 0, which means no teacher at any step: "
                f"algo.coef_schedule = {algo.coef_schedule} is ignored"
            )
        return found
    if config.method in UNTAUGHT:
        found.append(
            f"algo.coef is {algo.coef:g}, so this run has a teacher although its method is called {config.method}"
        )
    if algo.shaping != "none":
        return [*found, *_view_warnings(config)]
    constant = algo.gate == "none" or (algo.gate in SIGMOID_GATES and algo.gate_beta == 0)
    if algo.gate in SIGMOID_GATES and algo.gate_beta == 0:
        found.append(
            f"algo.gate_beta = 0 makes the {algo.gate} gate a constant 1/2, which is not the same as no gate: "
            "for weight 1 use --gate none"
        )
    if constant and algo.objective == "surrogate":
        found.append(
            "a constant weight with the surrogate objective has an expected gradient of zero (uniform "
            "self-imitation): to distil without a gate use --objective signed"
        )
    if algo.coef >= 1 and teacher.weights == "live":
        found.append(
            f"algo.coef = {algo.coef:g} with a live teacher can ruin the teacher, which shares the weights: watch the "
            "success with the skill, or use teacher.weights = frozen"
        )
    return [*found, *_view_warnings(config)]


def _view_warnings(config: Settings) -> list[str]:
    teacher = config.teacher
    found = []
    if sum(view.weight for view in config.views) <= 0:
        found.append("the weights of teacher.views add up to 0 or less: the teacher's signal may be reversed")
    if teacher.max_prompt_tokens < config.model.max_prompt_tokens:
        found.append(
            f"teacher.max_prompt_tokens ({teacher.max_prompt_tokens}) is below model.max_prompt_tokens "
            f"({config.model.max_prompt_tokens}): the teacher would see less history than the student"
        )
    return found


def _changed(section: Section, field: str) -> bool:
    """Whether a setting has another value than its default."""
    return getattr(section, field) != type(section).model_fields[field].default


def _ignored_settings(config: Settings) -> list[str]:
    env, model, teacher, train, algo = config.env, config.model, config.teacher, config.train, config.algo
    found = []
    if env.context == "transcript" and _changed(env, "history"):
        found.append("env.history is ignored with env.context = transcript: the whole episode is in the prompt")
    if env.data is not None and env.source == "generated":
        found.append("env.data is ignored with env.source = generated")
    untaught = algo.coef == 0 and train.steps > 0
    if untaught:
        ignored = [f"algo.{name}" for name in OF_TEACHER if _changed(algo, name)]
        ignored += [f"teacher.{name}" for name in ("views", "weights") if _changed(teacher, name)]
        if ignored:
            found.append(f"{' and '.join(ignored)} ignored: algo.coef is 0, so there is no teacher")
    if algo.shaping != "none" and not untaught:
        unread = ("gate", "gate_args", "gate_beta", "objective", "objective_args")
        ignored = [f"algo.{name}" for name in unread if _changed(algo, name)]
        if ignored:
            found.append(f"{' and '.join(ignored)} ignored: with algo.shaping = {algo.shaping} there is no loss term")
    elif _changed(algo, "shaping_clip") and not untaught:
        found.append("algo.shaping_clip is ignored with algo.shaping = none")
    if algo.coef_schedule in ("constant", "warm-down") and _changed(algo, "coef_end"):
        found.append(f"algo.coef_end is ignored with algo.coef_schedule = {algo.coef_schedule}")
    if algo.coef_schedule == "constant" and algo.policy_coef_end is None and _changed(algo, "coef_steps"):
        found.append("algo.coef_steps is ignored with algo.coef_schedule = constant")
    if not untaught and algo.gate_entropy != "nats" and algo.gate in ("gap", "none"):
        found.append(f"algo.gate_entropy is ignored: the gate {algo.gate} reads no entropy")
    if not untaught and teacher.weights != "ema" and _changed(teacher, "ema_decay"):
        found.append(f"teacher.ema_decay is ignored with teacher.weights = {teacher.weights}")
    guests = {*config.retrievals, config.skills.evolve} - {*RETRIEVAL.builtin(), *EVOLVE.builtin()}
    unused = [
        name
        for name, used in (
            ("ucb_c", "ucb" in config.retrievals or guests),
            ("embedding_model", "embedding" in config.retrievals or guests),
            ("evolve_min_uses", config.skills.evolve != "none"),
            ("evolve_threshold", config.skills.evolve != "none"),
        )
        if not used and _changed(config.skills, name)
    ]
    if unused:
        found.append(f"skills.{' and skills.'.join(unused)} ignored: skills.retrieval and skills.evolve do not read it")
    if model.lora.rank == 0 and any(_changed(model.lora, field) for field in ("alpha", "dropout", "targets")):
        found.append("model.lora settings are ignored with model.lora.rank = 0 (full fine-tuning)")
    if config.eval.decoding == "greedy" and _changed(config.eval, "temperature"):
        found.append("eval.temperature is ignored with eval.decoding = greedy")
    if train.steps and train.warmup_steps >= train.steps * train.updates_per_step:
        found.append("train.warmup_steps covers the whole run: the learning rate is never reached")
    return found


def _ignored_engine_settings(config: Settings) -> list[str]:
    engine = config.engine
    unread = {
        "hf": ("dtype", "max_len", "memory", "sleep", "url"),
        "vllm": ("batch", "url"),
        "server": ("batch", "dtype", "memory", "sleep"),
    }.get(engine.name, ())
    ignored = [f"engine.{name}" for name in unread if _changed(engine, name)]
    found = [f"{' and '.join(ignored)} ignored with engine.name = {engine.name}"] if ignored else []
    if config.algo.tis_distill and config.correction == "off":
        found.append("algo.tis_distill is ignored: no ratio of trainer to sampler is used (algo.tis)")
    return found
