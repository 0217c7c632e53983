"""``HuggingFaceEngine``: draws that depend on the seed alone, batches that change nothing, ends at the end token."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

from sdar_cli.base.errors import RunFailedError
from sdar_cli.config.schema import EngineConfig
from sdar_cli.models.engine import Sampling, generate
from sdar_cli.models.engines.hf import HuggingFaceEngine

TEXTS = ("Task: put some apple on shelf", "Now: You stand", "Actions:\ngo on\nlook\nTask: take apple 1", "look")


@pytest.fixture(scope="module")
def prompts(tokenizer) -> list[list[int]]:
    """Prompts of different lengths."""
    made = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in TEXTS]
    assert len({len(ids) for ids in made}) == len(made)
    return made


def engine_of(model, tokenizer, batch: int) -> HuggingFaceEngine:
    return HuggingFaceEngine(model, tokenizer, EngineConfig(batch=batch))


def write(engine: HuggingFaceEngine, prompts: list[list[int]], sampling: Sampling, seed: int) -> list[list[int]]:
    """The response to each prompt; prompt n has the seed ``1000 * seed + n``."""
    seeds = [1000 * seed + n for n in range(len(prompts))]
    return [reply.ids for reply in generate(engine, prompts, sampling, seeds)]


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
    engine = engine_of(model, tokenizer, 3)
    first = write(engine, prompts, Sampling(12), seed=1)
    torch.randn(3)  # the state of the process must not matter
    assert write(engine, prompts, Sampling(12), seed=1) == first
    assert write(engine, prompts, Sampling(12), seed=2) != first


def test_the_global_random_state_is_left_as_it_was(model, tokenizer, prompts) -> None:
    torch.manual_seed(7)
    before = torch.random.get_rng_state()
    write(engine_of(model, tokenizer, 2), prompts, Sampling(5), seed=1)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_mode_of_the_model_is_left_as_it_was(model, tokenizer, prompts) -> None:
    engine = engine_of(model, tokenizer, 2)
    for training in (True, False):
        model.train(training)
        write(engine, prompts[:1], Sampling(2), seed=1)
        assert model.training is training


def test_greedy_does_not_depend_on_batching(model, tokenizer, prompts) -> None:
    """Padding must be invisible: one by one, all at once and in another order give the same tokens."""
    greedy = Sampling(10, greedy=True)
    together = write(engine_of(model, tokenizer, len(prompts)), prompts, greedy, seed=1)
    alone = write(engine_of(model, tokenizer, 1), prompts, greedy, seed=2)
    backwards = write(engine_of(model, tokenizer, 2), prompts[::-1], greedy, seed=3)
    assert together == alone == backwards[::-1]


def test_greedy_takes_the_likeliest_token(model, tokenizer, prompts) -> None:
    ids = prompts[0]
    (written,) = write(engine_of(model, tokenizer, 1), [ids], Sampling(3, greedy=True), seed=0)
    for k, token in enumerate(written):
        logits = model(torch.tensor([ids + written[:k]])).logits[0, -1]
        assert token == int(logits.argmax())


def test_temperature_sharpens(model, tokenizer, prompts) -> None:
    """Near temperature 0 sampling is greedy decoding; at 1 it is not."""
    engine = engine_of(model, tokenizer, 4)
    greedy = write(engine, prompts, Sampling(6, greedy=True), seed=1)
    assert write(engine, prompts, Sampling(6, temperature=1e-4), seed=1) == greedy
    assert write(engine, prompts, Sampling(6, temperature=1.0), seed=1) != greedy


def test_draws_follow_the_whole_distribution(model, tokenizer, prompts) -> None:
    """No top-k or top-p by default: the mean log-prob of many first tokens is minus the entropy.

    400 draws; the tolerance is four standard errors.  A cut to the 50 likeliest tokens would be far above.
    """
    engine = engine_of(model, tokenizer, 400)
    drawn = [ids[0] for ids in write(engine, [prompts[0]] * 400, Sampling(1), seed=3)]
    logp = torch.log_softmax(model(torch.tensor([prompts[0]])).logits[0, -1].double(), -1).detach()
    mean = float((logp.exp() * logp).sum())
    error = float(((logp.exp() * (logp - mean) ** 2).sum() / 400).sqrt())
    assert abs(float(logp[drawn].mean()) - mean) < 4 * error
    best = logp.topk(50).values
    cut_mean = float((best.softmax(-1) * best).sum())
    assert cut_mean - mean > 8 * error, "the check would not notice a cut distribution"


def test_a_response_ends_with_its_end_token_or_at_the_limit(model, tokenizer, prompts) -> None:
    end = tokenizer.eos_token_id
    engine = engine_of(model, tokenizer, 16)
    with ending_soon(model, tokenizer):
        written = write(engine, prompts * 4, Sampling(8), seed=1)
    ended = [ids for ids in written if ids[-1] == end]
    cut = [ids for ids in written if ids[-1] != end]
    assert ended and cut
    assert all(ids.count(end) == 1 and len(ids) <= 8 for ids in ended)
    assert all(end not in ids and len(ids) == 8 for ids in cut)
    assert engine.tokens_generated == sum(map(len, written))


def test_samples_do_not_depend_on_batching(model, tokenizer, prompts) -> None:
    """Sixteen prompts of different lengths, all in one batch, one by one, and in the other order in batches of five."""
    many = [prompts[n % 4] + prompts[n // 4] for n in range(16)]
    seeds = [7 * n for n in range(16)]
    with ending_soon(model, tokenizer):
        together = generate(engine_of(model, tokenizer, 16), many, Sampling(12), seeds)
        alone = generate(engine_of(model, tokenizer, 1), many, Sampling(12), seeds)
        backwards = generate(engine_of(model, tokenizer, 5), many[::-1], Sampling(12), seeds[::-1])
    assert [r.ids for r in together] == [r.ids for r in alone] == [r.ids for r in backwards[::-1]]
    assert len({tuple(r.ids) for r in together}) > 10 and len({len(r.ids) for r in together}) > 2
    for one, other in zip(together, alone, strict=True):
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-5)


def test_how_often_each_token_is_drawn(model, tokenizer, prompts) -> None:
    """Chi-square over 4,000 first tokens with seeds 0, 1, ...: neighbouring seeds are independent draws.

    Tokens expected less than ten times share a cell.  The bound is five standard deviations above the mean.
    """
    draws, temperature = 4000, 0.7
    engine = engine_of(model, tokenizer, 500)
    replies = generate(engine, [prompts[0]] * draws, Sampling(1, temperature), range(draws))
    logits = model(torch.tensor([prompts[0]])).logits[0, -1].double() / temperature
    expected = logits.softmax(-1).detach() * draws
    found = torch.bincount(torch.tensor([reply.ids[0] for reply in replies]), minlength=len(expected)).double()
    rare = expected < 10
    expected = torch.cat([expected[~rare], expected[rare].sum()[None]])
    found = torch.cat([found[~rare], found[rare].sum()[None]])
    cells = len(expected) - 1
    assert cells > 10
    assert float(((found - expected) ** 2 / expected).sum()) < cells + 5 * (2 * cells) ** 0.5


@pytest.mark.parametrize("sampling", [Sampling(6), Sampling(6, 0.5), Sampling(6, 0.5, greedy=True)])
def test_log_probs_are_those_of_the_sampled_tokens(model, tokenizer, prompts, sampling: Sampling) -> None:
    """Under softmax(logits / temperature); greedy decoding has no temperature."""
    temperature = 1.0 if sampling.greedy else sampling.temperature
    with ending_soon(model, tokenizer):
        for reply in generate(engine_of(model, tokenizer, 4), prompts, sampling, range(4)):
            ids = prompts[reply.key] + reply.ids
            logp = (model(torch.tensor([ids])).logits[0, :-1] / temperature).log_softmax(-1)
            own = logp[len(prompts[reply.key]) - 1 :].gather(1, torch.tensor(reply.ids)[:, None])[:, 0]
            assert reply.logprobs == pytest.approx(own.tolist(), abs=1e-4)


def test_a_batch_waits_for_more_requests_unless_asked_to_block(model, tokenizer, prompts) -> None:
    engine = engine_of(model, tokenizer, 3)
    for key, prompt in enumerate(prompts):
        assert engine.busy is (key == 3) and (engine.busy or engine.poll(block=False) == [])
        engine.submit(key, prompt, Sampling(2), key)
    assert [reply.key for reply in engine.poll(block=False)] == sorted(range(4), key=lambda n: len(prompts[n]))[:3]
    assert engine.poll(block=False) == [] and len(engine.poll(block=True)) == 1 and engine.poll(block=True) == []


def test_requests_with_other_samplings_are_not_mixed(model, tokenizer, prompts) -> None:
    engine = engine_of(model, tokenizer, 8)
    for key in range(4):
        engine.submit(key, prompts[0], Sampling(2 + key % 2, greedy=True), 0)
    first, second = engine.poll(block=True), engine.poll(block=True)
    assert [(reply.key, len(reply.ids)) for reply in first + second] == [(0, 2), (2, 2), (1, 3), (3, 3)]


def test_aborted_requests_are_not_answered(model, tokenizer, prompts) -> None:
    engine = engine_of(model, tokenizer, 8)
    for key in range(3):
        engine.submit(key, prompts[key], Sampling(2), 0)
    engine.abort([1, 99])
    assert {reply.key for reply in engine.poll(block=True)} == {0, 2}


def test_replies_name_the_version_of_the_weights(model, tokenizer, prompts) -> None:
    engine = engine_of(model, tokenizer, 8)
    assert generate(engine, prompts[:1], Sampling(1), [0])[0].weight_version == 0
    engine.push(iter(()), 3)
    assert generate(engine, prompts[:1], Sampling(1), [0])[0].weight_version == 3


def test_a_request_that_takes_too_long_is_an_error(model, tokenizer, prompts) -> None:
    engine = HuggingFaceEngine(model, tokenizer, EngineConfig(timeout=1e-9))
    with pytest.raises(RunFailedError, match="2 prompts were not answered within 1e-09 s") as stopped:
        generate(engine, prompts[:2], Sampling(5), [0, 1])
    assert "engine.timeout" in stopped.value.fix


def test_any_of_several_end_tokens_ends_a_response(model, tokenizer, prompts) -> None:
    """Some chat models name two in their generation settings."""
    other = tokenizer.convert_tokens_to_ids("</action>")
    ours = copy.deepcopy(model)
    ours.generation_config.eos_token_id = [other, tokenizer.eos_token_id]
    engine = engine_of(ours, tokenizer, 16)
    assert engine.ends == {other, tokenizer.eos_token_id}

    def louder(module, inputs, logits):
        logits = logits.clone()
        logits[..., [other, tokenizer.eos_token_id]] = logits.logsumexp(-1, keepdim=True) - 1.6
        return logits

    ours.lm_head.register_forward_hook(louder)
    written = write(engine, prompts * 4, Sampling(12), seed=1)
    assert {ids[-1] for ids in written} >= engine.ends
    assert all(sum(i in engine.ends for i in ids) <= 1 for ids in written)
    assert all(len(ids) == 12 or ids[-1] in engine.ends for ids in written)


def test_responses_come_in_the_order_of_the_prompts(model, tokenizer, prompts) -> None:
    """Prompts are sorted by length inside; a mix-up would give a prompt another's answer."""
    engine = engine_of(model, tokenizer, 2)
    greedy = Sampling(4, greedy=True)
    together = write(engine, prompts, greedy, seed=0)
    assert together == [write(engine, [ids], greedy, seed=0)[0] for ids in prompts]
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
    write(HuggingFaceEngine(model, tokenizer, EngineConfig(batch=4), around), prompts, Sampling(1), seed=0)
    hook.remove()
    assert seen == ["in", False, "out"]
