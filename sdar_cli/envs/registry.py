"""The environments by name.  Each is a package with ``env`` (``open_environment``) and ``prompt`` (the wording)."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from sdar_cli.base.errors import ConfigError
from sdar_cli.config.schema import EnvConfig

if TYPE_CHECKING:
    from sdar_cli.base.display import Reporter

ENVIRONMENTS = {name: f"sdar_cli.envs.{name}" for name in ("alfworld", "webshop", "search")}


def open_environment(config: EnvConfig, reporter: Reporter | None = None) -> Any:
    """The environment of a configuration, a context manager.  Raises PrerequisiteError where its data is missing."""
    return import_module(f"{ENVIRONMENTS[config.name]}.env").open_environment(config, reporter)


def wording(name: str) -> Any:
    """The prompt module of an environment: ``messages``, ``follow_up``, ``body_of``, ``parse_action``."""
    return import_module(f"{ENVIRONMENTS[name]}.prompt")


def steps_of(name: str) -> Any:
    """The module that says an environment's episodes as steps: ``steps``, ``brief``, ``general_brief``.

    Raises ConfigError where an environment has none.
    """
    module = f"{ENVIRONMENTS[name]}.steps"
    if find_spec(module) is None:
        raise ConfigError(
            f"the builder contrast does not know the actions of {name}",
            why=f"there is no module {module}",
            fix="--builder llm",
        )
    return import_module(module)
