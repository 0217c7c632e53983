"""What the vLLM engine refuses and how it fails; a stand-in plays vLLM, so that none is needed."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from sdar_cli.base.errors import PrerequisiteError, RunFailedError
from sdar_cli.config.schema import EngineConfig
from sdar_cli.models.engine import Sampling
from sdar_cli.models.engines import vllm as module
from sdar_cli.models.engines.vllm import VllmEngine

SETTINGS = EngineConfig(name="vllm", max_len=100)


class StandIn:
    """As much of ``vllm.LLM`` as is used.  A request is finished at the second step; ``broken`` makes a step raise."""

    def __init__(self, **settings: Any) -> None:
        self.settings = settings
        self.llm_engine = self
        self.requests: dict[str, tuple[list[int], Any, int]] = {}
        self.version, self.pushed, self.calls = "default", [], []
        self.broken: Exception | None = None
        self.deaf = False

    def add_request(self, name: str, prompt: dict[str, list[int]], params: Any) -> None:
        self.requests[name] = (prompt["prompt_token_ids"], params, 0)

    def step(self) -> list[Any]:
        if self.broken:
            raise self.broken
        out = []
        for name, (prompt, params, steps) in list(self.requests.items()):
            self.requests[name] = (prompt, params, steps + 1)
            if steps and not self.deaf:
                del self.requests[name]
                written = SimpleNamespace(token_ids=(7, 8), logprobs=[{t: SimpleNamespace(logprob=-t)} for t in (7, 8)])
                out.append(SimpleNamespace(request_id=name, finished=True, outputs=[written]))
        return out

    def abort_request(self, names: list[str]) -> None:
        for name in names:
            del self.requests[name]

    def collective_rpc(self, method: str, kwargs: dict[str, Any]) -> None:
        assert method == "reload_weights"
        self.pushed.append([name for name, _ in kwargs["weights_iterator"]])

    def apply_model(self, function: Any) -> None:
        self.calls.append("pack")

    def reset_prefix_cache(self) -> None:
        self.calls.append("forget")

    def update_weight_version(self, version: str) -> None:
        self.version = version

    def get_weight_version(self) -> str:
        return self.version


@pytest.fixture
def vllm(monkeypatch) -> ModuleType:
    package, params = ModuleType("vllm"), ModuleType("vllm.sampling_params")
    package.__version__, package.LLM = "0.31.0", StandIn  # type: ignore[attr-defined]
    package.SamplingParams = SimpleNamespace  # type: ignore[attr-defined]
    params.RequestOutputKind = SimpleNamespace(FINAL_ONLY=2)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "vllm", package)
    monkeypatch.setitem(sys.modules, "vllm.sampling_params", params)
    module._started.cache_clear()
    yield package
    module._started.cache_clear()


@pytest.fixture
def engine(vllm, model, tokenizer) -> VllmEngine:
    return VllmEngine(model, tokenizer, SETTINGS)


def test_without_vllm_the_error_names_its_extra(monkeypatch, model, tokenizer) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(PrerequisiteError) as stopped:
        VllmEngine(model, tokenizer, SETTINGS)
    assert "needs vLLM" in stopped.value.what and "sdar[vllm]" in stopped.value.fix


@pytest.mark.parametrize("version", ["0.27.1", "0.32.0"])
def test_another_version_is_refused(vllm, model, tokenizer, version: str) -> None:
    vllm.__version__ = version
    with pytest.raises(PrerequisiteError, match=version):
        VllmEngine(model, tokenizer, SETTINGS)


def test_its_range_is_that_of_the_extra() -> None:
    from packaging.requirements import Requirement
    from places import ROOT

    line = next(each for each in (ROOT / "pyproject.toml").read_text().splitlines() if each.startswith("vllm = "))
    assert Requirement(line.split('"')[1]).specifier == module.VERSIONS


def test_the_first_request_pushes_the_models_weights(engine, model) -> None:
    engine.submit("a", [5, 6], Sampling(4, 0.5), 11)
    names = [name for name, _ in model.named_parameters()]
    assert engine._llm.pushed == [names] and engine._llm.calls == ["pack", "forget"]
    engine.submit("b", [5], Sampling(4, greedy=True), 12)
    assert len(engine._llm.pushed) == 1
    first, second = (params for _, params, _ in engine._llm.requests.values())
    assert (first.temperature, first.seed, first.max_tokens, first.logprobs) == (0.5, 11, 4, 0)
    assert (second.temperature, second.seed) == (0.0, 12)
    assert engine.poll(block=False) == []
    assert [(r.key, r.ids, r.logprobs, r.weight_version) for r in engine.poll(block=True)] == [
        ("a", [7, 8], [-7, -8], 0),
        ("b", [7, 8], [-7, -8], 0),
    ]
    assert engine.tokens_generated == 4 and not engine.busy


def test_one_vllm_serves_every_engine_of_a_process(engine, vllm, model, tokenizer) -> None:
    """The engine object is made again when the trainer takes the model over; the weights are pushed again then."""
    engine.push(iter(()), 1)
    again = VllmEngine(model, tokenizer, SETTINGS)
    assert again._llm is engine._llm and again.weight_version is None
    assert again._llm.settings["dtype"] == "float32" and again._llm.settings["max_model_len"] == 100


def test_weights_that_did_not_arrive_stop_the_run(engine) -> None:
    engine.push(iter(()), 3)
    engine.submit("a", [5], Sampling(4), 0)
    engine._llm.version = "2"
    with pytest.raises(RunFailedError, match="weights of version 2, and version 3 was pushed"):
        engine.poll(block=True)


def test_an_engine_that_dies_says_why(engine) -> None:
    engine.submit("a", [5], Sampling(4), 0)
    engine._llm.broken = RuntimeError("CUDA out of memory\nand more")
    with pytest.raises(RunFailedError, match="vLLM engine has failed") as stopped:
        engine.poll(block=True)
    assert stopped.value.why == "RuntimeError: CUDA out of memory" and "--resume" in stopped.value.fix


def test_one_that_does_not_start_says_why(vllm, model, tokenizer) -> None:
    def failing(**settings: Any) -> None:
        raise ValueError("max_model_len is too large")

    vllm.LLM = failing
    with pytest.raises(RunFailedError, match="does not start") as stopped:
        VllmEngine(model, tokenizer, SETTINGS).push(iter(()), 0)
    assert "max_model_len is too large" in stopped.value.why


def test_a_request_that_takes_too_long_is_an_error(vllm, model, tokenizer) -> None:
    engine = VllmEngine(model, tokenizer, EngineConfig(name="vllm", max_len=100, timeout=0.05))
    engine.submit("a", [5], Sampling(4), 0)
    engine._llm.deaf = True
    with pytest.raises(RunFailedError, match=r"did not answer a request within 0.05 s"):
        engine.poll(block=True)


def test_the_launchers_variables_are_there_for_the_start_only(monkeypatch) -> None:
    monkeypatch.delenv("RANK", raising=False)
    before = dict(module.os.environ)
    with module._launched():
        assert module.os.environ["RANK"] == "0" and module.os.environ["WORLD_SIZE"] == "1"
    assert dict(module.os.environ) == before
    monkeypatch.setenv("RANK", "3")
    with module._launched():
        assert module.os.environ["RANK"] == "3"
