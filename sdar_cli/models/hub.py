"""What the Hugging Face cache holds.  Nothing is downloaded here."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

from sdar_cli.base.errors import Missing


def _snapshots(name: str) -> Path:
    home = os.environ.get("HF_HOME", str(Path.home() / ".cache" / "huggingface"))
    cache = os.environ.get("HF_HUB_CACHE", str(Path(home) / "hub"))
    return Path(cache) / f"models--{name.replace('/', '--')}" / "snapshots"


def has_config(name: str) -> bool:
    """Whether it holds the ``config.json`` of some revision."""
    return any(_snapshots(name).glob("*/config.json"))


def is_cached(name: str) -> bool:
    """Whether the Hugging Face cache holds some revision of a model."""
    snapshots = _snapshots(name)
    return snapshots.is_dir() and any(snapshots.iterdir())


def missing_encoder(model: str) -> list[Missing]:
    """What is missing for ``skills.retrieval = embedding``.  Nothing is downloaded here."""
    found = []
    if not Path(model).expanduser().is_dir() and not is_cached(model):
        what = f"encoder {model} (skills.embedding_model): neither a folder nor in the Hugging Face cache"
        found.append(Missing(what, f"hf download {model}"))
    if find_spec("sentence_transformers") is None:
        found.append(Missing("Python package 'sentence_transformers'", "pip install sentence-transformers"))
    return found
