"""A sweep before it starts: every point and seed resolved and validated, and the runs in their order.

Runs are ordered by seed (seed 0 of all points first), so that a sweep that is stopped early has results for
every point.  The evaluation before training is the same for all points that share model, panel, skills and evaluation
settings: it is a run of its own without steps, and the others have ``eval.before`` off.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, TypedDict

from sdar_cli.base.errors import ConfigError, Missing
from sdar_cli.config.presets import Resolved, resolve
from sdar_cli.config.schema import AlgoConfig, RunConfig, TeacherConfig, TrainConfig
from sdar_cli.sweep.grid import (
    PRESET_KEYS,
    Axis,
    Choice,
    Point,
    choices,
    load_sweep,
    parse_grid,
    parse_values,
    points,
    text_of,
)
from sdar_cli.train.preflight import missing

UNTRAINED = "untrained"
"""Method and name of a run that only evaluates the model before training."""


@dataclass(frozen=True)
class Request:
    """What the command line asks for.  flags: as of ``presets.resolve``.  values: in place of the sweep's own."""

    sweep: str | None = None
    grids: tuple[str, ...] = ()
    values: str | None = None
    seeds: int | None = None
    env: str | None = None
    model: str | None = None
    method: str | None = None
    presets: tuple[str, ...] = ()
    sets: tuple[str, ...] = ()
    flags: Mapping[str, tuple[Any, str]] | None = None


@dataclass(frozen=True)
class Job:
    """One run.  point: its point's label, None for the evaluation of an untrained model."""

    run: str
    point: str | None
    seed: int
    steps: int

    @property
    def title(self) -> str:
        """``gate_beta=5, seed 0``."""
        return self.run if self.point is None else f"{self.point}, seed {self.seed}"


class Paper(TypedDict, total=False):
    """The paper's figures by point, and where they are from; nothing where a sweep has none."""

    note: str
    values: Mapping[str, object]


@dataclass(frozen=True)
class Plan:
    """baselines: for each point the run that evaluates its model before training, None where it was not wanted."""

    points: list[Point]
    seeds: list[int]
    jobs: list[Job]
    configs: dict[str, RunConfig]
    baselines: dict[str, str | None]
    warnings: list[str]
    paper: Paper
    parameters: int | None = None

    def record(self) -> Mapping[str, object]:
        """What ``sweep.json`` keeps of it."""
        return {
            "points": [asdict(point) for point in self.points],
            "seeds": self.seeds,
            "jobs": [asdict(job) for job in self.jobs],
            "baselines": self.baselines,
            "paper": self.paper,
        }


def make_plan(request: Request) -> Plan:
    """Resolve and validate everything.  Raises one ConfigError with every problem, each with its points."""
    preset = load_sweep(request.sweep) if request.sweep else None
    axes = [preset.axis] if preset else []
    if preset and request.values is not None:
        axes = [Axis(preset.axis.key, choices(preset.axis.key, parse_values(preset.axis.key, request.values),
                                              preset.instead))]  # fmt: skip
    axes = [_scaled(axis, request) if axis.factors else axis for axis in [*axes, *map(parse_grid, request.grids)]]
    if not all(axis.choices for axis in axes) or not axes:
        raise ConfigError("nothing to sweep", fix="sdar sweep beta, or sdar sweep --grid KEY=V1,V2")
    _refuse_fixed(axes, request)
    every = points(axes)
    count = request.seeds or (preset.seeds if preset else 1)
    resolved = _resolve_all(every, request)
    sources = next(iter(resolved.values()))
    first = sources.config.seed
    paper = _paper(preset.paper, sources.config.env.name) if preset else Paper()
    return _lay_out(every, list(range(first, first + count)), resolved, paper)


def with_more_seeds(plan: Plan, count: int) -> Plan:
    """The same points with seeds up to ``count`` of them."""
    seeds = list(range(plan.seeds[0], plan.seeds[0] + count))
    new = [seed for seed in seeds if seed not in plan.seeds]
    configs, jobs = dict(plan.configs), list(plan.jobs)
    for seed in new:
        for point in plan.points:
            known = next((job for job in plan.jobs if job.point == point.label), None)
            if known is not None:
                job = replace(known, run=f"{point.slug}-s{seed}", seed=seed)
                jobs.append(job)
                configs[job.run] = _copy(plan.configs[known.run], seed=seed, name=job.run)
    return replace(plan, seeds=seeds, jobs=jobs, configs=configs)


def missing_prerequisites(configs: Mapping[str, RunConfig]) -> list[Missing]:
    """What is not there for some run, each thing once."""
    return list(dict.fromkeys(item for config in configs.values() for item in missing(config)))


def _scaled(axis: Axis, request: Request) -> Axis:
    base = _resolve(Point("", "", {}), request)
    value = _value(base.config, axis.key)
    if not value:
        raise ConfigError(
            f"{axis.key} is {value} here, and the sweep takes multiples of it",
            fix=f"--values V1,V2, or another --method; or --grid {axis.key}=V1,V2",
        )
    values = {factor: float(f"{factor * value:.12g}") for factor in axis.factors}
    return Axis(axis.key, tuple(Choice(text_of(v), {axis.key: v}, f"x{text_of(f)}") for f, v in values.items()))


def _value(config: RunConfig, key: str) -> Any:
    value: Any = config
    for part in key.split("."):
        value = getattr(value, part)
    return value


def _refuse_fixed(axes: Sequence[Axis], request: Request) -> None:
    """A key that is varied cannot be set as well."""
    varied = {key for axis in axes for choice in axis.choices for key in choice.settings}
    given = {key: flag for key, (_, flag) in (request.flags or {}).items()}
    given |= {assignment.partition("=")[0].strip(): f"--set {assignment}" for assignment in request.sets}
    given |= {key: f"--{key}" for key in PRESET_KEYS if getattr(request, key) is not None}
    both = [f"{given[key]} sets {key}, which the sweep varies" for key in sorted(varied & given.keys())]
    if both:
        raise ConfigError("; ".join(both), fix="leave it out, or choose the sweep's --values")


def _resolve(point: Point, request: Request) -> Resolved:
    chosen = {key: point.settings.get(key, getattr(request, key)) for key in PRESET_KEYS}
    flags = dict(request.flags or {})
    flags |= {key: (value, f"point {point.label}") for key, value in point.settings.items() if key not in PRESET_KEYS}
    return resolve(**chosen, presets=request.presets, sets=request.sets, flags=flags)


def _resolve_all(every: Sequence[Point], request: Request) -> dict[str, Resolved]:
    found: dict[str, Resolved] = {}
    problems: dict[str, list[str]] = {}
    for point in every:
        try:
            found[point.label] = _resolve_point(point, request)
        except ConfigError as error:
            for problem in error.problems:
                problems.setdefault(problem.replace(f"point {point.label}: ", ""), []).append(point.label)
    if problems:
        listed = _by_point(problems, len(every))
        raise ConfigError(
            f"{len(listed)} problem{'s' if len(listed) > 1 else ''} in the points of the sweep",
            why="".join(f"\n  - {line}" for line in listed),
            fix="correct the values above; nothing was started",
        )
    return found


def _resolve_point(point: Point, request: Request) -> Resolved:
    """A method that does not train keeps its 0 steps whatever ``--steps`` is."""
    flags = dict(request.flags or {})
    steps = flags.pop("train.steps", None)
    if steps is None:
        return _resolve(point, request)
    own = _resolve(point, replace(request, flags=flags))
    return own if own.config.train.steps == 0 else _resolve(point, request)


def _by_point(texts: Mapping[str, Sequence[str]], total: int) -> list[str]:
    """Each text once, with the points it is about; alone where it is about all of several."""
    return [
        text if len(labels) == total > 1 else f"point {' | '.join(labels)}: {text}" for text, labels in texts.items()
    ]


def _lay_out(every: Sequence[Point], seeds: Sequence[int], resolved: Mapping[str, Resolved], paper: Paper) -> Plan:
    configs: dict[str, RunConfig] = {}
    untrained: dict[str, str] = {}
    baselines: dict[str, str | None] = {}
    jobs: list[Job] = []
    warnings: dict[str, list[str]] = {}
    for point in every:
        config = resolved[point.label].config
        baselines[point.label] = _add_baseline(config, untrained, configs, jobs) if config.eval.before else None
        for warning in resolved[point.label].warnings:
            warnings.setdefault(warning, []).append(point.label)
    for seed in seeds:
        for point in every:
            config = resolved[point.label].config
            if config.train.steps == 0:
                continue  # its only run is the one before training
            job = Job(f"{point.slug}-s{seed}", point.label, seed, config.train.steps)
            jobs.append(job)
            evaluation = {**config.eval.model_dump(), "before": False}
            configs[job.run] = _copy(config, seed=seed, name=job.run, eval=evaluation)
    sizes = [each.parameters for each in resolved.values() if each.parameters]
    return Plan(
        list(every),
        list(seeds),
        jobs,
        configs,
        baselines,
        _by_point(warnings, len(every)),
        paper,
        max(sizes, default=None),
    )


def _add_baseline(config: RunConfig, untrained: dict[str, str], configs: dict[str, RunConfig], jobs: list[Job]) -> str:
    """The run that evaluates this configuration's model before training; made where there is none yet."""
    sections = {"env", "model", "skills", "engine", "eval"}
    key = json.dumps([config.model_dump(mode="json", include=sections), config.train.threads])
    if key not in untrained:
        untrained[key] = UNTRAINED if not untrained else f"{UNTRAINED}-{len(untrained) + 1}"
        train = TrainConfig(
            steps=0, threads=config.train.threads, tasks_per_step=config.train.tasks_per_step, updates_per_step=1
        )
        configs[untrained[key]] = _copy(
            config,
            name=untrained[key],
            method=UNTRAINED,
            seed=0,
            algo=AlgoConfig(coef=0.0).model_dump(),
            teacher=TeacherConfig().model_dump(),
            train=train.model_dump(),
        )
        jobs.append(Job(untrained[key], None, 0, 0))
    return untrained[key]


def _copy(config: RunConfig, **changes: Any) -> RunConfig:
    return RunConfig.model_validate({**config.model_dump(), **changes})


def _paper(paper: Mapping[str, Any], env: str) -> Paper:
    """The figures of this environment, and where they are from; only the note where it has none."""
    return {"note": paper["note"], "values": dict(paper.get(env, {}))} if paper else {}
