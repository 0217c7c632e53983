"""Configurations as files, and the shapes that older versions wrote."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sdar_cli.config.merge import owners_of
from sdar_cli.config.schema import RunConfig
from sdar_cli.envs.options import EnvOptions
from sdar_cli.envs.registry import built_in

SCHEMA = 3
"""The shape of ``config.json``.  1 had no number, and its section ``env`` held the settings of all environments; 2 had
the settings of the section ``engine`` in ``train``."""
MOVED = {"engine": "name", "engine_args": "args", "generate_batch": "batch"}
"""Key in ``train`` up to version 2 -> key in ``engine``."""


def to_file(config: RunConfig) -> Mapping[str, object]:
    """What ``config.json`` holds."""
    return {"schema": SCHEMA, **config.model_dump(mode="json")}


def current_shape(tree: dict[str, Any]) -> dict[str, Any]:
    """The content of a ``config.json`` of any version, as this version's configuration.

    Settings of other environments, which version 1 wrote into every file and never read, are left out.
    Raises ValueError for a schema that is no number.
    """
    tree = dict(tree)
    schema = tree.pop("schema", 1)
    if not isinstance(schema, int):
        raise ValueError(f"its schema is {schema!r}, not a number")
    if schema < 3 and isinstance(tree.get("train"), dict):
        tree |= _with_engine(tree["train"])
    if schema > 1 or not isinstance(tree.get("env"), dict) or not isinstance(tree["env"].get("name", ""), str):
        return tree
    return without_foreign(tree, tree["env"].get("name", built_in()[0]))


def _with_engine(train: Mapping[str, object]) -> Mapping[str, object]:
    """The sections ``train`` and ``engine`` of the section ``train`` of version 1 or 2."""
    moved = {new: train[old] for old, new in MOVED.items() if old in train}
    kept = {key: value for key, value in train.items() if key not in MOVED}
    return {"train": kept, "engine": moved} if moved else {"train": kept}


def without_foreign(tree: dict[str, Any], name: str) -> dict[str, Any]:
    """A configuration without the settings of other environments than ``name``."""

    def foreign(key: str) -> bool:
        owners = owners_of(f"env.{key}")
        return bool(owners) and name not in owners and key not in EnvOptions.model_fields

    env = tree.get("env")
    if not isinstance(env, dict):
        return tree
    return {**tree, "env": {key: value for key, value in env.items() if not foreign(key)}}
