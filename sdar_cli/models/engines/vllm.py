"""vLLM in this process: a second copy of the weights on the same device, with a prefix cache and continuous batching.

Written against vLLM 0.28 to 0.31: the names of its internals that are used here are checked by the tests marked
``vllm``.  One engine per process and model; several processes of a run each have their own.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from packaging.specifiers import SpecifierSet

from sdar_cli.base.errors import ConfigError, PrerequisiteError, RunFailedError
from sdar_cli.models.engine import Reply, Request, Sampling, end_ids
from sdar_cli.models.loading import base_model
from sdar_cli.models.weights import stream_weights

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from sdar_cli.config.schema import EngineConfig

VERSIONS = SpecifierSet(">=0.28,<0.32")
INSTALL = "pip install 'sdar[vllm]', or --set engine.name=hf"


class Start(NamedTuple):
    """What an engine is started with.  folder: of the model."""

    folder: str
    dtype: str
    max_len: int
    memory: float
    sleep: bool
    on_gpu: bool


class VllmEngine:
    """vLLM on the device of ``model``, started when it is first needed.

    It starts from the model's files, so weights that are trained must be pushed; the first request pushes those of
    ``model`` where nobody has.  With several processes the first push must be made by all of them together.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        settings: EngineConfig,
        around: Callable[[], AbstractContextManager] = nullcontext,
    ) -> None:
        import_vllm()
        self.model = model
        self.settings = settings
        self.tokens_generated = 0
        self.weight_version: int | None = None
        """None: the weights of the model's files, or none at all."""
        self.ends = end_ids(model, tokenizer)
        self._asleep = False
        self._requests: dict[str, tuple[Request, float]] = {}
        """By vLLM's name of it: a request in flight, and when it was submitted (seconds)."""
        self._count = 0

    @property
    def busy(self) -> bool:
        """Whether a request is in flight."""
        return bool(self._requests)

    def submit(self, key: Hashable, prompt_ids: Sequence[int], sampling: Sampling, seed: int) -> None:
        """See ``Engine``.  Raises ConfigError for a prompt that does not fit ``engine.max_len``."""
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        if self.weight_version is None:
            self.push(stream_weights(self.model), 0)
        if len(prompt_ids) + sampling.max_tokens > self.settings.max_len:
            raise ConfigError(
                f"a prompt of {len(prompt_ids)} tokens and a response of {sampling.max_tokens} exceed engine.max_len "
                f"({self.settings.max_len})",
                fix="raise --set engine.max_len; 0 = what the token budgets add up to",
            )
        params = SamplingParams(
            temperature=0.0 if sampling.greedy else sampling.temperature,
            max_tokens=sampling.max_tokens,
            seed=seed,
            logprobs=0,  # of the sampled token alone
            stop_token_ids=sorted(self.ends),
            detokenize=False,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
        name = str(self._count)
        self._count += 1
        with _alive():
            self._llm.llm_engine.add_request(name, {"prompt_token_ids": list(prompt_ids)}, params)
        self._requests[name] = (Request(key, prompt_ids, sampling, seed), time.monotonic())

    def poll(self, block: bool) -> list[Reply]:
        """See ``Engine``: one step of every request in flight, or as many as it takes until one is finished."""
        replies: list[Reply] = []
        while self._requests and not replies:
            with _alive():
                finished = [output for output in self._llm.llm_engine.step() if output.finished]
            replies = [self._reply(output) for output in finished]
            oldest = min((began for _, began in self._requests.values()), default=time.monotonic())
            if time.monotonic() - oldest > self.settings.timeout:
                raise RunFailedError(
                    f"vLLM did not answer a request within {self.settings.timeout:g} s",
                    why=f"{len(self._requests)} requests are in flight",
                    fix="raise --set engine.timeout, or lower engine.max_episodes",
                )
            if not block:
                break
        self.tokens_generated += sum(len(reply.ids) for reply in replies)
        return replies

    def abort(self, keys: Collection[Hashable]) -> None:
        """See ``Engine``."""
        names = [name for name, (request, _) in self._requests.items() if request.key in keys]
        if names:
            self._llm.llm_engine.abort_request(names)
        for name in names:
            del self._requests[name]

    def push(self, weights: Iterable[tuple[str, Tensor]], version: int) -> None:
        """See ``Engine``; an engine that sleeps is woken.  Raises RuntimeError while a request is in flight."""
        if self._requests:
            raise RuntimeError(f"weights cannot change while {len(self._requests)} requests are in flight")
        if self._asleep:
            self.wake()
        llm = self._llm
        with _alive():
            llm.collective_rpc("reload_weights", kwargs={"weights_iterator": iter(weights)})
            if not self._start.on_gpu:
                llm.apply_model(_pack_again)
            if self._asleep:
                llm.wake_up(tags=["kv_cache"])
                self._asleep = False
            llm.reset_prefix_cache()
            llm.update_weight_version(str(version))
        self.weight_version = version

    def sleep(self) -> None:
        """Free weights and KV cache on the GPU, with ``engine.sleep``; they must be pushed again."""
        if self.settings.sleep and self._start.on_gpu and not self._asleep and self.weight_version is not None:
            with _alive():
                self._llm.sleep(level=2)
            self._asleep, self.weight_version = True, None

    def wake(self) -> None:
        """Take the memory for the weights back; that of the KV cache comes back when they are pushed."""
        if self._asleep:
            with _alive():
                self._llm.wake_up(tags=["weights"])

    @cached_property
    def _start(self) -> Start:
        import torch

        base = base_model(self.model)
        on_gpu = base.device.type == "cuda"
        dtype: str = self.settings.dtype
        if dtype == "auto":
            half = on_gpu and torch.cuda.is_bf16_supported()
            dtype = "bfloat16" if half else str(base.dtype).removeprefix("torch.")
        settings = self.settings
        return Start(base.name_or_path, dtype, settings.max_len, settings.memory, settings.sleep, on_gpu)

    @property
    def _llm(self) -> Any:
        return _started(self._start)

    def _reply(self, output: Any) -> Reply:
        request, _ = self._requests.pop(output.request_id)
        found = self._llm.get_weight_version()
        if found != str(self.weight_version):
            raise RunFailedError(
                f"vLLM sampled with weights of version {found}, and version {self.weight_version} was pushed",
                why="a push did not reach it",
                fix="report this with the versions of sdar doctor; --set engine.name=hf works without a push",
            )
        (written,) = output.outputs
        ids = list(written.token_ids)
        logprobs = [each[token].logprob for token, each in zip(ids, written.logprobs, strict=True)]
        return Reply(request.key, ids, logprobs, int(found))


def import_vllm() -> None:
    """Raises PrerequisiteError where vLLM is missing, or of a version that this was not written for."""
    os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")  # the engine's core is in this process
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")  # on a CPU: training uses the same cores
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")  # on a CPU, GiB
    try:
        import vllm
    except ImportError as error:
        raise PrerequisiteError("engine.name = vllm needs vLLM", why=str(error), fix=INSTALL) from error
    if not VERSIONS.contains(vllm.__version__, prereleases=True):
        raise PrerequisiteError(
            f"vLLM {vllm.__version__} is installed, and engine.name = vllm needs {VERSIONS}",
            why="it uses parts of vLLM that change from version to version",
            fix=INSTALL,
        )


@cache
def _started(start: Start) -> Any:
    """The engine, one per process: what it was started with cannot change."""
    from vllm import LLM

    # the trainer's log-probs come from a head in float32
    head = {} if start.dtype == "float32" else {"head_dtype": "float32"}
    try:
        with _launched():
            return LLM(
                model=start.folder,
                dtype=start.dtype,
                max_model_len=start.max_len,
                gpu_memory_utilization=start.memory,
                enable_sleep_mode=start.sleep and start.on_gpu,
                distributed_executor_backend="external_launcher",
                enforce_eager=not start.on_gpu,  # compiling for a CPU takes a minute
                enable_prefix_caching=True,
                logprobs_mode="processed_logprobs",
                generation_config="vllm",  # and not the model's own top_p or top_k
                skip_tokenizer_init=True,
                seed=0,
                hf_overrides=head,
            )
    except Exception as error:
        raise RunFailedError(
            f"vLLM does not start with {start.folder}",
            why=f"{type(error).__name__}: {error}".splitlines()[0],
            fix="see the lines above (VLLM_LOGGING_LEVEL=INFO shows more); lower engine.memory or engine.max_len where "
            "memory is short, or --set engine.name=hf",
        ) from error


@contextmanager
def _launched() -> Iterator[None]:
    """The variables of a launcher, which vLLM reads, for a process that was started without one."""
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    wanted = {
        "RANK": "0",
        "LOCAL_RANK": "0",
        "WORLD_SIZE": "1",
        "LOCAL_WORLD_SIZE": "1",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    added = {} if "RANK" in os.environ else wanted
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


@contextmanager
def _alive() -> Iterator[None]:
    """An exception of vLLM inside is the end of the run, in words."""
    try:
        yield
    except Exception as error:
        raise RunFailedError(
            "the vLLM engine has failed",
            why=f"{type(error).__name__}: {error}".splitlines()[0],
            fix="--debug shows all of its message; if memory was full, continue with --resume and less engine.memory",
        ) from error


def _pack_again(model: Any) -> None:
    """On a CPU, layers multiply with a packed copy of their weight, which a reload does not renew for a tied head."""
    for module in model.modules():
        weight = getattr(module, "weight", None)
        if hasattr(module, "cpu_linear") and weight is not None and weight.numel():
            module.quant_method.process_weights_after_loading(module)
