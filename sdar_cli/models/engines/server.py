"""A vLLM server on this or another machine: prompts as token ids over HTTP, weights over NCCL by TRL's client.

The server is started by hand:

    VLLM_SERVER_DEV_MODE=1 vllm serve MODEL --weight-transfer-config '{"backend": "nccl"}' \\
        --logprobs-mode processed_logprobs --generation-config vllm --max-model-len N

Until weights are pushed it is trusted to hold those of the model's files.  Every process of a run sends its own
requests; the first one sends the weights, which needs a GPU here and there: that part was not run.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from typing import TYPE_CHECKING, Any

from sdar_cli.base import distributed
from sdar_cli.base.errors import ConfigError, PrerequisiteError, RunFailedError
from sdar_cli.models.engine import Reply, Request, Sampling, end_ids
from sdar_cli.models.loading import base_model

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from sdar_cli.config.schema import EngineConfig

CONNECTIONS = 256
"""Requests that are sent at the same time; the others wait here."""
GLANCE_S = 0.02
"""Seconds that ``poll(block=False)`` waits for a reply."""
COMMAND = (
    'VLLM_SERVER_DEV_MODE=1 vllm serve MODEL --weight-transfer-config \'{"backend": "nccl"}\' '
    "--logprobs-mode processed_logprobs --generation-config vllm --max-model-len N"
)
START = f"{COMMAND}, then --set engine.url=http://HOST:8000"


class ServerEngine:
    """Requests to the server at ``engine.url``.  served: the server's name of the model, where it is not the model's.

    Raises PrerequisiteError where no server answers, ConfigError where it serves another model or shorter contexts.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        settings: EngineConfig,
        around: Callable[[], AbstractContextManager] = nullcontext,
        *,
        served: str | None = None,
    ) -> None:
        import httpx

        if settings.url is None:
            raise ConfigError("engine.name = server needs the address of the server", fix=START)
        base = base_model(model)
        self.settings = settings
        self.device = base.device
        self.vocabulary = base.get_input_embeddings().weight.shape[0]
        self.tokens_generated = 0
        self.weight_version = 0
        self.ends = end_ids(model, tokenizer)
        limits = httpx.Limits(max_connections=CONNECTIONS)
        self._http = httpx.Client(base_url=settings.url, timeout=settings.timeout, limits=limits)
        self._threads = ThreadPoolExecutor(CONNECTIONS, "vllm-server")
        self._flying: dict[Hashable, Future[Reply]] = {}
        self.served = self._check_server(served or base.name_or_path)

    @property
    def busy(self) -> bool:
        """Whether a request is in flight."""
        return bool(self._flying)

    def submit(self, key: Hashable, prompt_ids: Sequence[int], sampling: Sampling, seed: int) -> None:
        """See ``Engine``."""
        request = Request(key, list(prompt_ids), sampling, seed)
        self._flying[key] = self._threads.submit(self._ask, request)

    def poll(self, block: bool) -> list[Reply]:
        """See ``Engine``.  Raises RunFailedError where the server is down, too slow, or its answer makes no sense."""
        wait(self._flying.values(), None if block else GLANCE_S, FIRST_COMPLETED)
        done = [key for key, future in self._flying.items() if future.done()]
        replies = [self._flying.pop(key).result() for key in done]
        self.tokens_generated += sum(len(reply.ids) for reply in replies)
        return replies

    def abort(self, keys: Collection[Hashable]) -> None:
        """See ``Engine``; what the server is writing already is thrown away."""
        for key in set(keys) & self._flying.keys():
            self._flying.pop(key).cancel()

    def push(self, weights: Iterable[tuple[str, Tensor]], version: int) -> None:
        """See ``Engine``.  Every process reads the weights to their end; the first one sends them.

        Raises RunFailedError where they cannot be sent: NCCL needs a GPU here and there.
        """
        if not distributed.is_main():
            for _ in weights:
                pass
        else:
            try:
                with self._client.weight_update():
                    for name, tensor in weights:
                        self._client.update_named_param(name, tensor)
                self._client.reset_prefix_cache()
            except Exception as error:
                raise RunFailedError(
                    f"the weights cannot be sent to {self.settings.url}",
                    why=f"{type(error).__name__}: {error}".splitlines()[0],
                    fix=START,
                ) from error
        distributed.gather(None)  # nobody asks before the weights are there
        self.weight_version = version

    def sleep(self) -> None:
        """Nothing to free here."""

    def wake(self) -> None:
        """Nothing to take back."""

    @cached_property
    def _client(self) -> Any:
        """TRL's client, which has joined the server's group for weights."""
        from trl.generation.vllm_client import VLLMClient

        client = VLLMClient(base_url=self.settings.url)
        client.init_communicator(device=self.device)
        return client

    def _check_server(self, name: str) -> str:
        """The server's id of the model."""
        import httpx

        try:
            response = self._http.get("/v1/models", timeout=min(self.settings.timeout, 30.0))
            response.raise_for_status()
            found = response.json()["data"]
            served = {each["id"]: each for each in found}
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
            raise PrerequisiteError(
                f"no vLLM server answers at {self.settings.url}", why=f"{type(error).__name__}: {error}", fix=START
            ) from error
        for identity, each in served.items():
            if name in (identity, each.get("root")):
                if (each.get("max_model_len") or self.settings.max_len) < self.settings.max_len:
                    raise ConfigError(
                        f"the server at {self.settings.url} takes {each['max_model_len']} tokens, and "
                        f"{self.settings.max_len} are needed",
                        fix=f"start it with --max-model-len {self.settings.max_len}",
                    )
                return identity
        raise ConfigError(
            f"the server at {self.settings.url} serves {', '.join(served) or 'nothing'}, not {name}",
            fix="start it with that model, or name the same weights with --set engine.args.served=NAME",
        )

    def _ask(self, request: Request) -> Reply:
        import httpx

        sampling = request.sampling
        body = {
            "model": self.served,
            "prompt": request.prompt_ids,
            "max_tokens": sampling.max_tokens,
            "temperature": 0.0 if sampling.greedy else sampling.temperature,
            "top_p": 1.0,
            "top_k": 0,
            "seed": request.seed,
            "logprobs": 0,
            "stop_token_ids": sorted(self.ends),
            "return_token_ids": True,
        }
        try:
            response = self._http.post("/v1/completions", json=body)
            response.raise_for_status()
            return self._read(request, response.json())
        except httpx.TimeoutException as error:
            raise RunFailedError(
                f"the server at {self.settings.url} did not answer a request within {self.settings.timeout:g} s",
                fix="raise --set engine.timeout, or lower engine.max_episodes",
            ) from error
        except httpx.HTTPStatusError as error:
            raise _failed(self.settings.url, f"{error}: {error.response.text[:300]}") from error
        except httpx.HTTPError as error:
            raise _failed(self.settings.url, f"{type(error).__name__}: {error}") from error
        except (ValueError, KeyError, IndexError, TypeError) as error:
            raise _failed(
                self.settings.url, f"its answer has another form ({type(error).__name__}: {error})"
            ) from error

    def _read(self, request: Request, answer: Mapping[str, Any]) -> Reply:
        """Raises ValueError, KeyError, IndexError or TypeError for an answer of another form."""
        choice = answer["choices"][0]
        ids = [int(token) for token in choice["token_ids"]]
        logprobs = [float(value) for value in choice["logprobs"]["token_logprobs"]]
        if not 0 < len(ids) == len(logprobs) <= request.sampling.max_tokens:
            raise ValueError(
                f"{len(ids)} tokens and {len(logprobs)} log-probs for at most {request.sampling.max_tokens}"
            )
        if not all(0 <= token < self.vocabulary for token in ids):
            raise ValueError(f"a token outside the {self.vocabulary} of the model")
        return Reply(request.key, ids, logprobs, self.weight_version)


def _failed(url: str | None, why: str) -> RunFailedError:
    return RunFailedError(
        f"the server at {url} did not answer a request",
        why=why,
        fix="look at the server's own output; the run continues with --resume",
    )
