"""Presets and the merging of every source of settings into one ``RunConfig``.

Precedence, weakest first: defaults < env < model < method < ``--preset`` files < ``--set`` < flags.
A configuration file (``--config``) takes the place of the defaults.  Every value remembers where it
came from, and all mistakes are reported together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sdar_cli.base.errors import ConfigError
from sdar_cli.base.files import parse_json, parse_toml, read_regular
from sdar_cli.base.plugins import is_path
from sdar_cli.base.resources import resource_dir
from sdar_cli.config.checks import config_warnings
from sdar_cli.config.merge import Merger, problems_error, suggest
from sdar_cli.config.older import current_shape, without_foreign
from sdar_cli.config.schema import RunConfig, env_options
from sdar_cli.envs.benchmark import Benchmark
from sdar_cli.envs.options import EnvOptions
from sdar_cli.envs.registry import ENVIRONMENT, benchmark, built_in

KINDS = ("envs", "models", "methods")
METADATA = frozenset({"description", "extends", "parameters", "about", "methods", "envs"})
"""Top-level keys of a preset file that are not settings."""
ABOUT = ("formula", "optimises", "reduces_to", "weight", "sink", "source", "paper")
"""What a method's preset describes of itself under ``[about]``; docs/methods.md is made of it."""
SECTIONS = ("about", "methods", "envs", "env", "model")
"""Top-level keys of a preset file that are read here and must hold tables."""
DEFAULT_METHOD = "sdar"
GENERIC_MODEL = "instruct"
"""The model preset of any model that has none of its own."""
DEEPEST = 20
"""Presets that may extend each other in a row."""
OWN_PRESET = "sdar.toml"
"""A model folder's own preset."""


@dataclass(frozen=True)
class Preset:
    """One TOML file.

    base: the preset it extends, applied before it.  about: a method's card.  methods: settings a model wants for a
    method (``[methods.NAME.algo]`` and so on), applied after the method's own.  envs: what a model or a method wants
    for a benchmark, applied after its own.
    """

    label: str
    path: Path
    description: str
    values: Mapping[str, Any]
    parameters: int | None = None
    base: Preset | None = None
    about: Mapping[str, Any] = field(default_factory=dict)
    methods: Mapping[str, Any] = field(default_factory=dict)
    envs: Mapping[str, Any] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """``envs``, ``models`` or ``methods`` of a shipped one: its folder."""
        return self.path.parent.name

    def chain(self) -> list[Preset]:
        """The files that apply, base first."""
        return [*(self.base.chain() if self.base else []), self]


@dataclass
class Resolved:
    """A valid configuration, where each value came from, and what deserves a second look."""

    config: RunConfig
    sources: dict[str, str]
    warnings: list[str]
    presets: list[Preset] = field(default_factory=list)

    @property
    def parameters(self) -> int | None:
        """The model's parameter count where a preset states it."""
        return next((preset.parameters for preset in reversed(self.presets) if preset.parameters), None)


def list_presets(kind: str) -> list[str]:
    """Names of the shipped presets of a kind, sorted; of environments also those of installed packages."""
    shipped = _shipped(kind)
    guests = [name for name in ENVIRONMENT.names() if name not in built_in()] if kind == "envs" else []
    return [*shipped, *(name for name in guests if name not in shipped)]


def _shipped(kind: str) -> list[str]:
    return sorted(path.stem for path in (resource_dir("presets") / kind).glob("*.toml"))


def load_preset(reference: str, kind: str | None = None, above: Sequence[Path] = ()) -> Preset:
    """A shipped preset by name (``sdar`` or ``methods/sdar``) or a TOML file by path.

    above: the files that extend it.  Raises ConfigError for an unknown name or an unreadable file.
    """
    if reference.endswith(".toml"):
        path = Path(reference).expanduser()
        if path.is_file():
            return _read_preset(path, str(path), above)
        raise ConfigError(
            f"no preset file {reference!r}", fix="give the path of a TOML file, or see: sdar presets list"
        )
    if kind == "envs" and is_path(reference):
        return _guest_preset(reference)
    asked, _, name = reference.rpartition("/")
    kinds = [asked] if asked else [kind] if kind else list(KINDS)
    for folder in kinds:
        if folder in KINDS and name in _shipped(folder):
            path = resource_dir("presets") / folder / f"{name}.toml"
            return _read_preset(path, f"{folder}/{name}.toml", above)
        if folder == "envs" and name in list_presets(folder):
            return _guest_preset(name)
    known = [f"{each}/{stem}" for each in KINDS for stem in list_presets(each) if kind in (None, each)]
    names = [each.partition("/")[2] for each in known] if kind else known
    what = {"envs": "environment", "models": "model", "methods": "method"}.get(kind or "", "preset")
    raise ConfigError(
        f"unknown {what} {reference!r}{suggest(reference, names, '/')}",
        why=f"the presets are {', '.join(names)}",
        fix="sdar presets list",
    )


def paper_columns() -> list[str]:
    """What the figures of ``[about.paper]`` in a method's preset are, in their order."""
    text = (resource_dir("presets") / "paper.toml").read_text(encoding="utf-8")
    return [str(column) for column in parse_toml(text)["columns"]]


def _guest_preset(name: str) -> Preset:
    """The settings of a guest's environment: its own file over its name and its skill bank."""
    record = benchmark(name)
    values: Mapping[str, object] = {"env": {"name": name}, "skills": {"bank": _bank_name(name, record)}}
    first = Preset(f"environment {name}", Path(record.preset or ""), record.description, values)
    if record.preset is None:
        return first
    return replace(_read_preset(record.preset, f"of the environment {name}"), base=first)


def _bank_name(name: str, record: Benchmark) -> str:
    """How ``skills.bank`` names an environment's bank: by the environment's name where it is installed under one."""
    if isinstance(record.bank, str):
        return record.bank
    return str(record.bank) if is_path(name) else name


def _read_preset(path: Path, label: str, above: Sequence[Path] = ()) -> Preset:
    """The preset in a file; ``above``: the files that extend it.  Raises ConfigError that names the file."""
    own = path.resolve()
    if own in above:
        circle = " -> ".join(each.name for each in [*above[above.index(own) :], own])
        raise ConfigError(f"{path} extends itself", why=circle, fix=f"correct the line 'extends' in {path}")
    if len(above) >= DEEPEST:
        raise ConfigError(f"{path} is the end of a chain of {DEEPEST} presets", fix="extend fewer files")
    raw = _read_toml(path)
    _check_metadata(raw, path)
    base = raw.get("extends")
    return Preset(
        label=f"preset {label}",
        path=path,
        description=raw.get("description", ""),
        values={key: value for key, value in raw.items() if key not in METADATA},
        parameters=raw.get("parameters"),
        base=load_preset(base, above=[*above, own]) if base is not None else None,
        about=raw.get("about", {}),
        methods=raw.get("methods", {}),
        envs=raw.get("envs", {}),
    )


def _check_metadata(raw: Mapping[str, Any], path: Path) -> None:
    """Raises ConfigError for an entry of ``METADATA`` of another type."""
    kinds: dict[str, type] = {"description": str, "extends": str, "parameters": int}
    for key in METADATA & raw.keys():
        tables = [raw[key], *raw[key].values()] if key in ("methods", "envs") and isinstance(raw[key], dict) else []
        if not isinstance(raw[key], kinds.get(key, dict)) or not all(isinstance(each, dict) for each in tables):
            wanted = {str: "a text", int: "a whole number"}.get(kinds.get(key, dict), "a table")
            raise ConfigError(f"{path}: {key} is not {wanted}", fix="see the shipped presets: sdar presets show NAME")


def _read_toml(path: Path) -> dict[str, Any]:
    """The content of a preset file.  Raises ConfigError for one that cannot be read, or whose sections are none."""
    try:
        raw = parse_toml(read_regular(path).decode("utf-8"))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read", why=error.strerror or str(error), fix="give a TOML file") from error
    except ValueError as error:
        raise ConfigError(f"{path} is not valid TOML", why=str(error), fix="correct the file") from error
    for name in SECTIONS:
        if not isinstance(raw.get(name, {}), dict):
            raise ConfigError(f"{path}: {name} is no section", fix=f"write [{name}] and its settings below it")
    return raw


def model_preset(reference: str) -> Preset:
    """The preset of ``--model``: a preset's name, a Hugging Face id, or a local folder.

    A folder may hold its own preset, ``sdar.toml``; a model without any gets the generic one with its name on top.
    Raises ConfigError where the reference is none of the three.
    """
    for name in list_presets("models"):
        preset = load_preset(name, "models")
        model_id = preset.values.get("model", {}).get("name")
        if model_id is not None and reference.lower() in (name, str(model_id).lower()):
            return preset
    is_path = reference.startswith((".", "/", "~"))
    if Path(reference).expanduser().is_dir() or ("/" in reference and not is_path):
        own = Path(reference).expanduser() / OWN_PRESET
        base = _read_preset(own, str(own)) if own.is_file() else load_preset(GENERIC_MODEL, "models")
        return Preset("--model", base.path, base.description, {"model": {"name": reference}}, base=base)
    names = [name for name in list_presets("models") if name != GENERIC_MODEL]
    raise ConfigError(
        f"unknown model {reference!r}{suggest(reference.lower(), names, '/')}",
        why="it is neither a preset, nor a Hugging Face id (owner/name), nor a folder",
        fix="sdar presets list",
    )


def _read_config_file(path: Path) -> dict[str, Any]:
    path = path / "config.json" if path.is_dir() else path
    try:
        tree = parse_json(read_regular(path))
    except FileNotFoundError as error:
        raise ConfigError(f"no configuration file {path}", fix="sdar runs list") from error
    except (OSError, ValueError) as error:
        what = f"{path} is not a readable JSON configuration"
        raise ConfigError(what, why=str(error), fix="give a run's config.json") from error
    if not isinstance(tree, dict):
        raise ConfigError(f"{path} is not a configuration", why="its top level is not an object")
    try:
        return current_shape(tree)
    except ValueError as error:
        raise ConfigError(f"{path} is not a configuration", why=str(error), fix="give a run's config.json") from error


def resolve(
    *,
    env: str | None = None,
    model: str | None = None,
    method: str | None = None,
    presets: Sequence[str] = (),
    sets: Sequence[str] = (),
    flags: Mapping[str, tuple[Any, str]] | None = None,
    config_file: Path | None = None,
    training: bool = True,
) -> Resolved:
    """Merge every source into a configuration.

    env, model, method: as given on the command line; unset, the default presets apply, or none of them
    when there is a ``config_file``.  flags: dotted key to (value, the flag's name).  training: False where nothing
    will be trained, so that contradictions of training do not matter.
    Raises ConfigError listing every unknown key, bad value and contradiction with its source.
    """
    merger = Merger()
    if config_file is not None:
        tree = _read_config_file(config_file)
        merger.put_tree(without_foreign(tree, benchmark_of(env)) if env else tree, f"--config {config_file}")
    else:
        env, method = env or _named_env(presets, sets) or built_in()[0], method or DEFAULT_METHOD
        model = model or _default_model(env)
    chosen = _choose_presets(merger, env, model, method, presets)
    for preset in chosen:
        merger.put_tree(preset.values, preset.label)
    for assignment in sets:
        merger.put_assignment(assignment)
    for key, (value, flag) in (flags or {}).items():
        merger.put(key, value, flag, literal=True)
    config = merger.build(training)
    warnings = config_warnings(config)
    if any(each.path.stem == GENERIC_MODEL and each.label == "--model" for each in chosen):
        warnings.append(
            f"{config.model.name} has no preset of its own: it gets the settings of models/{GENERIC_MODEL} "
            "(for a checkpoint of a run use sdar eval --run)"
        )
    if merger.sources["model.name"] == "--set":
        warnings.append("--set model.name leaves all other settings as they are: --model also loads the model's own")
    return Resolved(config, merger.sources, warnings, chosen)


def _default_model(env: str) -> str:
    """The bundled policy of an environment preset's benchmark."""
    return benchmark(benchmark_of(env)).default_model


def benchmark_of(env: str) -> str:
    """The benchmark of an environment preset; the default one where the preset is unknown, which is a mistake that is
    reported with all others."""
    return _benchmark_in(env, "envs") or built_in()[0]


def _named_env(presets: Sequence[str], sets: Sequence[str]) -> str | None:
    """The environment that ``--preset`` files or ``--set env.name`` name where ``--env`` is not given."""
    by_set = [text.partition("=")[2].strip() for text in sets if text.partition("=")[0].strip() == "env.name"]
    named = [_benchmark_in(reference) for reference in presets]
    return next((name for name in [*reversed(by_set), *reversed(named)] if name), None)


def _benchmark_in(reference: str, kind: str | None = None) -> str | None:
    """The environment a preset names; None where it names none, or cannot be loaded (which is reported later)."""
    try:
        chain = load_preset(reference, kind).chain()
    except ConfigError:
        return None
    tables = [preset.values.get("env") for preset in chain]
    names = [table["name"] for table in tables if isinstance(table, Mapping) and isinstance(table.get("name"), str)]
    return names[-1] if names else None


def _choose_presets(
    merger: Merger, env: str | None, model: str | None, method: str | None, extra: Sequence[str]
) -> list[Preset]:
    """The presets in the order they apply; those that cannot be loaded become problems of the merger."""
    wanted: list[Callable[[], Preset | None]] = []
    played = benchmark_of(env) if env else merger.env
    if env:
        wanted.append(lambda: load_preset(env, "envs"))
    if model:
        wanted.append(lambda: model_preset(model))
        wanted.append(lambda: _settings_for("envs", played, chosen))
    if method:
        wanted.append(lambda: load_preset(method, "methods"))
        wanted.append(lambda: _settings_for("envs", played, [each for each in chosen if each.kind == "methods"]))
        wanted.append(lambda: _settings_for("methods", method, chosen))
    wanted += [partial(load_preset, reference) for reference in extra]
    chosen: list[Preset] = []
    for load in wanted:
        try:
            preset = load()
            chosen += preset.chain() if preset else []
        except ConfigError as error:
            merger.complain(f"{error.what} ({error.why})" if error.why else error.what)
    return chosen


def _settings_for(kind: str, name: str, chosen: Sequence[Preset]) -> Preset | None:
    """What the chosen model wants for a method or a benchmark (``kind``), as a preset of its own; None where it
    sets nothing."""
    found = [preset for preset in chosen if name in getattr(preset, kind)]
    if not found:
        return None
    preset = found[-1]
    return Preset(f"{preset.label} for {name}", preset.path, "", getattr(preset, kind)[name])


def env_settings(env: str, data: str | None, sets: Sequence[str], **values: Any) -> EnvOptions:
    """The settings of an environment preset alone, for what opens an environment without a run.

    data: a folder of the original's data; without it the preset names one.  sets: ``env.KEY=VALUE`` each.
    values: stronger than the preset, weaker than ``sets``; those that the environment does not have are left out.
    Raises ConfigError for a setting of another section or a bad value.
    """
    merger = Merger()
    for preset in load_preset(env, "envs").chain():
        merger.put_tree({"env": preset.values.get("env", {})}, preset.label)
    own = benchmark(merger.env).options.model_fields
    for key, value in values.items():
        if key in own:
            merger.put(f"env.{key}", value, "default")
    if data is not None:
        merger.put("env.data", data, "--data", literal=True)
    for assignment in sets:
        merger.put_assignment(assignment)
        if not assignment.startswith("env."):
            merger.complain(f"--set {assignment}: only settings of env can be given here")
    found = {key.removeprefix("env."): value for key, value in merger.values.items() if key.startswith("env.")}
    try:
        options = env_options(found)
    except ValidationError as error:
        for item in error.errors(include_url=False):
            key = ".".join(map(str, ("env", *item["loc"])))
            merger.complain(f"{merger.sources.get(key, '--set')}: {key} = {item['input']!r}: {item['msg']}")
    if merger.problems:
        raise problems_error(merger.problems)
    return options
