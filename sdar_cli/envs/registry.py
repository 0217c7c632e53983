"""The environments by name: those that ship here, those of installed packages, and import paths.

Imports neither torch nor pydantic until a record is loaded, so that help and completion may read the names.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdar_cli.base.errors import ConfigError
from sdar_cli.base.plugins import Kind, is_path
from sdar_cli.envs.benchmark import Benchmark, Prompts, Steps

if TYPE_CHECKING:
    from sdar_cli.base.display import Reporter
    from sdar_cli.envs.options import EnvOptions

ENVIRONMENT = Kind("environment", "sdar_cli.envs.registry", "ENVIRONMENTS")


@cache
def benchmark(name: str) -> Benchmark:
    """The record of an environment.

    Raises ConfigError for an unknown name, for what cannot be imported, and for what is no ``Benchmark``.
    """
    found = ENVIRONMENT.load(name)
    if not isinstance(found, Benchmark):
        raise ConfigError(
            f"environment {name!r} is a {type(found).__name__}, not a Benchmark",
            why="an environment is described by a record sdar_cli.envs.benchmark.Benchmark",
            fix="see docs/extending.md",
        )
    if not is_path(name) and found.name != name:
        raise ConfigError(
            f"environment {name!r} calls itself {found.name!r}", fix="give the record the name of its entry point"
        )
    return found


def built_in() -> tuple[str, ...]:
    """Names of the environments that ship here; the first is the default."""
    return ENVIRONMENT.builtin()


def open_environment(options: EnvOptions, reporter: Reporter | None = None) -> Any:
    """The environment of a configuration, a context manager.  Raises PrerequisiteError where its data is missing."""
    return benchmark(options.name).open(options, reporter)


def prompts_of(name: str) -> Prompts:
    """The wording of an environment."""
    return benchmark(name).prompts


def steps_of(name: str) -> Steps:
    """The functions that turn an environment's episodes into steps.  Raises ConfigError where it has none."""
    found = benchmark(name)
    if found.steps is None:
        raise ConfigError(
            f"the builder contrast does not know the actions of {name}",
            why="its Benchmark record has no steps",
            fix="--builder llm, or give the record steps",
        )
    return found.steps()


def bank_folder(name: str) -> Path | None:
    """The folder of a guest's skill bank: the bank called like its environment; None where there is none."""
    if name in built_in() or name not in ENVIRONMENT.names():
        return None
    bank = benchmark(name).bank
    return bank if isinstance(bank, Path) else None


ENVIRONMENTS: dict[str, str] = {
    "alfworld": "sdar_cli.envs.alfworld.benchmark:ALFWORLD",
    "webshop": "sdar_cli.envs.webshop.benchmark:WEBSHOP",
    "search": "sdar_cli.envs.search.benchmark:SEARCH",
}
"""Name to the record, which is imported when it is asked for."""
