"""What every test may use: a tiny random model with its tokenizer, and the switch for slow tests."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import toy

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast, Qwen3ForCausalLM


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="also run the tests marked slow")


def pytest_configure(config: pytest.Config) -> None:
    # transformers' name for a setting of TRL's, warned of at every GRPOConfig
    config.addinivalue_line("filterwarnings", "ignore:.*gradient_checkpointing.*deprecated:FutureWarning")
    os.environ.pop("COLUMNS", None)  # tables are as wide as in a pipe, whatever the terminal or the test runner says


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the slow tests out unless ``--slow`` or a mark expression asks for them."""
    if config.getoption("--slow") or config.option.markexpr:
        return
    slow = [item for item in items if item.get_closest_marker("slow")]
    config.hook.pytest_deselected(items=slow)
    items[:] = [item for item in items if item not in slow]


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    """The tiny policy's kind of tokenizer, trained on a few prompts of the toy environment."""
    return toy.make_tokenizer()


@pytest.fixture(scope="module")
def model(tokenizer: PreTrainedTokenizerFast) -> Qwen3ForCausalLM:
    """A random model of two layers whose distributions are far from uniform; its output layer is its input layer."""
    return toy.make_model(tokenizer)


@pytest.fixture(scope="session")
def model_folder(tokenizer: PreTrainedTokenizerFast, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved random model of two layers, width 32, with its tokenizer: what ``model.name`` may point at."""
    folder = tmp_path_factory.mktemp("random-model")
    toy.make_model(tokenizer).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
