"""What ``sdar eval`` evaluates: which model, from where, on which benchmark; and the playing of one such target.

What is evaluated is always named: a benchmark is never played by the checkpoint of another one unless that run or
model was named on the command line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from sdar_cli.base.errors import ConfigError, PrerequisiteError
from sdar_cli.config.presets import resolve
from sdar_cli.config.schema import RunConfig
from sdar_cli.runs.checkpoints import checkpoint_path, latest_checkpoint, list_checkpoints, step_of
from sdar_cli.runs.records import SCHEMA
from sdar_cli.runs.rundir import RunDir, list_runs

if TYPE_CHECKING:
    from sdar_cli.base.display import Reporter
    from sdar_cli.evaluation.setting import Setting
    from sdar_cli.runs.results import EvaluationReport
    from sdar_cli.session import Session

EVALS_DIR = Path("evals")
NO_EFFECT = ("workers", "step_timeout")
"""Settings of the environment on which no outcome depends."""


@dataclass(frozen=True)
class Target:
    """A model on a benchmark.  checkpoint: of ``run``; None, the configuration's model as it is.  why: how it was
    chosen, where the command line did not name it."""

    benchmark: str
    config: RunConfig
    run: RunDir | None = None
    checkpoint: Path | None = None
    why: str = ""

    @property
    def title(self) -> str:
        """``ENV: my-run/step-000018``, or the model in place of a run's checkpoint."""
        if self.run is None:
            return f"{self.benchmark}: {self.config.model.name}"
        return f"{self.benchmark}: {self.run.name}/{self.checkpoint.name if self.checkpoint else 'untrained'}"


class PanelKey(TypedDict):
    """Which tasks an evaluation plays."""

    split: str
    tasks: int
    sha256: str


class EvaluationKey(TypedDict):
    """Everything that the outcome of an evaluation depends on, JSON-ready."""

    schema: int
    evaluated: str
    model: Mapping[str, object]
    panel: PanelKey
    skills: Mapping[str, object]
    env: Mapping[str, object]
    tagger: str | None
    teacher: Mapping[str, object]
    engine: Mapping[str, object]
    threads: int
    settings: Sequence[Mapping[str, object]]
    versions: Mapping[str, str | None]


@dataclass(frozen=True)
class Asked:
    """What the command line names.  flags: dotted key to (value, the flag's name)."""

    run: str | None
    checkpoint: int | None
    model: str | None
    envs: tuple[str, ...]
    sets: tuple[str, ...]
    flags: Mapping[str, tuple[Any, str]]
    runs_dir: Path


@dataclass(frozen=True)
class Saving:
    """Where results go: a folder and a name in place of the usual ones; ``several`` benchmarks need a name each."""

    folder: Path | None = None
    name: str | None = None
    several: bool = False


def choose_targets(asked: Asked) -> list[Target]:
    """One target per benchmark.

    Raises ConfigError for options that exclude each other, PrerequisiteError for what is missing.
    """
    if asked.model is not None and (asked.run is not None or asked.checkpoint is not None):
        raise ConfigError("--model excludes --run and --checkpoint", fix="give a model or a run")
    envs = _benchmarks(asked.envs)
    if len(envs) > 1:
        single = [flag for key, (_, flag) in asked.flags.items() if key in ("env.data", "eval.split")]
        single += ["--checkpoint"] if asked.checkpoint is not None else []
        if single:
            raise ConfigError(f"{', '.join(single)} is for one benchmark, not for {', '.join(envs)}", fix="one --env")
    if asked.model is not None:
        return [_of_model(asked, env, asked.model) for env in envs or (None,)]
    if asked.run is not None:
        run = RunDir.open(asked.run, asked.runs_dir)
        return [_of_run(asked, run, env) for env in envs or (None,)]
    if not envs:
        latest = RunDir.latest(asked.runs_dir)
        return [_of_run(asked, latest, None, f"{latest.name} is the latest run under {asked.runs_dir}")]
    return [_latest_of(asked, env) for env in envs]


def _benchmarks(envs: Sequence[str]) -> list[str]:
    """Presets without repeats; ``all`` is every benchmark, those of installed packages too."""
    from sdar_cli.envs.registry import ENVIRONMENT

    named = [name for env in envs for name in env.split(",") if name]
    return list(dict.fromkeys(name for env in named for name in (ENVIRONMENT.names() if env == "all" else [env])))


def _sets_for(asked: Asked, env: str | None) -> list[str]:
    """The settings of ``--set`` for one of several benchmarks: those that only another of them has are left out."""
    from sdar_cli.config.merge import owners_of
    from sdar_cli.config.presets import benchmark_of

    own, all_named = benchmark_of(env) if env else None, {benchmark_of(each) for each in _benchmarks(asked.envs)}

    def meant(assignment: str) -> bool:
        owners = set(owners_of(assignment.partition("=")[0].strip()))
        return own is None or not owners or own in owners or not owners & all_named

    return [assignment for assignment in asked.sets if meant(assignment)]


def _of_model(asked: Asked, env: str | None, model: str | None, why: str = "") -> Target:
    config = resolve(env=env, model=model, sets=_sets_for(asked, env), flags=asked.flags, training=False).config
    return Target(env or config.env.name, config, why=why)


def _of_run(asked: Asked, run: RunDir, env: str | None, why: str = "") -> Target:
    """A run's checkpoint on its own benchmark, or on another that was named."""
    config = resolve(
        config_file=run.config_path, env=env, sets=_sets_for(asked, env), flags=asked.flags, training=False
    ).config
    trained_on = run.benchmark()[0]
    if config.env.name != trained_on:
        why = f"{run.name} was trained on {trained_on}"
    path = latest_checkpoint(run.checkpoints)
    if asked.checkpoint is not None:
        path = checkpoint_path(run.checkpoints, asked.checkpoint)
    elif path is None and config.train.steps == 0:
        return Target(env or config.env.name, config, run, why=why)  # a run without training is its model
    if path is None or not path.is_dir():
        steps = ", ".join(str(step_of(p)) for p in list_checkpoints(run.checkpoints)) or "none"
        raise PrerequisiteError(
            f"run {run.name} has no such checkpoint", why=f"checkpoints: {steps}", fix="sdar runs list"
        )
    return Target(env or config.env.name, config, run, path, why)


def _latest_of(asked: Asked, env: str) -> Target:
    """The latest run of a benchmark with its own settings, else the policy that is bundled for it."""
    model = _of_model(asked, env, None)
    wanted = (model.config.env.name, model.config.env.source)
    what = " ".join(reversed(wanted))
    for run in reversed(list_runs(asked.runs_dir)):
        if run.benchmark() == wanted:
            target = _of_run(asked, run, None, f"{run.name} is the latest run of {what} under {asked.runs_dir}")
            return replace(target, benchmark=env)
    if asked.checkpoint is not None:
        raise ConfigError(f"no run of {what} under {asked.runs_dir}", fix="--run RUN, or leave --checkpoint out")
    why = f"no run of {what} lies under {asked.runs_dir}: the bundled {model.config.model.name} is evaluated"
    return Target(env, model.config, why=why)


def play(
    target: Target, settings: Sequence[Setting], saving: Saving, reporter: Reporter
) -> tuple[EvaluationReport, Path]:
    """Evaluate one target, resuming what is on disk, and write ``NAME.json`` next to ``NAME.jsonl``: (report, path)."""
    from sdar_cli.base.files import write_json_atomic
    from sdar_cli.evaluation.ledger import Ledger
    from sdar_cli.evaluation.panel import play_panel
    from sdar_cli.evaluation.render import internalisation_line
    from sdar_cli.evaluation.summary import internalisation
    from sdar_cli.session import open_session

    with open_session(target.config, reporter, checkpoint=target.checkpoint, training=False) as session:
        key = key_of(target, session, settings)
        path = path_of(target, key, saving)
        with Ledger(path.with_suffix(".jsonl"), key) as ledger:
            if ledger.found:
                reporter.info(f"{path.with_suffix('.jsonl')} holds {len(ledger.found)} finished parts, which are kept")
            report, episodes = play_panel(session, target.title, settings, ledger)
            learnt = internalisation(report.results, episodes)
            report = replace(report, benchmark=target.benchmark, evaluated=target.title, internalisation=learnt)
            write_json_atomic(path, {**report.to_json(), "key": key})
    for found in learnt:
        reporter.info(internalisation_line(found))
    reporter.info(f"saved to {path}; episodes in {path.with_suffix('.jsonl').name}")
    return report, path


def key_of(target: Target, session: Session, settings: Sequence[Setting]) -> EvaluationKey:
    """The key of a target in these settings."""
    from sdar_cli import __version__
    from sdar_cli.evaluation.ledger import fingerprint
    from sdar_cli.models.loading import model_location
    from sdar_cli.runs.provenance import code_state, package_versions

    config = target.config
    origin, panel = session.provenance(), session.panel
    base = Path(model_location(config.model.name))
    return {
        "schema": SCHEMA,
        "evaluated": target.title,
        "model": {
            "files": fingerprint(base) if base.is_dir() else None,
            "commit": origin["model_commit"],
            "chat_template_sha256": origin["chat_template_sha256"],
            "checkpoint": fingerprint(target.checkpoint) if target.checkpoint else None,
            "dtype": origin["dtype"],
            "device": origin["gpu"] or origin["device"],
            **config.model.model_dump(mode="json"),
        },
        "panel": {"split": panel.split, "tasks": len(panel.tasks), "sha256": panel.sha256},
        "skills": {"sha256": origin["skill_bank_sha256"], **config.skills.model_dump(mode="json")},
        "env": {k: v for k, v in config.env.model_dump(mode="json").items() if k not in NO_EFFECT},
        "tagger": getattr(session.environment, "tagger_id", None),
        "teacher": {"max_prompt_tokens": config.teacher.max_prompt_tokens, "placement": config.teacher.placement},
        "engine": config.engine.model_dump(mode="json", include={"name", "args", "dtype"}),
        "threads": config.train.threads,
        "settings": [asdict(setting) for setting in settings],
        "versions": {"sdar": __version__, "commit": code_state()["commit"], **package_versions()},
    }


def path_of(target: Target, key: EvaluationKey, saving: Saving) -> Path:
    """``runs/RUN/eval/NAME.json`` or ``evals/NAME/BENCHMARK.json``; the key's digest stands in for a name."""
    from sdar_cli.evaluation.ledger import digest

    split, name = key["panel"]["split"], saving.name
    if target.run is not None:
        step = step_of(target.checkpoint) if target.checkpoint else 0
        stem = name or f"panel-{step:06d}-{split}-{digest(key)}"
        stem += f"-{Path(target.benchmark).stem}" if name and saving.several else ""
        return (saving.folder or target.run.eval) / f"{stem}.json"
    stem = Path(target.benchmark).stem
    if name:
        return (saving.folder or EVALS_DIR / name) / f"{stem}.json"
    model = target.config.model.name.strip("./~").replace("/", "--")
    return (saving.folder or EVALS_DIR / model) / f"{stem}-{split}-{digest(key)}.json"
