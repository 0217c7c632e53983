"""Chat models that the builder ``llm`` can ask: an OpenAI-compatible endpoint, a local model, vLLM.

An endpoint's address and key come from ``OPENAI_BASE_URL`` and ``OPENAI_API_KEY``; the key is put into the header of a
request and nowhere else.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Protocol

from sdar_cli.base.errors import ConfigError, PrerequisiteError, RunFailedError
from sdar_cli.base.retry import AGAIN, Backoff, TryAgainError, retry
from sdar_cli.base.text import clean

Message = dict[str, str]
Backend = Literal["endpoint", "transformers", "vllm"]
BASE_URL, API_KEY = "OPENAI_BASE_URL", "OPENAI_API_KEY"
BACKOFF = Backoff(first=1.0, longest=60.0, tries=4)
"""Requests per question while an endpoint is busy or broken, and the pauses between them."""
TIMEOUT = 300.0
BUSY = AGAIN | {408, 409, 425}
"""HTTP statuses that may pass."""
SHOWN = 300
"""Characters of a server's own words in an error."""


class Chat(Protocol):
    """A model that answers.  ``where``: for the cost line, without secrets."""

    where: str

    def ask(self, messages: Sequence[Message], schema: Mapping[str, Any]) -> str:
        """The answer's text, if possible JSON of that schema.  Raises SdarError where there is none."""
        ...


class Endpoint:
    """``POST {base}/chat/completions``.  sleep: waits between tries (seconds)."""

    def __init__(self, model: str, max_tokens: int, sleep: Callable[[float], None] = time.sleep) -> None:
        base = os.environ.get(BASE_URL, "").rstrip("/")
        if not base:
            raise PrerequisiteError(
                f"{BASE_URL} is not set",
                why="the builder llm asks an OpenAI-compatible endpoint",
                fix=f"export {BASE_URL}=http://127.0.0.1:8000/v1, or --backend transformers",
            )
        if not base.startswith(("http://", "https://")):
            raise ConfigError(f"{BASE_URL} is no address", why="it should begin with http:// or https://")
        self.model = model
        self.max_tokens = max_tokens
        self._url = f"{base}/chat/completions"
        self._sleep = sleep
        self.where = re.sub(r"//[^/@]*@", "//", base)  # an address may hold a password

    def ask(self, messages: Sequence[Message], schema: Mapping[str, Any]) -> str:
        """One answer.  A busy or broken endpoint is asked again, with growing pauses."""
        body = {
            "model": self.model,
            "messages": list(messages),
            "temperature": 0.0,
            "max_tokens": self.max_tokens,
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "skills", "schema": dict(schema), "strict": True},
            },
        }
        return self._answer(self._post(body))

    def _post(self, body: Mapping[str, object]) -> Any:
        import httpx

        key = os.environ.get(API_KEY)
        headers = {"Authorization": f"Bearer {key}"} if key else {}

        def once(until: float) -> Any:
            try:
                reply = client.post(self._url, json=body, headers=headers)
            except httpx.TransportError as error:
                raise TryAgainError(type(error).__name__) from error
            if reply.status_code not in BUSY:
                return self._checked(reply)
            problem = f"HTTP {reply.status_code}: {self._quoted(reply.text)}"
            raise TryAgainError(problem, _retry_after(reply.headers.get("Retry-After")))

        with httpx.Client(timeout=TIMEOUT) as client:
            return retry(once, BACKOFF, self._unavailable, self._sleep)

    def _unavailable(self, why: str) -> RunFailedError:
        what = f"{self.where} did not answer in {BACKOFF.tries} tries"
        return RunFailedError(what, why=why, fix="try again later; nothing was written")

    def _checked(self, reply: Any) -> Any:
        """The JSON of a reply that is final.  Raises the error its status stands for."""
        status = reply.status_code
        if status in (401, 403):
            raise PrerequisiteError(
                f"{self.where} refuses the key (HTTP {status})",
                why=f"it is that of {API_KEY}",
                fix=f"export {API_KEY}=…",
            )
        if status != 200:
            fix = "--llm NAME of a model it serves; it must understand response_format json_schema"
            raise ConfigError(f"{self.where} answers HTTP {status}", why=self._quoted(reply.text), fix=fix)
        try:
            return reply.json()
        except ValueError as error:
            raise RunFailedError(f"{self.where} does not answer in JSON", why=self._quoted(reply.text)) from error

    def _answer(self, reply: Any) -> str:
        try:
            message = reply["choices"][0]["message"]
            refusal, text = message.get("refusal"), message.get("content")
        except (KeyError, IndexError, TypeError, AttributeError) as error:
            raise RunFailedError(
                f"{self.where} answers in an unknown form", why=self._quoted(str(reply)), fix="is it OpenAI-compatible?"
            ) from error
        if refusal or not text:
            why = self._quoted(refusal or "the answer is empty")
            raise RunFailedError(f"the model {self.model} refuses to answer", why=why, fix="ask another model")
        return str(text)

    def _quoted(self, text: str) -> str:
        """A server's words for an error, without the key should it repeat it."""
        key = os.environ.get(API_KEY)
        return clean(text.replace(key, "***") if key else text)[:SHOWN]


class Local:
    """A model of the transformers library in this process, greedy."""

    def __init__(self, model: str, max_tokens: int) -> None:
        from sdar_cli.config.schema import ModelConfig
        from sdar_cli.models.loading import load_policy

        self.model, self.tokenizer = load_policy(ModelConfig(name=model))
        self.max_tokens = max_tokens
        self.where = f"transformers, on {self.model.device}"

    def ask(self, messages: Sequence[Message], schema: Mapping[str, Any]) -> str:
        """One answer; the schema is in the messages already."""
        import torch

        inputs = self.tokenizer.apply_chat_template(
            list(messages), add_generation_prompt=True, return_tensors="pt", return_dict=True
        ).to(self.model.device)
        room = getattr(self.model.config, "max_position_embeddings", None)
        length = inputs["input_ids"].shape[1]
        if room and length + self.max_tokens > room:
            raise ConfigError(
                f"the prompt has {length} tokens and the answer {self.max_tokens}; the model's context is {room}",
                fix="--prompt-tokens with a smaller number",
            )
        with torch.inference_mode():
            out = self.model.generate(**inputs, max_new_tokens=self.max_tokens, do_sample=False)
        return str(self.tokenizer.decode(out[0, length:], skip_special_tokens=True))


class VLLM:
    """A local model under vLLM, greedy."""

    def __init__(self, model: str, max_tokens: int) -> None:
        try:
            from vllm import LLM, SamplingParams
        except ImportError as error:
            raise PrerequisiteError(
                "vLLM is not installed", why=str(error), fix="pip install vllm, or --backend transformers"
            ) from error
        self._engine = LLM(model=model)
        self._sampling = SamplingParams(temperature=0.0, max_tokens=max_tokens)
        self.where = "vLLM in this process"

    def ask(self, messages: Sequence[Message], schema: Mapping[str, Any]) -> str:
        """One answer; the schema is in the messages already."""
        out = self._engine.chat(list(messages), self._sampling, use_tqdm=False)
        return str(out[0].outputs[0].text)


def open_chat(backend: Backend, model: str, max_tokens: int) -> Chat:
    """The model behind a backend.  Raises PrerequisiteError where it cannot be reached or is not installed."""
    return BACKENDS[backend](model, max_tokens)


def _retry_after(header: str | None) -> float | None:
    """Seconds an endpoint asks to wait, within reason; None where it does not ask, or names a date."""
    try:
        return min(max(float(header or ""), 0.0), BACKOFF.longest)
    except ValueError:
        return None


BACKENDS: dict[Backend, Callable[[str, int], Chat]] = {"endpoint": Endpoint, "transformers": Local, "vllm": VLLM}
