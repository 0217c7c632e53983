"""``HuggingFaceEngine``: draws that depend on the seed alone, batches that change nothing, ends at the end token."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

from sdar_cli.models.engine import HuggingFaceEngine, Sampling

TEXTS = ("Task: put some apple on shelf", "Now: You stand", "Actions:\ngo on\nlook\nTask: take apple 1", "look")


@pytest.fixture(scope="module")
def prompts(tokenizer) -> list[list[int]]:
    """Prompts of different lengths."""
    made = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in TEXTS]
    assert len({len(ids) for ids in made}) == len(made)
    return made


@contextmanager
def ending_soon(model, tokenizer) -> Iterator[None]:
    """The end token made likely (about one in six): some responses end early and some do not."""

    def louder(module, inputs, logits):
        logits = logits.clone()
        logits[..., tokenizer.eos_token_id] = logits.logsumexp(-1) - 1.6
        return logits

    hook = model.lm_head.register_forward_hook(louder)
    try:
        yield
    finally:
        hook.remove()


def test_the_same_seed_gives_the_same_draws_and_another_gives_others(model, tokenizer, prompts) -> None:
    engine = HuggingFaceEngine(model, tokenizer, batch=3)
    first = engine.generate(prompts, Sampling(12), seed=1)
    torch.randn(3)  # the state of the process must not matter
    assert engine.generate(prompts, Sampling(12), seed=1) == first
    assert engine.generate(prompts, Sampling(12), seed=2) != first


def test_the_global_random_state_is_left_as_it_was(model, tokenizer, prompts) -> None:
    torch.manual_seed(7)
    before = torch.random.get_rng_state()
    HuggingFaceEngine(model, tokenizer, batch=2).generate(prompts, Sampling(5), seed=1)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_mode_of_the_model_is_left_as_it_was(model, tokenizer, prompts) -> None:
    engine = HuggingFaceEngine(model, tokenizer, batch=2)
    for training in (True, False):
        model.train(training)
        engine.generate(prompts[:1], Sampling(2), seed=1)
        assert model.training is training


def test_greedy_does_not_depend_on_batching(model, tokenizer, prompts) -> None:
    """Padding must be invisible: one by one, all at once and in another order give the same tokens."""
    greedy = Sampling(10, greedy=True)
    together = HuggingFaceEngine(model, tokenizer, batch=len(prompts)).generate(prompts, greedy, seed=1)
    alone = HuggingFaceEngine(model, tokenizer, batch=1).generate(prompts, greedy, seed=2)
    backwards = HuggingFaceEngine(model, tokenizer, batch=2).generate(prompts[::-1], greedy, seed=3)
    assert together == alone == backwards[::-1]


def test_greedy_takes_the_likeliest_token(model, tokenizer, prompts) -> None:
    ids = prompts[0]
    (written,) = HuggingFaceEngine(model, tokenizer, batch=1).generate([ids], Sampling(3, greedy=True), seed=0)
    for k, token in enumerate(written):
        logits = model(torch.tensor([ids + written[:k]])).logits[0, -1]
        assert token == int(logits.argmax())


def test_temperature_sharpens(model, tokenizer, prompts) -> None:
    """Near temperature 0 sampling is greedy decoding; at 1 it is not."""
    engine = HuggingFaceEngine(model, tokenizer, batch=4)
    greedy = engine.generate(prompts, Sampling(6, greedy=True), seed=1)
    assert engine.generate(prompts, Sampling(6, temperature=1e-4), seed=1) == greedy
    assert engine.generate(prompts, Sampling(6, temperature=1.0), seed=1) != greedy


def test_draws_follow_the_whole_distribution(model, tokenizer, prompts) -> None:
    """No top-k or top-p by default: the mean log-prob of many first tokens is minus the entropy.

    400 draws; the tolerance is four standard errors.  A cut to the 50 likeliest tokens would be far above.
    """
    engine = HuggingFaceEngine(model, tokenizer, batch=400)
    drawn = [ids[0] for ids in engine.generate([prompts[0]] * 400, Sampling(1), seed=3)]
    logp = torch.log_softmax(model(torch.tensor([prompts[0]])).logits[0, -1].double(), -1).detach()
    mean = float((logp.exp() * logp).sum())
    error = float(((logp.exp() * (logp - mean) ** 2).sum() / 400).sqrt())
    assert abs(float(logp[drawn].mean()) - mean) < 4 * error
    best = logp.topk(50).values
    cut_mean = float((best.softmax(-1) * best).sum())
    assert cut_mean - mean > 8 * error, "the check would not notice a cut distribution"


def test_a_response_ends_with_its_end_token_or_at_the_limit(model, tokenizer, prompts) -> None:
    end = tokenizer.eos_token_id
    engine = HuggingFaceEngine(model, tokenizer, batch=16)
    with ending_soon(model, tokenizer):
        written = engine.generate(prompts * 4, Sampling(8), seed=1)
    ended = [ids for ids in written if ids[-1] == end]
    cut = [ids for ids in written if ids[-1] != end]
    assert ended and cut
    assert all(ids.count(end) == 1 and len(ids) <= 8 for ids in ended)
    assert all(end not in ids and len(ids) == 8 for ids in cut)
    assert engine.tokens_generated == sum(map(len, written))


def test_any_of_several_end_tokens_ends_a_response(model, tokenizer, prompts) -> None:
    """Some chat models name two in their generation settings."""
    other = tokenizer.convert_tokens_to_ids("</action>")
    ours = copy.deepcopy(model)
    ours.generation_config.eos_token_id = [other, tokenizer.eos_token_id]
    engine = HuggingFaceEngine(ours, tokenizer, batch=16)
    assert engine.ends == {other, tokenizer.eos_token_id}

    def louder(module, inputs, logits):
        logits = logits.clone()
        logits[..., [other, tokenizer.eos_token_id]] = logits.logsumexp(-1, keepdim=True) - 1.6
        return logits

    ours.lm_head.register_forward_hook(louder)
    written = engine.generate(prompts * 4, Sampling(12), seed=1)
    assert {ids[-1] for ids in written} >= engine.ends
    assert all(sum(i in engine.ends for i in ids) <= 1 for ids in written)
    assert all(len(ids) == 12 or ids[-1] in engine.ends for ids in written)


def test_responses_come_in_the_order_of_the_prompts(model, tokenizer, prompts) -> None:
    """Prompts are sorted by length inside; a mix-up would give a prompt another's answer."""
    engine = HuggingFaceEngine(model, tokenizer, batch=2)
    greedy = Sampling(4, greedy=True)
    together = engine.generate(prompts, greedy, seed=0)
    assert together == [engine.generate([ids], greedy, seed=0)[0] for ids in prompts]
    assert len({tuple(ids) for ids in together}) > 1


def test_generation_happens_inside_around(model, tokenizer, prompts) -> None:
    """The trainer turns gradient checkpointing off there; no gradient is ever recorded."""
    seen = []

    @contextmanager
    def around() -> Iterator[None]:
        seen.append("in")
        yield
        seen.append("out")

    def note(module, inputs, output):
        seen.append(torch.is_grad_enabled())

    hook = model.lm_head.register_forward_hook(note)
    HuggingFaceEngine(model, tokenizer, 4, around).generate(prompts, Sampling(1), seed=0)
    hook.remove()
    assert seen == ["in", False, "out"]
