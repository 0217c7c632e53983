"""Every plug of the configuration: its kind, the key of its name, the key of its arguments.  Imports neither torch nor
pydantic, so that help and completion may read the names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from sdar_cli.algo.registry import GATE, OBJECTIVE, SCHEDULE, SHAPING
from sdar_cli.base.errors import ConfigError
from sdar_cli.base.plugins import PATH_FORM, Kind

if TYPE_CHECKING:
    from sdar_cli.config.settings import Settings

RETRIEVAL = Kind("retrieval", "sdar_cli.skills.choose.strategies", "RETRIEVALS", ("query",))
EVOLVE = Kind("evolve", "sdar_cli.skills.choose.evolve", "EVOLUTIONS", ("task", "skills", "group"), optional=True)
ENGINE = Kind("engine", "sdar_cli.models.engine", "ENGINES", ("model", "tokenizer", "settings", "around"))
SINK = Kind("sink", "sdar_cli.runs.sinks", "SINKS", ("run_dir",))
METRIC = Kind("metric", "sdar_cli.evaluation.metrics", "METRICS", ("episode",))
BUILDER = Kind("builder", "sdar_cli.skills.build.builders", "BUILDERS", ("traces", "env", "reporter"))
"""Named by ``sdar skills build --builder``, not by the configuration of a run."""


class Plug(NamedTuple):
    """A setting that names a plug.  ``arguments``: the key of its keyword arguments."""

    kind: Kind
    key: str
    arguments: str


PLUGS = (
    Plug(GATE, "algo.gate", "algo.gate_args"),
    Plug(OBJECTIVE, "algo.objective", "algo.objective_args"),
    Plug(SHAPING, "algo.shaping", "algo.shaping_args"),
    Plug(SCHEDULE, "algo.coef_schedule", "algo.coef_schedule_args"),
    Plug(RETRIEVAL, "skills.retrieval", "skills.retrieval_args"),
    Plug(EVOLVE, "skills.evolve", "skills.evolve_args"),
    Plug(ENGINE, "engine.name", "engine.args"),
    Plug(SINK, "train.sinks", "train.sink_args"),
)
"""``train.sinks`` lists names, and ``train.sink_args`` has a table for each."""


class Named(NamedTuple):
    """A plug that a configuration names, with its keyword arguments, and the keys of both."""

    kind: Kind
    key: str
    name: str
    arguments_key: str
    arguments: Mapping[str, Any]


def names_text(kind: Kind) -> str:
    """``gap, entropy, … or package.module:attribute``, for help."""
    return f"{', '.join(kind.names())}, or {PATH_FORM}"


def named_plugs(config: Settings) -> Iterator[Named]:
    """Every plug that a configuration names, those of the teacher's views included."""
    for plug in PLUGS:
        name, arguments = _value(config, plug.key), _value(config, plug.arguments)
        if isinstance(name, str):
            yield Named(plug.kind, plug.key, name, plug.arguments, arguments)
            continue
        for each in name:
            yield Named(plug.kind, plug.key, each, f"{plug.arguments}.{each}", arguments.get(each, {}))
    for name in config.eval.metrics:
        yield Named(METRIC, "eval.metrics", name, "eval.metrics", {})
    for view in config.teacher.views:
        if view.retrieval is not None and view.retrieval != config.skills.retrieval:
            yield Named(RETRIEVAL, "teacher.views", view.retrieval, "teacher.views", {})


def check_plugs(config: Settings) -> None:
    """Load every guest and check its arguments, and those of built-in plugs; a built-in without any is not imported,
    and a guest whose package is not installed is left to ``preflight.missing``.

    Raises ConfigError with every problem.
    """
    problems: list[str] = []
    fix = ""
    for plug in named_plugs(config):
        try:
            if plug.name == "none" and plug.kind.optional:
                if plug.arguments:
                    raise ConfigError(f"{plug.key} = none takes no arguments", fix=f"--set {plug.arguments_key}={{}}")
            elif plug.kind.missing_module(plug.name):
                continue
            elif plug.kind is METRIC:
                plug.kind.load(plug.name)  # a record or a function: evaluation/metrics.py checks which
            elif plug.arguments or plug.name not in plug.kind.builtin():
                plug.kind.bind(plug.name, plug.arguments)
        except ConfigError as error:
            keys = f"{plug.key}, {plug.arguments_key}" if plug.arguments else plug.key
            problems.append(f"{keys}: {error.what}{f' ({error.why})' if error.why else ''}")
            fix = error.fix
    unnamed = sorted(config.train.sink_args.keys() - set(config.train.sinks))
    problems += [f"train.sink_args.{name}: train.sinks does not name {name!r}" for name in unnamed]
    if problems:
        listed = "".join(f"\n  - {problem}" for problem in problems)
        first = problems[0] if len(problems) == 1 else f"{len(problems)} problems in the plugs of the configuration"
        raise ConfigError(first, why=listed if len(problems) > 1 else "", fix=fix, problems=problems)


def _value(config: Settings, key: str) -> Any:
    section, _, field = key.partition(".")
    return getattr(getattr(config, section), field)
