"""Demonstrations of Search-QA: three labels per state, responses that copy tokens, and a policy that uses its skill."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import toy

from sdar_cli.config.presets import resolve
from sdar_cli.config.schema import ModelConfig
from sdar_cli.envs.base import group_by_type
from sdar_cli.envs.registry import open_environment
from sdar_cli.envs.search.data.world import KINDS
from sdar_cli.envs.search.expert import Move, searches
from sdar_cli.envs.search.options import SearchOptions
from sdar_cli.envs.search.prompt import parse_action
from sdar_cli.models.engine import Sampling
from sdar_cli.models.engines.hf import HuggingFaceEngine
from sdar_cli.models.loading import load_model, load_tokenizer
from sdar_cli.rollout.collect import Collector
from sdar_cli.tiny.search import demonstrate, respond
from sdar_cli.tiny.tokenizer import SEARCH_TAGS, SEARCH_UNITS, train_tokenizer
from sdar_cli.tiny.warmstart import briefs, encode, prompt_text


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory):
    patch = pytest.MonkeyPatch()
    patch.setenv("SDAR_CACHE", str(tmp_path_factory.mktemp("cache")))
    with open_environment(SearchOptions(name="search", max_turns=4, questions_per_source=40)) as opened:
        yield opened
    patch.undo()


@pytest.fixture(scope="module")
def made(environment):
    groups = group_by_type(environment.tasks("train"))
    tasks = [task for kind in KINDS for task in groups[kind][:9]]
    skills = briefs("search", tasks)
    return tasks, skills, demonstrate(environment, tasks, skills, random.Random(0))


def test_every_state_is_labelled_three_ways(made) -> None:
    _, skills, examples = made
    assert len(set(skills.values())) == len(KINDS)
    assert len(examples) % 3 == 0 and len(examples) > 200
    for right, none, wrong in zip(examples[::3], examples[1::3], examples[2::3], strict=True):
        assert right.view is none.view is wrong.view and right.view.env == "search"
        assert none.skill == "" and right.skill != wrong.skill
        assert {right.skill, wrong.skill} <= set(skills.values())


def test_demonstrations_are_repeatable(environment, made) -> None:
    tasks, skills, examples = made
    assert demonstrate(environment, tasks, skills, random.Random(0)) == examples
    assert demonstrate(environment, tasks, skills, random.Random(1)) != examples


def test_states_show_whole_episodes(made) -> None:
    """Up to two searches lie behind a state, and what they brought is in its prompt."""
    _, _, examples = made
    assert {len(searches(example.view)) for example in examples} == {0, 1, 2}


def test_a_response_is_a_valid_action_in_tokens_of_the_passages() -> None:
    """After a space, so that a name in a response is the same tokens as in a passage."""
    move = Move("award Falcon", "<answer>Vane Press</answer>")
    assert respond(move) == "<think> award Falcon</think><answer> Vane Press</answer>"
    for rule in ("admissible", "format", "released"):
        parsed = parse_action(respond(move), (), rule)
        assert (parsed.text, parsed.valid) == ("<answer>Vane Press</answer>", True)


def test_names_are_copied_token_by_token(made, tokenizer) -> None:
    """Whatever an expert answers stands, as the same tokens, in its prompt."""
    _, _, examples = made
    right = examples[::3]
    texts = [part for e in right for part in (prompt_text(tokenizer, e), respond(e.move))]
    own = train_tokenizer(texts, 2048, SEARCH_UNITS, SEARCH_TAGS)
    open_tag, close_tag = (own.convert_tokens_to_ids(tag) for tag in ("<answer>", "</answer>"))
    answers = 0
    for prompt, response in encode(own, right, respond):
        if open_tag in response:
            content = response[response.index(open_tag) + 1 : response.index(close_tag)]
            answers += 1
            assert any(prompt[n : n + len(content)] == content for n in range(len(prompt)))
    assert answers > 20


def play(environment, kinds: int, with_skill: bool) -> float:
    """Success of the shipped policy on the first questions of each kind."""
    config = resolve(env="search", model="tiny-search").config
    model = load_model(ModelConfig(name="tiny-search", device="cpu"))
    tokenizer = load_tokenizer(ModelConfig(name="tiny-search"))
    tasks = [task for group in group_by_type(environment.tasks("eval")).values() for task in group[:kinds]]
    skills = briefs("search", tasks)
    collector = Collector(config, environment, HuggingFaceEngine(model, tokenizer, config.engine), tokenizer)
    shown = (lambda task, goal: skills[task.type]) if with_skill else (lambda task, goal: "")
    found = collector.collect(toy.assigned([(task, n) for n, task in enumerate(tasks)]), Sampling(32, 0.4), shown)
    return sum(episode.won for episode in found.episodes) / len(tasks)


def test_the_shipped_policy_uses_its_skill(environment) -> None:
    assert play(environment, 6, with_skill=True) > play(environment, 6, with_skill=False) + 0.15


@pytest.mark.slow
def test_the_shipped_policy_needs_its_skill(environment) -> None:
    assert play(environment, 40, with_skill=True) > 0.5
    assert 0.02 < play(environment, 40, with_skill=False) < 0.35


def test_a_build_is_repeatable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two small builds by the command give the same files; a folder that is not empty is refused."""
    from sdar_cli.base.display import Reporter
    from sdar_cli.base.errors import ConfigError
    from sdar_cli.tiny import search as module
    from sdar_cli.tiny.warmstart import Recipe

    monkeypatch.setenv("SDAR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(module, "QUESTIONS", dict.fromkeys(KINDS, 4))
    monkeypatch.setattr(
        module, "RECIPE", Recipe(vocabulary=400, layers=1, width=16, feed_forward=16, heads=1, epochs=1)
    )
    for name in ("one", "two"):
        module.build_tiny_search(tmp_path / name, 0, 1, 1, Reporter())
    for name in ("model.safetensors", "tokenizer.json", "sdar.toml"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert (tmp_path / "one" / "sdar.toml").read_text() == 'extends = "models/tiny-search"\n'
    with pytest.raises(ConfigError, match="not empty"):
        module.build_tiny_search(tmp_path / "one", 0, 1, 1, Reporter())
