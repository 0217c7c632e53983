"""Where the layouts of public question sets keep a question and its answers.

Search-R1's files have ``question`` and ``golden_answers`` on top, verl-agent's under ``extra_info`` and ``env_kwargs``;
MuSiQue has ``answer`` with ``answer_aliases``, PopQA ``possible_answers`` (a list written as a text) or ``obj`` with
``o_aliases``, TriviaQA an object with ``value`` and ``aliases``, SQuAD one with ``text``.  Keys count in any capitals.
"""

from __future__ import annotations

import ast
import io
import itertools
import tokenize
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sdar_cli.base.files import parse_json

ANSWERS = ("golden_answers", "answers", "answer", "possible_answers", "obj")
"""Keys of the answers; the first that holds any counts."""
ALIASES = ("answer_aliases", "aliases", "o_aliases")
"""Keys of further answers that are as good."""
IN_ANSWER = ("value", "text", "target", "aliases", "normalized_aliases", "normalized_value")
"""Keys of answers in an object."""
OUTER = ("extra_info", "env_kwargs", "reward_model")
"""Keys of objects that hold a question, or its answers under ``ground_truth``."""
READ = frozenset({"question", "id", "data_source", "split", "gold_ids", *ANSWERS, *ALIASES, *OUTER})
UNUSED = frozenset({"prompt", "ability", "metadata"})
"""Keys of Search-R1's files that say nothing more, so that nobody need hear of them."""


def by_lower_key(values: Mapping[Any, Any]) -> dict[str, object]:
    """A row by keys in lower case; of two that differ in capitals only, the first."""
    found: dict[str, object] = {}
    for key, value in values.items():
        found.setdefault(str(key).lower(), value)
    return found


def question_text(values: Mapping[str, object]) -> str:
    """The question of a row.  Raises ValueError where it has none."""
    for holder in (values, *(values.get(name) for name in OUTER)):
        text = holder.get("question") if isinstance(holder, Mapping) else None
        if isinstance(text, Mapping):  # Natural Questions' own files
            text = text.get("text")
        if isinstance(text, str) and text.strip():
            return text.strip()
    raise ValueError(f"it has no question, neither on top nor under {' or '.join(OUTER)}; {_keys(values)}")


def answers_of(values: Mapping[str, object]) -> tuple[str, ...]:
    """The answers of a row and their aliases, each once.  Raises ValueError that names the key at fault."""
    found: list[str] = []
    key = next((name for name in ANSWERS if _holds(values.get(name))), None)
    if key is not None:
        found += _texts(values[key], key)
    else:
        for outer in OUTER:
            truth = values.get(outer)
            truth = truth.get("ground_truth") if isinstance(truth, Mapping) else None
            if not found and _holds(truth):
                found += _texts(truth, f"{outer}.ground_truth")
    for name in ALIASES:
        if found and _holds(values.get(name)):
            found += _texts(values[name], name)
    if key is None and not found:
        raise ValueError(f"it has no answers: looked for {', '.join(ANSWERS)} and ground_truth; {_keys(values)}")
    kept = tuple(dict.fromkeys(text.strip() for text in found if text.strip()))
    if not kept:
        raise ValueError("its answers are empty")
    return kept


def _holds(value: Any) -> bool:
    """Whether a value could be an answer; a number 0 could."""
    return bool(value) or (isinstance(value, int) and not isinstance(value, bool))


def _keys(values: Mapping[str, object]) -> str:
    return f"its keys are {', '.join(values)[:200] or '(none)'}"


def _texts(value: Any, key: str) -> Iterator[str]:
    """The texts of a value: a text, a whole number, a list, an object, or a list that is written as a text."""
    if isinstance(value, str):
        listed = listed_in(value, key)
        yield from [value] if listed is None else listed
    elif isinstance(value, int) and not isinstance(value, bool):
        yield str(value)
    elif isinstance(value, Mapping):
        found = [each for each in IN_ANSWER if _holds(value.get(each))]
        if not found:
            raise ValueError(
                f"its {key} is an object with the keys {', '.join(map(str, value))}; read are {', '.join(IN_ANSWER)}"
            )
        for name in found:
            yield from _texts(value[name], f"{key}.{name}")
    elif isinstance(value, Sequence) and not isinstance(value, bytes):
        for each in value:
            if isinstance(each, Sequence) and not isinstance(each, str):
                raise ValueError(f"its {key} is a list of lists")
            yield from _texts(each, key)
    else:
        raise ValueError(f"its {key} holds a {type(value).__name__} ({str(value)[:40]}), not a text")


def listed_in(text: str, key: str) -> list[str] | None:
    """The texts of a list that is written as a text, in JSON or Python; None for any other text.

    Raises ValueError naming the key for one that looks like a list of quoted texts and cannot be read as one.
    """
    bare = text.strip()
    if not (bare[:1] + bare[-1:] in ("[]", "()") and any(quote in bare for quote in "'\"")):
        return None
    try:
        value = parse_json(bare)
    except ValueError:
        value = _python_list(bare)
    if isinstance(value, list | tuple) and value and all(isinstance(each, str) for each in value):
        return list(value)
    if bare[0] == "(":
        return None  # a remark in brackets
    raise ValueError(f"its {key} is a list written as a text that cannot be read: {bare[:60]}")


def _python_list(text: str) -> Any:
    """The value of a Python literal; None where it is none, or where commas are missing between texts."""
    try:
        kinds = [token.type for token in tokenize.generate_tokens(io.StringIO(text).readline)]
        value = ast.literal_eval(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError, tokenize.TokenError):
        return None
    kinds = [kind for kind in kinds if kind != tokenize.NL]
    side_by_side = any(a == b == tokenize.STRING for a, b in itertools.pairwise(kinds))
    return None if side_by_side else value
