"""``sdar probe``: the teacher's gradient on one batch, before anything is trained.

The tasks of a batch are split in two halves.  An estimator whose gradients on the halves point the same way carries a
signal; one whose cosine is not distinguishable from 0 is noise at this batch size.  The exact reverse KL of the OTHER
half shows whether the signal is the teacher's.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, cast

import numpy as np

from sdar_cli.base.errors import ConfigError, RunFailedError
from sdar_cli.base.seeds import seed_of
from sdar_cli.config.schema import RunConfig, ViewConfig
from sdar_cli.envs.base import Task, group_by_type
from sdar_cli.rollout.samples import Sample
from sdar_cli.rollout.step import PlayedStep, mixed_groups, play_step
from sdar_cli.runs.checkpoints import refuse_damaged
from sdar_cli.session import Session, load_skills, open_session
from sdar_cli.train.gradients import (
    ESTIMATORS,
    EXACT,
    POLICY,
    Estimator,
    TaskGradients,
    estimators_with,
    task_gradients,
    turn_statistics,
)
from sdar_cli.train.probe_report import Comparison, EstimatorReport, Figures, Interval, ProbeReport
from sdar_cli.train.teacher import TeacherPrompts

if TYPE_CHECKING:
    from sdar_cli.base.display import Reporter
    from sdar_cli.train.trainer import SDARTrainer, StepData

SCHEMA = 1
LEVEL = 95.0
"""Per cent of the bootstrap intervals."""
SILENT = 1e-5
"""A gradient below this share of the largest estimator's is rounding, not a direction."""
SHOWN = ("success", "reward", "turns", "invalid_ratio", "failed_episodes")
"""What the report says of the batch, of the metrics of a rollout."""
SAME = 1e-3
"""Nats of mean |gap| below which the teacher agrees with the student."""


# Statistics -----------------------------------------------------------------------------------------------------------


def halves_of(tasks: Sequence[Task]) -> np.ndarray:
    """0 or 1 for every task, (T,): alternating within each task type, and on from one type to the next."""
    position = {id(task): i for i, task in enumerate(tasks)}
    halves = np.zeros(len(tasks), dtype=int)
    ordered = [task for group in group_by_type(tasks).values() for task in group]
    for number, task in enumerate(ordered):
        halves[position[id(task)]] = number % 2
    return halves


def compare(
    gram: np.ndarray, halves: np.ndarray, weights: np.ndarray, *, policy: int, exact: int, resamples: int, seed: int
) -> list[Comparison]:
    """Statistics of the gradients of E estimators on T tasks, one record per estimator.

    gram (E, T, E, T): inner products of the tasks' gradient sums v_et; halves (T,) 0 or 1; weights (T,) sums of token
    weights.  g_e(S) = sum over tasks t in S of v_et / sum of their weights.  ``policy`` and ``exact`` are the indices
    of the policy gradient and of the exact reverse KL.

    norm             |g_e| of the whole batch
    between_halves   cos(g_e(0), g_e(1)), with its interval
    with_exact       mean of cos(g_e(0), g_exact(1)) and cos(g_e(1), g_exact(0)), with its interval
    with_policy      cos(g_e, g_policy) of the whole batch
    equal_norm_coef  |g_policy| / |g_e|: the coefficient at which distillation is as long as the policy gradient
    noise            the interval of ``between_halves`` reaches 0 or below, or there is no gradient

    Intervals are 95 % percentiles of a bootstrap over the tasks within each half, the same draws for every estimator.
    A draw repeats some tasks and misses others, so its cosine is lower than that of the data more often than higher:
    the intervals lean towards 0.  A drawn half without gradient counts as cosine 0.  What cannot be computed is None.
    """
    whole = np.ones((1, len(halves)))
    points = [np.asarray(halves == half, dtype=float)[None] for half in (0, 1)]
    rng = np.random.default_rng(seed)
    drawn = [_resampled(halves == half, resamples, rng) for half in (0, 1)]
    size = np.sqrt(np.einsum("etet->e", gram).clip(min=0))
    silent = size <= SILENT * size.max()
    norms = [np.sqrt(_product(gram, whole, e, whole, e).clip(min=0))[0] / weights.sum() for e in range(len(gram))]
    records: list[Comparison] = []
    for e in range(len(gram)):
        between = with_exact = with_policy = coefficient = None
        if not silent[e]:
            between = _interval(_cosine(gram, points, e, e), _cosine(gram, drawn, e, e))
        if not silent[e] and not silent[exact]:
            with_exact = _interval(_crossed(gram, points, e, exact), _crossed(gram, drawn, e, exact))
        if not silent[e] and not silent[policy] and norms[e] > 0:
            with_policy = float(_cosine(gram, [whole, whole], e, policy)[0])
            coefficient = float(norms[policy] / norms[e])
        records.append(
            {
                "norm": float(norms[e]),
                "between_halves": between,
                "with_exact": with_exact,
                "with_policy": with_policy,
                "equal_norm_coef": coefficient,
                "noise": between is None or not between["low"] > 0,
            }
        )
    return records


def _resampled(members: np.ndarray, resamples: int, rng: np.random.Generator) -> np.ndarray:
    """How often each task is drawn, (B, T): as many draws with replacement as there are members."""
    chosen = np.flatnonzero(members)
    counts = np.zeros((resamples, len(members)))
    picks = chosen[rng.integers(len(chosen), size=(resamples, len(chosen)))]
    np.add.at(counts, (np.arange(resamples)[:, None], picks), 1.0)
    return counts


def _product(gram: np.ndarray, a: np.ndarray, e: int, b: np.ndarray, f: int) -> np.ndarray:
    """<sum_t a_bt v_et, sum_t b_bt v_ft> for every resample, (B,)."""
    return ((a @ gram[e, :, f, :]) * b).sum(axis=1)


def _cosine(gram: np.ndarray, halves: Sequence[np.ndarray], e: int, f: int) -> np.ndarray:
    """cos(e on the first half, f on the second), (B,); 0 where one of them vanishes."""
    first, second = halves
    squares = _product(gram, first, e, first, e).clip(min=0) * _product(gram, second, f, second, f).clip(min=0)
    scale = np.sqrt(squares)
    return np.divide(_product(gram, first, e, second, f), scale, out=np.zeros_like(scale), where=scale > 0)


def _crossed(gram: np.ndarray, halves: Sequence[np.ndarray], e: int, exact: int) -> np.ndarray:
    return (_cosine(gram, halves, e, exact) + _cosine(gram, halves[::-1], e, exact)) / 2


def _interval(point: np.ndarray, drawn: np.ndarray) -> Interval:
    low, high = np.percentile(drawn, [(100 - LEVEL) / 2, (100 + LEVEL) / 2])
    return {"cosine": float(point[0]), "low": float(low), "high": float(high)}


# The probe ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Batch:
    """The samples of one step by task, those of tasks without an episode left out."""

    tasks: list[Task]
    groups: list[list[Sample]]
    played: PlayedStep
    teacher: dict[str, float]
    """Shares and means of the teacher's prompts."""

    @property
    def mixed(self) -> int:
        """The number of groups whose rewards differ."""
        return mixed_groups(self.played.episodes)


def probe(config: RunConfig, reporter: Reporter, checkpoint: Path | None, resamples: int) -> ProbeReport:
    """Play one batch of ``train.tasks_per_step`` x ``train.group_size`` episodes and compare gradients on it.

    checkpoint: weights to load, else the model as it is.  Returns the report; weights are those of before.
    Raises SdarError subclasses.
    """
    forced = probing(config)
    if checkpoint is not None:
        refuse_damaged(checkpoint)
    began = time.monotonic()
    with open_session(forced, reporter) as session, TemporaryDirectory() as folder:
        trainer = _trainer(forced, session, Path(folder), checkpoint)
        batch = _play(forced, session, reporter)
        played = time.monotonic()
        estimators, own = _estimators(config)
        total = sum(map(len, batch.groups))
        with reporter.progress(f"gradients of {len(estimators)} estimators on {total} rows", total) as bar:
            found = task_gradients(trainer, batch.groups, estimators, config.algo.gate_beta, config.seed, bar.advance)
        figures = _figures(config, batch, estimators, own, found, resamples)
        seconds = {"until_played": round(played - began, 1), "all": round(time.monotonic() - began, 1)}
        return {**figures, "provenance": session.provenance(), "seconds": seconds}


def _estimators(config: RunConfig) -> tuple[list[Estimator], int | None]:
    """Every estimator, and which one is the configuration's own: none where no loss is distilled."""
    if config.algo.coef == 0 or config.algo.shaping != "none":
        return list(ESTIMATORS), None
    algo = config.algo
    return estimators_with(algo.gate, algo.objective, algo.gate_args, algo.objective_args)


def probing(config: RunConfig) -> RunConfig:
    """The configuration of the trainer: a teacher of one view whose hidden states are kept, nothing else."""
    view = config.views[0]
    first = ViewConfig(retrieval=view.retrieval, form=view.form, placement=view.placement)
    algo: dict[str, object] = {
        "coef": 1.0,
        "coef_schedule": "constant",
        "shaping": "none",
        "objective": "reverse-kl",
        "kl_coef": 0.0,
    }
    algo |= {"coef_schedule_args": {}, "shaping_args": {}, "objective_args": {}}
    train = {"updates_per_step": 1, "steps": max(1, config.train.steps)}
    return config.model_copy(
        update={
            "algo": config.algo.model_copy(update=algo),
            "train": config.train.model_copy(update=train),
            "teacher": config.teacher.model_copy(update={"views": (first,)}),
        }
    )


def _trainer(config: RunConfig, session: Session, folder: Path, checkpoint: Path | None) -> SDARTrainer:
    import torch

    from sdar_cli.train.trainer import SDARTrainer

    def never(trainer: SDARTrainer, step: int) -> StepData:
        raise RuntimeError("a probe trains nothing")

    torch.manual_seed(config.seed)  # the initial LoRA adapters, as in training
    trainer = SDARTrainer(
        config, session.model, session.tokenizer, folder, never, lambda *unused: True, session.peft_config()
    )
    session.adopt(trainer.model, trainer.generating)
    if checkpoint is not None:
        trainer.load_weights(checkpoint)
        trainer.resume_from(checkpoint)
        load_skills(session.retriever, checkpoint)
    return trainer


def _play(config: RunConfig, session: Session, reporter: Reporter) -> _Batch:
    """The first step of a training: its samples by task, with teacher prompts."""
    count, size = config.train.tasks_per_step, config.train.group_size
    if count > len(session.train_tasks):
        raise ConfigError(
            f"--tasks {count} is more than the {len(session.train_tasks)} of the split {config.env.train_split}",
            why="no task may be in both halves",
            fix=f"--tasks {len(session.train_tasks)}",
        )
    with reporter.progress(f"playing {count} tasks x {size} episodes", count * size) as bar:
        ended = 0

        def advance(finished: int) -> None:
            nonlocal ended
            bar.advance(finished - ended)
            ended = finished

        skill_for = partial(session.skill_for, step=1)
        played = play_step(session.collector, session.train_tasks, 1, skill_for, reporter.warn, advance)
    teacher = TeacherPrompts(config, session.retriever, session.tokenizer)
    samples, stats = teacher.add_prompts(played.samples, played.episodes, step=1)
    groups = {g: [sample for sample in samples if sample.group == g] for g in range(count)}
    kept = [g for g, members in groups.items() if members]
    if len(kept) < 2:
        raise RunFailedError("fewer than two tasks have episodes to compare", fix="sdar doctor")
    return _Batch([played.tasks[g] for g in kept], [groups[g] for g in kept], played, stats.metrics())


# What is reported -----------------------------------------------------------------------------------------------------


def _figures(
    config: RunConfig,
    batch: _Batch,
    estimators: Sequence[Estimator],
    own: int | None,
    found: TaskGradients,
    resamples: int,
) -> Figures:
    """Everything but provenance: see ``compare`` and ``turn_statistics`` for the figures."""
    halves = halves_of(batch.tasks)
    seed = seed_of(config.seed, "bootstrap")
    records = compare(
        found.gram(),
        halves,
        found.weights,
        policy=estimators.index(POLICY),
        exact=estimators.index(EXACT),
        resamples=resamples,
        seed=seed,
    )
    named: list[EstimatorReport] = [
        {"name": e.name, "gate": e.gate, "objective": e.objective, "own": i == own, **record}
        for i, (e, record) in enumerate(zip(estimators, records, strict=True))
    ]
    every = turn_statistics(found.turns.sum(dim=0))
    teacher = {key.removeprefix("teacher/"): value for key, value in batch.teacher.items()}
    played = batch.played
    return {
        "schema": SCHEMA,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "config": config.model_dump(mode="json"),
        "settings": {
            "tasks": len(batch.tasks),
            "group": config.train.group_size,
            "seed": config.seed,
            "resamples": resamples,
            "interval": f"{LEVEL:g} % percentile bootstrap over the tasks of each half",
            "beta": config.algo.gate_beta,
            "view": config.views[0]._asdict(),
        },
        "halves": [[task.id for task, h in zip(batch.tasks, halves, strict=True) if h == half] for half in (0, 1)],
        "batch": {
            "episodes": len(played.episodes) - played.failed,
            "rows": sum(map(len, batch.groups)),
            "groups_with_both": batch.mixed,
            **{key: cast(float, played.metrics[key]) for key in SHOWN},
        },
        "teacher": teacher,
        "parameters": found.parameters,
        "sketch": found.sketch,
        "estimators": named,
        "all_turns": every,
        "per_turn": [{"turn": k, **turn_statistics(sums)} for k, sums in enumerate(found.turns)],
        "own": _own_words(config, None if own is None else named[own], named[0]),
        "warnings": _warnings(batch, named, every, teacher),
    }


def _own_words(config: RunConfig, own: EstimatorReport | None, policy: EstimatorReport) -> str:
    """One sentence about the coefficient of the configured method."""
    if own is None:
        why = "reshapes advantages" if config.algo.coef > 0 else "has no teacher"
        return f"{config.method} {why}: it has no distillation loss whose coefficient could be compared"
    if own["equal_norm_coef"] is None:
        return f"{own['name']}, the loss of {config.method}: no coefficient makes it equal to the policy gradient"
    return (
        f"{own['name']}, the loss of {config.method}: algo.coef = {own['equal_norm_coef']:.2g} would make its gradient "
        f"as long as the policy gradient ({policy['norm']:.3g}); the configuration has {config.algo.coef:g}"
        + ("; but it is not distinguishable from noise here" if own["noise"] else "")
    )


def _warnings(
    batch: _Batch, named: Sequence[EstimatorReport], every: dict[str, float | None], teacher: dict[str, float]
) -> list[str]:
    found = []
    if not batch.mixed:
        rest = (
            "the policy gradient is zero" if not named[0]["norm"] else "the policy gradient is that of penalties alone"
        )
        found.append(f"no group had both a success and a failure: raise --tasks or --group ({rest})")
    if every["gap_abs_mean"] is not None and every["gap_abs_mean"] < SAME:
        found.append(f"the teacher agrees with the student: the mean |gap| is {every['gap_abs_mean']:.1e} nats")
    if teacher.get("skill_present", 1.0) < 1:
        found.append(f"{1 - teacher['skill_present']:.1%} of the teacher's prompts hold no skill")
    noise = [each["name"] for each in named if each["noise"]]
    if noise:
        found.append(
            "indistinguishable from noise on this batch (the interval between halves reaches 0): " + ", ".join(noise)
        )
    return found
