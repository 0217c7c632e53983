"""A model that has learned to walk the corridor, badly: some episodes are won and some are not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import toy

from .toyruns import SETTINGS, play

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast, Qwen3ForCausalLM


@pytest.fixture(scope="session")
def walker_model(tokenizer: PreTrainedTokenizerFast) -> Qwen3ForCausalLM:
    """Warm-started on scripted walks."""
    from sdar_cli.tiny.warmstart import Recipe, warm_start

    config = toy.config(env={"max_turns": 3})
    episodes, _, _ = toy.collect(config, tokenizer, [(toy.task(d, n), n) for n, d in enumerate((0, 1, 2, 3))])
    data = [(turn.prompt_ids, turn.response_ids) for e in episodes for turn in e.turns]
    model = toy.make_model(tokenizer, spread=1.0)
    recipe = Recipe(batch=len(data), epochs=75.0, lr=2e-2, prompt_weight=0.0)
    warm_start(model, data, recipe, tokenizer.pad_token_id, lambda update, updates, loss: None)
    return model


@pytest.fixture(scope="session")
def whole(walker_model, tokenizer, tmp_path_factory) -> Callable[[str], Path]:
    """Folders of runs that were never stopped, made when first asked for."""
    made: dict[str, Path] = {}

    def run(name: str) -> Path:
        if name not in made:
            made[name] = tmp_path_factory.mktemp(name)
            play(made[name], SETTINGS[name], walker_model, tokenizer)
        return made[name]

    return run
