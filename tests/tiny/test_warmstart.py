"""The warm start: labels, encoding, the initial embedding, and the supervised loss."""

from __future__ import annotations

import random

import pytest
import torch
import toy

from sdar_cli.envs.actions import parse_action
from sdar_cli.envs.alfworld.expert import Move
from sdar_cli.envs.base import TurnView
from sdar_cli.rollout.prompt import encode_prompt
from sdar_cli.tiny.warmstart import (
    Example,
    Recipe,
    batches,
    encode,
    new_model,
    prompt_text,
    respond,
    warm_start,
)

VIEW = TurnView(toy.GOAL, "You stand in a corridor.", toy.COMMANDS, (("You enter.", "go on"),), 1)
TINY = Recipe(layers=1, width=16, feed_forward=32, heads=2, batch=4, epochs=40.0, lr=1e-2)


@pytest.mark.parametrize("skill", ["", "Find the apple first."])
def test_prompts_are_those_of_a_rollout(tokenizer, skill: str) -> None:
    """Another wording here would warm-start the policy for prompts it never sees."""
    example = Example(VIEW, skill, Move("find apple", "go on"))
    rollout = encode_prompt(tokenizer, VIEW, style="compact", limit=400, skill=skill)
    assert prompt_text(tokenizer, example) == rollout.text
    ((prompt, response),) = encode(tokenizer, [example])
    assert prompt == rollout.ids
    assert response[-1] == tokenizer.eos_token_id
    assert tokenizer.decode(response[:-1]) == respond(example.move)


def test_responses_are_valid_under_every_rule() -> None:
    for rule in ("admissible", "format", "released"):
        parsed = parse_action(respond(Move("find apple", "go on")), toy.COMMANDS, rule)
        assert (parsed.text, parsed.valid) == ("go on", True)


def test_batches_hold_everything_once_and_alike_together() -> None:
    rng = random.Random(0)
    data = [([0] * rng.randint(1, 90), [number]) for number in range(1000)]
    found = list(batches(data, 8, random.Random(1)))
    assert sorted(response[0] for batch in found for _, response in batch) == list(range(1000))
    assert all(len(batch) <= 8 for batch in found)
    padding = sum(max(len(p) for p, _ in batch) * len(batch) - sum(len(p) for p, _ in batch) for batch in found)
    assert padding < 0.05 * sum(len(p) for p, _ in data)
    assert [r for b in batches(data, 8, random.Random(1)) for _, r in b] == [r for b in found for _, r in b]
    assert [r for b in batches(data, 8, random.Random(2)) for _, r in b] != [r for b in found for _, r in b]


def test_a_new_models_names_start_from_their_parts(tokenizer) -> None:
    """``apple 1`` is the sum of ``apple`` and ``1``, so that a number never seen with a noun means something."""
    model = new_model(TINY, tokenizer)
    weight = model.get_input_embeddings().weight
    vocabulary = {tokenizer.decode([i]): i for i in range(len(tokenizer))}
    one, fall = vocabulary[" apple 1"], vocabulary[" apple"]
    other = vocabulary["fall 1"] if "fall 1" in vocabulary else vocabulary[" fall 1"]
    # Both share the part of ``1``: apple 1 - apple / sqrt(2) is that part / sqrt(2), as it is in fall 1.
    part = weight[one] * 2**0.5 - weight[fall]
    assert torch.nn.functional.cosine_similarity(part, weight[other], dim=0) > 0.5
    assert torch.equal(new_model(TINY, tokenizer).get_input_embeddings().weight, weight)
    again = new_model(Recipe(seed=1, layers=1, width=16, feed_forward=32, heads=2), tokenizer)
    assert not torch.equal(again.get_input_embeddings().weight, weight)
    assert model.config.vocab_size % 16 == 0 and model.config.vocab_size >= len(tokenizer)
    assert model.config.tie_word_embeddings


def learned(tokenizer, data, recipe: Recipe = TINY):
    """A model after its warm start, and the losses that were reported."""
    model, losses = new_model(recipe, tokenizer), []
    warm_start(model, data, recipe, tokenizer.pad_token_id, lambda update, updates, loss: losses.append((update, loss)))
    return model, losses


def test_a_warm_start_learns_its_responses_and_not_its_prompts(tokenizer) -> None:
    """Four states with four answers: each becomes the likeliest; the last report is of the last update."""
    actions = ("go on", "look", "fall 1", "take apple 1")
    views = [TurnView(toy.GOAL, f"You walk on, {n} to go.", toy.COMMANDS) for n in range(4)]
    examples = [Example(view, "", Move("do it", action)) for view, action in zip(views, actions, strict=True)]
    data = encode(tokenizer, examples)
    torch.manual_seed(0)
    model, losses = learned(tokenizer, data, Recipe(layers=2, width=32, feed_forward=64, heads=2, batch=4, epochs=150.0,
                                                  lr=1e-2))  # fmt: skip
    assert losses[-1][0] == 150 and losses[-1][1] < losses[0][1]
    assert not model.training
    for prompt, response in data:
        logits = model(torch.tensor([prompt + response])).logits[0, len(prompt) - 1 : -1]
        assert logits.argmax(-1).tolist() == response


def test_a_warm_start_is_repeatable(tokenizer) -> None:
    data = encode(tokenizer, [Example(VIEW, "", Move("do it", action)) for action in toy.COMMANDS])
    recipe = Recipe(layers=1, width=16, feed_forward=32, heads=2, batch=2, epochs=2.0)
    torch.manual_seed(1)
    one, _ = learned(tokenizer, data, recipe)
    torch.manual_seed(2)
    two, _ = learned(tokenizer, data, recipe)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
